//! Deploy: the wished-for lab against what is there; a running lab converges.

use crate::destroy::{DestroyOptions, group, remove_nodes};
use crate::error::Failure;
use crate::image::Images;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::preflight::{self, Situation};
use crate::record::{LabRecord, NodeRecord, lock_lab};
use crate::report::{Event, Reporter};
use crate::schedule::{self, Outcome};
use crate::spec::{self, Parts, Paths};
use crate::stages::{Stages, Starting};
use crate::wire::{Wires, mgmt_spec};
use crate::{Engine, EngineError, files, hosts, netns_link};
use fs_err as fs;
use netloom_datapath::{Netns, mgmt, observe};
use netloom_diag::Diagnostics;
use netloom_image::{Image, Store};
use netloom_plan::{
    Difference, LinkObject, Macs, NamespaceOf, Network, NodeObject, Objects, Task, difference,
    order, plan_links, plan_nodes,
};
use netloom_runtime::{ContainerSpec, Runtime, Status};
use netloom_runtime_native::NativeRuntime;
use netloom_topology::{EndpointNode, Lab};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// How a lab is made.
#[derive(Clone)]
pub struct DeployOptions {
    /// Most nodes at once; 0 chooses.
    pub max_workers: usize,
    /// Only these nodes; empty for all.
    pub node_filter: Vec<String>,
    /// Keep what was made when something fails.
    pub keep_failed: bool,
    /// Unmake the running lab first, its directory too.
    pub reconfigure: bool,
    /// Longest time for a stage that others wait for.
    pub timeout: Duration,
    /// The user's home.
    pub home: PathBuf,
    /// Asked between two steps: whether the user wants to stop.
    pub interrupted: fn() -> bool,
}

/// What a deploy would do.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Planned {
    /// The management network, with addresses.
    pub network: Option<Network>,
    /// Everything the lab will have.
    pub objects: Objects,
    /// What has to be done for it.
    pub difference: Difference,
    /// Nodes that are there but do not run, and will be started.
    pub start: Vec<String>,
}

/// What a deploy did.
#[derive(Debug, Clone, Default)]
pub struct Deployed {
    /// Nodes made or started.
    pub nodes: usize,
    /// Links made.
    pub links: usize,
    /// Nodes removed, or made anew.
    pub removed: usize,
    /// Keys that could not be honoured, and the like.
    pub warnings: Vec<String>,
}

/// Everything decided, before anything is done.
struct Decision {
    planned: Planned,
    images: HashMap<String, Image>,
    digests: BTreeMap<String, String>,
    specs: BTreeMap<String, (ContainerSpec, netloom_topology::NodeFiles)>,
    uses: BTreeSet<String>,
    warnings: Vec<String>,
    record: Option<LabRecord>,
    machine: Machine,
}

impl Engine {
    /// Says what a deploy would do, and does nothing.
    pub fn plan(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        found: &mut Diagnostics,
    ) -> Result<Planned, EngineError> {
        let lab = filtered(lab, &options.node_filter);
        let runtime = self.runtime(&lab.name)?;
        let ledger = Ledger::read(&self.directories)?;
        Ok(self.decide(&lab, options, runtime.as_ref(), &ledger, found)?.planned)
    }

    /// Makes a lab, or brings a running one to what its file says now.
    pub fn deploy(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<Deployed, EngineError> {
        need_root()?;
        let lab = filtered(lab, &options.node_filter);
        let _lock = lock_lab(&self.directories, &lab.name)?;
        self.refuse_foreign(&lab)?;
        self.clear_the_way(&lab, options, report)?;
        let fresh = LabRecord::load(&self.directories, &lab.name)?.is_none();
        let result = self.deploy_locked(&lab, options, report);
        if let Err(e) = &result
            && fresh
            && !options.keep_failed
            && !matches!(e, EngineError::Refused(_))
        {
            report.event(Event::Warning("undoing what was made".into()));
            let undo = DestroyOptions { cleanup: true, ..DestroyOptions::default() };
            match self.destroy_locked(&lab.name, &undo, report) {
                Ok(()) | Err(EngineError::NoLab(_)) => {}
                Err(e) => report.event(Event::Warning(format!("could not undo everything: {e}"))),
            }
        }
        result
    }

    /// A lab of this name that came from another file is somebody else's.
    fn refuse_foreign(&self, lab: &Lab) -> Result<(), EngineError> {
        match LabRecord::load(&self.directories, &lab.name)? {
            Some(r) if r.topology != lab.topology_file => {
                Err(EngineError::NameTaken { name: lab.name.clone(), topology: r.topology })
            }
            _ => Ok(()),
        }
    }

    /// Removes what a dead holder left, and the whole lab when asked to.
    fn clear_the_way(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let folder = self.directories.lab(&lab.name);
        let recorded = LabRecord::load(&self.directories, &lab.name)?.is_some();
        let dead = folder.is_dir() && self.runtime(&lab.name)?.is_none();
        if !(dead || (options.reconfigure && recorded)) {
            return Ok(());
        }
        if dead && recorded && !options.reconfigure {
            let what = "the lab's processes are gone (a reboot, or a kill); it is made anew";
            report.event(Event::Warning(what.into()));
        }
        let clean = DestroyOptions { cleanup: options.reconfigure, ..DestroyOptions::default() };
        match self.destroy_locked(&lab.name, &clean, report) {
            Ok(()) | Err(EngineError::NoLab(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn deploy_locked(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<Deployed, EngineError> {
        // The ledger is held from the choice of addresses until they are written down.
        let mut locked = Ledger::lock(&self.directories)?;
        let mut found = Diagnostics::default();
        let existing = self.runtime(&lab.name)?;
        let decision = self.decide(lab, options, existing.as_ref(), &locked.ledger, &mut found)?;
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        let Planned { network, objects, difference, start } = &decision.planned;
        let mut record = decision.record.clone().unwrap_or_else(|| LabRecord::new(&lab.name));
        let made_lab_dir = record.made_lab_dir || !lab.dir.exists();
        if decision.record.is_some() && difference.is_empty() && start.is_empty() && record.complete
        {
            self.write_names(lab, objects)?;
            return Ok(Deployed { warnings: decision.warnings, ..Deployed::default() });
        }
        let uses: BTreeSet<String> = decision.uses.clone();
        record.owner = lab.owner.clone();
        record.topology = lab.topology_file.clone();
        record.lab_dir = lab.dir.clone();
        record.made_lab_dir = made_lab_dir;
        record.network = network.as_ref().map(|n| n.name.clone());
        record.uses = record.uses.union(&uses).cloned().collect();
        record.complete = false;
        let before = record.objects.clone();
        record.objects = union(&before, objects);
        self.describe(lab, &decision, &mut record);
        record.save(&self.directories)?;
        if let Some(network) = network {
            locked.ledger.networks.insert(network.name.clone(), network.clone());
        }
        note_shared(&mut locked.ledger, lab, objects);
        locked.save()?;
        if let Some(network) = network {
            self.make_network(&mut locked, network)?;
        }
        drop(locked);
        drop(existing);
        let runtime = NativeRuntime::open(&self.directories.native(&lab.name, self))?;
        let apply = Apply {
            engine: self,
            lab,
            options,
            report,
            decision: &decision,
            runtime: &runtime,
            before: &before,
        };
        let made = apply.run(&mut record)?;
        record.objects = objects.clone();
        let names: HashSet<&str> = objects.nodes.iter().map(|n| n.name.as_str()).collect();
        record.nodes.retain(|name, _| names.contains(name.as_str()));
        record.uses = uses;
        record.complete = true;
        record.save(&self.directories)?;
        Ok(Deployed { warnings: decision.warnings.clone(), ..made })
    }

    /// Makes the network; the host's settings it changes are written down.
    fn make_network(
        &self,
        locked: &mut crate::ledger::Locked,
        network: &Network,
    ) -> Result<(), EngineError> {
        let host = Netns::current()?;
        let done = mgmt::ensure(&host, &mgmt_spec(network)?)?;
        if !done.sysctls.is_empty() {
            for change in done.sysctls {
                locked.ledger.sysctls.entry(change.key).or_insert(change.before);
            }
            locked.save()?;
        }
        Ok(())
    }

    fn describe(&self, lab: &Lab, decision: &Decision, record: &mut LabRecord) {
        for node in &lab.nodes {
            let have = record.nodes.get(&node.name);
            let described = NodeRecord {
                long_name: node.long_name.clone(),
                kind: node.kind.clone(),
                image: node.image.clone(),
                group: node.group.clone(),
                labels: node.labels.clone(),
                digest: decision.digests.get(&node.name).cloned().unwrap_or_default(),
                exec: node.exec.clone(),
                netns: have.and_then(|h| h.netns.clone()),
            };
            record.nodes.insert(node.name.clone(), described);
        }
    }

    /// Observes, checks and plans.
    fn decide(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        runtime: Option<&NativeRuntime>,
        ledger: &Ledger,
        found: &mut Diagnostics,
    ) -> Result<Decision, EngineError> {
        let machine = Machine::observe()?;
        let record = LabRecord::load(&self.directories, &lab.name)?;
        let others = self.other_containers(&lab.name)?;
        let topology = lab.topology_file.parent().unwrap_or(std::path::Path::new("/"));
        let paths = Paths { topology, home: &options.home, directories: &self.directories };
        let situation = Situation {
            machine: &machine,
            ledger,
            record: record.as_ref(),
            others: &others,
            paths: &paths,
        };
        let mut images = Images::open(Store::open(self.directories.images())?);
        let images = preflight::check(lab, &situation, &mut images, found)?;
        let network = network(lab, ledger, &machine)?;
        let mut macs = Macs::default();
        let in_use: BTreeSet<u16> =
            ledger.ports.iter().filter(|(_, l)| **l != lab.name).map(|(p, _)| *p).collect();
        let nodes = plan_nodes(lab, network.as_ref(), &others, &in_use, &mut macs);
        let links = plan_links(lab, network.as_ref(), &others, &mut macs);
        let objects = Objects { nodes, links };
        let mut decision = Decision {
            planned: Planned {
                network,
                objects,
                difference: Difference::default(),
                start: Vec::new(),
            },
            images,
            digests: BTreeMap::new(),
            specs: BTreeMap::new(),
            uses: BTreeSet::new(),
            warnings: Vec::new(),
            record,
            machine,
        };
        self.containers(lab, options, &paths, &mut decision, found)?;
        self.compare(runtime, &mut decision)?;
        Ok(decision)
    }

    /// What every container is made from.
    fn containers(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        paths: &Paths<'_>,
        decision: &mut Decision,
        found: &mut Diagnostics,
    ) -> Result<(), EngineError> {
        for (node, object) in lab.nodes.iter().zip(&decision.planned.objects.nodes) {
            let netns = match &object.namespace {
                NamespaceOf::Other { lab, node } => {
                    decision.uses.insert(lab.clone());
                    self.netns_path(lab, node)?
                }
                _ => None,
            };
            let Some(image) = decision.images.get(&node.name) else { continue };
            let files = match files::render(lab, node, object, &options.home) {
                Ok(files) => files,
                Err(why) => {
                    // A missing start-up file has been reported with its place.
                    if !found.has_errors() {
                        found.push(
                            netloom_diag::Diagnostic::error("kind-template", why).at(node.span),
                        );
                    }
                    continue;
                }
            };
            let parts = Parts { lab, node, object, image, files: &files, paths, netns };
            let spec = spec::container(&parts, &mut decision.warnings);
            decision.digests.insert(node.name.clone(), digest(&spec, &node.exec));
            decision.specs.insert(node.name.clone(), (spec, files));
        }
        Ok(())
    }

    /// Compares what is there with what is wished for.
    fn compare(
        &self,
        runtime: Option<&NativeRuntime>,
        decision: &mut Decision,
    ) -> Result<(), EngineError> {
        let (Some(record), Some(runtime)) = (&decision.record, runtime) else {
            decision.planned.difference =
                difference(&Objects::default(), &decision.planned.objects, |_| false);
            return Ok(());
        };
        let kept: HashSet<String> = runtime.kept_names()?.into_iter().collect();
        let mut have = record.objects.clone();
        have.nodes.retain(|n| match &n.namespace {
            NamespaceOf::Node(owner) => kept.contains(&format!("netns:{owner}")),
            _ => true,
        });
        let there: HashSet<&str> = have.nodes.iter().map(|n| n.name.as_str()).collect();
        let present = if record.complete { present(&have, runtime)? } else { HashSet::new() };
        have.links.retain(|l| present.contains(&l.id));
        let rebuild = |name: &str| {
            record.nodes.get(name).map(|r| r.digest.as_str()).unwrap_or_default()
                != decision.digests.get(name).map(String::as_str).unwrap_or_default()
        };
        let difference = difference(&have, &decision.planned.objects, rebuild);
        let remade: HashSet<&str> = difference.make_nodes.iter().map(|n| n.name.as_str()).collect();
        let running: HashSet<String> = runtime
            .list()?
            .into_iter()
            .filter(|s| matches!(s.status, Status::Running | Status::Restarting))
            .map(|s| s.name)
            .collect();
        decision.planned.start = decision
            .planned
            .objects
            .nodes
            .iter()
            .filter(|n| n.container && there.contains(n.name.as_str()))
            .filter(|n| !remade.contains(n.name.as_str()) && !running.contains(&n.long_name))
            .map(|n| n.name.clone())
            .collect();
        decision.planned.difference = difference;
        Ok(())
    }

    /// Containers of other labs, by name.
    fn other_containers(
        &self,
        lab: &str,
    ) -> Result<BTreeMap<String, (String, String)>, EngineError> {
        let mut out = BTreeMap::new();
        for record in LabRecord::all(&self.directories)?.into_iter().filter(|r| r.name != lab) {
            for (name, node) in record.nodes {
                let owner =
                    record.objects.nodes.iter().find(|o| o.name == name).map(|o| &o.namespace);
                if let Some(NamespaceOf::Node(owner)) = owner {
                    out.insert(node.long_name, (record.name.clone(), owner.clone()));
                }
            }
        }
        Ok(out)
    }

    /// Path of the namespace of a node of another lab, as this machine can open it now.
    fn netns_path(&self, lab: &str, node: &str) -> Result<Option<PathBuf>, EngineError> {
        let record = LabRecord::load(&self.directories, lab)?;
        Ok(record.and_then(|r| r.nodes.get(node).and_then(|n| n.netns.clone())))
    }

    fn write_names(&self, lab: &Lab, objects: &Objects) -> Result<(), EngineError> {
        let lines = hosts::lab_lines(lab, objects);
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        for (node, object) in lab.nodes.iter().zip(&objects.nodes).filter(|(_, o)| o.container) {
            let managed = object.mgmt.is_some();
            files::write_names(&self.directories, lab, node, managed, &lines, &resolv)?;
        }
        Ok(())
    }
}

fn need_root() -> Result<(), EngineError> {
    match nix::unistd::Uid::effective().is_root() {
        true => Ok(()),
        false => Err(EngineError::Permission {
            what: "deploying a lab".into(),
            why: "namespaces and mounts are made with the rights of root; run it with sudo".into(),
        }),
    }
}

/// The lab without the nodes that are not meant, and without links that would end nowhere.
fn filtered(lab: &Lab, names: &[String]) -> Lab {
    let mut lab = lab.clone();
    if names.is_empty() {
        return lab;
    }
    lab.nodes.retain(|n| names.contains(&n.name));
    lab.links.retain(|l| {
        l.endpoints.iter().all(|e| match &e.node {
            EndpointNode::Node(n) => names.contains(n),
            _ => true,
        })
    });
    lab
}

/// The management network a lab needs, with its addresses reserved.
fn network(lab: &Lab, ledger: &Ledger, machine: &Machine) -> Result<Option<Network>, EngineError> {
    let ports = lab.links.iter().flat_map(|l| &l.endpoints);
    let used = lab.nodes.iter().any(|n| n.managed())
        || ports.clone().any(|e| e.node == EndpointNode::MgmtNet);
    if !used {
        return Ok(None);
    }
    let existing = ledger.networks.get(&lab.mgmt.network);
    let mut others = machine.subnets.clone();
    for network in ledger.networks.values().filter(|n| n.name != lab.mgmt.network) {
        let label = format!("network `{}`", network.name);
        others.extend(network.ipv4.map(|n| (n.into(), label.clone())));
        others.extend(network.ipv6.map(|n| (n.into(), label.clone())));
    }
    let mut network = Network::wanted(&lab.mgmt, existing, &others)?;
    network.reserve(lab)?;
    Ok(Some(network))
}

fn digest(spec: &ContainerSpec, exec: &[String]) -> String {
    let text = serde_json::to_string(&(spec, exec)).unwrap_or_default();
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Objects of both sets, the newer ones first in case of equal names.
fn union(have: &Objects, want: &Objects) -> Objects {
    let mut out = want.clone();
    let names: HashSet<&str> = want.nodes.iter().map(|n| n.name.as_str()).collect();
    out.nodes.extend(have.nodes.iter().filter(|n| !names.contains(n.name.as_str())).cloned());
    let ids: HashSet<&str> = want.links.iter().map(|l| l.id.as_str()).collect();
    out.links.extend(have.links.iter().filter(|l| !ids.contains(l.id.as_str())).cloned());
    out
}

/// What the lab takes of the host's names and ports.
fn note_shared(ledger: &mut Ledger, lab: &Lab, objects: &Objects) {
    ledger.ports.retain(|_, l| *l != lab.name);
    for port in objects.nodes.iter().flat_map(|n| &n.ports) {
        ledger.ports.insert(port.host_port, lab.name.clone());
    }
    let ends = objects.links.iter().flat_map(|l| std::iter::once(&l.a).chain(&l.b));
    for end in ends.filter(|e| e.namespace == NamespaceOf::Host) {
        ledger.interfaces.insert(end.interface.clone(), lab.name.clone());
    }
}

/// Links whose interfaces are all there.
fn present(have: &Objects, runtime: &NativeRuntime) -> Result<HashSet<String>, EngineError> {
    let mut names: HashMap<&NamespaceOf, HashSet<String>> = HashMap::new();
    let ends = |l: &'_ LinkObject| {
        [Some(l.a.clone()), l.b.clone()].into_iter().flatten().collect::<Vec<_>>()
    };
    for link in &have.links {
        for end in std::iter::once(&link.a).chain(&link.b) {
            if names.contains_key(&end.namespace) {
                continue;
            }
            let netns = match &end.namespace {
                NamespaceOf::Host => Some(Netns::current()?),
                NamespaceOf::Node(n) => match runtime.kept(&format!("netns:{n}"))? {
                    Some(fd) => Some(Netns::from_fd(fd)?),
                    None => None,
                },
                NamespaceOf::Other { .. } => None,
            };
            let set = match netns {
                Some(netns) => observe::links_in(&netns)?.into_iter().map(|l| l.name).collect(),
                None => HashSet::new(),
            };
            names.insert(&end.namespace, set);
        }
    }
    Ok(have
        .links
        .iter()
        .filter(|l| {
            ends(l).iter().all(|e| {
                matches!(e.namespace, NamespaceOf::Other { .. })
                    || names.get(&e.namespace).is_some_and(|s| s.contains(&e.interface))
            })
        })
        .map(|l| l.id.clone())
        .collect())
}

/// Carrying a decision out.
struct Apply<'a> {
    engine: &'a Engine,
    lab: &'a Lab,
    options: &'a DeployOptions,
    report: &'a dyn Reporter,
    decision: &'a Decision,
    runtime: &'a NativeRuntime,
    before: &'a Objects,
}

impl Apply<'_> {
    fn run(&self, record: &mut LabRecord) -> Result<Deployed, EngineError> {
        let Planned { network, objects, difference, start } = &self.decision.planned;
        let parking = self.parking()?;
        self.remove(difference, &parking)?;
        self.stop_here()?;
        let make: HashSet<&str> = difference.make_nodes.iter().map(|n| n.name.as_str()).collect();
        let namespaces = self.namespaces(objects, record)?;
        record.save(&self.engine.directories)?;
        self.files(objects)?;
        let wires = Wires {
            machine: &self.decision.machine,
            namespaces: &namespaces,
            parking: &parking,
            group: group(&self.lab.name),
        };
        let fresh: Vec<&NodeObject> =
            objects.nodes.iter().filter(|n| make.contains(n.name.as_str())).collect();
        wires.make_bridges(&fresh)?;
        let mut failures = Vec::new();
        if let Some(network) = network {
            failures.extend(wires.attach(network, &fresh)?);
            wires.publish(&self.lab.name, network, &objects.nodes)?;
        }
        self.stop_here()?;
        let ids: HashSet<&str> = difference.make_links.iter().map(|l| l.id.as_str()).collect();
        let links: BTreeSet<usize> = (0..objects.links.len())
            .filter(|i| ids.contains(objects.links[*i].id.as_str()))
            .collect();
        let nodes: BTreeSet<usize> = (0..objects.nodes.len())
            .filter(|i| {
                let name = objects.nodes[*i].name.as_str();
                make.contains(name) || start.iter().any(|s| s == name)
            })
            .collect();
        let order = order(self.lab, objects, &nodes, &links);
        self.report.event(Event::Phase("making links", order.at_once.len()));
        let at_once: Vec<&LinkObject> = order.at_once.iter().map(|i| &objects.links[*i]).collect();
        failures.extend(wires.make(&at_once)?);
        self.report.event(Event::Done);
        self.stop_here()?;
        if failures.is_empty() {
            failures.extend(self.start(&nodes, &order, objects, &wires)?);
        }
        self.stop_here()?;
        match failures.is_empty() {
            true => Ok(Deployed {
                nodes: nodes.len(),
                links: links.len(),
                removed: difference.remove_nodes.len(),
                warnings: Vec::new(),
            }),
            false => Err(EngineError::Failed(failures)),
        }
    }

    fn stop_here(&self) -> Result<(), EngineError> {
        if (self.options.interrupted)() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    /// A namespace for what must not lead anywhere.
    fn parking(&self) -> Result<Netns, EngineError> {
        if let Some(fd) = self.runtime.kept("parking")? {
            return Ok(Netns::from_fd(fd)?);
        }
        let needed = |l: &LinkObject| l.how == netloom_plan::Impl::Dummy;
        if !self.decision.planned.objects.links.iter().any(needed) {
            return Ok(Netns::current()?);
        }
        let netns = Netns::create()?;
        self.runtime.keep_fd("parking", netns.try_clone()?.into())?;
        Ok(netns)
    }

    fn remove(&self, difference: &Difference, parking: &Netns) -> Result<(), EngineError> {
        let Some(record) = &self.decision.record else { return Ok(()) };
        if !difference.remove_links.is_empty() {
            let mut namespaces = HashMap::new();
            for node in &self.before.nodes {
                if let NamespaceOf::Node(n) = &node.namespace
                    && let Some(fd) = self.runtime.kept(&format!("netns:{n}"))?
                {
                    namespaces.insert(node.namespace.clone(), Netns::from_fd(fd)?);
                }
            }
            let wires = Wires {
                machine: &self.decision.machine,
                namespaces: &namespaces,
                parking,
                group: group(&self.lab.name),
            };
            let gone: HashSet<&str> = difference.remove_links.iter().map(String::as_str).collect();
            let list: Vec<&LinkObject> =
                self.before.links.iter().filter(|l| gone.contains(l.id.as_str())).collect();
            let failures = wires.remove(&list)?;
            if !failures.is_empty() {
                return Err(EngineError::Failed(failures));
            }
        }
        remove_nodes(self.runtime, record, &difference.remove_nodes)?;
        for name in &difference.remove_nodes {
            if let Some(node) = record.nodes.get(name) {
                netns_link::hide(&self.engine.directories.netns, &node.long_name);
            }
        }
        Ok(())
    }

    /// Opens every namespace of the lab; those that are not there are made and given to the holder.
    fn namespaces(
        &self,
        objects: &Objects,
        record: &mut LabRecord,
    ) -> Result<HashMap<NamespaceOf, Netns>, EngineError> {
        let mut out = HashMap::new();
        let kept: HashSet<String> = self.runtime.kept_names()?.into_iter().collect();
        let mut missing: BTreeSet<&str> = BTreeSet::new();
        for node in &objects.nodes {
            match &node.namespace {
                NamespaceOf::Host => {}
                NamespaceOf::Other { lab, node: other } => {
                    if let Some(netns) = self.engine.namespace_of(lab, other)? {
                        out.insert(node.namespace.clone(), netns);
                    }
                }
                NamespaceOf::Node(owner) => {
                    let key = format!("netns:{owner}");
                    if !kept.contains(&key) {
                        missing.insert(owner);
                    } else if let Some(fd) = self.runtime.kept(&key)? {
                        let netns = Netns::from_fd(fd)?.with_label(format!("node {owner}"));
                        out.insert(node.namespace.clone(), netns);
                    }
                }
            }
        }
        self.report.event(Event::Phase("making namespaces", missing.len()));
        for (owner, netns) in missing.iter().zip(Netns::create_many(missing.len())?) {
            let netns = netns.with_label(format!("node {owner}"));
            let path =
                self.runtime.keep_fd(&format!("netns:{owner}"), netns.try_clone()?.into())?;
            if let Some(node) = record.nodes.get_mut(*owner) {
                netns_link::show(&self.engine.directories.netns, &node.long_name, &path)?;
                node.netns = Some(path);
            }
            out.insert(NamespaceOf::Node((*owner).to_string()), netns);
            self.report.event(Event::Step);
        }
        self.report.event(Event::Done);
        Ok(out)
    }

    /// Lab directory, files the kinds generate, names.
    fn files(&self, objects: &Objects) -> Result<(), EngineError> {
        fs::create_dir_all(&self.lab.dir)?;
        for (spec, files) in self.decision.specs.values() {
            files::write(files)?;
            for bind in &spec.binds {
                let ours = bind.source.starts_with(&self.lab.dir)
                    || bind.source.starts_with(self.engine.directories.state.join("volumes"));
                if ours && !bind.source.exists() {
                    fs::create_dir_all(&bind.source)?;
                }
            }
        }
        self.engine.write_names(self.lab, objects)
    }

    fn start(
        &self,
        nodes: &BTreeSet<usize>,
        order: &netloom_plan::Order,
        objects: &Objects,
        wires: &Wires<'_>,
    ) -> Result<Vec<Failure>, EngineError> {
        let starting: Vec<Starting<'_>> = self
            .lab
            .nodes
            .iter()
            .map(|node| Starting {
                node,
                spec: self.decision.specs.get(&node.name).map(|(s, _)| s.clone()),
                begun: Mutex::new(None),
                running: false,
            })
            .collect();
        let folder = self.lab.topology_file.parent().unwrap_or(std::path::Path::new("/"));
        let stages = Stages {
            runtime: self.runtime,
            report: self.report,
            timeout: self.options.timeout,
            folder,
        };
        let before: Vec<Vec<usize>> = order.tasks.iter().map(|(_, deps)| deps.clone()).collect();
        let workers = match self.options.max_workers {
            0 => std::thread::available_parallelism().map_or(4, |n| n.get() * 4),
            n => n,
        };
        self.report.event(Event::Phase("starting nodes", nodes.len()));
        let (failed, _) =
            schedule::run(&before, workers, &|| (self.options.interrupted)(), &|t| match &order
                .tasks[t]
                .0
            {
                Task::Stage(task) => stages.run(&starting[task.node], *task),
                Task::Link(l) => match wires.make(&[&objects.links[*l]]) {
                    Ok(f) if f.is_empty() => Outcome::Done,
                    Ok(f) => Outcome::Failed(f[0].why.clone()),
                    Err(e) => Outcome::Failed(e.to_string()),
                },
            });
        self.report.event(Event::Done);
        Ok(failed
            .into_iter()
            .map(|(t, why)| match &order.tasks[t].0 {
                Task::Stage(s) => {
                    Failure { what: format!("node {}", self.lab.nodes[s.node].name), why }
                }
                Task::Link(l) => Failure { what: format!("link {}", objects.links[*l].id), why },
            })
            .collect())
    }
}
