//! The file's text to a checked tree: render, expand, parse, and compare with the format's table.

use crate::actions::{actions, unbalanced};
use crate::expand::{Expanded, expand};
use crate::inputs::Inputs;
use crate::render;
use crate::schema::{ENDPOINT, Shape, TOPOLOGY_FILE, Type};
use gotmpl::TemplateError;
use netloom_diag::{Diagnostic, Diagnostics, SourceFile, SourceId, Sources, Span, did_you_mean};
use netloom_yaml::{Entry, Node, Scalar, Value, load};

/// The tree of a topology file, keys in their current spelling.
pub struct Document {
    /// The top-level map.
    pub root: Node,
    /// The text after rendering and expansion.
    pub rendered: String,
    /// The file spans point to.
    pub source: SourceId,
}

/// Reads a document; findings go into `found`.
pub fn read(
    inputs: &Inputs<'_>,
    sources: &mut Sources,
    found: &mut Diagnostics,
) -> Option<Document> {
    let mut file = inputs.topology.clone();
    if file.text.contains('\u{feff}') {
        file = SourceFile::new(file.name.clone(), file.text.replacen('\u{feff}', "", 1));
    }
    let mut source = sources.add(file.clone());
    if file.text.contains("{{") {
        let data = variables(inputs, sources, found)?;
        if let Some((place, what)) = unbalanced(&file.text) {
            let (start, end) = (place.start as u32, place.end as u32);
            found.push(
                Diagnostic::error("template", what)
                    .at(Span { source, start, end })
                    .hint("each `if`, `range`, `with`, `block` and `define` has one `{{ end }}`"),
            );
            return None;
        }
        match render::render(&file.text, &inputs.templates, &data) {
            Ok(text) => {
                if text.contains("<no value>") {
                    found.push(missing_variable(&file, source));
                }
                file = SourceFile::new(format!("{} (rendered)", file.name), text);
                source = sources.add(file.clone());
            }
            Err(e) => {
                found.push(template_error(&file, source, &e));
                return None;
            }
        }
    }
    let expanded = expand(&file.text, &inputs.env);
    let expanded_file = SourceFile::new(file.name.clone(), expanded.text.clone());
    let mut here = Diagnostics::default();
    let root = load(&expanded_file, source, &mut here);
    for mut d in here.iter().cloned() {
        d.span = d.span.map(|s| back(&expanded, s));
        d.related.iter_mut().for_each(|(s, _)| *s = back(&expanded, *s));
        found.push(d);
    }
    let mut root = root?;
    if expanded.text != file.text {
        relocate(&mut root, &expanded);
    }
    if root.is_null() {
        let d = Diagnostic::error("empty-file", "there is nothing in this file");
        found.push(
            d.at(Span::start_of(source))
                .hint("a topology needs at least `name` and `topology.nodes`"),
        );
        return None;
    }
    check_object(&mut root, &TOPOLOGY_FILE, found);
    root.as_map()?;
    Some(Document { root, rendered: expanded.text, source })
}

fn back(expanded: &Expanded, span: Span) -> Span {
    let start = expanded.original(span.start);
    Span { source: span.source, start, end: expanded.original(span.end).max(start) }
}

fn relocate(node: &mut Node, expanded: &Expanded) {
    node.span = back(expanded, node.span);
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(|n| relocate(n, expanded)),
        Value::Map(entries) => {
            for e in entries {
                e.key_span = back(expanded, e.key_span);
                relocate(&mut e.value, expanded);
            }
        }
        Value::Scalar { .. } => {}
    }
}

/// Variables of all files, later ones over earlier ones.
fn variables(
    inputs: &Inputs<'_>,
    sources: &mut Sources,
    found: &mut Diagnostics,
) -> Option<gotmpl::Value> {
    let mut data = gotmpl::Value::Map(Default::default());
    for file in &inputs.vars {
        let id = sources.add(file.clone());
        let node = load(file, id, found)?;
        data = render::merge(data, render::data(&node));
    }
    Some(data)
}

fn missing_variable(file: &SourceFile, source: SourceId) -> Diagnostic {
    let at = file.text.find("{{").unwrap_or(0) as u32;
    Diagnostic::warning("template-variable", "a variable of this template is not set; it became `<no value>`")
        .at(Span { source, start: at, end: at + 2 })
        .hint("give variables with --vars FILE, or in a file named like the topology with `_vars.yml` at its end")
}

/// The last `{{` before a place that is not closed on its own line.
fn unclosed(file: &SourceFile, source: SourceId, at: u32) -> Option<Diagnostic> {
    let before = file.text.get(..at as usize)?;
    let open = before.rfind("{{")?;
    let line = file.text[open..].lines().next().unwrap_or_default();
    if line.contains("}}") || before[open..].contains("}}") {
        return None;
    }
    let span = Span { source, start: open as u32, end: open as u32 + 2 };
    let d = Diagnostic::error("template", "this `{{` is not closed").at(span);
    Some(d.hint("close it with `}}`; two braces that are no template are written `{{ \"{{\" }}`"))
}

fn template_error(file: &SourceFile, source: SourceId, e: &TemplateError) -> Diagnostic {
    let (place, message) = match e {
        TemplateError::Parse { line, col, message, .. }
        | TemplateError::Lex { line, col, message, .. } => (Some((*line, *col)), message.clone()),
        other => (None, other.to_string()),
    };
    let span = match place {
        Some((line, col)) => {
            let start = file.offset(line, col.saturating_sub(1));
            if let Some(d) = unclosed(file, source, start) {
                return d;
            }
            Span { source, start, end: start + 1 }
        }
        None => match suspect(&file.text, &message) {
            Some(place) => Span { source, start: place.start as u32, end: place.end as u32 },
            None => Span::start_of(source),
        },
    };
    let jinja = ["{%", "{{%", "{#"].iter().any(|m| file.text.contains(m));
    let hint = if jinja {
        Some(
            "this looks like a Jinja template; topology files are Go templates: render it first"
                .to_string(),
        )
    } else if message.contains("function") {
        Some("variables begin with a dot: `{{ .name }}`".to_string())
    } else {
        None
    };
    Diagnostic::error("template", format!("the template cannot be rendered: {message}"))
        .at(span)
        .maybe_hint(hint)
}

/// The engine does not say where an action failed: it is the only one, or the first with a word of
/// the message in it.
fn suspect(text: &str, message: &str) -> Option<std::ops::Range<usize>> {
    let all = actions(text);
    if let [only] = all.as_slice() {
        return Some(only.start - 2..only.start);
    }
    let word = message.rsplit([' ', '`', '"', ':']).find(|word| word.len() > 1)?;
    let of = |action: &std::ops::Range<usize>| {
        let at = action.start + text[action.clone()].find(word)?;
        Some(at..at + word.len())
    };
    all.iter().find_map(of)
}

fn check_object(node: &mut Node, shape: &'static Shape, found: &mut Diagnostics) {
    if node.is_null() {
        return;
    }
    let (span, word) = (node.span, node.type_word());
    let Value::Map(entries) = &mut node.value else {
        let d = Diagnostic::error(
            "wrong-type",
            format!("{} must be a map, this is {word}", shape.name),
        );
        found.push(d.at(span).hint("write `key: value` lines, indented alike"));
        return;
    };
    let mut i = 0;
    while i < entries.len() {
        let known = shape.key(&entries[i].key).or_else(|| modernise(entries, i, shape, found));
        match known {
            Some(key) => {
                check_value(&mut entries[i].value, key.name, key.ty, found);
                i += 1;
            }
            None => {
                entries.remove(i);
            }
        }
    }
}

/// Puts an old spelling right, or reports an unknown key and returns `None`.
fn modernise(
    entries: &mut [Entry],
    i: usize,
    shape: &'static Shape,
    found: &mut Diagnostics,
) -> Option<&'static crate::Key> {
    let written = entries[i].key.clone();
    let span = entries[i].key_span;
    match shape.old.iter().find(|(old, _)| *old == written) {
        Some((_, "")) => {
            let d = Diagnostic::warning(
                "obsolete-key",
                format!("`{written}` means nothing any more and is ignored"),
            );
            found.push(d.at(span));
            None
        }
        Some((_, new)) => {
            let d = Diagnostic::warning(
                "old-key",
                format!("`{written}` is an old spelling of `{new}`"),
            );
            found.push(d.at(span).hint(format!("write `{new}`")));
            if entries.iter().any(|e| e.key == *new) {
                return None;
            }
            entries[i].key = (*new).to_string();
            shape.key(new)
        }
        None => {
            let near = did_you_mean(&written, shape.keys.iter().map(|k| k.name));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let names: Vec<_> = shape.keys.iter().map(|k| k.name).collect();
                    format!("{} has these keys: {}", shape.name, names.join(", "))
                }
            };
            let d = Diagnostic::error(
                "unknown-key",
                format!("`{written}` is not a key of {}", shape.name),
            );
            found.push(d.at(span).hint(hint));
            None
        }
    }
}

fn check_value(node: &mut Node, key: &str, ty: Type, found: &mut Diagnostics) {
    if node.is_null() {
        return;
    }
    let mut wrong = |node: &Node, wanted: &str| {
        let d = Diagnostic::error(
            "wrong-type",
            format!("`{key}` must be {wanted}, this is {}", node.type_word()),
        );
        let hint = match ty {
            Type::TextMap | Type::Object(_) | Type::ObjectMap(_) => {
                Some("write `name: value` lines")
            }
            Type::TextList | Type::ObjectList(_) => Some("begin each entry with `- `"),
            Type::Text => Some("write one text; put it in quotes if it has `{`, `[` or `: ` in it"),
            Type::Bool => Some("write true or false, without quotes"),
            Type::Int | Type::Number => Some("write a number, without quotes"),
            _ => None,
        };
        found.push(d.at(node.span).maybe_hint(hint.map(str::to_string)));
    };
    match ty {
        Type::Any => {}
        Type::Text => {
            if node.as_str().is_none() {
                wrong(node, "a text");
            }
        }
        Type::Word(words) => match node.as_str() {
            Some(w) if words.contains(&w) => {}
            Some(w) => {
                let hint = match did_you_mean(w, words.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it may be {}", words.join(", ")),
                };
                let d =
                    Diagnostic::error("unknown-word", format!("`{w}` is not a value of `{key}`"));
                found.push(d.at(node.span).hint(hint));
            }
            None => wrong(node, "a word"),
        },
        Type::Bool => {
            if !matches!(node.typed(), Some(Scalar::Bool(_))) {
                wrong(node, "true or false");
            }
        }
        Type::Int => {
            if !matches!(node.typed(), Some(Scalar::Int(_))) {
                wrong(node, "a whole number");
            }
        }
        Type::Number => {
            if !matches!(node.typed(), Some(Scalar::Int(_) | Scalar::Float(_))) {
                wrong(node, "a number");
            }
        }
        Type::TextList => match node.as_seq() {
            Some(items) => {
                for item in items.iter().filter(|n| !n.is_null() && n.as_str().is_none()) {
                    wrong(item, "a list of texts");
                }
            }
            None => wrong(node, "a list"),
        },
        Type::TextMap => match node.as_map() {
            Some(entries) => {
                for e in entries.iter().filter(|e| !e.value.is_null() && e.value.as_str().is_none())
                {
                    let what = format!(
                        "`{key}.{}` must be a text, this is {}",
                        e.key,
                        e.value.type_word()
                    );
                    let d = Diagnostic::error("wrong-type", what).at(e.value.span);
                    found.push(d.hint("put it in quotes"));
                }
            }
            None => wrong(node, "a map of texts"),
        },
        Type::Object(shape) => check_object(node, shape, found),
        Type::ObjectList(shape) => match &mut node.value {
            Value::Seq(items) => items.iter_mut().for_each(|n| check_object(n, shape, found)),
            _ => wrong(node, "a list of maps"),
        },
        Type::ObjectMap(shape) => match &mut node.value {
            Value::Map(entries) => {
                entries.iter_mut().for_each(|e| check_object(&mut e.value, shape, found));
            }
            _ => wrong(node, "a map"),
        },
        Type::Endpoints => match &mut node.value {
            Value::Seq(items) => {
                for item in items {
                    check_value(item, key, Type::Endpoint, found);
                }
            }
            _ => wrong(node, "a list of two endpoints"),
        },
        Type::Endpoint => match &node.value {
            Value::Map(_) => check_object(node, &ENDPOINT, found),
            Value::Scalar { .. } => {}
            Value::Seq(_) => wrong(node, "`node:interface`, or a map"),
        },
    }
}
