//! The actions of a Go template: where they are, and whether its blocks are closed. The template
//! engine stops without a word at an `end` too many, and what follows it would be missing.

use std::ops::Range;

/// What stands between `{{` and `}}`, comments left out.
pub fn actions(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{") {
        let start = at + open + 2;
        let trimmed = text[start..].trim_start_matches('-').trim_start();
        if trimmed.starts_with("/*") {
            at = text[start..].find("*/").map_or(text.len(), |close| start + close + 2);
            continue;
        }
        let end = end_of_action(bytes, start);
        out.push(start..end);
        at = (end + 2).min(text.len());
    }
    out
}

/// Where the action that begins at `at` is closed; quotes hide braces.
fn end_of_action(bytes: &[u8], mut at: usize) -> usize {
    let mut quote = 0;
    while at < bytes.len() {
        match (bytes[at], quote) {
            (b'\\', b'"' | b'\'') => at += 1,
            (b, q) if q != 0 && b == q => quote = 0,
            (_, q) if q != 0 => {}
            (b @ (b'"' | b'`' | b'\''), _) => quote = b,
            (b'}', _) if bytes.get(at + 1) == Some(&b'}') => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// A block that is not closed, or an `end` or `else` that belongs to none: where, and what.
pub fn unbalanced(text: &str) -> Option<(Range<usize>, String)> {
    let mut open: Vec<(Range<usize>, &str)> = Vec::new();
    for action in actions(text) {
        let inside = &text[action.clone()];
        let lead = inside.len() - inside.trim_start_matches(['-', ' ', '\t', '\n', '\r']).len();
        let words = &inside[lead..];
        let length = words.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(words.len());
        let word = &words[..length];
        let place = action.start + lead..action.start + lead + length;
        match word {
            "if" | "range" | "with" | "block" | "define" => open.push((place, word)),
            "end" if open.pop().is_none() => {
                return Some((place, "this `end` belongs to no block".into()));
            }
            "else" if !open.iter().any(|(_, w)| matches!(*w, "if" | "range" | "with")) => {
                return Some((place, "this `else` belongs to no block".into()));
            }
            _ => {}
        }
    }
    let (place, word) = open.pop()?;
    Some((place, format!("this `{word}` has no `end`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Option<(usize, String)> {
        unbalanced(text).map(|(at, why)| (at.start, why))
    }

    #[test]
    fn blocks_are_closed() {
        for fine in [
            "",
            "a {{ .b }} c",
            "{{ if .a }}{{ range .b }}x{{ else }}y{{ end }}{{ else if .c }}{{ end }}",
            "{{- with .a -}}{{ . }}{{- end -}}",
            "{{/* don't end */}}{{ \"}} {{ end\" }}{{ `end` }}{{ define \"x\" }}{{ end }}",
            "{{ endpoint }} {{ iffy }}",
        ] {
            assert_eq!(wrong(fine), None, "{fine}");
        }
        assert_eq!(wrong("{{ if .a }}{{ end }}{{ end }}").unwrap().0, 23);
        assert_eq!(wrong("{{ else }}").unwrap().1, "this `else` belongs to no block");
        assert_eq!(wrong("ü {{ range .a }}").unwrap(), (6, "this `range` has no `end`".into()));
    }
}
