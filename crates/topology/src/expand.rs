//! Environment references in the text: `$v`, `${v}`, `${v:-d}` and their like.
//!
//! An unset variable without a default stays, written `$v`; `$$` is a dollar.

use std::collections::BTreeMap;

/// Expanded text, and where each piece of it came from.
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Start in the result, start in the original, length in the original (0 length in result
    /// never occurs); sorted.
    pieces: Vec<Piece>,
}

struct Piece {
    out: u32,
    source: u32,
    /// Copied byte for byte; otherwise the whole piece stands for one reference.
    verbatim: bool,
}

impl Expanded {
    /// The place in the original of a place in the result.
    pub fn original(&self, at: u32) -> u32 {
        let i = self.pieces.partition_point(|p| p.out <= at);
        match i.checked_sub(1).map(|i| &self.pieces[i]) {
            Some(p) if p.verbatim => p.source + (at - p.out),
            Some(p) => p.source,
            None => at,
        }
    }
}

/// Deepest nesting of `${A:-${B:-...}}` that is followed; deeper ones stay as they are.
const DEEPEST: usize = 32;

/// Expands all references of a text.
pub fn expand(text: &str, env: &BTreeMap<String, String>) -> Expanded {
    expand_at(text, env, 0)
}

fn expand_at(text: &str, env: &BTreeMap<String, String>, depth: usize) -> Expanded {
    let braces = Braces::of(text);
    let mut out = Expanded { text: String::with_capacity(text.len()), pieces: Vec::new() };
    let mut copied = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        if bytes[at] != b'$' || (depth >= DEEPEST && bytes.get(at + 1) == Some(&b'{')) {
            at += 1;
            continue;
        }
        let Some((value, length)) = reference(text, at, &braces, env, depth) else {
            at += 1;
            continue;
        };
        out.copy(text, copied, at);
        out.pieces.push(Piece { out: out.text.len() as u32, source: at as u32, verbatim: false });
        out.text.push_str(&value);
        at += length;
        copied = at;
    }
    out.copy(text, copied, text.len());
    out
}

/// Which brace closes which, found once for a whole text: looking from each reference anew would
/// take the square of a long line's length.
struct Braces(Vec<(usize, usize)>);

impl Braces {
    /// Those of a text; a brace is closed on its own line or not at all.
    fn of(text: &str) -> Braces {
        let mut open = Vec::new();
        let mut pairs = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'{' => open.push(at),
                b'}' => pairs.extend(open.pop().map(|from| (from, at))),
                b'\n' => open.clear(),
                _ => {}
            }
        }
        pairs.sort_unstable();
        Braces(pairs)
    }

    /// Where the brace at a place is closed.
    fn closing(&self, at: usize) -> Option<usize> {
        let found = self.0.binary_search_by_key(&at, |(open, _)| *open).ok()?;
        Some(self.0[found].1)
    }
}

impl Expanded {
    fn copy(&mut self, text: &str, from: usize, to: usize) {
        if from < to {
            let piece = Piece { out: self.text.len() as u32, source: from as u32, verbatim: true };
            self.pieces.push(piece);
            self.text.push_str(&text[from..to]);
        }
    }
}

/// The value of the reference at a place, and its length; `None` when it stays as it is.
fn reference(
    text: &str,
    at: usize,
    braces: &Braces,
    env: &BTreeMap<String, String>,
    depth: usize,
) -> Option<(String, usize)> {
    let rest = &text[at + 1..];
    if rest.starts_with('$') {
        return Some(("$".into(), 2));
    }
    if rest.starts_with('{') {
        let close = braces.closing(at + 1)?;
        let value = braced(&text[at + 2..close], env, depth)?;
        return Some((value, close + 1 - at));
    }
    let length = name_length(rest);
    (length > 0).then_some(())?;
    env.get(&rest[..length]).map(|v| (v.clone(), length + 1))
}

fn name_length(text: &str) -> usize {
    let mut length = 0;
    for (i, b) in text.bytes().enumerate() {
        let ok = b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit());
        if !ok {
            break;
        }
        length = i + 1;
    }
    length
}

fn braced(inner: &str, env: &BTreeMap<String, String>, depth: usize) -> Option<String> {
    let length = name_length(inner);
    if length == 0 {
        return None;
    }
    let (name, rest) = inner.split_at(length);
    let value = env.get(name);
    if rest.is_empty() {
        // Unset: the reference stays, in its short form, as containerlab leaves it.
        return Some(value.cloned().unwrap_or_else(|| format!("${name}")));
    }
    let (colon, rest) = match rest.strip_prefix(':') {
        Some(r) => (true, r),
        None => (false, rest),
    };
    let operator = rest.chars().next()?;
    let word = || expand_at(&rest[1..], env, depth + 1).text;
    let usable = value.filter(|v| !(colon && v.is_empty()));
    match operator {
        '-' | '=' => Some(usable.cloned().unwrap_or_else(word)),
        '+' => Some(usable.map(|_| word()).unwrap_or_default()),
        _ => None,
    }
}

/// A hint for a value that cannot be used because a variable in it is not set.
pub fn unset_hint(text: &str) -> Option<String> {
    let rest = text[text.find('$')? + 1..].trim_start_matches('{');
    let name = &rest[..name_length(rest)];
    (!name.is_empty()).then(|| format!("the environment variable {name} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> BTreeMap<String, String> {
        [("A", "x"), ("EMPTY", "")].map(|(k, v)| (k.to_string(), v.to_string())).into()
    }

    #[test]
    fn forms() {
        let e = |t: &str| expand(t, &env()).text;
        assert_eq!(e("$A ${A}-$B ${B}"), "x x-$B $B");
        assert_eq!(e("${B:-d} ${B-d} ${B:=d} ${EMPTY:-d} ${EMPTY-d}"), "d d d d ");
        assert_eq!(e("${A:+o}${B:+o}${B+o}"), "o");
        assert_eq!(e("$$A $ $1 ${"), "$A $ $1 ${");
        assert_eq!(e("${B:-${A}}"), "x");
        assert_eq!(e("ü${A}ü"), "üxü");
        assert_eq!(e("sed 's/${/x/' ${A}"), "sed 's/${/x/' x");
        let deep = format!("{}x{}", "${B:-".repeat(5000), "}".repeat(5000));
        assert!(e(&deep).contains('x'));
        let open = "${A:-".repeat(40_000);
        assert_eq!(e(&open), open);
        let begun = std::time::Instant::now();
        let one = format!("{open}}}");
        assert!(e(&one).ends_with("${A:-x") || e(&one).len() < one.len());
        assert!(begun.elapsed().as_secs() < 5, "the time grows with the length, not its square");
    }

    #[test]
    fn places_lead_back() {
        let text = "a: ${B:-long default}\nb: 1\n";
        let e = expand(text, &env());
        let b = e.text.find("b: 1").unwrap() as u32;
        assert_eq!(e.original(b), text.find("b: 1").unwrap() as u32);
        let inside = e.text.find("default").unwrap() as u32;
        assert_eq!(e.original(inside), 3);
    }
}
