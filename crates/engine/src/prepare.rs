//! The lab that is meant: chosen nodes, and a node for every container.

use crate::EngineError;
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_topology::{EndpointNode, Lab, with_parts};
use std::borrow::Cow;
use std::path::Path;

/// The lab with a node for every container of nodes that have several.
pub fn in_parts<'a>(lab: &'a Lab, home: &Path) -> Result<Cow<'a, Lab>, EngineError> {
    with_parts(lab, home).map_err(|why| {
        let mut found = Diagnostics::default();
        found.push(Diagnostic::error("kind-template", why));
        EngineError::Refused(found)
    })
}

/// The lab without the nodes that are not meant, and without links that would end nowhere.
pub fn filtered<'a>(lab: &'a Lab, names: &[String]) -> Cow<'a, Lab> {
    if names.is_empty() {
        return Cow::Borrowed(lab);
    }
    let mut lab = lab.clone();
    lab.nodes.retain(|n| names.contains(&n.name));
    lab.links.retain(|l| {
        l.endpoints.iter().all(|e| match &e.node {
            EndpointNode::Node(n) => names.contains(n),
            _ => true,
        })
    });
    Cow::Owned(lab)
}
