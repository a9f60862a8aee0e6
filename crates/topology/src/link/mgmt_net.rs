//! `type: mgmt-net`: the other end is a port of the management bridge.

use super::{endpoint::Names, host};
use crate::lab::{EndpointNode, LinkEndpoint};
use netloom_diag::Diagnostics;
use netloom_yaml::Node;

/// The one end in the lab, and the port named by `host-interface`.
pub fn extended(
    node: &Node,
    names: &Names<'_>,
    found: &mut Diagnostics,
) -> Option<Vec<LinkEndpoint>> {
    host::ends(node, names, EndpointNode::MgmtNet, found)
}
