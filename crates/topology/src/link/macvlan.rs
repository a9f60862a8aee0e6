//! `type: macvlan`: an interface over one of the host's.

use super::{endpoint::Names, host};
use crate::lab::{EndpointNode, LinkEndpoint, LinkKind};
use netloom_diag::Diagnostics;
use netloom_yaml::Node;

/// The end in the lab, and the parent named by `host-interface`.
pub fn extended(
    node: &Node,
    names: &Names<'_>,
    found: &mut Diagnostics,
) -> Option<(LinkKind, Vec<LinkEndpoint>)> {
    let ends = host::ends(node, names, EndpointNode::Macvlan, found)?;
    let mode = node.get("mode").and_then(Node::as_str).unwrap_or("bridge");
    Some((LinkKind::Macvlan { mode: mode.to_string() }, ends))
}
