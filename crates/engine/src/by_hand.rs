//! Changes to running labs by commands of their own: links that no file knows, impairments,
//! offloads.

use crate::destroy::group;
use crate::ledger::{Ledger, note_shared};
use crate::machine::Machine;
use crate::plumb::opened;
use crate::record::{LabRecord, lock_lab};
use crate::wire::{Backstage, Wires};
use crate::{Engine, EngineError};
use netloom_datapath::impair::{self, Impairment, Made};
use netloom_datapath::{Netns, observe, offload};
use netloom_plan::{HandEnd, LinkObject, NamespaceOf, Objects, Runs, link_by_hand};
use netloom_runtime_docker::Containers;
use std::collections::{HashMap, HashSet};

/// Links of before that no file knows stay as long as their nodes do, and nothing else takes their
/// names.
pub fn keep(before: &Objects, wanted: &mut Objects) {
    let here: HashSet<&NamespaceOf> = wanted.nodes.iter().map(|n| &n.namespace).collect();
    let place = |e: &netloom_plan::LinkEnd| (e.namespace.clone(), e.interface.clone());
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
    let kept: Vec<LinkObject> = before.links.iter().filter(stays).cloned().collect();
    wanted.links.extend(kept);
}

/// A place in the network that a user names.
struct Place {
    netns: Netns,
    namespace: NamespaceOf,
    name: String,
    /// The lab it is a node of.
    lab: Option<LabRecord>,
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
            });
        }
        for runs in [Runs::Docker, Runs::Podman] {
            let Ok(socket) = self.daemons.socket(runs) else { continue };
            if !socket.exists() {
                continue;
            }
            let Ok(daemon) = self.daemons.at(runs, &socket) else { continue };
            if let Some(netns) = opened(&Containers::of_anybody(daemon), name)? {
                let namespace = NamespaceOf::Foreign { runs, container: name.into() };
                return Ok(Place { netns, namespace, name: name.into(), lab: None });
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
        let shown = |l: &netloom_datapath::LinkInfo| match l.alias.as_deref() {
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
        let mut places = Vec::new();
        for text in ends {
            places.push(self.end(lab, text)?);
        }
        let owner = places.iter().find_map(|(_, _, lab)| lab.clone());
        let Some(owner) = owner else {
            return Err(EngineError::Input {
                what: "neither end is at a node of a lab".into(),
                hint: "one of them must be: the link goes when the lab goes".into(),
            });
        };
        let _lock = lock_lab(&self.directories, &owner)?;
        let gone = || EngineError::NoLab(owner.clone());
        let mut record = LabRecord::load(&self.directories, &owner)?.ok_or_else(gone)?;
        let mut namespaces = HashMap::new();
        let mut hands = Vec::new();
        for (mut hand, netns, of) in places {
            // A node of another lab stays where it is when this one goes.
            if let (NamespaceOf::Node(node), Some(lab)) = (&hand.namespace, &of)
                && *lab != owner
            {
                hand.namespace = NamespaceOf::Other { lab: lab.clone(), node: node.clone() };
                record.uses.insert(lab.clone());
            }
            let there = observe::links_in(&netns)?;
            if there.iter().any(|l| l.name == hand.interface) {
                return Err(EngineError::Input {
                    what: format!(
                        "{} has an interface `{}` already",
                        netns.label(),
                        hand.interface
                    ),
                    hint: "choose another name".into(),
                });
            }
            namespaces.insert(hand.namespace.clone(), netns);
            hands.push(hand);
        }
        let Ok(hands) = <[HandEnd; 2]>::try_from(hands) else { return Err(gone()) };
        let link = link_by_hand(&owner, &record.objects, hands, mtu);
        // Written down before it is made.
        let mut locked = Ledger::lock(&self.directories, None)?;
        let before = record.objects.clone();
        record.objects.links.push(link.clone());
        note_shared(&mut locked.ledger, &owner, &[&record.objects, &record.pending]);
        locked.save()?;
        drop(locked);
        record.save(&self.directories)?;
        let runtimes = self.runtimes(&record)?.ok_or_else(|| EngineError::Gone(owner.clone()))?;
        let made = {
            let _lock = self.lock_plumbing(&owner)?;
            let machine = Machine::observe()?;
            let backstage = Backstage::of(&runtimes.native, &record.objects.links)?;
            let wires = Wires {
                machine: &machine,
                namespaces: &namespaces,
                backstage: &backstage,
                group: group(&owner),
                lab: &owner,
            };
            let made = wires.make(&[&link])?;
            if !made.is_empty() {
                wires.remove(&[&link])?;
            }
            made
        };
        if !made.is_empty() {
            record.objects = before;
            record.save(&self.directories)?;
            return Err(EngineError::Failed(made));
        }
        Ok((owner, link))
    }

    fn end(
        &self,
        lab: Option<&LabRecord>,
        text: &str,
    ) -> Result<(HandEnd, Netns, Option<String>), EngineError> {
        let parts: Vec<&str> = text.split(':').collect();
        let host =
            || -> Result<Netns, EngineError> { Ok(Netns::current()?.with_label("the host")) };
        let on_host =
            |node: &str, interface: &str, master: Option<&str>, switch: Option<&str>| HandEnd {
                namespace: NamespaceOf::Host,
                node: node.into(),
                interface: interface.into(),
                master: master.map(str::to_owned),
                switch: switch.map(str::to_owned),
            };
        match parts[..] {
            ["host", interface] => Ok((on_host("host", interface, None, None), host()?, None)),
            ["bridge", bridge, interface] => {
                Ok((on_host(bridge, interface, Some(bridge), None), host()?, None))
            }
            ["ovs-bridge", bridge, interface] => {
                Ok((on_host(bridge, interface, None, Some(bridge)), host()?, None))
            }
            [container, interface] if !interface.is_empty() => {
                let place = self.place(lab, container)?;
                let end = HandEnd {
                    namespace: place.namespace,
                    node: place.name,
                    interface: interface.into(),
                    master: None,
                    switch: None,
                };
                Ok((end, place.netns, place.lab.map(|l| l.name)))
            }
            _ => Err(EngineError::Input {
                what: format!("`{text}` is no end of a link"),
                hint: "write NODE:INTERFACE, host:INTERFACE, bridge:BRIDGE:INTERFACE or \
                       ovs-bridge:BRIDGE:INTERFACE"
                    .into(),
            }),
        }
    }
}
