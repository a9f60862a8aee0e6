//! Containers that are no nodes of the lab: other labs', and those a daemon runs for somebody else.

use crate::clusters;
use crate::decide::Decision;
use crate::destroy::group;
use crate::machine::Machine;
use crate::plumb::opened;
use crate::preflight::needs_outside;
use crate::record::LabRecord;
use crate::runtimes::{Reached, Runtimes};
use crate::wire::{Backstage, Wires};
use crate::{Engine, EngineError};
use netloom_datapath::{Netns, Socket, link, observe};
use netloom_plan::{
    Attachment, Elsewhere, Impl, LinkEnd, LinkObject, NamespaceOf, NodeObject, Objects, Runs,
};
use netloom_runtime::Runtime;
use netloom_runtime_docker::Containers;
use netloom_topology::Lab;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// Looks with the daemons for containers that a lab names and nobody knows yet; daemons that do
    /// not answer have none.
    pub(crate) fn find_outside(
        &self,
        lab: &Lab,
        record: Option<&LabRecord>,
        others: &mut BTreeMap<String, Elsewhere>,
        reached: &mut Reached,
    ) -> Result<(), EngineError> {
        for (name, wish) in needs_outside(lab) {
            let wish = match others.get(&name) {
                Some(Elsewhere::Lab { .. }) => continue,
                Some(Elsewhere::Daemon(runs)) => Some(*runs),
                None => wish,
            };
            let meant = |r: &Runs| wish.is_none_or(|w| w.program() == r.program());
            for runs in [Runs::Docker, Runs::Podman].into_iter().filter(meant) {
                let known = reached.get(&runs).cloned();
                let at = match known {
                    Some(at) => at,
                    None => match self.daemons.socket(runs) {
                        Ok(socket) if socket.exists() => match self.daemons.at(runs, &socket) {
                            Ok(daemon) => (socket, daemon),
                            Err(_) => continue,
                        },
                        _ => continue,
                    },
                };
                let runtime = Containers::of_anybody(at.1.clone());
                if runtime.inspect(&name)?.is_some_and(|s| s.pid.is_some()) {
                    others.insert(name.clone(), Elsewhere::Daemon(runs));
                    reached.insert(runs, at);
                    break;
                }
            }
            // A node of a cluster that is made with the lab will be there when links are made.
            if !others.contains_key(&name)
                && let Some(cluster) = clusters::will_have(lab, record, &name)
            {
                let runs = clusters::runs(cluster);
                if let Ok(socket) = self.daemons.socket(runs)
                    && let Ok(daemon) = self.daemons.at(runs, &socket)
                {
                    reached.insert(runs, (socket, daemon));
                }
                others.insert(name, Elsewhere::Daemon(runs));
            }
        }
        Ok(())
    }

    /// The namespace of somebody who is not of this lab, if it is there.
    pub(crate) fn anothers(
        &self,
        sockets: &BTreeMap<Runs, PathBuf>,
        of: &NamespaceOf,
    ) -> Result<Option<Netns>, EngineError> {
        match of {
            NamespaceOf::Other { lab, node } => self.namespace_of(lab, node),
            NamespaceOf::Foreign { runs, container } => match sockets.get(runs) {
                // With the daemon went its containers; and one that was made anew without a network of
                // its own has nothing of ours.
                Some(socket) => Ok(self
                    .daemons
                    .at(*runs, socket)
                    .and_then(|daemon| opened(&Containers::of_anybody(daemon), container))
                    .unwrap_or_default()),
                None => Ok(None),
            },
            NamespaceOf::Node(_) | NamespaceOf::Host => Ok(None),
        }
    }

    /// What runs the processes of a node, whoever made it.
    pub(crate) fn runtime_of(
        &self,
        runtimes: &Runtimes,
        node: &NodeObject,
    ) -> Result<Arc<dyn Runtime>, EngineError> {
        match &node.namespace {
            NamespaceOf::Foreign { runs, .. } if node.outside => runtimes.of_anybody(*runs),
            NamespaceOf::Other { lab, .. } if node.outside => {
                let gone = || EngineError::Gone(lab.clone());
                let record = LabRecord::load(&self.directories, lab)?.ok_or_else(gone)?;
                let theirs = self.runtimes(&record)?.ok_or_else(gone)?;
                theirs.of(record.runs_of(&node.long_name))
            }
            _ => runtimes.of(node.runs),
        }
    }

    /// Where containers of somebody else are reached, as others read of it with the lab's nodes.
    pub(crate) fn lend_addresses(
        &self,
        decision: &mut Decision,
        record: &LabRecord,
        ids: &mut BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let Some(runtimes) = self.runtimes(record)? else { return Ok(()) };
        for node in decision.planned.objects.nodes.iter_mut().filter(|n| n.outside) {
            let runtime = self.runtime_of(&runtimes, node);
            let state = runtime.ok().and_then(|r| r.inspect(&node.long_name).ok()).flatten();
            let Some(state) = state.filter(|s| !s.addresses.is_empty()) else { continue };
            ids.insert(node.long_name.clone(), state.id);
            node.mgmt = Some(Attachment {
                interface: "eth0".into(),
                port: String::new(),
                bridge: 0,
                mac: [0; 6],
                mtu: 0,
                addresses: state.addresses.iter().filter_map(|a| a.parse().ok()).collect(),
                gateways: Vec::new(),
                self_willed: true,
            });
        }
        Ok(())
    }

    /// Brings links back to a container of somebody else that was started again, and has nodes that
    /// share its namespace started again too. Does nothing where all is as it should be.
    pub(crate) fn rewire(&self, lab: &str, runs: Runs, container: &str) -> Result<(), EngineError> {
        let Some(record) = LabRecord::load(&self.directories, lab)? else { return Ok(()) };
        let Some(runtimes) = self.runtimes(&record)? else { return Ok(()) };
        let place = NamespaceOf::Foreign { runs, container: container.to_owned() };
        let Some(new) = self.anothers(&record.sockets, &place)? else { return Ok(()) };
        let everything = record.everything();
        let wired = self.rewire_links(&record, &runtimes, &everything, (&place, &new));
        // Whatever became of the links.
        if let Some(key) = foreign_key(&place) {
            runtimes.native.keep_fd(&key, new.try_clone()?.into())?;
        }
        let guests = everything.nodes.iter().filter(|n| n.container && n.namespace == place);
        for guest in guests {
            let runtime = runtimes.of(guest.runs)?;
            let Some(pid) = runtime.inspect(&guest.long_name)?.and_then(|s| s.pid) else {
                continue;
            };
            if Netns::from_pid(pid).is_ok_and(|netns| !netns.same(&new)) {
                runtime.stop(&guest.long_name, Some(Duration::ZERO))?;
                runtime.start(&guest.long_name)?;
            }
        }
        wired
    }

    fn rewire_links(
        &self,
        record: &LabRecord,
        runtimes: &Runtimes,
        everything: &Objects,
        (place, new): (&NamespaceOf, &Netns),
    ) -> Result<(), EngineError> {
        let _lock = self.lock_plumbing(&record.name)?;
        let there = observe::links_in(new)?;
        let here = |e: &LinkEnd| e.namespace == *place;
        let stands =
            |e: &LinkEnd| there.iter().any(|l| l.name == e.interface && l.mac == Some(e.mac));
        let lost = |l: &&LinkObject| l.ends().any(|e| here(e) && !stands(e));
        let links: Vec<&LinkObject> = everything.links.iter().filter(lost).collect();
        if links.is_empty() {
            return Ok(());
        }
        let machine = Machine::observe()?;
        let mut namespaces = HashMap::from([(place.clone(), new.try_clone()?)]);
        for end in links.iter().flat_map(|l| l.ends()).filter(|e| !here(e)) {
            let netns = match &end.namespace {
                NamespaceOf::Node(owner) => {
                    let kept = runtimes.native.kept(&format!("netns:{owner}"))?;
                    kept.map(Netns::from_fd).transpose()?
                }
                of => self.anothers(&record.sockets, of)?,
            };
            namespaces.extend(netns.map(|n| (end.namespace.clone(), n)));
        }
        let backstage = Backstage::of(&runtimes.native, &record.objects.links)?;
        // Half of such a link may live on in the namespace that was, which others keep alive.
        let mut wiring = Socket::open_in(&backstage.wiring)?;
        for link in &links {
            if let Impl::Stitch { ports } = &link.how {
                for (_, port) in link.ends().zip(ports).filter(|(e, _)| here(e)) {
                    link::ensure_absent(&mut wiring, port)?;
                }
            }
        }
        let wires = Wires {
            machine: &machine,
            namespaces: &namespaces,
            backstage: &backstage,
            group: group(&record.name),
            lab: &record.name,
        };
        let failures = wires.make(&links)?;
        if failures.is_empty() { Ok(()) } else { Err(EngineError::Failed(failures)) }
    }
}

/// The name under which a lab's holder keeps the namespace of a container of somebody else.
pub fn foreign_key(of: &NamespaceOf) -> Option<String> {
    match of {
        NamespaceOf::Foreign { container, .. } => Some(format!("foreign:{container}")),
        _ => None,
    }
}

/// Containers of somebody else that a lab lives in or has links to, by what runs them.
pub fn foreign(record: &LabRecord) -> BTreeMap<Runs, BTreeSet<String>> {
    let mut out: BTreeMap<Runs, BTreeSet<String>> = BTreeMap::new();
    let everything = record.everything();
    for place in everything.places() {
        if let NamespaceOf::Foreign { runs, container } = place {
            out.entry(*runs).or_default().insert(container.clone());
        }
    }
    out
}
