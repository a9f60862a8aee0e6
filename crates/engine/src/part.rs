//! Taking some nodes out of a running lab; the others, and their links with each other, stay.

use crate::apply::{guests_first, owns_namespace};
use crate::deploy::need_root;
use crate::destroy::{DestroyOptions, group};
use crate::ledger::{Ledger, note_shared};
use crate::machine::Machine;
use crate::record::{LabRecord, lock_lab};
use crate::report::{Event, Reporter};
use crate::wire::{Backstage, Wires};
use crate::{Engine, EngineError, hostwide, netns_link};
use netloom_datapath::Netns;
use netloom_plan::{LinkEnd, LinkObject, NamespaceOf, NodeObject};
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
        let runtimes = self.runtimes(&record)?.ok_or_else(|| EngineError::Gone(lab.into()))?;
        let runtime = &runtimes.native;
        let mut chosen = HashSet::new();
        for node in nodes {
            self.container(&record, node)?;
            let names = record.nodes.iter().filter(|(name, r)| r.is_called(name, node));
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
        let guest = |n: &&NodeObject| n.lives_in.as_deref().is_some_and(|h| names.contains(h));
        if let Some(guest) = everything.nodes.iter().filter(stays).find(guest) {
            return Err(EngineError::LivedIn {
                node: guest.lives_in.clone().unwrap_or_default(),
                guest: guest.name.clone(),
            });
        }
        self.refuse_if_lived_in(lab, &names)?;
        // From here on the record says that it may be half done.
        let was_complete = std::mem::replace(&mut record.complete, false);
        record.save(&self.directories)?;
        report.event(Event::Phase("removing nodes", gone.len()));
        let machine = Machine::bare()?;
        let mut namespaces = HashMap::new();
        for place in everything.places() {
            let netns = match place {
                NamespaceOf::Node(owner) => {
                    runtime.kept(&format!("netns:{owner}"))?.map(Netns::from_fd).transpose()?
                }
                of => self.anothers(&record.sockets, of)?,
            };
            if let Some(netns) = netns {
                namespaces.insert(place.clone(), netns);
            }
        }
        let backstage = Backstage::of(runtime, &everything.links)?;
        let wires = Wires {
            machine: &machine,
            namespaces: &namespaces,
            backstage: &backstage,
            group: group(lab),
            lab,
        };
        let links = leaving(&record, &names);
        let failures = wires.remove(&links.iter().collect::<Vec<_>>())?;
        if !failures.is_empty() {
            return Err(EngineError::NotRemoved(failures));
        }
        wires.detach(gone.iter().copied())?;
        wires.remove_bridges(gone.iter().copied().filter(|n| !owns_namespace(n)))?;
        for name in &names {
            self.remove_cluster(lab, name)?;
        }
        for object in guests_first(gone.iter().copied()) {
            let runtime = runtimes.of(object.runs)?;
            if options.graceful {
                // One that does not stop is killed.
                let _ = runtime.stop(&object.long_name, None);
            }
            runtime.remove(&object.long_name, true)?;
        }
        for object in &gone {
            if owns_namespace(object) {
                runtime.release([format!("netns:{}", object.name)])?;
                netns_link::hide(&self.directories.netns, &object.long_name);
            }
            report.event(Event::Step);
        }
        report.event(Event::Done);
        self.forget_nodes(lab, &gone.iter().map(|n| n.long_name.as_str()).collect())?;
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
        record.clusters.retain(|name, _| !names.contains(name.as_str()));
        record.uses = record.objects.uses();
        record.uses.extend(record.pending.uses());
        for network in locked.ledger.networks.values_mut() {
            if let Some(mine) = network.users.get_mut(lab) {
                mine.retain(|name, _| !names.contains(name.as_str()));
            }
        }
        note_shared(&mut locked.ledger, lab, &[&record.objects, &record.pending]);
        hostwide::close_loopback(&machine.netns, &mut locked)?;
        hostwide::leave_bridges(&machine.netns, &mut locked, lab, &record.objects)?;
        locked.save()?;
        record.complete = was_complete;
        record.save(&self.directories)
    }
}

/// Links that go with some nodes. One that a deploy never came to make may have an interface in
/// common with one that stays: of it only the ends at those nodes go.
fn leaving(record: &LabRecord, names: &HashSet<&str>) -> Vec<LinkObject> {
    let touches = |l: &&LinkObject| l.ends().any(|e| names.contains(e.node.as_str()));
    let place = |e: &LinkEnd| (e.namespace.clone(), e.interface.clone());
    let stays = record.objects.links.iter().filter(|l| !touches(l));
    let kept: HashSet<_> = stays.flat_map(|l| l.ends()).map(place).collect();
    let everything = record.everything();
    let mut out = Vec::new();
    for link in everything.links.iter().filter(touches) {
        let mut ends = link.ends().filter(|e| !kept.contains(&place(e))).cloned();
        if let Some(a) = ends.next() {
            out.push(LinkObject { a, b: ends.next(), ..link.clone() });
        }
    }
    out
}
