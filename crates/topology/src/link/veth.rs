//! A pair of interfaces: the brief form (which may also mean the other types) and `veth`.

use super::endpoint::{Names, split};
use crate::lab::{EndpointNode, LinkEndpoint, LinkKind};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_yaml::{Node, Value};

fn two<'a>(node: &'a Node, found: &mut Diagnostics) -> Option<[&'a Node; 2]> {
    let list = node.get("endpoints").and_then(Node::as_seq);
    match list {
        Some([a, b]) => Some([a, b]),
        _ => {
            let n = list.map_or(0, <[Node]>::len);
            let at = node.get("endpoints").map_or(node.span, |e| e.span);
            found.push(
                Diagnostic::error(
                    "bad-endpoint",
                    format!("a link has two endpoints, this one has {n}"),
                )
                .at(at)
                .hint("write endpoints: [\"a:eth1\", \"b:eth1\"]"),
            );
            None
        }
    }
}

/// `endpoints: ["a:eth1", "b:eth1"]`; `host:`, `mgmt-net:` and `macvlan:` stand for other types.
pub fn brief(
    node: &Node,
    names: &Names<'_>,
    found: &mut Diagnostics,
) -> Option<(LinkKind, Vec<LinkEndpoint>)> {
    let mut kind = LinkKind::Veth;
    let mut ends = Vec::new();
    for item in two(node, found)? {
        if matches!(item.value, Value::Map(_)) {
            ends.push(names.extended(item, found));
            continue;
        }
        let Some((name, interface)) = split(item, found) else {
            ends.push(None);
            continue;
        };
        let outside = match name.as_str() {
            "host" => Some((EndpointNode::Host, LinkKind::Host)),
            "mgmt-net" => Some((EndpointNode::MgmtNet, LinkKind::MgmtNet)),
            "macvlan" => Some((EndpointNode::Macvlan, LinkKind::Macvlan { mode: "bridge".into() })),
            _ => None,
        };
        match outside {
            Some((on, word)) if !names.nodes.contains_key(&name) => {
                kind = word;
                ends.push(Some(names.outside(on, &interface, item.span, found)));
            }
            _ => ends.push(names.node_end(&name, &interface, item.span, found)),
        }
    }
    let ends: Vec<LinkEndpoint> = ends.into_iter().collect::<Option<_>>()?;
    if ends.iter().all(|e| !matches!(e.node, EndpointNode::Node(_))) {
        found.push(
            Diagnostic::error("bad-endpoint", "a link needs at least one end in a node of the lab")
                .at(node.span),
        );
        return None;
    }
    Some((kind, ends))
}

/// `type: veth` with endpoint maps.
pub fn extended(
    node: &Node,
    names: &Names<'_>,
    found: &mut Diagnostics,
) -> Option<Vec<LinkEndpoint>> {
    let mut ends = two(node, found)?.map(|item| names.extended(item, found)).into_iter();
    let mut ends = ends.by_ref().collect::<Option<Vec<_>>>()?;
    super::endpoint::brief_addresses(node, &mut ends, found);
    Some(ends)
}
