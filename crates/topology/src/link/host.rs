//! `type: host`: the other end is in the host's own namespace.

use super::{endpoint::Names, required};
use crate::lab::{EndpointNode, LinkEndpoint};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_yaml::Node;

/// The one end in the lab, and the one outside named by `host-interface`.
pub fn extended(
    node: &Node,
    names: &Names<'_>,
    found: &mut Diagnostics,
) -> Option<Vec<LinkEndpoint>> {
    ends(node, names, EndpointNode::Host, found)
}

/// The ends of a link whose other end is `on`.
pub fn ends(
    node: &Node,
    names: &Names<'_>,
    on: EndpointNode,
    found: &mut Diagnostics,
) -> Option<Vec<LinkEndpoint>> {
    let inside = single(node, names, found);
    let outside = required(node, "host-interface", found)?;
    let span = node.get("host-interface").map_or(node.span, |n| n.span);
    let outside = names.outside(on, outside, span, found);
    Some(vec![inside?, outside])
}

/// `endpoint`, which must be there.
pub fn single(node: &Node, names: &Names<'_>, found: &mut Diagnostics) -> Option<LinkEndpoint> {
    match node.get("endpoint") {
        Some(e) => names.extended(e, found),
        None => {
            let word = node.get("type").and_then(Node::as_str).unwrap_or_default();
            found.push(
                Diagnostic::error("missing-key", format!("a {word} link needs `endpoint`"))
                    .at(node.span)
                    .hint("write endpoint: {node: NAME, interface: NAME}"),
            );
            None
        }
    }
}
