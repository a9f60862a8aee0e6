//! Findings as text with the source line underlined, and as JSON.

use crate::{Diagnostic, Diagnostics, Severity, Sources, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

/// Most findings shown as text; the rest are counted.
const SHOWN: usize = 50;

/// Renders all findings for a terminal (`color`) or a file.
pub fn render(sources: &Sources, list: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for d in list.iter().take(SHOWN) {
        out.push_str(&renderer.render(&report(sources, d)));
        out.push_str("\n\n");
    }
    let more = list.iter().count().saturating_sub(SHOWN);
    if more > 0 {
        out.push_str(&format!("... and {more} more\n"));
    }
    out
}

fn report<'a>(sources: &'a Sources, d: &'a Diagnostic) -> Vec<Group<'a>> {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&d.message).id(d.code);
    let mut group = Group::with_title(title);
    if let Some(span) = d.span {
        let mut snippet = snippet(sources, span).annotation({
            let a = AnnotationKind::Primary.span(range(sources, span));
            match &d.label {
                Some(text) => a.label(text),
                None => a,
            }
        });
        for (s, text) in d.related.iter().filter(|(s, _)| s.source == span.source) {
            snippet =
                snippet.annotation(AnnotationKind::Context.span(range(sources, *s)).label(text));
        }
        group = group.element(snippet);
        for (s, text) in d.related.iter().filter(|(s, _)| s.source != span.source) {
            group = group.element(
                self::snippet(sources, *s)
                    .annotation(AnnotationKind::Context.span(range(sources, *s)).label(text)),
            );
        }
    }
    if let Some(hint) = &d.hint {
        group = group.element(Level::HELP.message(hint));
    }
    vec![group]
}

fn snippet(sources: &Sources, span: Span) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    let file = sources.get(span.source);
    Snippet::source(file.text.as_str()).path(file.name.as_str())
}

/// The bytes to underline: the first line of the span only, so that a whole block is not.
fn range(sources: &Sources, span: Span) -> std::ops::Range<usize> {
    let text = &sources.get(span.source).text;
    let (start, end) = (span.start as usize, (span.end as usize).min(text.len()));
    let start = start.min(text.len());
    let start = (0..=start).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
    let end = end.clamp(start, line_end.max(start));
    let end = (end..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
    start..end
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    code: &'a str,
    severity: Severity,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// Findings as a JSON value: a list of objects with code, severity, message, file, line, column,
/// label and hint.
pub fn render_json<'a>(sources: &'a Sources, list: &'a Diagnostics) -> impl Serialize + use<'a> {
    list.iter()
        .map(|d| {
            let place = d.span.map(|s| (sources.get(s.source), s));
            let position = place.map(|(f, s)| f.position(s.start));
            JsonFinding {
                code: d.code,
                severity: d.severity,
                message: &d.message,
                file: place.map(|(f, _)| f.name.as_str()),
                line: position.map(|p| p.line),
                column: position.map(|p| p.column),
                label: d.label.as_deref(),
                hint: d.hint.as_deref(),
            }
        })
        .collect::<Vec<_>>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    #[test]
    fn underlines_the_place() {
        let mut sources = Sources::default();
        let id = sources.add(SourceFile::new("lab.clab.yml", "name: x\nimagee: y\n"));
        let mut list = Diagnostics::default();
        list.push(
            Diagnostic::error("unknown-key", "unknown key `imagee`")
                .at(Span { source: id, start: 8, end: 14 })
                .hint("did you mean `image`?"),
        );
        let text = render(&sources, &list, false);
        assert!(text.contains("lab.clab.yml:2:1"), "{text}");
        assert!(text.contains("^^^^^^"), "{text}");
        assert!(text.contains("did you mean `image`?"), "{text}");
    }
}
