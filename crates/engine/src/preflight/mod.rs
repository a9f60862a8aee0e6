//! What can be known to go wrong before anything is made.

mod files;
mod host;
mod links;
mod needs;

use crate::image::Images;
use crate::machine::Machine;
use crate::record::LabRecord;
use crate::spec::Paths;
use crate::{EngineError, Ledger};
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};
use netloom_image::Image;
use netloom_kinds::{Class, Role};
use netloom_plan::{Elsewhere, Runs};
use netloom_topology::{Lab, Node};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What preflight needs to see.
pub struct Situation<'a> {
    /// The host.
    pub machine: &'a Machine,
    /// What labs share.
    pub ledger: &'a Ledger,
    /// This lab as it is deployed, if it is.
    pub record: Option<&'a LabRecord>,
    /// Containers that are no nodes of this lab, by name.
    pub others: &'a BTreeMap<String, Elsewhere>,
    /// Paths.
    pub paths: &'a Paths<'a>,
    /// Nothing will be made of the plan: images need not be here yet.
    pub look: bool,
}

/// Checks everything; returns the image of each node that runs.
pub fn check(
    lab: &Lab,
    situation: &Situation<'_>,
    images: &mut Images,
    found: &mut Diagnostics,
) -> Result<HashMap<String, Arc<Image>>, EngineError> {
    let mut out = HashMap::new();
    for node in &lab.nodes {
        if node.kind_data.class != Class::Pseudo {
            if let Some(image) = files::image(node, images, situation.look, found)? {
                out.insert(node.name.clone(), image);
            }
            files::files(lab, node, situation.paths, found);
        }
        role(node, situation, found);
        network_mode(lab, node, situation, found);
        names(node, situation, found);
        host::limits(node, found);
        host::ports(lab, node, situation, found);
    }
    needs::kinds(lab, found);
    links::links(lab, situation, found);
    host::management_bridge(lab, situation, found);
    host::host_programs(lab, found);
    host::devices(lab, found);
    Ok(out)
}

/// Containers that a lab names and does not make, with the runtime it names for them.
pub fn needs_outside(lab: &Lab) -> Vec<(String, Option<Runs>)> {
    let mut out = Vec::new();
    for node in &lab.nodes {
        if node.kind_data.role == Role::ExtContainer {
            out.push((
                node.name.clone(),
                Runs::named(&node.runtime).filter(|r| *r != Runs::Native),
            ));
        } else if let Some(other) = node.shares_namespace_of()
            && !lab.nodes.iter().any(|n| n.name == other || n.long_name == other)
        {
            out.push((other.to_owned(), None));
        }
    }
    out
}

fn role(node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    match node.kind_data.role {
        Role::Bridge if node.shares_namespace_of().is_none() => {
            let link = situation.machine.link(&node.name);
            if link.is_none_or(|l| l.kind != "bridge") {
                let what = match link {
                    None => format!("there is no bridge `{}` on this machine", node.name),
                    Some(l) => format!("`{}` is not a bridge but a {}", node.name, l.kind),
                };
                found.push(
                    Diagnostic::error("missing-bridge", what)
                        .at(node.span)
                        .hint(format!("make it first: ip link add {} type bridge", node.name)),
                );
            }
        }
        Role::ExtContainer if !situation.others.contains_key(&node.name) => found.push(
            Diagnostic::error(
                "missing-container",
                format!("there is no container `{}`", node.name),
            )
            .at(node.span)
            .hint("it must be running, here or with Docker or Podman, before this lab is deployed"),
        ),
        _ => {}
    }
}

fn network_mode(lab: &Lab, node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    let Some(other) = node.shares_namespace_of() else { return };
    let owner = lab.nodes.iter().find(|n| n.name == other || n.long_name == other);
    let inside = owner.is_some();
    let own = netloom_plan::runs(node).own_namespaces();
    let runs = netloom_plan::runs(node);
    let shares = owner.is_some_and(|o| netloom_plan::runs(o) == runs);
    let there = situation.others.get(other);
    let same =
        |there: &Elsewhere| matches!(there, Elsewhere::Daemon(r) if r.program() == runs.program());
    let shares = shares || there.is_some_and(same);
    if own && !shares && (inside || there.is_some()) {
        let what = format!(
            "{} cannot have node `{}` share the network of `{other}`, which it does not run",
            if runs == Runs::Docker { "Docker" } else { "Podman" },
            node.name
        );
        found.push(
            Diagnostic::error("runtime", what)
                .at(node.span_of("network-mode"))
                .hint("give both nodes the same `runtime`"),
        );
        return;
    }
    if inside || there.is_some() {
        return;
    }
    let names = lab.nodes.iter().map(|n| n.name.as_str());
    let near = did_you_mean(other, names.chain(situation.others.keys().map(String::as_str)));
    found.push(
        Diagnostic::error(
            "missing-container",
            format!(
                "there is no container `{other}` whose network node `{}` could share",
                node.name
            ),
        )
        .at(node.span_of("network-mode"))
        .hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a node of this file, or a container that runs already".into(),
        }),
    );
}

fn names(node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    if node.kind_data.role == Role::ExtContainer {
        return;
    }
    if let Some(there) = situation.others.get(&node.long_name) {
        let whose = match there {
            Elsewhere::Lab { lab, node } => format!("node `{node}` of lab `{lab}`"),
            Elsewhere::Daemon(runs) => format!("another container that {} runs", runs.word()),
        };
        found.push(
            Diagnostic::error(
                "name-taken",
                format!("`{}` is the name of {whose} already", node.long_name),
            )
            .at(node.span)
            .hint("give one of them another name or prefix"),
        );
    }
}
