//! Links of the file: the brief form, and the extended one of each type.

mod dummy;
mod endpoint;
mod host;
mod macvlan;
mod mgmt_net;
mod veth;
mod vxlan;

use crate::lab::{EndpointNode, Link, LinkEndpoint, LinkKind};
use crate::merge::json;
use endpoint::Names;
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_kinds::Kind;
use netloom_yaml::{Node, Scalar};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// MTU of links that name none, as large as common virtual switches take.
pub const DEFAULT_MTU: u32 = 9500;

/// What links need to know of a node.
pub struct NodeFacts {
    /// Its kind.
    pub kind: Arc<Kind>,
    /// Whether it has a management interface of its own.
    pub managed: bool,
}

/// Reads all links; those that cannot be used are left out, with an error.
pub fn read(
    section: Option<&Node>,
    nodes: &HashMap<String, NodeFacts>,
    broken: &HashSet<&str>,
    found: &mut Diagnostics,
) -> Vec<Link> {
    let names = Names { nodes, broken };
    section
        .and_then(Node::as_seq)
        .unwrap_or_default()
        .iter()
        .filter_map(|n| one(n, &names, found))
        .collect()
}

fn one(node: &Node, names: &Names<'_>, found: &mut Diagnostics) -> Option<Link> {
    if node.is_null() {
        found.push(Diagnostic::error("empty-link", "this link is empty").at(node.span));
        return None;
    }
    node.as_map()?;
    let word = node.get("type").and_then(Node::as_str);
    let (mut kind, mut endpoints) = match word {
        None => veth::brief(node, names, found)?,
        Some("veth") => (LinkKind::Veth, veth::extended(node, names, found)?),
        Some("veth-stitch") => (LinkKind::VethStitch, veth::extended(node, names, found)?),
        Some("host") => (LinkKind::Host, host::extended(node, names, found)?),
        Some("mgmt-net") => (LinkKind::MgmtNet, mgmt_net::extended(node, names, found)?),
        Some("macvlan") => macvlan::extended(node, names, found)?,
        Some("vxlan") => vxlan::extended(node, names, false, found)?,
        Some("vxlan-stitch") => vxlan::extended(node, names, true, found)?,
        Some("dummy") => (LinkKind::Dummy, dummy::extended(node, names, found)?),
        Some(_) => return None,
    };
    refuse_foreign_keys(node, word, found);
    if word.is_none() {
        endpoint::brief_addresses(node, &mut endpoints, found);
    }
    if kind == LinkKind::Veth {
        kind = preferred_veth(&endpoints, names);
    }
    Some(Link {
        mtu: mtu(node, &kind, found),
        labels: text_map(node.get("labels")),
        vars: node.get("vars").map(json).unwrap_or_default(),
        span: Some(node.span),
        kind,
        endpoints,
    })
}

/// A kind may ask for another type than a plain pair.
fn preferred_veth(endpoints: &[LinkEndpoint], names: &Names<'_>) -> LinkKind {
    let stitched = endpoints.iter().any(|e| match &e.node {
        EndpointNode::Node(n) => {
            names.nodes.get(n).is_some_and(|f| f.kind.veth_type.as_deref() == Some("veth-stitch"))
        }
        _ => false,
    });
    if stitched { LinkKind::VethStitch } else { LinkKind::Veth }
}

fn mtu(node: &Node, kind: &LinkKind, found: &mut Diagnostics) -> u32 {
    let default = match kind {
        LinkKind::Macvlan { .. } | LinkKind::Vxlan { .. } => 0,
        _ => DEFAULT_MTU,
    };
    let Some(value) = node.get("mtu") else { return default };
    match value.typed() {
        Some(Scalar::Int(0)) => default,
        Some(Scalar::Int(n)) => match u32::try_from(n).ok().filter(|n| (68..=65535).contains(n)) {
            Some(n) => n,
            None => {
                found.push(
                    Diagnostic::error("bad-mtu", format!("an MTU of {n} is not possible"))
                        .at(value.span)
                        .hint("68 to 65535; 9500 when left out"),
                );
                default
            }
        },
        _ => default,
    }
}

/// Keys that belong to another type of link.
fn refuse_foreign_keys(node: &Node, word: Option<&str>, found: &mut Diagnostics) {
    let allowed: &[&str] = match word {
        None => &["endpoints", "ipv4", "ipv6"],
        Some("veth" | "veth-stitch") => &["endpoints", "ipv4", "ipv6"],
        Some("host" | "mgmt-net") => &["endpoint", "host-interface"],
        Some("macvlan") => &["endpoint", "host-interface", "mode"],
        Some("vxlan" | "vxlan-stitch") => {
            &["endpoint", "remote", "vni", "dst-port", "src-port", "parent-interface"]
        }
        Some(_) => &["endpoint"],
    };
    for e in node.as_map().unwrap_or_default() {
        let common = ["type", "mtu", "labels", "vars"].contains(&e.key.as_str());
        if !common && !allowed.contains(&e.key.as_str()) {
            let what = match word {
                Some(w) => format!("`{}` is not a key of a {w} link", e.key),
                None => format!("`{}` is not a key of a link without `type`", e.key),
            };
            let hint = format!("this type has: {}, mtu, labels, vars", allowed.join(", "));
            found.push(Diagnostic::error("unknown-key", what).at(e.key_span).hint(hint));
        }
    }
}

fn text_map(node: Option<&Node>) -> BTreeMap<String, String> {
    node.and_then(Node::as_map)
        .unwrap_or_default()
        .iter()
        .map(|e| (e.key.clone(), e.value.as_str().unwrap_or_default().to_string()))
        .collect()
}

/// The text of a key that must be there.
fn required<'a>(node: &'a Node, key: &str, found: &mut Diagnostics) -> Option<&'a str> {
    match node.get(key).and_then(Node::as_str).filter(|s| !s.is_empty()) {
        Some(s) => Some(s),
        None => {
            let word = node.get("type").and_then(Node::as_str).unwrap_or("brief");
            found.push(
                Diagnostic::error("missing-key", format!("a {word} link needs `{key}`"))
                    .at(node.span),
            );
            None
        }
    }
}
