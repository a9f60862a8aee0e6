//! What stands between two sets of objects: made, unmade, changed.

use crate::objects::{Attachment, LinkEnd, LinkObject, NamespaceOf, NodeObject, Objects};
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

/// Whether a node keeps its namespace. Published ports are the host's affair, and a leg that stands
/// can be made of another size.
fn same_place(a: &NodeObject, b: &NodeObject) -> bool {
    let leg = |n: &NodeObject| {
        let leg = n.mgmt.clone().map(|m| Attachment { mtu: 0, ..m });
        leg.map(|m| if m.self_willed { Attachment { addresses: Vec::new(), ..m } } else { m })
    };
    a.namespace == b.namespace
        && leg(a) == leg(b)
        && a.bridge == b.bridge
        && a.runs == b.runs
        && a.long_name == b.long_name
}

/// Compares what is there with what is wished for. `maybe` are links that may be there although
/// nobody can say so (a deploy that was ended half-way); `changed` says whether a node's container
/// has to be made anew. The namespace of a node outlives its container: it goes only when the
/// node's place in the network changes, and takes its links and those who share it along. Who lives
/// among the processes of a node that is made anew is made anew with it.
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
    let mut keep: HashSet<&str> = have
        .links
        .iter()
        .filter(|l| links.get(l.id.as_str()).is_some_and(|w| w == l) && !touches(l))
        .map(|l| l.id.as_str())
        .collect();
    // What stands under its name may be another one.
    for link in maybe {
        keep.remove(link.id.as_str());
    }
    // Interfaces are removed by name: a link that has one in common with a link that goes, goes too.
    let place = |e: &LinkEnd| (e.namespace.clone(), e.interface.clone());
    let all = || have.links.iter().chain(maybe);
    let mut leaving: HashSet<_> =
        all().filter(|l| !keep.contains(l.id.as_str())).flat_map(|l| l.ends()).map(place).collect();
    loop {
        let shares = |l: &&LinkObject| {
            keep.contains(l.id.as_str()) && l.ends().any(|e| leaving.contains(&place(e)))
        };
        let more: Vec<&LinkObject> = have.links.iter().filter(shares).collect();
        if more.is_empty() {
            break;
        }
        leaving.extend(more.iter().flat_map(|l| l.ends()).map(place));
        for link in more {
            keep.remove(link.id.as_str());
        }
    }
    let goes = |l: &&LinkObject| !keep.contains(l.id.as_str());
    let mut rebuild: HashSet<&str> = want
        .nodes
        .iter()
        .map(|n| n.name.as_str())
        .filter(|n| had.contains_key(n) && !gone.contains(n) && changed(n))
        .collect();
    loop {
        let ends = |n: &&NodeObject| {
            let name = n.name.as_str();
            // Whose namespace is another after it was made anew takes its guests along.
            let lender = match &n.namespace {
                NamespaceOf::Node(owner) if *owner != n.name && n.runs.own_namespaces() => {
                    Some(owner.as_str())
                }
                _ => None,
            };
            let mut hosts = n.lives_in.as_deref().into_iter().chain(lender);
            had.contains_key(name)
                && !gone.contains(name)
                && !rebuild.contains(name)
                && hosts.any(|h| gone.contains(h) || rebuild.contains(h))
        };
        let more: Vec<&str> = want.nodes.iter().filter(ends).map(|n| n.name.as_str()).collect();
        if more.is_empty() {
            break;
        }
        rebuild.extend(more);
    }
    Difference {
        remove_links: all().filter(goes).cloned().collect(),
        make_links: want.links.iter().filter(goes).map(|l| l.id.clone()).collect(),
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
            .filter(|n| rebuild.contains(n))
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
    use crate::objects::{Impl, Runs};

    fn node(name: &str, namespace: &str) -> NodeObject {
        NodeObject {
            name: name.into(),
            long_name: format!("clab-l-{name}"),
            namespace: NamespaceOf::Node(namespace.into()),
            mgmt: None,
            container: true,
            ports: Vec::new(),
            outside: false,
            bridge: None,
            lives_in: None,
            runs: Runs::Native,
        }
    }

    fn objects(nodes: &[NodeObject]) -> Objects {
        Objects { nodes: nodes.to_vec(), links: Vec::new() }
    }

    fn link(id: &str) -> LinkObject {
        let end = |text: &str| {
            let (node, interface) = text.split_once(':').unwrap();
            LinkEnd {
                namespace: NamespaceOf::Node(node.into()),
                node: node.into(),
                interface: interface.into(),
                altnames: Vec::new(),
                alias: None,
                mac: [0; 6],
                addresses: Vec::new(),
                master: None,
                switch: None,
            }
        };
        let (a, b) = id.split_once(' ').unwrap();
        LinkObject {
            id: id.into(),
            how: Impl::Veth,
            a: end(a),
            b: Some(end(b)),
            mtu: 0,
            by_hand: false,
        }
    }

    #[test]
    fn a_link_whose_interface_another_one_may_have_is_made_anew() {
        let mut o = objects(&["a", "b", "c", "d", "e", "f"].map(|n| node(n, n)));
        o.links = ["a:1 b:1", "c:1 d:1", "b:2 e:1", "f:1 f:2"].map(link).to_vec();
        let maybe = ["a:1 c:1"].map(link);
        let d = difference(&o, &maybe, &o, |_| false);
        assert_eq!(d.make_links, ["a:1 b:1", "c:1 d:1"]);
        assert_eq!(d.remove_links.len(), 3);
        // Of the same name, and otherwise something else.
        let mut other = link("f:1 f:2");
        other.mtu = 1400;
        let d = difference(&o, &[other], &o, |_| false);
        assert_eq!((d.make_links.len(), d.remove_links.len()), (1, 2));
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
    fn who_lives_among_a_nodes_processes_is_made_anew_with_it() {
        let mut o = objects(&[node("a", "a"), node("b", "b"), node("c", "c"), node("d", "d")]);
        o.nodes[1].lives_in = Some("a".into());
        o.nodes[2].lives_in = Some("b".into());
        let d = difference(&o, &[], &o, |n| n == "a");
        assert_eq!(d.rebuild, ["a", "b", "c"]);
    }

    #[test]
    fn guests_of_a_namespace_that_comes_and_goes_are_made_anew_with_its_owner() {
        let mut o = objects(&[node("a", "a"), node("s", "a"), node("b", "b")]);
        let rebuilt = |o: &Objects| difference(o, &[], o, |n| n == "a").rebuild;
        assert_eq!(rebuilt(&o), ["a"]);
        o.nodes.iter_mut().for_each(|n| n.runs = Runs::Rootless);
        assert_eq!(rebuilt(&o), ["a", "s"]);
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
