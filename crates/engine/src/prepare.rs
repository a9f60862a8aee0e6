//! The lab that is meant: chosen nodes, and a node for every container.

use crate::daemons::Daemons;
use crate::{EngineError, LabRecord};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_plan::Runs;
use netloom_topology::{EndpointNode, Lab, with_parts};
use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The lab with a node for every container of nodes that have several.
pub fn in_parts<'a>(lab: &'a Lab, home: &Path) -> Result<Cow<'a, Lab>, EngineError> {
    with_parts(lab, home).map_err(|why| {
        let mut found = Diagnostics::default();
        found.push(Diagnostic::error("kind-template", why));
        EngineError::Refused(found)
    })
}

/// The lab with what Podman really is: the one of an ordinary user, to whom its socket belongs,
/// cannot be given namespaces of ours. A lab that is there stays with the sockets it has.
pub fn rootless<'a>(
    lab: &'a Lab,
    daemons: &Daemons,
    record: Option<&LabRecord>,
) -> Result<Cow<'a, Lab>, EngineError> {
    if !lab.nodes.iter().any(|n| netloom_plan::runs(n) == Runs::Podman) {
        return Ok(Cow::Borrowed(lab));
    }
    let known = record.map(|r| &r.sockets).into_iter().flatten();
    let of_user = match known.into_iter().find(|(runs, _)| runs.program() == "podman") {
        Some((runs, _)) => *runs == Runs::Rootless,
        None => std::fs::metadata(daemons.socket(Runs::Podman)?).is_ok_and(|m| m.uid() != 0),
    };
    if !of_user {
        return Ok(Cow::Borrowed(lab));
    }
    let mut lab = lab.clone();
    for node in &mut lab.nodes {
        if netloom_plan::runs(node) == Runs::Podman {
            node.runtime = Runs::Rootless.word().into();
        }
    }
    Ok(Cow::Owned(lab))
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
