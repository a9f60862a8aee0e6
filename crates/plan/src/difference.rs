//! What stands between two sets of objects: made, unmade, changed.

use crate::objects::{LinkObject, NamespaceOf, NodeObject, Objects};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// What must happen so that one set of objects becomes another.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Nodes to remove with their namespaces, by name.
    pub remove_nodes: Vec<String>,
    /// Links to remove.
    pub remove_links: Vec<LinkObject>,
    /// Nodes to make, by name.
    pub make_nodes: Vec<String>,
    /// Links to make, by id.
    pub make_links: Vec<String>,
    /// Nodes whose container is made anew in the namespace it had, by name.
    pub rebuild: Vec<String>,
}

impl Difference {
    /// Whether nothing must happen.
    pub fn is_empty(&self) -> bool {
        self.remove_nodes.is_empty()
            && self.remove_links.is_empty()
            && self.make_nodes.is_empty()
            && self.make_links.is_empty()
            && self.rebuild.is_empty()
    }
}

/// Whether a node keeps its namespace. Published ports are the host's affair.
fn same_place(a: &NodeObject, b: &NodeObject) -> bool {
    a.namespace == b.namespace
        && a.mgmt == b.mgmt
        && a.bridge == b.bridge
        && a.long_name == b.long_name
}

/// Compares what is there with what is wished for. `maybe` are links that may be there although
/// nobody can say so (a deploy that was ended half-way); `changed` says whether a node's container
/// has to be made anew. The namespace of a node outlives its container: it goes only when the
/// node's place in the network changes, and takes its links and those who share it along.
pub fn difference(
    have: &Objects,
    maybe: &[LinkObject],
    want: &Objects,
    changed: impl Fn(&str) -> bool,
) -> Difference {
    let wanted: HashMap<&str, &NodeObject> =
        want.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    let had: HashMap<&str, &NodeObject> = have.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    let mut gone: HashSet<&str> = have
        .nodes
        .iter()
        .filter(|n| wanted.get(n.name.as_str()).is_none_or(|w| !same_place(n, w)))
        .map(|n| n.name.as_str())
        .collect();
    let sharers: Vec<&str> = have
        .nodes
        .iter()
        .filter(|n| matches!(&n.namespace, NamespaceOf::Node(o) if gone.contains(o.as_str())))
        .map(|n| n.name.as_str())
        .collect();
    gone.extend(sharers);
    let touches = |l: &LinkObject| {
        l.ends().any(|e| match &e.namespace {
            NamespaceOf::Node(n) => gone.contains(n.as_str()),
            _ => false,
        })
    };
    let links: HashMap<&str, &LinkObject> = want.links.iter().map(|l| (l.id.as_str(), l)).collect();
    let keep: HashSet<&str> = have
        .links
        .iter()
        .filter(|l| links.get(l.id.as_str()).is_some_and(|w| w == l) && !touches(l))
        .map(|l| l.id.as_str())
        .collect();
    let kept = |l: &&LinkObject| !keep.contains(l.id.as_str());
    Difference {
        remove_links: have.links.iter().chain(maybe).filter(kept).cloned().collect(),
        make_links: want.links.iter().filter(kept).map(|l| l.id.clone()).collect(),
        make_nodes: want
            .nodes
            .iter()
            .map(|n| n.name.as_str())
            .filter(|n| !had.contains_key(n) || gone.contains(n))
            .map(str::to_string)
            .collect(),
        rebuild: want
            .nodes
            .iter()
            .map(|n| n.name.as_str())
            .filter(|n| had.contains_key(n) && !gone.contains(n) && changed(n))
            .map(str::to_string)
            .collect(),
        remove_nodes: have
            .nodes
            .iter()
            .map(|n| n.name.as_str())
            .filter(|n| gone.contains(n))
            .map(str::to_string)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, namespace: &str) -> NodeObject {
        NodeObject {
            name: name.into(),
            long_name: format!("clab-l-{name}"),
            namespace: NamespaceOf::Node(namespace.into()),
            mgmt: None,
            container: true,
            ports: Vec::new(),
            bridge: None,
        }
    }

    fn objects(nodes: &[NodeObject]) -> Objects {
        Objects { nodes: nodes.to_vec(), links: Vec::new() }
    }

    #[test]
    fn nothing_changes_nothing() {
        let o = objects(&[node("a", "a"), node("b", "b")]);
        assert!(difference(&o, &[], &o, |_| false).is_empty());
    }

    #[test]
    fn a_changed_container_keeps_its_namespace() {
        let o = objects(&[node("a", "a"), node("b", "b")]);
        let d = difference(&o, &[], &o, |n| n == "a");
        assert_eq!(d.rebuild, ["a"]);
        assert!(d.remove_nodes.is_empty() && d.make_nodes.is_empty());
    }

    #[test]
    fn who_shares_a_namespace_goes_with_it() {
        let have = objects(&[node("a", "a"), node("s", "a")]);
        let want = objects(&[node("s", "s")]);
        let d = difference(&have, &[], &want, |_| false);
        assert_eq!(d.remove_nodes, ["a", "s"]);
        assert_eq!(d.make_nodes.len(), 1);
    }
}
