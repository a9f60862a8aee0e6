//! The tree.

use crate::Scalar;
use netloom_diag::Span;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text as written, with whether it was quoted.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Written without quotes, so that `yes`, `1` and `~` have a type of their own.
        plain: bool,
    },
    /// A list.
    Seq(Vec<Node>),
    /// Keys and values in file order, merge keys expanded.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A plain scalar made up by the program, placed at `span`.
    pub fn scalar(text: impl Into<String>, span: Span) -> Self {
        Node { span, value: Value::Scalar { text: text.into(), plain: false } }
    }

    /// Whether it is null (`~`, `null`, nothing at all).
    pub fn is_null(&self) -> bool {
        matches!(self.typed(), Some(Scalar::Null))
    }

    /// The text of a scalar that is not null.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(list) => Some(list),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The typed reading of a scalar: quoted is always text.
    pub fn typed(&self) -> Option<Scalar<'_>> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(Scalar::of(text)),
            Value::Scalar { text, plain: false } => Some(Scalar::Str(text)),
            _ => None,
        }
    }

    /// A word for what it is, for messages.
    pub fn type_word(&self) -> &'static str {
        match &self.value {
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar { .. } => match self.typed() {
                Some(Scalar::Null) => "nothing",
                Some(Scalar::Bool(_)) => "a boolean",
                Some(Scalar::Int(_) | Scalar::Float(_)) => "a number",
                _ => "a text",
            },
        }
    }
}
