//! Taking some nodes out of a running lab; the others, and their links with each other, stay.

use crate::apply::owns_namespace;
use crate::deploy::{need_root, note_shared};
use crate::destroy::{DestroyOptions, group};
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::record::{LabRecord, lock_lab};
use crate::report::{Event, Reporter};
use crate::wire::Wires;
use crate::{Engine, EngineError, netns_link};
use netloom_datapath::Netns;
use netloom_plan::{LinkObject, NamespaceOf, NodeObject};
use netloom_runtime::Runtime;
use std::collections::{HashMap, HashSet};

impl Engine {
    /// Removes nodes by short name, with their links and addresses.
    pub fn remove_nodes(
        &self,
        lab: &str,
        nodes: &[String],
        options: &DestroyOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        need_root("removing nodes")?;
        let _lock = lock_lab(&self.directories, lab)?;
        let no_lab = || EngineError::NoLab(lab.into());
        let mut record = LabRecord::load(&self.directories, lab)?.ok_or_else(no_lab)?;
        let runtime = self.runtime(lab)?.ok_or_else(no_lab)?;
        let mut chosen = HashSet::new();
        for node in nodes {
            let long_name = self.container(&record, node)?;
            let names = record.nodes.iter().filter(|(_, r)| r.long_name == long_name);
            chosen.extend(names.map(|(name, _)| name.clone()));
        }
        let everything = record.everything();
        let gone: Vec<&NodeObject> =
            everything.nodes.iter().filter(|n| chosen.contains(&n.name)).collect();
        let names: HashSet<&str> = gone.iter().map(|n| n.name.as_str()).collect();
        let stays = |n: &&NodeObject| !names.contains(n.name.as_str());
        if let Some(sharer) = everything.nodes.iter().filter(stays).find(
            |n| matches!(&n.namespace, NamespaceOf::Node(owner) if names.contains(owner.as_str())),
        ) {
            let users = format!("node `{}` of the same lab", sharer.name);
            return Err(EngineError::InUse { lab: lab.into(), users });
        }
        self.refuse_if_lived_in(lab, &names)?;
        // From here on the record says that it may be half done.
        let was_complete = std::mem::replace(&mut record.complete, false);
        record.save(&self.directories)?;
        report.event(Event::Phase("removing nodes", gone.len()));
        let machine = Machine::bare()?;
        let mut namespaces = HashMap::new();
        for node in &everything.nodes {
            if let NamespaceOf::Node(owner) = &node.namespace
                && let Some(fd) = runtime.kept(&format!("netns:{owner}"))?
            {
                namespaces.insert(node.namespace.clone(), Netns::from_fd(fd)?);
            }
        }
        let parking = Netns::current()?;
        let wires = Wires {
            machine: &machine,
            namespaces: &namespaces,
            parking: &parking,
            group: group(lab),
            lab,
        };
        let touches = |l: &&LinkObject| l.ends().any(|e| names.contains(e.node.as_str()));
        let links: Vec<&LinkObject> = everything.links.iter().filter(touches).collect();
        let failures = wires.remove(&links)?;
        if !failures.is_empty() {
            return Err(EngineError::NotRemoved(failures));
        }
        wires.detach(gone.iter().copied())?;
        for object in &gone {
            if object.container {
                if options.graceful {
                    // One that does not stop is killed.
                    let _ = runtime.stop(&object.long_name, None);
                }
                runtime.remove(&object.long_name, true)?;
            }
            if owns_namespace(object) {
                runtime.release([format!("netns:{}", object.name)])?;
                netns_link::hide(&self.directories.netns, &object.long_name);
            }
            report.event(Event::Step);
        }
        report.event(Event::Done);
        let mut locked = Ledger::lock(&self.directories, None)?;
        let left: Vec<NodeObject> = everything.nodes.iter().filter(stays).cloned().collect();
        let network = record.networks.iter().find_map(|n| locked.ledger.networks.get(n));
        if let Some(network) = network.filter(|_| gone.iter().any(|n| !n.ports.is_empty())) {
            // Before somebody else gets an address that a port of the host leads to.
            wires.publish(lab, network, &left)?;
        }
        for objects in [&mut record.objects, &mut record.pending] {
            objects.nodes.retain(|n| !names.contains(n.name.as_str()));
            objects.links.retain(|l| !l.ends().any(|e| names.contains(e.node.as_str())));
        }
        record.nodes.retain(|name, _| !names.contains(name.as_str()));
        record.uses = left
            .iter()
            .filter_map(|n| match &n.namespace {
                NamespaceOf::Other { lab, .. } => Some(lab.clone()),
                _ => None,
            })
            .collect();
        for network in locked.ledger.networks.values_mut() {
            if let Some(mine) = network.users.get_mut(lab) {
                mine.retain(|name, _| !names.contains(name.as_str()));
            }
        }
        note_shared(&mut locked.ledger, lab, &record.everything());
        locked.save()?;
        record.complete = was_complete;
        record.save(&self.directories)
    }
}
