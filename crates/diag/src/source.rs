//! Text files and positions in them.

/// Index of a file in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// A range of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The file.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// The place before the first byte of a file.
    pub fn start_of(source: SourceId) -> Self {
        Span { source, start: 0, end: 0 }
    }
}

/// A position as editors count it: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A text with its name.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// As shown to the user, usually the path as given.
    pub name: String,
    /// The whole text.
    pub text: String,
    line_starts: Vec<u32>,
    /// Whether each line is plain ASCII: columns are bytes there, and need no counting.
    ascii: Vec<bool>,
}

impl SourceFile {
    /// A file of this name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1))
            .collect();
        let ascii = text.split('\n').map(str::is_ascii).collect();
        SourceFile { name: name.into(), text, line_starts, ascii }
    }

    /// Line and column of a byte offset.
    pub fn position(&self, offset: u32) -> Position {
        let offset = offset.min(self.text.len() as u32);
        let line = self.line_starts.partition_point(|s| *s <= offset) - 1;
        let start = self.line_starts[line] as usize;
        let column = match self.ascii[line] {
            true => offset as usize - start,
            false => self.text.get(start..offset as usize).map_or(0, |s| s.chars().count()),
        };
        Position { line: line + 1, column: column + 1 }
    }

    /// Byte offset of a line (from 1) and a column (characters, from 0).
    pub fn offset(&self, line: usize, column: usize) -> u32 {
        let number = line.saturating_sub(1);
        let Some(start) = self.line_starts.get(number) else {
            return self.text.len() as u32;
        };
        if self.ascii[number] {
            return (*start as usize).saturating_add(column).min(self.text.len()) as u32;
        }
        let rest = &self.text[*start as usize..];
        let bytes = rest.char_indices().nth(column).map_or(rest.len(), |(i, _)| i);
        *start + bytes as u32
    }
}

/// All the texts that values of a lab came from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Adds a file and returns its index.
    pub fn add(&mut self, file: SourceFile) -> SourceId {
        self.files.push(file);
        SourceId(self.files.len() as u32 - 1)
    }

    /// The file of an index.
    pub fn get(&self, id: SourceId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// `file:line:column` of a span's start.
    pub fn locate(&self, span: Span) -> String {
        let file = self.get(span.source);
        let p = file.position(span.start);
        format!("{}:{}:{}", file.name, p.line, p.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_characters() {
        let f = SourceFile::new("f", "a\nüb: c\n");
        assert_eq!(f.position(0), Position { line: 1, column: 1 });
        assert_eq!(f.position(4), Position { line: 2, column: 2 });
        assert_eq!(f.offset(2, 1), 4);
        assert_eq!(f.offset(9, 0), f.text.len() as u32);
    }
}
