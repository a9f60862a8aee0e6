//! Unmaking a lab from its record, whatever became of its file.

use crate::ledger::Ledger;
use crate::record::{LabRecord, lock_lab};
use crate::report::{Event, Reporter};
use crate::wire::{Wires, mgmt_spec};
use crate::{Engine, EngineError, netns_link};
use netloom_datapath::{Netns, Socket, link, mgmt, sysctl};
use netloom_plan::{NamespaceOf, NodeObject};
use netloom_runtime::Runtime;
use netloom_runtime_native::{NativeRuntime, reap_leftovers};
use std::collections::HashMap;
use std::path::Path;

/// How a lab is unmade.
#[derive(Debug, Clone, Default)]
pub struct DestroyOptions {
    /// Remove the lab directory too.
    pub cleanup: bool,
    /// Ask the nodes to end before they are killed.
    pub graceful: bool,
    /// Keep the management network.
    pub keep_mgmt_net: bool,
    /// Most things at once; 0 for as many as there are processors.
    pub max_workers: usize,
}

impl Engine {
    /// Unmakes a lab.
    pub fn destroy(
        &self,
        name: &str,
        options: &DestroyOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let _lock = lock_lab(&self.directories, name)?;
        self.destroy_locked(name, options, report)
    }

    pub(crate) fn destroy_locked(
        &self,
        name: &str,
        options: &DestroyOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let Some(record) = LabRecord::load(&self.directories, name)? else {
            // A kill between folder and record leaves a folder without one.
            remove_tree(&self.directories.lab(name))?;
            return Err(EngineError::NoLab(name.into()));
        };
        self.refuse_if_used(name)?;
        let config = self.directories.native(name, self);
        if let Some(runtime) = NativeRuntime::connect(&config)? {
            if options.graceful {
                self.stop_all(&record, &runtime, report);
            }
            self.remove_shared_ends(&record)?;
            report.event(Event::Phase("removing nodes", record.objects.nodes.len()));
            runtime.shutdown()?;
        } else {
            self.remove_shared_ends(&record)?;
            reap_leftovers(&config)?;
        }
        report.event(Event::Done);
        for node in record.nodes.values() {
            netns_link::hide(&self.directories.netns, &node.long_name);
        }
        self.leave_networks(&record, options)?;
        if options.cleanup && record.made_lab_dir {
            remove_tree(&record.lab_dir)?;
        }
        remove_tree(&config.run_dir)?;
        remove_tree(&self.directories.lab(name))?;
        Ok(())
    }

    fn refuse_if_used(&self, name: &str) -> Result<(), EngineError> {
        let users: Vec<String> = LabRecord::all(&self.directories)?
            .into_iter()
            .filter(|r| r.uses.contains(name))
            .map(|r| format!("lab `{}`", r.name))
            .collect();
        match users.is_empty() {
            true => Ok(()),
            false => Err(EngineError::InUse { lab: name.into(), users: users.join(", ") }),
        }
    }

    fn stop_all(&self, record: &LabRecord, runtime: &NativeRuntime, report: &dyn Reporter) {
        report.event(Event::Phase("stopping nodes", record.nodes.len()));
        std::thread::scope(|scope| {
            for node in record.nodes.values() {
                scope.spawn(|| {
                    // A node that does not stop is killed with the rest.
                    let _ = runtime.stop(&node.long_name, None);
                    report.event(Event::Step);
                });
            }
        });
        report.event(Event::Done);
    }

    /// Removes what does not go away with the nodes' namespaces: ends on the host, and ends in
    /// namespaces of other labs. Those on the host go as a group, in one request.
    fn remove_shared_ends(&self, record: &LabRecord) -> Result<(), EngineError> {
        let machine = crate::machine::Machine::observe()?;
        let mut namespaces = HashMap::new();
        for of in record.objects.nodes.iter().map(|n| &n.namespace) {
            if let NamespaceOf::Other { lab, node } = of
                && let Some(netns) = self.namespace_of(lab, node)?
            {
                namespaces.insert(of.clone(), netns);
            }
        }
        let parking = Netns::current()?;
        let group = group(&record.name);
        let wires = Wires { machine: &machine, namespaces: &namespaces, parking: &parking, group };
        let foreign: Vec<_> = record
            .objects
            .links
            .iter()
            .filter(|l| {
                std::iter::once(&l.a)
                    .chain(&l.b)
                    .any(|e| matches!(e.namespace, NamespaceOf::Other { .. }))
            })
            .collect();
        wires.remove(&foreign)?;
        let mut host = Socket::open_in(&machine.netns)?;
        link::delete_group(&mut host, group)?;
        Ok(())
    }

    /// Gives addresses back; the last lab removes the network and puts the host's settings back.
    fn leave_networks(
        &self,
        record: &LabRecord,
        options: &DestroyOptions,
    ) -> Result<(), EngineError> {
        let mut locked = Ledger::lock(&self.directories)?;
        locked.ledger.interfaces.retain(|_, lab| *lab != record.name);
        locked.ledger.ports.retain(|_, lab| *lab != record.name);
        let host = Netns::current()?;
        if record.objects.nodes.iter().any(|n| !n.ports.is_empty()) {
            mgmt::unpublish(&host, &record.name)?;
        }
        if let Some(network) =
            record.network.as_ref().and_then(|n| locked.ledger.networks.get_mut(n))
        {
            network.users.remove(&record.name);
            if network.users.is_empty() && !options.keep_mgmt_net {
                let network = network.clone();
                mgmt::remove(&host, &mgmt_spec(&network)?)?;
                locked.ledger.networks.remove(&network.name);
            }
        }
        if locked.ledger.networks.is_empty() {
            for (key, before) in std::mem::take(&mut locked.ledger.sysctls) {
                sysctl::write(&host, &key, &before)?;
            }
        }
        locked.save()
    }

    /// The namespace of a node of another lab.
    pub(crate) fn namespace_of(&self, lab: &str, node: &str) -> Result<Option<Netns>, EngineError> {
        let Some(runtime) = self.runtime(lab)? else { return Ok(None) };
        match runtime.kept(&format!("netns:{node}"))? {
            Some(fd) => Ok(Some(Netns::from_fd(fd)?.with_label(format!("{lab}/{node}")))),
            None => Ok(None),
        }
    }

    /// The runtime of a lab, if its holder lives.
    pub(crate) fn runtime(&self, lab: &str) -> Result<Option<NativeRuntime>, EngineError> {
        let config = self.directories.native(lab, self);
        if !config.state_dir.is_dir() {
            return Ok(None);
        }
        Ok(NativeRuntime::connect(&config)?)
    }
}

/// Group of a lab's interfaces on the host, so that they go in one request.
pub(crate) fn group(lab: &str) -> u32 {
    use sha2::{Digest, Sha256};
    let h = Sha256::digest(lab.as_bytes());
    // Small numbers are used by people; the top bit is left alone.
    (u32::from_be_bytes([h[0], h[1], h[2], h[3]]) & 0x3fff_ffff) | 0x4000_0000
}

/// Removes a tree; one that is not there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let what = format!("remove {}: {e}", path.display());
            Err(EngineError::Io(std::io::Error::new(e.kind(), what)))
        }
        _ => Ok(()),
    }
}

/// Removes the containers of nodes that change or go away.
pub(crate) fn remove_nodes(
    runtime: &NativeRuntime,
    record: &LabRecord,
    names: &[String],
) -> Result<(), EngineError> {
    for name in names {
        let object: Option<&NodeObject> = record.objects.nodes.iter().find(|n| n.name == *name);
        let Some(object) = object else { continue };
        if object.container {
            runtime.remove(&object.long_name, true)?;
        }
        if object.namespace == NamespaceOf::Node(name.clone()) {
            runtime.release([format!("netns:{name}")])?;
        }
    }
    Ok(())
}
