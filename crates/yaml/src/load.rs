//! Parser events to the tree, with every bound that hostile input needs.

use crate::{Entry, Node, Value};
use netloom_diag::{Diagnostic, Diagnostics, SourceFile, SourceId, Span};
use saphyr_parser::{Event, Parser, ScalarStyle, Span as EventSpan};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Deepest nesting accepted.
const MAX_DEPTH: usize = 100;
/// Most values after aliases were expanded.
const MAX_NODES: usize = 4_000_000;

/// Reads the first document of a text. `None` when nothing usable could be read; all findings go
/// into `found`. An empty text is a null.
pub fn load(file: &SourceFile, source: SourceId, found: &mut Diagnostics) -> Option<Node> {
    let mut loader = Loader {
        file,
        source,
        found,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    let mut documents = 0;
    for item in Parser::new_from_str(&file.text) {
        let (event, span) = match item {
            Ok(pair) => pair,
            Err(e) => {
                let at = file.offset(e.marker().line(), e.marker().col());
                let span = Span { source, start: at, end: at + 1 };
                loader.found.push(syntax_error(file, e.info(), span));
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                let at = loader.place(&span);
                loader.found.push(
                    Diagnostic::warning("yaml-documents", "only the first YAML document is read")
                        .at(at)
                        .label("everything from here on is ignored"),
                );
                break;
            }
        }
        if !loader.event(event, &span) {
            return None;
        }
    }
    Some(loader.root.unwrap_or(Node {
        span: Span::start_of(source),
        value: Value::Scalar { text: String::new(), plain: true },
    }))
}

fn syntax_error(file: &SourceFile, info: &str, span: Span) -> Diagnostic {
    let line_start = file.text[..span.start as usize].rfind('\n').map_or(0, |i| i + 1);
    let line = file.text[line_start..].lines().next().unwrap_or("");
    let hint = if line.trim_start_matches(' ').starts_with('\t') {
        Some("indent with spaces, YAML does not allow tabs".to_string())
    } else if line.contains("{{") {
        Some("a value that begins with a template action must be in quotes".to_string())
    } else {
        let what = "look for a bracket, brace or quote that is not closed, or a line indented unlike its neighbours";
        Some(what.to_string())
    };
    Diagnostic::error("yaml-syntax", format!("this is not valid YAML: {info}"))
        .at(span)
        .maybe_hint(hint)
}

enum Frame {
    Seq {
        anchor: usize,
        span: Span,
        items: Vec<Node>,
    },
    Map {
        anchor: usize,
        span: Span,
        entries: Vec<Entry>,
        key: Option<(String, Span)>,
        merges: Vec<Node>,
    },
}

/// A value an alias may refer to.
struct Anchored {
    node: Rc<Node>,
    weight: usize,
    depth: usize,
}

/// Bytes of text that count as one value more.
const TEXT_WEIGHT: usize = 32;

struct Loader<'a> {
    file: &'a SourceFile,
    source: SourceId,
    found: &'a mut Diagnostics,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl Loader<'_> {
    fn place(&self, span: &EventSpan) -> Span {
        let start = self.file.offset(span.start.line(), span.start.col());
        let end = self.file.offset(span.end.line(), span.end.col());
        Span { source: self.source, start, end: end.max(start) }
    }

    /// Handles one event; false stops the reading.
    fn event(&mut self, event: Event<'_>, span: &EventSpan) -> bool {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|t| t.suffix != "str");
                let node = Node {
                    span: self.place(span),
                    value: Value::Scalar { text: text.into_owned(), plain },
                };
                self.remember(anchor, &node);
                self.add(node)
            }
            Event::Alias(id) => {
                let at = self.place(span);
                match self.anchors.get(&id) {
                    Some(known) => {
                        // Counted before it is copied.
                        self.nodes += known.weight;
                        let too_deep = self.stack.len() + known.depth > MAX_DEPTH;
                        let node = Rc::clone(&known.node);
                        if too_deep {
                            return self.too_deep(at);
                        }
                        if self.nodes > MAX_NODES {
                            return self.too_many(at);
                        }
                        self.add((*node).clone())
                    }
                    None => {
                        self.found.push(
                            Diagnostic::error(
                                "yaml-alias",
                                "this alias stands inside its own anchor",
                            )
                            .at(at),
                        );
                        false
                    }
                }
            }
            Event::SequenceStart(anchor, _) => {
                let span = self.place(span);
                self.push(Frame::Seq { anchor, span, items: Vec::new() })
            }
            Event::MappingStart(anchor, _) => {
                let span = self.place(span);
                self.push(Frame::Map {
                    anchor,
                    span,
                    entries: Vec::new(),
                    key: None,
                    merges: Vec::new(),
                })
            }
            Event::SequenceEnd | Event::MappingEnd => self.pop(span),
            _ => true,
        }
    }

    fn push(&mut self, frame: Frame) -> bool {
        if self.stack.len() >= MAX_DEPTH {
            let span = match &frame {
                Frame::Seq { span, .. } | Frame::Map { span, .. } => *span,
            };
            return self.too_deep(span);
        }
        self.stack.push(frame);
        true
    }

    fn too_deep(&mut self, at: Span) -> bool {
        let what = format!("nested deeper than {MAX_DEPTH} levels");
        self.found.push(Diagnostic::error("yaml-depth", what).at(at));
        false
    }

    fn too_many(&mut self, at: Span) -> bool {
        self.found.push(
            Diagnostic::error("yaml-size", format!("more than {MAX_NODES} values"))
                .at(at)
                .hint("aliases that refer to aliases multiply"),
        );
        false
    }

    fn pop(&mut self, end: &EventSpan) -> bool {
        let end = self.place(end).end;
        let (anchor, node) = match self.stack.pop() {
            Some(Frame::Seq { anchor, mut span, items }) => {
                span.end = end.max(span.start);
                (anchor, Node { span, value: Value::Seq(items) })
            }
            Some(Frame::Map { anchor, mut span, mut entries, merges, .. }) => {
                span.end = end.max(span.start);
                self.merge(&mut entries, merges);
                (anchor, Node { span, value: Value::Map(entries) })
            }
            None => return true,
        };
        self.remember(anchor, &node);
        self.add(node)
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            let (weight, depth) = measure(node);
            // The copy counts too.
            self.nodes += weight;
            self.anchors.insert(anchor, Anchored { node: Rc::new(node.clone()), weight, depth });
        }
    }

    fn add(&mut self, node: Node) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.too_many(node.span);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return true;
        };
        match frame {
            Frame::Seq { items, .. } => items.push(node),
            Frame::Map { entries, key, merges, .. } => match key.take() {
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some((text, node.span)),
                    _ => {
                        self.found.push(
                            Diagnostic::error("yaml-key", "a key must be a plain text")
                                .at(node.span)
                                .hint("put a text with `{` or `[` at its start in quotes"),
                        );
                        return false;
                    }
                },
                Some((k, _)) if k == "<<" => merges.push(node),
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
            },
        }
        true
    }

    /// Duplicate keys are errors; merge keys fill in what the map does not have.
    fn merge(&mut self, entries: &mut Vec<Entry>, merges: Vec<Node>) {
        let mut seen: HashMap<&str, Span> = HashMap::with_capacity(entries.len());
        for e in entries.iter() {
            if let Some(first) = seen.insert(&e.key, e.key_span) {
                self.found.push(
                    Diagnostic::error(
                        "duplicate-key",
                        format!("the key `{}` stands twice in this map", e.key),
                    )
                    .at(e.key_span)
                    .also(first, "first here")
                    .hint("put both together, or give one another name"),
                );
            }
        }
        if merges.is_empty() {
            return;
        }
        let mut have: HashSet<String> = entries.iter().map(|e| e.key.clone()).collect();
        for m in merges {
            let maps = match m.value {
                Value::Seq(items) => items,
                _ => vec![m],
            };
            for map in maps {
                let Value::Map(list) = map.value else {
                    self.found.push(
                        Diagnostic::error("yaml-merge", "`<<` needs a map or a list of maps")
                            .at(map.span),
                    );
                    continue;
                };
                entries.extend(list.into_iter().filter(|e| have.insert(e.key.clone())));
            }
        }
    }
}

/// How much a value weighs in the count of values, and how deep it is.
fn measure(node: &Node) -> (usize, usize) {
    let of = |all: &mut dyn Iterator<Item = &Node>| {
        all.map(measure).fold((1, 1), |(w, d), (weight, depth)| (w + weight, d.max(depth + 1)))
    };
    match &node.value {
        Value::Scalar { text, .. } => (1 + text.len() / TEXT_WEIGHT, 0),
        Value::Seq(items) => of(&mut items.iter()),
        Value::Map(entries) => of(&mut entries.iter().map(|e| &e.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scalar;

    fn read(text: &str) -> (Option<Node>, Diagnostics) {
        let file = SourceFile::new("t.yml", text);
        let mut found = Diagnostics::default();
        let node = load(&file, SourceId(0), &mut found);
        (node, found)
    }

    #[test]
    fn keeps_positions_and_types() {
        let (node, found) = read("a: yes\nb: [\"1\", 22:22]\n");
        assert!(found.is_empty());
        let node = node.unwrap();
        assert_eq!(node.get("a").unwrap().typed(), Some(Scalar::Bool(true)));
        let b = node.get("b").unwrap().as_seq().unwrap();
        assert_eq!(b[0].typed(), Some(Scalar::Str("1")));
        assert_eq!(b[1].as_str(), Some("22:22"));
        assert_eq!((b[1].span.start, b[1].span.end), (16, 21));
    }

    #[test]
    fn merge_keys_fill_in() {
        let (node, found) = read("base: &b {x: 1, y: 2}\nn:\n  <<: *b\n  y: 3\n");
        assert!(found.is_empty());
        let n = node.unwrap();
        let n = n.get("n").unwrap();
        assert_eq!(n.get("x").unwrap().as_str(), Some("1"));
        assert_eq!(n.get("y").unwrap().as_str(), Some("3"));
    }

    #[test]
    fn refuses_what_would_hurt() {
        let deep = "[".repeat(5000);
        assert!(read(&deep).1.has_errors());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(read(&bomb).1.has_errors());
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(10_000));
        assert!(read(&long).1.has_errors());
        let copies = format!("{}[{}]{}", "&a [".repeat(90), "x,".repeat(100_000), "]".repeat(90));
        assert!(read(&copies).1.has_errors());
        let mut ladder = format!("a0: &a0 {}x{}\n", "[".repeat(90), "]".repeat(90));
        for i in 1..5 {
            let (open, close) = ("[".repeat(90), "]".repeat(90));
            ladder.push_str(&format!("a{i}: &a{i} {open}*a{}{close}\n", i - 1));
        }
        assert!(read(&ladder).1.has_errors());
        assert!(read("a: &a {x: 1}\nb: {<<: [*a, 5]}\n").1.has_errors());
        assert!(read("a: 1\na: 2\n").1.has_errors());
        assert!(read("a: &x [*x]\n").1.has_errors());
        assert!(read("a:\n\tb: 1\n").1.has_errors());
    }

    #[test]
    fn empty_is_null() {
        assert!(read("").0.unwrap().is_null());
        assert!(read("# only a comment\n").0.unwrap().is_null());
    }
}
