//! Unmaking a lab from its record, whatever became of its file.

use crate::daemon_network::LATE;
use crate::deploy::need_root;
use crate::error::Failure;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::record::{LabRecord, check_name, lock_lab};
use crate::report::{Event, Reporter};
use crate::runtimes::{Runtimes, containers};
use crate::schedule::{self, Graph, Outcome};
use crate::wire::{Backstage, Wires, mgmt_spec};
use crate::{Engine, EngineError, hostwide, labdir, netns_link};
use netloom_datapath::{Netns, Socket, link, mgmt, ovs};
use netloom_plan::{Impl, LinkObject, NamespaceOf, NodeObject, Objects};
use netloom_runtime::Runtime;
use netloom_runtime_native::NativeRuntime;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
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
        need_root("destroying a lab")?;
        let _lock = lock_lab(&self.directories, name)?;
        self.destroy_locked(name, options, report)
    }

    pub(crate) fn destroy_locked(
        &self,
        name: &str,
        options: &DestroyOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        check_name(name)?;
        let folder = self.directories.lab(name);
        let mut known = true;
        let record = match LabRecord::load(&self.directories, name) {
            Ok(Some(record)) => record,
            Ok(None) if folder.is_dir() => {
                known = false;
                LabRecord::new(name)
            }
            Ok(None) => return Err(EngineError::NoLab(name.into())),
            Err(e) => {
                // What it was made of cannot be read; its processes, groups and reservations are
                // known by its name.
                report.event(Event::Warning(e.to_string()));
                known = false;
                LabRecord::new(name)
            }
        };
        // Who lived in the namespaces of a lab whose processes are gone has lost them already.
        if !matches!(self.runtime(name), Ok(None)) {
            self.refuse_if_used(name)?;
        }
        let config = self.directories.native(name, self);
        let everything = record.everything();
        if options.graceful
            && let Ok(Some(runtimes)) = self.runtimes(&record)
        {
            self.stop_all(&record, &runtimes, options, report);
        }
        let networks: Vec<String> = match known {
            true => record.networks.iter().cloned().collect(),
            false => {
                let networks = Ledger::read(&self.directories)?.networks.into_iter();
                networks.filter(|(_, n)| n.users.contains_key(name)).map(|(n, _)| n).collect()
            }
        };
        // Each part is tried whatever became of the others; the record stays until all are done.
        let mut failures = Vec::new();
        let mut tried = |what: &str, done: Result<(), EngineError>| {
            if let Err(e) = done {
                failures.push(Failure::new(what, e.to_string()));
            }
        };
        tried("quieting the management network", self.quiesce(name, &networks, options));
        tried("links on the host", self.remove_shared_ends(&record, &everything));
        report.event(Event::Phase("removing nodes", everything.nodes.len()));
        tried("Kubernetes clusters", self.remove_clusters(&record));
        tried("containers of daemons", self.take_back(&record, options));
        tried(
            "the nodes",
            netloom_runtime_native::end(&config).map(drop).map_err(EngineError::from),
        );
        report.event(Event::Done);
        for node in &everything.nodes {
            netns_link::hide(&self.directories.netns, &node.long_name);
        }
        if let Err(e) = self.remove_outputs(name) {
            // A name too many is no reason to keep a lab that is gone.
            report.event(Event::Warning(format!("names of the lab are left on the host: {e}")));
        }
        let ports = everything.nodes.iter().any(|n| !n.ports.is_empty());
        tried("published ports", self.leave_host(name, ports));
        let half_made = !record.complete;
        tried(
            "the management network",
            self.leave_networks(name, &networks, options.keep_mgmt_net, half_made),
        );
        if options.cleanup && record.lab_dir.is_absolute() {
            tried("the lab directory", labdir::remove(&record.lab_dir));
        }
        if !failures.is_empty() {
            return Err(EngineError::NotRemoved(failures));
        }
        remove_tree(&config.run_dir)?;
        remove_tree(&folder)?;
        Ok(())
    }

    /// Removes the containers that daemons have of a lab: those of the record, and no others of
    /// their names.
    fn take_back(&self, record: &LabRecord, options: &DestroyOptions) -> Result<(), EngineError> {
        let list: Vec<&NodeObject> = record.given_away().collect();
        let workers = if options.max_workers == 0 { 16 } else { options.max_workers };
        let mut known = HashMap::new();
        for runs in list.iter().map(|n| n.runs) {
            if let Entry::Vacant(place) = known.entry(runs) {
                let of = containers(&self.daemons, &record.sockets, &record.name, runs)?;
                place.insert(of);
            }
        }
        // Podman keeps who lends others its namespace.
        let guests = |owner: &NodeObject| {
            let lives = NamespaceOf::Node(owner.name.clone());
            let guest = |i: &usize| list[*i].namespace == lives && list[*i].name != owner.name;
            (0..list.len()).filter(guest).collect()
        };
        let before: Vec<Vec<usize>> = list.iter().map(|owner| guests(owner)).collect();
        let graph = Graph { before: &before, workers, keep_going: true };
        let (failed, _) = schedule::run(&graph, &|| false, &|i| match known[&list[i].runs]
            .remove(&list[i].long_name, true)
        {
            Ok(()) => Outcome::Done,
            Err(e) => {
                let what = format!("node {}", list[i].name);
                Outcome::Failed(Failure::new(what, e.to_string()))
            }
        });
        if !failed.is_empty() {
            let failures = failed.into_iter().map(|(_, f)| f).collect();
            return Err(EngineError::NotRemoved(failures));
        }
        // What was given another name since, and what a command that was killed had asked for.
        if !record.complete && !known.is_empty() {
            std::thread::sleep(LATE);
        }
        for containers in known.values() {
            for state in containers.list()? {
                containers.remove(&state.name, true)?;
            }
        }
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

    fn stop_all(
        &self,
        record: &LabRecord,
        runtimes: &Runtimes,
        options: &DestroyOptions,
        report: &dyn Reporter,
    ) {
        report.event(Event::Phase("stopping nodes", record.nodes.len()));
        let nodes: Vec<_> = record.nodes.values().collect();
        let workers =
            if options.max_workers == 0 { nodes.len().clamp(1, 64) } else { options.max_workers };
        let before = vec![Vec::new(); nodes.len()];
        let graph = Graph { before: &before, workers, keep_going: true };
        schedule::run::<()>(&graph, &|| false, &|i| {
            // A node that does not stop is killed with the rest.
            let _ = runtimes.of(nodes[i].runs).map(|r| r.stop(&nodes[i].long_name, None));
            report.event(Event::Step);
            Outcome::Done
        });
        report.event(Event::Done);
    }

    /// Removes what does not go away with the nodes' namespaces: ends on the host, and ends and
    /// bridges in namespaces of other labs. Pairs on the host go as a group, in one request.
    fn remove_shared_ends(&self, record: &LabRecord, objects: &Objects) -> Result<(), EngineError> {
        let lab = record.name.as_str();
        let machine = Machine::bare()?;
        let mut namespaces = HashMap::new();
        for of in objects.places() {
            if let Some(netns) = self.anothers(&record.sockets, of)? {
                namespaces.insert(of.clone(), netns);
            }
        }
        let backstage = Backstage::none()?;
        let group = group(lab);
        let namespaces = &namespaces;
        let wires = Wires { machine: &machine, namespaces, backstage: &backstage, group, lab };
        let by_hand = |l: &&LinkObject| {
            let alone = !matches!(l.how, Impl::Veth | Impl::Stitch { .. })
                && l.a.namespace == NamespaceOf::Host;
            alone || l.ends().any(|e| e.namespace.is_anothers())
        };
        let links: Vec<_> = objects.links.iter().filter(by_hand).collect();
        let mut failures = wires.remove(&links)?;
        wires.remove_bridges(objects.nodes.iter().filter(|n| n.namespace.is_anothers()))?;
        let mut host = Socket::open_in(&machine.netns)?;
        if let Err(e) = leave_switches(&machine.netns, lab, objects) {
            failures.push(Failure::new("ports of Open vSwitch", e.to_string()));
        }
        link::delete_group(&mut host, group)?;
        if failures.is_empty() { Ok(()) } else { Err(EngineError::NotRemoved(failures)) }
    }

    /// Networks nobody else uses fall silent before their ports go. Under the ledger's lock, or
    /// another lab might come onto the network in between.
    fn quiesce(
        &self,
        lab: &str,
        networks: &[String],
        options: &DestroyOptions,
    ) -> Result<(), EngineError> {
        let locked = Ledger::lock(&self.directories, None)?;
        let host = Netns::current()?;
        for network in networks.iter().filter_map(|n| locked.ledger.networks.get(n)) {
            let alone = network.users.keys().all(|l| l == lab);
            if alone && !options.keep_mgmt_net {
                mgmt::quiesce(&host, &mgmt_spec(network)?)?;
            }
        }
        Ok(())
    }

    /// Gives back names and ports of the host.
    fn leave_host(&self, lab: &str, ports: bool) -> Result<(), EngineError> {
        let mut locked = Ledger::lock(&self.directories, None)?;
        let published = ports || locked.ledger.ports.values().any(|l| l == lab);
        locked.ledger.interfaces.retain(|_, l| l != lab);
        locked.ledger.ports.retain(|_, l| l != lab);
        let host = Netns::current()?;
        hostwide::leave_bridges(&host, &mut locked, lab, &Objects::default())?;
        if published {
            // Before the rules that guard it go.
            hostwide::close_loopback(&host, &mut locked)?;
            mgmt::unpublish(&host, lab)?;
        }
        locked.save()
    }

    /// Gives addresses back; the last lab removes a network and puts the host's settings back. A
    /// bridge that was there before us stays, without the addresses it got from us.
    pub(crate) fn leave_networks(
        &self,
        lab: &str,
        networks: &[String],
        keep: bool,
        half_made: bool,
    ) -> Result<(), EngineError> {
        let mut locked = Ledger::lock(&self.directories, None)?;
        let host = Netns::current()?;
        for name in networks {
            let Some(network) = locked.ledger.networks.get_mut(name) else { continue };
            network.users.remove(lab);
            if !keep && let Err(e) = self.forget_network(network, lab, half_made) {
                // Somebody else is in it, or the daemon is away: it stays, and works.
                let spec = mgmt_spec(network)?;
                mgmt::open(&host, &spec)?;
                locked.save()?;
                return Err(e);
            }
            if !network.users.is_empty() || keep {
                // Somebody came onto it after it had been quieted.
                mgmt::open(&host, &mgmt_spec(network)?)?;
                continue;
            }
            let network = network.clone();
            if network.foreign_bridge {
                hostwide::withdraw(&host, &mut locked, &mgmt_spec(&network)?)?;
            }
            hostwide::stop_letting(&host, &mut locked, name)?;
            mgmt::remove(&host, &mgmt_spec(&network)?)?;
            locked.ledger.networks.remove(name);
        }
        if locked.ledger.networks.is_empty() {
            hostwide::restore(&host, &mut locked)?;
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
        // A holder that is ending refuses; a moment later it is gone.
        let mut tries = 0;
        loop {
            match NativeRuntime::connect(&config) {
                Err(_) if tries < 20 => tries += 1,
                other => return Ok(other?),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Takes the lab's ports out of Open vSwitch, before their interfaces go.
fn leave_switches(host: &Netns, lab: &str, objects: &Objects) -> Result<(), EngineError> {
    let known = objects.links.iter().flat_map(|l| l.ends()).any(|e| e.switch.is_some());
    if !(known || objects.nodes.is_empty()) {
        return Ok(());
    }
    match ovs::forget(host, lab) {
        Err(e) if known => Err(e.into()),
        // Nothing says that there were any.
        _ => Ok(()),
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
