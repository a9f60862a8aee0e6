//! What must hold in a lab as a whole.

mod capability;
mod management;
mod mounts;
mod node;
mod stages;
mod twice;

use crate::lab::{EndpointNode, Lab};
use netloom_diag::{Diagnostic, Diagnostics};

/// Finds what contradicts itself; each finding names both places where there are two.
pub fn verify(lab: &Lab, found: &mut Diagnostics) {
    twice::endpoints(lab, found);
    loopbacks(lab, found);
    twice::mac_addresses(lab, found);
    twice::link_addresses(lab, found);
    management::management(lab, found);
    for node in &lab.nodes {
        node::node(lab, node, found);
    }
    stages::stages(lab, found);
    twice::ports(lab, found);
}

/// Every node has its loopback interface already.
fn loopbacks(lab: &Lab, found: &mut Diagnostics) {
    let ends = lab.links.iter().flat_map(|l| &l.endpoints);
    for end in ends.filter(|e| e.interface == "lo" && matches!(e.node, EndpointNode::Node(_))) {
        found.push(
            Diagnostic::error("bad-interface", "`lo` is there in every node, and no end of a link")
                .at(end.span)
                .hint("choose another name"),
        );
    }
}
