//! The format as a table: which keys there are, what they hold, how levels combine.
//!
//! One table serves the checks, the merge, the JSON schema and the reference page, so that none of
//! them can drift from the others.

mod json;
mod keys;
mod reference;

pub use json::json_schema;
pub use keys::*;
pub use reference::topology_reference;

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Any scalar, taken as text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// A list of texts.
    TextList,
    /// Texts by name.
    TextMap,
    /// Anything.
    Any,
    /// A map with these keys.
    Object(&'static Shape),
    /// A list of such maps.
    ObjectList(&'static Shape),
    /// Such maps by name; a null entry is an empty one.
    ObjectMap(&'static Shape),
    /// The endpoints of a link: texts or maps.
    Endpoints,
    /// One endpoint of a link.
    Endpoint,
}

/// How the levels `defaults`, `kinds`, `groups` and the node combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The most specific level that sets it.
    First,
    /// Key by key, the more specific wins.
    Map,
    /// All levels one after the other, general first, doubles dropped.
    List,
    /// As `List`, but a later entry replaces one with the same target path.
    Targets,
    /// The most specific level's, whole.
    Whole,
    /// Maps are merged at every depth.
    Deep,
    /// Field by field of the object.
    Fields,
    /// Only on the node itself.
    Node,
}

impl Merge {
    fn words(self) -> &'static str {
        match self {
            Merge::First => "the most specific level wins",
            Merge::Map => "merged key by key",
            Merge::List => "all levels, general first",
            Merge::Targets => "all levels, one entry a target",
            Merge::Whole => "the most specific level's, whole",
            Merge::Deep => "merged at every depth",
            Merge::Fields => "merged field by field",
            Merge::Node => "only on the node",
        }
    }
}

/// A key of the format.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// How levels combine (node keys).
    pub merge: Merge,
    /// For the reference page.
    pub doc: &'static str,
}

/// A map of known keys.
#[derive(Debug)]
pub struct Shape {
    /// What it is, for messages ("a node").
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Old spellings: the old name, and the key it means now (empty: it means nothing any more).
    pub old: &'static [(&'static str, &'static str)],
}

impl Shape {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }
}
