//! Changes to running labs by commands of their own: links that no file knows, impairments,
//! offloads.

use crate::destroy::group;
use crate::ledger::{Ledger, note_shared};
use crate::machine::Machine;
use crate::plumb::opened;
use crate::record::{LabRecord, lock_lab};
use crate::wire::{Backstage, Wires};
use crate::{Engine, EngineError, Runtimes, hostwide};
use netloom_datapath::impair::{self, Impairment, Made};
use netloom_datapath::{LinkInfo, Netns, observe, offload};
use netloom_plan::{
    HandEnd, LinkEnd, LinkObject, NamespaceOf, Objects, Runs, kernel_name, link_by_hand,
};
use netloom_runtime_docker::Containers;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// Links of before that no file knows stay as long as their ends do, and nothing else takes their
/// names. Gives those whose other end, at somebody else's, is gone.
pub fn keep(
    before: &Objects,
    wanted: &mut Objects,
    there: &dyn Fn(&NamespaceOf) -> Result<bool, EngineError>,
) -> Result<Vec<LinkObject>, EngineError> {
    let here: HashSet<&NamespaceOf> = wanted.nodes.iter().map(|n| &n.namespace).collect();
    let place = |e: &LinkEnd| (e.namespace.clone(), e.interface.clone());
    let taken: HashSet<_> = wanted.links.iter().flat_map(|l| l.ends()).map(place).collect();
    let stays = |l: &&LinkObject| {
        l.by_hand
            && l.ends().all(|e| {
                let stands = match e.namespace {
                    NamespaceOf::Node(_) => here.contains(&e.namespace),
                    _ => true,
                };
                stands && !taken.contains(&place(e))
            })
    };
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for link in before.links.iter().filter(stays) {
        let mut whole = true;
        for end in link.ends().filter(|e| e.namespace.is_anothers()) {
            whole &= there(&end.namespace)?;
        }
        if whole { kept.push(link.clone()) } else { gone.push(link.clone()) }
    }
    wanted.links.extend(kept);
    Ok(gone)
}

/// A place in the network that a user names.
struct Place {
    netns: Netns,
    namespace: NamespaceOf,
    name: String,
    /// The lab it is a node of.
    lab: Option<LabRecord>,
    /// Where the daemon listens that runs it, if it is of no lab.
    socket: Option<(Runs, PathBuf)>,
}

/// An end of a link that was asked for.
struct Asked {
    end: HandEnd,
    netns: Netns,
    /// The lab of its node, and the node's container name.
    lab: Option<(String, String)>,
    socket: Option<(Runs, PathBuf)>,
}

impl Engine {
    /// A container by its name; of the lab's nodes by their short names too.
    fn place(&self, lab: Option<&LabRecord>, name: &str) -> Result<Place, EngineError> {
        let mut records: Vec<LabRecord> = lab.cloned().into_iter().collect();
        records.extend(LabRecord::all(&self.directories)?);
        let short =
            |r: &LabRecord| lab.is_some_and(|l| l.name == r.name) && r.nodes.contains_key(name);
        let found =
            records.into_iter().find(|r| short(r) || r.nodes.values().any(|n| n.long_name == name));
        if let Some(record) = found {
            let netns = self.netns(&record, name)?;
            let is = |n: &&netloom_plan::NodeObject| n.name == name || n.long_name == name;
            let object = record.objects.nodes.iter().find(is);
            let missing = || EngineError::NoContainer(name.into());
            let object = object.ok_or_else(missing)?;
            return Ok(Place {
                netns,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
                lab: Some(record),
                socket: None,
            });
        }
        for (runs, socket, daemon) in self.daemons.answering() {
            if let Some(netns) = opened(&Containers::of_anybody(daemon), name)? {
                let namespace = NamespaceOf::Foreign { runs, container: name.into() };
                let socket = Some((runs, socket));
                return Ok(Place { netns, namespace, name: name.into(), lab: None, socket });
            }
        }
        Err(EngineError::NoContainer(name.into()))
    }

    /// Impairs what an interface of a container sends.
    pub fn impair(
        &self,
        lab: Option<&LabRecord>,
        container: &str,
        interface: &str,
        wanted: &Impairment,
    ) -> Result<Made, EngineError> {
        let place = self.place(lab, container)?;
        Ok(impair::set(&place.netns, interface, wanted)?)
    }

    /// Takes the impairment of an interface away; false when it had none.
    pub fn unimpair(
        &self,
        lab: Option<&LabRecord>,
        container: &str,
        interface: &str,
    ) -> Result<bool, EngineError> {
        let place = self.place(lab, container)?;
        Ok(impair::reset(&place.netns, interface)?)
    }

    /// The interfaces of a container, by name, with the impairments they have.
    pub fn impairments(
        &self,
        lab: Option<&LabRecord>,
        container: &str,
    ) -> Result<Vec<(String, Option<Impairment>)>, EngineError> {
        let place = self.place(lab, container)?;
        let list: HashMap<u32, Impairment> = impair::list(&place.netns)?.into_iter().collect();
        let mut links = observe::links_in(&place.netns)?;
        links.sort_by_key(|l| l.index);
        let shown = |l: &LinkInfo| match l.alias.as_deref() {
            Some(alias) if !alias.is_empty() => format!("{} ({alias})", l.name),
            _ => l.name.clone(),
        };
        Ok(links.iter().map(|l| (shown(l), list.get(&l.index).copied())).collect())
    }

    /// Has a container compute the checksums of what it sends by itself.
    pub fn disable_tx_offload(
        &self,
        lab: Option<&LabRecord>,
        container: &str,
    ) -> Result<(), EngineError> {
        let place = self.place(lab, container)?;
        if place.namespace == NamespaceOf::Host {
            return Err(EngineError::Input {
                what: format!("`{container}` has the network of the host"),
                hint: "name a container with a network of its own".into(),
            });
        }
        Ok(offload::set_tx_checksum(&place.netns, "eth0", false)?)
    }

    /// Makes a link between two places that no file knows: `NODE:INTERFACE`, `host:INTERFACE`,
    /// `bridge:BRIDGE:INTERFACE`, `ovs-bridge:BRIDGE:INTERFACE`. It belongs to the lab of its
    /// first node, and goes with it.
    pub fn add_link(
        &self,
        lab: Option<&LabRecord>,
        ends: [&str; 2],
        mtu: u32,
    ) -> Result<(String, LinkObject), EngineError> {
        let mut asked = Vec::new();
        for text in ends {
            asked.push(self.end(lab, text)?);
        }
        let owner = asked.iter().find_map(|a| a.lab.as_ref().map(|(lab, _)| lab.clone()));
        let Some(owner) = owner else {
            return Err(EngineError::Input {
                what: "neither end is at a node of a lab".into(),
                hint: "one of them must be: the link goes when the lab goes".into(),
            });
        };
        let _lock = lock_lab(&self.directories, &owner)?;
        let gone = || EngineError::NoLab(owner.clone());
        let mut record = LabRecord::load(&self.directories, &owner)?.ok_or_else(gone)?;
        let runtimes = self.runtimes(&record)?.ok_or_else(|| EngineError::Gone(owner.clone()))?;
        let mut namespaces = HashMap::new();
        let mut hands: Vec<HandEnd> = Vec::new();
        for Asked { end: mut hand, netns, lab, socket } in asked {
            // A node of another lab stays where it is when this one goes.
            if let (NamespaceOf::Node(node), Some((lab, long))) = (&hand.namespace, lab)
                && lab != owner
            {
                hand.namespace = NamespaceOf::Other { lab: lab.clone(), node: node.clone() };
                hand.node = long;
                record.uses.insert(lab);
            }
            record.sockets.extend(socket);
            self.refuse_taken(&record, &hand, &netns)?;
            if hands.iter().any(|h| h.namespace == hand.namespace && h.interface == hand.interface)
            {
                return Err(taken(&netns, &hand.interface));
            }
            namespaces.insert(hand.namespace.clone(), netns);
            hands.push(hand);
        }
        let Ok(hands) = <[HandEnd; 2]>::try_from(hands) else { return Err(gone()) };
        let link = link_by_hand(&owner, &record.objects, hands, mtu);
        let before = record.objects.clone();
        // Written down before it is made.
        record.objects.links.push(link.clone());
        self.note_link(&record, &link)?;
        record.save(&self.directories)?;
        let made = self.make_by_hand(&runtimes, &record, &namespaces, &link);
        if made.is_err() {
            record.objects = before;
            record.save(&self.directories)?;
            self.note_link(&record, &link)?;
        }
        made.map(|()| (owner, link))
    }

    /// Names on the host that a lab has, and bridges it has links on, as its record says.
    fn note_link(&self, record: &LabRecord, link: &LinkObject) -> Result<(), EngineError> {
        let mut locked = Ledger::lock(&self.directories, None)?;
        for end in link.ends().filter(|e| e.namespace == NamespaceOf::Host) {
            locked.ledger.interfaces.remove(&end.interface);
        }
        note_shared(&mut locked.ledger, &record.name, &[&record.objects, &record.pending]);
        locked.save()?;
        hostwide::let_bridges_through(&mut locked, &record.name, &record.objects)?;
        let host = Netns::current()?;
        hostwide::leave_bridges(&host, &mut locked, &record.name, &record.objects)?;
        locked.save()
    }

    /// Refuses an interface that somebody has, or is to have.
    fn refuse_taken(
        &self,
        record: &LabRecord,
        hand: &HandEnd,
        netns: &Netns,
    ) -> Result<(), EngineError> {
        let (name, altnames) = kernel_name(&hand.interface);
        let there = observe::links_in(netns)?;
        let is = |l: &LinkInfo| {
            l.name == name || altnames.iter().any(|a| l.name == *a || l.altnames.contains(a))
        };
        let everything = record.everything();
        let mut ends = everything.links.iter().flat_map(|l| l.ends());
        let known = ends.any(|e| e.namespace == hand.namespace && e.interface == name);
        let ledger = Ledger::read(&self.directories)?;
        let others = hand.namespace == NamespaceOf::Host && ledger.interfaces.contains_key(&name);
        match known || others || there.iter().any(is) {
            true => Err(taken(netns, &hand.interface)),
            false => Ok(()),
        }
    }

    fn make_by_hand(
        &self,
        runtimes: &Runtimes,
        record: &LabRecord,
        namespaces: &HashMap<NamespaceOf, Netns>,
        link: &LinkObject,
    ) -> Result<(), EngineError> {
        let _lock = self.lock_plumbing(&record.name)?;
        let machine = Machine::observe()?;
        let backstage = Backstage::of(&runtimes.native, &record.objects.links)?;
        let group = group(&record.name);
        let (machine, backstage, lab) = (&machine, &backstage, record.name.as_str());
        let wires = Wires { machine, namespaces, backstage, group, lab };
        let failures = wires.make(&[link])?;
        if failures.is_empty() {
            return Ok(());
        }
        // Nothing of these names was there before.
        wires.remove(&[link])?;
        Err(EngineError::Failed(failures))
    }

    fn end(&self, lab: Option<&LabRecord>, text: &str) -> Result<Asked, EngineError> {
        let parts: Vec<&str> = text.split(':').collect();
        let on_host = |node: &str,
                       interface: &str,
                       bridge: Option<(&str, bool)>|
         -> Result<Asked, EngineError> {
            let of = |switch: bool| bridge.filter(|(_, s)| *s == switch).map(|(b, _)| b.to_owned());
            let end = HandEnd {
                namespace: NamespaceOf::Host,
                node: node.into(),
                interface: interface.into(),
                master: of(false),
                switch: of(true),
            };
            let netns = Netns::current()?.with_label("the host");
            Ok(Asked { end, netns, lab: None, socket: None })
        };
        match parts[..] {
            [.., ""] => {}
            ["host", interface] => return on_host("host", interface, None),
            ["bridge", bridge, interface] => {
                return on_host(bridge, interface, Some((bridge, false)));
            }
            ["ovs-bridge", bridge, interface] => {
                return on_host(bridge, interface, Some((bridge, true)));
            }
            [container, interface] => {
                let place = self.place(lab, container)?;
                let end = HandEnd {
                    namespace: place.namespace,
                    node: place.name.clone(),
                    interface: interface.into(),
                    master: None,
                    switch: None,
                };
                let long = |r: LabRecord| {
                    let long = r.nodes.get(&place.name).map(|n| n.long_name.clone());
                    (r.name, long.unwrap_or(place.name.clone()))
                };
                let lab = place.lab.map(long);
                return Ok(Asked { end, netns: place.netns, lab, socket: place.socket });
            }
            _ => {}
        }
        Err(EngineError::Input {
            what: format!("`{text}` is no end of a link"),
            hint: "write NODE:INTERFACE, host:INTERFACE, bridge:BRIDGE:INTERFACE or \
                   ovs-bridge:BRIDGE:INTERFACE"
                .into(),
        })
    }
}

fn taken(netns: &Netns, interface: &str) -> EngineError {
    EngineError::Input {
        what: format!("{} has an interface `{interface}` already", netns.label()),
        hint: "choose another name".into(),
    }
}
