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
    /// Byte offset of every [`STRIDE`]th character, so that none has to be counted from afar; empty
    /// for plain ASCII, where characters are bytes.
    marks: Vec<u32>,
}

/// Characters between two marks.
const STRIDE: usize = 256;

impl SourceFile {
    /// A file of this name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1))
            .collect();
        let marks = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(STRIDE).map(|(i, _)| i as u32).collect(),
        };
        SourceFile { name: name.into(), text, line_starts, marks }
    }

    /// Characters before a byte offset.
    fn characters(&self, offset: u32) -> usize {
        // The first mark is 0.
        let Some(mark) = self.marks.partition_point(|m| *m <= offset).checked_sub(1) else {
            return offset as usize;
        };
        let from = self.marks[mark];
        let near = self.text[from as usize..].char_indices().take(STRIDE);
        mark * STRIDE + near.take_while(|(i, _)| from + (*i as u32) < offset).count()
    }

    /// Line and column of a byte offset.
    pub fn position(&self, offset: u32) -> Position {
        let offset = offset.min(self.text.len() as u32);
        let line = self.line_starts.partition_point(|s| *s <= offset) - 1;
        let column = self.characters(offset) - self.characters(self.line_starts[line]);
        Position { line: line + 1, column: column + 1 }
    }

    /// Byte offset of a line (from 1) and a column (characters, from 0).
    pub fn offset(&self, line: usize, column: usize) -> u32 {
        let end = self.text.len() as u32;
        let Some(start) = self.line_starts.get(line.saturating_sub(1)) else { return end };
        let wanted = self.characters(*start).saturating_add(column);
        if self.marks.is_empty() {
            return wanted.min(end as usize) as u32;
        }
        let Some(from) = self.marks.get(wanted / STRIDE) else { return end };
        let rest = &self.text[*from as usize..];
        rest.char_indices().nth(wanted % STRIDE).map_or(end, |(i, _)| from + i as u32)
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

    #[test]
    fn every_place_of_a_long_line_leads_back() {
        for text in ["x".repeat(3000), format!("first\n{}\nlast", "aüb€".repeat(700))] {
            let f = SourceFile::new("f", text.clone());
            let mut expected = Position { line: 1, column: 1 };
            for (at, c) in text.char_indices() {
                assert_eq!(f.position(at as u32), expected);
                assert_eq!(f.offset(expected.line, expected.column - 1), at as u32);
                expected.column += 1;
                if c == '\n' {
                    expected = Position { line: expected.line + 1, column: 1 };
                }
            }
        }
    }

    #[test]
    fn a_long_line_takes_no_longer_than_many_short_ones() {
        let f = SourceFile::new("f", "ü".repeat(500_000));
        let begun = std::time::Instant::now();
        for at in (0..1_000_000).step_by(20) {
            assert_eq!(f.offset(1, f.position(at).column - 1), at);
        }
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
