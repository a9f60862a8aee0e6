//! What must hold in a lab as a whole.

mod capability;
mod management;
mod node;
mod stages;
mod twice;

use crate::lab::Lab;
use netloom_diag::Diagnostics;

/// Finds what contradicts itself; each finding names both places where there are two.
pub fn verify(lab: &Lab, found: &mut Diagnostics) {
    twice::endpoints(lab, found);
    twice::mac_addresses(lab, found);
    twice::link_addresses(lab, found);
    management::management(lab, found);
    for node in &lab.nodes {
        node::node(lab, node, found);
    }
    stages::stages(lab, found);
    twice::ports(lab, found);
}
