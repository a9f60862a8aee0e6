//! What stands between two sets of objects: made, unmade, changed.

use crate::objects::{LinkObject, NodeObject, Objects};
use serde::Serialize;
use std::collections::HashMap;

/// What must happen so that one set of objects becomes another.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Nodes to remove, by name.
    pub remove_nodes: Vec<String>,
    /// Links to remove, by id.
    pub remove_links: Vec<String>,
    /// Nodes to make.
    pub make_nodes: Vec<NodeObject>,
    /// Links to make.
    pub make_links: Vec<LinkObject>,
}

impl Difference {
    /// Whether nothing must happen.
    pub fn is_empty(&self) -> bool {
        self.remove_nodes.is_empty()
            && self.remove_links.is_empty()
            && self.make_nodes.is_empty()
            && self.make_links.is_empty()
    }
}

/// Compares what is there with what is wished for. A node that changed is removed and made again,
/// and so are the links that end in its namespace.
pub fn difference(have: &Objects, want: &Objects, rebuild: impl Fn(&str) -> bool) -> Difference {
    let mut out = Difference::default();
    let wanted: HashMap<&str, &NodeObject> =
        want.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    for node in &have.nodes {
        if wanted.get(node.name.as_str()).is_none_or(|w| *w != node || rebuild(&node.name)) {
            out.remove_nodes.push(node.name.clone());
        }
    }
    let had: HashMap<&str, &NodeObject> = have.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    let gone = |name: &str| out.remove_nodes.iter().any(|n| n == name);
    let links: HashMap<&str, &LinkObject> = want.links.iter().map(|l| (l.id.as_str(), l)).collect();
    let touches = |l: &LinkObject| {
        std::iter::once(&l.a).chain(&l.b).any(|e| match &e.namespace {
            crate::NamespaceOf::Node(n) => gone(n),
            _ => false,
        })
    };
    let keep: Vec<&str> = have
        .links
        .iter()
        .filter(|l| links.get(l.id.as_str()).is_some_and(|w| w == l) && !touches(l))
        .map(|l| l.id.as_str())
        .collect();
    let keep: std::collections::HashSet<&str> = keep.into_iter().collect();
    let remove_links =
        have.links.iter().filter(|l| !keep.contains(l.id.as_str())).map(|l| l.id.clone()).collect();
    let make_links = want.links.iter().filter(|l| !keep.contains(l.id.as_str())).cloned().collect();
    let make_nodes = want
        .nodes
        .iter()
        .filter(|n| !had.contains_key(n.name.as_str()) || gone(&n.name))
        .cloned()
        .collect();
    Difference { remove_links, make_links, make_nodes, ..out }
}
