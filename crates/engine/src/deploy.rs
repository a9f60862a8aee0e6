//! Deploy: the wished-for lab against what is there; a running lab converges.

use crate::apply::Apply;
use crate::decide::Decision;
use crate::destroy::DestroyOptions;
use crate::exec::Selection;
use crate::ledger::{Ledger, note_shared};
use crate::names::NameWriter;
use crate::outside::foreign;
use crate::record::{LabRecord, NodeRecord, lock_lab};
use crate::report::{Event, Reporter};
use crate::runtimes::Runtimes;
use crate::{Engine, EngineError, digest, hosts, hostwide, prepare, tunnel};
use netloom_diag::Diagnostics;
use netloom_plan::{Difference, NamespaceOf, Network, Objects};
use netloom_runtime_native::NativeRuntime;
use netloom_topology::Lab;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Unmake the running lab first, and how.
    pub remake: Option<DestroyOptions>,
    /// Longest time for a stage that others wait for.
    pub timeout: Duration,
    /// The user's home.
    pub home: PathBuf,
    /// Variables that start-up configurations may refer to.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Leave out the steps a kind has for a started node.
    pub skip_post_deploy: bool,
    /// Only look: nothing will be made of the plan.
    pub look: bool,
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
    /// Nodes whose leg in the management network is mended.
    pub attach: Vec<String>,
    /// Whether other ports of the host lead to nodes than before.
    pub publish: bool,
    /// Whether the lab that is there is unmade first.
    pub anew: bool,
    /// Nodes that are Kubernetes clusters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
}

impl Planned {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.difference.is_empty()
            && self.start.is_empty()
            && self.attach.is_empty()
            && !self.publish
    }
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
    /// Management legs mended.
    pub healed: usize,
    /// Nodes that run, and are not as their kind says they should be.
    pub unready: Vec<String>,
}

impl Engine {
    /// Says what a deploy would do, and does nothing.
    pub fn plan(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        found: &mut Diagnostics,
    ) -> Result<Planned, EngineError> {
        let lab = prepare::filtered(lab, &options.node_filter);
        let lab = prepare::in_parts(&lab, &options.home)?;
        let record = LabRecord::load(&self.directories, &lab.name)?;
        let lab = prepare::rootless(&lab, &self.daemons, record.as_ref())?;
        let lab = tunnel::looked_up(&lab);
        self.refuse_foreign(&lab)?;
        self.refuse_filter(&lab, options)?;
        let runtimes = if options.remake.is_some() { None } else { self.existing(&lab.name)? };
        let ledger = Ledger::read(&self.directories)?;
        let mut decision = self.decide(&lab, options, runtimes.as_ref(), &ledger, found)?;
        decision.planned.anew = options.remake.is_some() && decision.record.is_some();
        if !found.has_errors() {
            self.refuse_removing_used(&lab, &decision)?;
        }
        Ok(decision.planned)
    }

    /// Makes a lab, or brings a running one to what its file says now.
    pub fn deploy(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<Deployed, EngineError> {
        need_root("deploying a lab")?;
        let lab = prepare::filtered(lab, &options.node_filter);
        let lab = prepare::in_parts(&lab, &options.home)?;
        let record = LabRecord::load(&self.directories, &lab.name)?;
        let lab = prepare::rootless(&lab, &self.daemons, record.as_ref())?;
        let lab = tunnel::looked_up(&lab);
        let _lock = lock_lab(&self.directories, &lab.name)?;
        self.refuse_foreign(&lab)?;
        self.refuse_filter(&lab, options)?;
        let made_here = !lab.dir.exists();
        self.fetch_images(&lab, options, report)?;
        self.clear_the_way(&lab, options, report)?;
        let fresh = LabRecord::load(&self.directories, &lab.name)?.is_none();
        let result = self
            .make_clusters(&lab, options, report)
            .and_then(|()| self.deploy_locked(&lab, options, report));
        // What was refused was not begun, unless it was refused after its clusters were made.
        if let Err(e) = &result
            && (fresh || !matches!(e, EngineError::Refused(_)))
        {
            match LabRecord::load(&self.directories, &lab.name)? {
                Some(_) => self.after_failure(&lab.name, fresh, made_here, options, report),
                // Not even the record could be written, so there is nothing else.
                None => drop(std::fs::remove_dir(self.directories.lab(&lab.name))),
            }
        }
        result
    }

    /// Brings links of a running lab back to where its containers are, which is what all that
    /// follows looks at. What cannot be mended is seen then.
    fn mend_all(&self, lab: &str, report: &dyn Reporter) -> Result<(), EngineError> {
        let Some(record) = LabRecord::load(&self.directories, lab)? else { return Ok(()) };
        for runs in record.runtimes().into_iter().filter(|r| r.own_namespaces()) {
            for (name, e) in self.mend(lab, runs, None)? {
                let name = name.unwrap_or_else(|| lab.to_owned());
                report.event(Event::Warning(format!("{name}: {e}")));
            }
        }
        for (runs, names) in foreign(&record) {
            for name in names {
                if let Err(e) = self.rewire(lab, runs, &name) {
                    report.event(Event::Warning(format!("{name}: {e}")));
                }
            }
        }
        Ok(())
    }

    /// The runtimes of a lab that is there.
    pub(crate) fn existing(&self, lab: &str) -> Result<Option<Runtimes>, EngineError> {
        match LabRecord::load(&self.directories, lab)? {
            Some(record) => self.runtimes(&record),
            None => {
                let native = self.runtime(lab)?.map(Arc::new);
                Ok(native.map(|n| Runtimes::new(self, &LabRecord::new(lab), n)))
            }
        }
    }

    /// A new lab is undone; a running one stays as far as it came.
    fn after_failure(
        &self,
        lab: &str,
        fresh: bool,
        made_here: bool,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) {
        if options.keep_failed || !fresh {
            let what = "the lab stays as far as it came; deploy again to go on, or destroy it";
            report.event(Event::Warning(what.into()));
            return;
        }
        report.event(Event::Warning("undoing what was made".into()));
        // A lab directory that was there before keeps what users saved in it.
        let undo = DestroyOptions { cleanup: made_here, ..DestroyOptions::default() };
        match self.destroy_locked(lab, &undo, report) {
            Ok(()) | Err(EngineError::NoLab(_)) => {}
            Err(e) => report.event(Event::Warning(format!("could not undo everything: {e}"))),
        }
    }

    /// A lab of this name that came from another file is somebody else's; a file that was moved is
    /// the same.
    pub fn refuse_foreign(&self, lab: &Lab) -> Result<(), EngineError> {
        match LabRecord::load(&self.directories, &lab.name)? {
            Some(r) if r.topology != lab.topology_file && r.topology.exists() => {
                Err(EngineError::NameTaken { name: lab.name.clone(), topology: r.topology })
            }
            _ => Ok(()),
        }
    }

    fn refuse_filter(&self, lab: &Lab, options: &DeployOptions) -> Result<(), EngineError> {
        let record = LabRecord::load(&self.directories, &lab.name)?;
        let meant = Selection { nodes: options.node_filter.clone(), labels: Vec::new() };
        let others = |r: &LabRecord| r.nodes.iter().any(|(name, n)| !meant.includes(name, n));
        match record {
            Some(r)
                if !options.node_filter.is_empty() && options.remake.is_none() && others(&r) =>
            {
                Err(EngineError::FilterOnRunning(lab.name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a dead holder left, and the whole lab when asked to; but not before it is clear
    /// that the new one can be made.
    fn clear_the_way(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let folder = self.directories.lab(&lab.name);
        let recorded = LabRecord::load(&self.directories, &lab.name)?.is_some();
        let dead = folder.is_dir() && self.runtime(&lab.name)?.is_none();
        if !(dead || (options.remake.is_some() && recorded)) {
            return Ok(());
        }
        let mut found = Diagnostics::default();
        self.decide(lab, options, None, &Ledger::read(&self.directories)?, &mut found)?;
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        if dead && recorded && options.remake.is_none() {
            let what = "the lab's processes are gone (a reboot, or a kill); it is made anew";
            report.event(Event::Warning(what.into()));
        }
        let clean = options.remake.clone().unwrap_or_default();
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
        self.mend_all(&lab.name, report)?;
        // The ledger is held from the choice of addresses until they are written down.
        let mut locked = Ledger::lock(&self.directories, Some(options.interrupted))?;
        let mut found = Diagnostics::default();
        let existing = self.existing(&lab.name)?;
        let mut decision =
            self.decide(lab, options, existing.as_ref(), &locked.ledger, &mut found)?;
        drop(existing);
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        self.refuse_removing_used(lab, &decision)?;
        if !found.is_empty() {
            report.event(Event::Found(found));
        }
        let mut record = decision.record.clone().unwrap_or_else(|| LabRecord::new(&lab.name));
        let idle = decision.record.is_some() && decision.planned.is_empty() && record.complete;
        self.intend(lab, &decision, &mut record);
        if !idle {
            record.complete = false;
        }
        // Until they are written nobody can say what the names in the nodes come from.
        let names = std::mem::take(&mut record.names);
        record.save(&self.directories)?;
        let Planned { network, objects, .. } = &decision.planned;
        if let Some(network) = network {
            let mut noted = network.clone();
            noted.note_macs(&lab.name, &objects.nodes);
            if let Some(before) = locked.ledger.networks.get(&network.name) {
                noted.hold(&lab.name, before);
            }
            locked.ledger.networks.insert(network.name.clone(), noted);
        }
        // What goes away is there until it is gone: nobody else may be given it before.
        note_shared(&mut locked.ledger, &lab.name, &[&record.objects, &record.pending]);
        locked.save()?;
        if let Some(network) = network {
            let alone = network.users.keys().all(|name| *name == lab.name);
            let publishes = objects.nodes.iter().any(|n| !n.ports.is_empty());
            for complaint in
                hostwide::make_network(&mut locked, network, alone && !idle, publishes)?
            {
                report.event(Event::Warning(complaint));
            }
            self.tell_daemons(lab, network)?;
        }
        for complaint in hostwide::let_bridges_through(&mut locked, &lab.name, objects)? {
            report.event(Event::Warning(complaint));
        }
        drop(locked);
        let mut done = Deployed::default();
        if idle {
            record.names = self.write_names(lab, &decision, &names)?;
        } else {
            let native = Arc::new(NativeRuntime::open(&self.directories.native(&lab.name, self))?);
            let runtimes = Runtimes::new(self, &record, native);
            let apply = Apply { engine: self, lab, options, report, decision: &decision, runtimes };
            done = apply.run(&mut record, &names)?;
        }
        let states = match self.runtimes(&record)? {
            Some(runtimes) => runtimes.states(&record.runtimes())?,
            None => HashMap::new(),
        };
        for node in &mut decision.planned.objects.nodes {
            let chosen = states.get(&node.long_name).map(|s| &s.addresses);
            if let (Some(leg), Some(chosen)) = (&mut node.mgmt, chosen)
                && leg.self_willed
            {
                leg.addresses = chosen.iter().filter_map(|a| a.parse().ok()).collect();
            }
        }
        let mut ids: BTreeMap<String, String> =
            states.into_iter().map(|(name, state)| (name, state.id)).collect();
        self.lend_addresses(&mut decision, &record, &mut ids)?;
        for complaint in self.write_outputs(lab, &decision, options, &ids)? {
            report.event(Event::Warning(complaint));
        }
        // They are not the lab's to keep.
        for node in decision.planned.objects.nodes.iter_mut().filter(|n| n.outside) {
            node.mgmt = None;
        }
        self.settle(&decision, &mut record)?;
        Ok(done)
    }

    /// What the record says before anything is made: all that may be there from now on.
    fn intend(&self, lab: &Lab, decision: &Decision, record: &mut LabRecord) {
        let planned = &decision.planned;
        record.owner = lab.owner.clone();
        record.topology = lab.topology_file.clone();
        record.lab_dir = lab.dir.clone();
        record.networks.extend(planned.network.as_ref().map(|n| n.name.clone()));
        record.uses.extend(decision.uses.iter().cloned());
        record.sockets.extend(decision.sockets.clone());
        // What earlier deploys began and never ended may be there as well.
        let earlier = std::mem::replace(&mut record.pending, planned.objects.clone());
        record.pending.add(earlier);
        let d = &planned.difference;
        let pending: HashSet<&str> = d
            .make_nodes
            .iter()
            .map(String::as_str)
            .chain(d.rebuild.iter().map(String::as_str))
            .collect();
        for node in &lab.nodes {
            let have = record.nodes.get(&node.name);
            let digest = match pending.contains(node.name.as_str()) {
                true => String::new(),
                false => have.map(|h| h.digest.clone()).unwrap_or_default(),
            };
            let described = NodeRecord {
                long_name: node.long_name.clone(),
                kind: node.kind.clone(),
                image: node.image.clone(),
                group: node.group.clone(),
                labels: node.labels.clone(),
                digest,
                exec: node.exec.clone(),
                netns: have.and_then(|h| h.netns.clone()),
                runs: netloom_plan::runs(node),
                layers: decision.layers(&node.name),
            };
            record.nodes.insert(node.name.clone(), described);
        }
    }

    /// What the record says once everything is made.
    fn settle(&self, decision: &Decision, record: &mut LabRecord) -> Result<(), EngineError> {
        let Planned { network, objects, .. } = &decision.planned;
        let mut locked = Ledger::lock(&self.directories, None)?;
        let before = locked.ledger.clone();
        if let Some(network) = network
            && let Some(noted) = locked.ledger.networks.get_mut(&network.name)
            && let Some(mine) = network.users.get(&record.name)
        {
            noted.users.insert(record.name.clone(), mine.clone());
            noted.note_macs(&record.name, &objects.nodes);
        }
        note_shared(&mut locked.ledger, &record.name, &[objects]);
        hostwide::close_loopback(&decision.machine.netns, &mut locked)?;
        hostwide::leave_bridges(&decision.machine.netns, &mut locked, &record.name, objects)?;
        if locked.ledger != before {
            locked.save()?;
        }
        drop(locked);
        let names: HashSet<&str> = objects.nodes.iter().map(|n| n.name.as_str()).collect();
        record.nodes.retain(|name, _| names.contains(name.as_str()));
        for (name, node) in &mut record.nodes {
            node.digest = decision.digests.get(name).cloned().unwrap_or_default();
        }
        record.objects = objects.clone();
        record.pending = Objects::default();
        record.uses = decision.uses.clone();
        record.uses.extend(objects.uses());
        let wished = network.as_ref().map(|n| n.name.as_str());
        let left: Vec<String> =
            record.networks.iter().filter(|n| Some(n.as_str()) != wished).cloned().collect();
        if !left.is_empty() {
            self.leave_networks(&record.name, &left, false, false)?;
            record.networks.retain(|n| Some(n.as_str()) == wished);
        }
        record.complete = true;
        record.save(&self.directories)
    }

    /// Namespaces that other labs live in stay.
    pub(crate) fn refuse_removing_used(
        &self,
        lab: &Lab,
        decision: &Decision,
    ) -> Result<(), EngineError> {
        let gone = &decision.planned.difference.remove_nodes;
        let gone: HashSet<&str> = gone.iter().map(String::as_str).collect();
        self.refuse_if_lived_in(&lab.name, &gone)
    }

    /// Refuses to remove nodes of a lab whose namespaces other labs live in.
    pub(crate) fn refuse_if_lived_in(
        &self,
        lab: &str,
        gone: &HashSet<&str>,
    ) -> Result<(), EngineError> {
        if gone.is_empty() {
            return Ok(());
        }
        let uses = |of: &NamespaceOf| match of {
            NamespaceOf::Other { lab: l, node } => l == lab && gone.contains(node.as_str()),
            _ => false,
        };
        let users: Vec<String> = LabRecord::all(&self.directories)?
            .into_iter()
            .filter(|r| r.everything().places().into_iter().any(uses))
            .map(|r| format!("lab `{}`", r.name))
            .collect();
        match users.is_empty() {
            true => Ok(()),
            false => Err(EngineError::InUse { lab: lab.into(), users: users.join(", ") }),
        }
    }

    /// Writes hosts, resolver and host name files; says what they come from, as a digest. Those that
    /// come from what `before` came from are left as they are.
    pub(crate) fn write_names(
        &self,
        lab: &Lab,
        decision: &Decision,
        before: &str,
    ) -> Result<String, EngineError> {
        let lines = hosts::lab_lines(lab, &decision.planned.objects);
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let names = digest::of_names(lab, &lines, &resolv);
        let mut writer = NameWriter {
            directories: &self.directories,
            lab,
            lines: &lines,
            resolv: &resolv,
            unchanged: before == names,
            layers: HashSet::new(),
        };
        for node in &lab.nodes {
            if let Some(image) = decision.images.get(&node.name) {
                writer.write(node, image)?;
            }
        }
        Ok(names)
    }
}

pub(crate) fn need_root(what: &str) -> Result<(), EngineError> {
    match nix::unistd::Uid::effective().is_root() {
        true => Ok(()),
        false => Err(EngineError::Permission {
            what: what.into(),
            why: "namespaces and mounts are made with the rights of root; run it with sudo".into(),
        }),
    }
}
