//! How the levels of a node combine, one rule a key, with the origin of each value.

use crate::inputs::Inputs;
use crate::lab::Origin;
use crate::schema::{Merge, NODE};
use netloom_yaml::{Entry, Node, Scalar, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A level a node's values come from.
#[derive(Clone, Copy)]
pub struct Level<'a> {
    /// `node`, `group`, `kind`, `defaults`.
    pub word: &'static str,
    /// Name of the group or kind.
    pub name: &'a str,
    /// The map; null and absent levels are left out of [`Levels`].
    pub map: &'a Node,
}

impl Level<'_> {
    fn origin(&self, node: &Node) -> Origin {
        let level = match self.word {
            "group" | "kind" => format!("{} {}", self.word, self.name),
            word => word.to_string(),
        };
        Origin { level, span: Some(node.span), place: None }
    }
}

/// The levels of one node, most specific first, and the origins noted so far.
pub struct Levels<'a> {
    levels: Vec<Level<'a>>,
    /// Where each key came from.
    pub origins: BTreeMap<&'static str, Origin>,
}

impl<'a> Levels<'a> {
    /// Levels, most specific first.
    pub fn new(levels: Vec<Level<'a>>) -> Self {
        Levels { levels, origins: BTreeMap::new() }
    }

    /// Values of a key, most specific first; nulls are as good as absent.
    fn values(&self, key: &str) -> impl Iterator<Item = (Level<'a>, &'a Node)> {
        let node_only = NODE.key(key).is_some_and(|k| k.merge == Merge::Node);
        self.levels
            .iter()
            .filter(move |l| !node_only || l.word == "node")
            .filter_map(move |l| l.map.get(key).map(|v| (*l, v)))
            .filter(|(_, v)| !v.is_null())
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn note(&mut self, key: &'static str, level: Level<'_>, value: &Node) {
        self.origins.insert(key, level.origin(value));
    }

    /// The most specific text that is not empty.
    pub fn text(&mut self, key: &'static str) -> String {
        let hit = self.values(key).find(|(_, v)| v.as_str().is_some_and(|s| !s.is_empty()));
        match hit {
            Some((level, value)) => {
                self.note(key, level, value);
                value.as_str().unwrap_or_default().to_string()
            }
            None => String::new(),
        }
    }

    /// The most specific boolean.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let (level, value) = self.values(key).next()?;
        self.note(key, level, value);
        match value.typed() {
            Some(Scalar::Bool(b)) => Some(b),
            _ => None,
        }
    }

    /// The most specific number that is not zero.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        let (level, value, n) = self.values(key).find_map(|(l, v)| match v.typed() {
            Some(Scalar::Int(n)) if n != 0 => Some((l, v, n as f64)),
            Some(Scalar::Float(f)) if f != 0.0 => Some((l, v, f)),
            _ => None,
        })?;
        self.note(key, level, value);
        Some(n)
    }

    /// Key by key; the more specific wins. Null values are empty texts.
    pub fn map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let found: Vec<_> = self.values(key).collect();
        for (_, value) in found.iter().rev() {
            for e in value.as_map().unwrap_or_default() {
                out.insert(e.key.clone(), e.value.as_str().unwrap_or_default().to_string());
            }
        }
        if let Some((level, value)) = found.first() {
            self.note(key, *level, value);
        }
        out
    }

    /// All levels one after the other, general first, doubles dropped.
    pub fn list(&mut self, key: &'static str) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for (item, _) in self.items(key) {
            if !out.contains(&item) {
                out.push(item);
            }
        }
        out
    }

    /// As [`Levels::list`], but a later entry with the same target takes the earlier one's place.
    pub fn targets(&mut self, key: &'static str) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for (item, _) in self.items(key) {
            match out.iter().position(|have| target(have) == target(&item)) {
                Some(i) => out[i] = item,
                None => out.push(item),
            }
        }
        out
    }

    fn items(&mut self, key: &'static str) -> Vec<(String, Level<'a>)> {
        let found: Vec<_> = self.values(key).collect();
        let mut out = Vec::new();
        for (level, value) in found.iter().rev() {
            for item in value.as_seq().unwrap_or_default() {
                out.push((item.as_str().unwrap_or_default().to_string(), *level));
            }
        }
        if let Some((level, value)) = found.first() {
            self.note(key, *level, value);
        }
        out
    }

    /// The most specific level's value, whole.
    pub fn whole(&mut self, key: &'static str) -> Option<&'a Node> {
        let (level, value) = self.values(key).next()?;
        self.note(key, level, value);
        Some(value)
    }

    /// Maps merged at every depth.
    pub fn deep(&mut self, key: &'static str) -> Json {
        let found: Vec<_> = self.values(key).collect();
        let mut out = Json::Null;
        for (_, value) in found.iter().rev() {
            out = merge_json(out, json(value));
        }
        if let Some((level, value)) = found.first() {
            self.note(key, *level, value);
        }
        out
    }

    /// An object field by field: each field from the most specific level that has it.
    pub fn fields(&mut self, key: &'static str) -> Option<Node> {
        let found: Vec<_> = self.values(key).collect();
        let (level, first) = *found.first()?;
        self.note(key, level, first);
        let mut entries: Vec<Entry> = Vec::new();
        for (_, value) in &found {
            for e in value.as_map().unwrap_or_default() {
                if !e.value.is_null() && !entries.iter().any(|have| have.key == e.key) {
                    entries.push(e.clone());
                }
            }
        }
        Some(Node { span: first.span, value: Value::Map(entries) })
    }

    /// Values of a key from every level, general first.
    pub fn every(&mut self, key: &'static str) -> Vec<&'a Node> {
        let found: Vec<_> = self.values(key).collect();
        if let Some((level, value)) = found.first() {
            self.note(key, *level, value);
        }
        found.into_iter().rev().map(|(_, v)| v).collect()
    }
}

/// The path inside the node of a bind or volume.
pub fn target(bind: &str) -> &str {
    let mut parts = bind.split(':');
    match (parts.next(), parts.next()) {
        (_, Some(target)) => target.trim_end_matches('/'),
        (Some(only), None) => only,
        _ => "",
    }
}

/// A tree as JSON; unquoted words have their types.
pub fn json(node: &Node) -> Json {
    match &node.value {
        Value::Seq(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|e| (e.key.clone(), json(&e.value))).collect())
        }
        Value::Scalar { .. } => match node.typed() {
            Some(Scalar::Bool(b)) => b.into(),
            Some(Scalar::Int(n)) => n.into(),
            Some(Scalar::Float(f)) => f.into(),
            Some(Scalar::Str(s)) => s.into(),
            _ => Json::Null,
        },
    }
}

fn merge_json(under: Json, over: Json) -> Json {
    match (under, over) {
        (Json::Object(mut u), Json::Object(o)) => {
            for (key, value) in o {
                let merged = match u.remove(&key) {
                    Some(have) => merge_json(have, value),
                    None => value,
                };
                u.insert(key, merged);
            }
            Json::Object(u)
        }
        (_, over) => over,
    }
}

/// Reads `NAME=value` lines; quotes and `export` as shells take them. The error is the line number
/// and what is wrong with it.
pub fn env_file(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once(['=', ':']) else {
            return Err((i + 1, format!("`{line}` has no `=`")));
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        {
            return Err((i + 1, format!("`{name}` is not a variable name")));
        }
        let value = value.trim();
        let value = match value.chars().next() {
            Some(q @ ('"' | '\'')) => quoted(&value[1..], q).map_err(|why| (i + 1, why))?,
            _ => value.split(" #").next().unwrap_or("").trim_end().to_string(),
        };
        out.push((name.to_string(), value));
    }
    Ok(out)
}

/// A value up to its closing quote. In double quotes `\n`, `\"` and `\\` mean what they do in a
/// shell; behind the quote only a comment may stand.
fn quoted(text: &str, quote: char) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quote == '"' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => out.push(c),
                Some(other) => out.extend(['\\', other]),
                None => break,
            },
            c if c == quote => {
                let rest = chars.as_str().trim();
                return match rest.is_empty() || rest.starts_with('#') {
                    true => Ok(out),
                    false => Err(format!("`{rest}` stands behind the closing quote")),
                };
            }
            c => out.push(c),
        }
    }
    Err("a quote is not closed; values of several lines are not read".into())
}

/// Environment at one level: `__IMPORT_ENVS: "true"` stands for the whole of the user's.
pub fn environment(levels: &mut Levels<'_>, inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for value in levels.every("env") {
        let imports = value.get("__IMPORT_ENVS").and_then(Node::as_str) == Some("true");
        if imports {
            out.extend(inputs.env.clone());
        }
        for e in value.as_map().unwrap_or_default().iter().filter(|e| e.key != "__IMPORT_ENVS") {
            out.insert(e.key.clone(), e.value.as_str().unwrap_or_default().to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files() {
        let text = "# c\nA=1\nexport B='x y'\nC=\"q\" # c\n\nD = z # c\n";
        let want = [("A", "1"), ("B", "x y"), ("C", "q"), ("D", "z")];
        let want: Vec<_> = want.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(env_file(text), Ok(want));
        assert_eq!(env_file("A=1\nBARE\n").unwrap_err().0, 2);
        let quoted = env_file("P=\"a\\\"b\\n\" # c\nQ='a\\n'\n").unwrap();
        assert_eq!(quoted[0].1, "a\"b\n");
        assert_eq!(quoted[1].1, "a\\n");
        assert!(env_file("P=\"a\" b").is_err());
    }

    #[test]
    fn bind_targets() {
        assert_eq!(target("a:/b:ro"), "/b");
        assert_eq!(target("a:/b/"), "/b");
        assert_eq!(target("/x"), "/x");
    }
}
