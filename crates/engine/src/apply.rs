//! Carrying a decision out.

use crate::decide::Decision;
use crate::deploy::{DeployOptions, Deployed, Planned};
use crate::destroy::group;
use crate::error::Failure;
use crate::outside::foreign_key;
use crate::record::{LabRecord, NodeRecord};
use crate::report::{Event, Reporter};
use crate::runtimes::Runtimes;
use crate::schedule::{self, Graph, Outcome};
use crate::stages::{Stages, Starting};
use crate::wire::{Backstage, Wires};
use crate::{Engine, EngineError, files, labdir, netns_link};
use fs_err as fs;
use netloom_datapath::Netns;
use netloom_plan::{
    Difference, LinkObject, NamespaceOf, Network, NodeObject, Objects, Order, Task, order,
};
use netloom_runtime::{RestartPolicy, Status};
use netloom_topology::Lab;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a node without a restart policy is watched after its start.
const MOMENT: Duration = Duration::from_millis(300);
/// How long nodes that are started again are watched, from the first start on.
const GLANCE: Duration = Duration::from_millis(50);

/// Everything needed to carry a decision out.
pub struct Apply<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The lab.
    pub lab: &'a Lab,
    /// How.
    pub options: &'a DeployOptions,
    /// Who is told.
    pub report: &'a dyn Reporter,
    /// What was decided.
    pub decision: &'a Decision,
    /// The lab's runtimes.
    pub runtimes: Runtimes,
}

impl Apply<'_> {
    /// Carries it out; `names` is what the names in the nodes come from.
    pub fn run(&self, record: &mut LabRecord, names: &str) -> Result<Deployed, EngineError> {
        let Planned { network, objects, difference, start, attach, .. } = &self.decision.planned;
        let backstage = Backstage::of(&self.runtimes.native, &objects.links)?;
        self.remove(difference, &backstage)?;
        self.stop_here()?;
        let make: HashSet<&str> = difference.make_nodes.iter().map(String::as_str).collect();
        // Files wait for the disk, namespaces for the kernel.
        let (files, namespaces) = std::thread::scope(|scope| {
            let files = scope.spawn(move || self.files(names));
            let namespaces = self.namespaces(objects, record);
            (files.join(), namespaces)
        });
        let namespaces = namespaces?;
        record.save(&self.engine.directories)?;
        record.names = files.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let wires = Wires {
            machine: &self.decision.machine,
            namespaces: &namespaces,
            backstage: &backstage,
            group: group(&self.lab.name),
            lab: &self.lab.name,
        };
        let fresh: Vec<&NodeObject> =
            objects.nodes.iter().filter(|n| make.contains(n.name.as_str())).collect();
        wires.make_bridges(&fresh)?;
        let mut failures = Vec::new();
        let again: HashSet<&str> = attach.iter().map(String::as_str).collect();
        if let Some(network) = network {
            let detached = &self.decision.detached;
            wires.detach(
                objects
                    .nodes
                    .iter()
                    .filter(|n| again.contains(n.name.as_str()) && detached.contains(&n.name)),
            )?;
            let legs: Vec<&NodeObject> = objects
                .nodes
                .iter()
                .filter(|n| make.contains(n.name.as_str()) || again.contains(n.name.as_str()))
                .collect();
            self.report.event(Event::Phase("joining the management network", legs.len()));
            failures.extend(wires.attach(network, &legs)?);
            self.report.event(Event::Done);
        }
        self.publish(network.as_ref(), objects, &wires)?;
        self.stop_here()?;
        let ids: HashSet<&str> = difference.make_links.iter().map(String::as_str).collect();
        let links: BTreeSet<usize> = (0..objects.links.len())
            .filter(|i| ids.contains(objects.links[*i].id.as_str()))
            .collect();
        let begin: HashSet<&str> = start
            .iter()
            .chain(&difference.rebuild)
            .map(String::as_str)
            .chain(make.iter().copied())
            .collect();
        let nodes: BTreeSet<usize> = (0..objects.nodes.len())
            .filter(|i| begin.contains(objects.nodes[*i].name.as_str()))
            .collect();
        let order = order(self.lab, objects, &nodes, &links);
        let begun = Instant::now();
        let mut unready = Vec::new();
        if failures.is_empty() {
            let path = |(name, n): (&String, &NodeRecord)| {
                n.netns.clone().map(|path| (format!("netns:{name}"), path))
            };
            let mut paths: HashMap<String, PathBuf> =
                record.nodes.iter().filter_map(path).collect();
            for place in objects.places() {
                if let (Some(key), Some(netns)) = (foreign_key(place), namespaces.get(place)) {
                    let path = self.runtimes.native.keep_fd(&key, netns.try_clone()?.into())?;
                    paths.insert(key, path);
                }
            }
            let (failed, not_ready) = self.start(&nodes, &order, objects, &wires, paths)?;
            failures.extend(failed);
            unready = not_ready;
        }
        self.stop_here()?;
        if failures.is_empty() {
            failures.extend(self.ended_at_once(&nodes, objects, begun)?);
        }
        match failures.is_empty() {
            true => Ok(Deployed {
                nodes: nodes.len(),
                links: links.len(),
                removed: difference.remove_nodes.len(),
                healed: again.len(),
                unready,
            }),
            false => Err(EngineError::Failed(failures)),
        }
    }

    /// Ports of the host: those of the plan, or none where there were some.
    fn publish(
        &self,
        network: Option<&Network>,
        objects: &Objects,
        wires: &Wires<'_>,
    ) -> Result<(), EngineError> {
        let record = self.decision.record.as_ref();
        let had = record.is_some_and(|r| r.everything().nodes.iter().any(|n| !n.ports.is_empty()));
        let has = objects.nodes.iter().any(|n| !n.ports.is_empty());
        match network {
            Some(network) if had || has => wires.publish(&self.lab.name, network, &objects.nodes),
            None if had => {
                netloom_datapath::mgmt::unpublish(&wires.machine.netns, &self.lab.name)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stop_here(&self) -> Result<(), EngineError> {
        if (self.options.interrupted)() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    /// Removes links and nodes that change or go away. Ends on the host are removed by name and at
    /// once: when a namespace is dropped the kernel removes them only later, and they would be in
    /// the way of new ones.
    fn remove(&self, difference: &Difference, backstage: &Backstage) -> Result<(), EngineError> {
        let Some(record) = &self.decision.record else { return Ok(()) };
        let _lock = self.engine.lock_plumbing(&self.lab.name)?;
        let mut namespaces = HashMap::new();
        let everything = record.everything();
        if !(difference.remove_links.is_empty() && difference.remove_nodes.is_empty()) {
            for place in everything.places() {
                match place {
                    NamespaceOf::Node(n) => {
                        if let Some(fd) = self.runtimes.native.kept(&format!("netns:{n}"))? {
                            namespaces.insert(place.clone(), Netns::from_fd(fd)?);
                        }
                    }
                    of => {
                        if let Some(netns) = self.engine.anothers(&record.sockets, of)? {
                            namespaces.insert(of.clone(), netns);
                        }
                    }
                }
            }
        }
        let wires = Wires {
            machine: &self.decision.machine,
            namespaces: &namespaces,
            backstage,
            group: group(&self.lab.name),
            lab: &self.lab.name,
        };
        let list: Vec<&LinkObject> = difference.remove_links.iter().collect();
        let failures = wires.remove(&list)?;
        if !failures.is_empty() {
            return Err(EngineError::Failed(failures));
        }
        let ours: HashMap<&str, &NodeObject> =
            everything.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
        let names = difference.remove_nodes.iter().chain(&difference.rebuild);
        for object in guests_first(names.filter_map(|name| ours.get(name.as_str()).copied())) {
            self.runtimes.of(object.runs)?.remove(&object.long_name, true)?;
        }
        let gone: Vec<&NodeObject> =
            everything.nodes.iter().filter(|n| difference.remove_nodes.contains(&n.name)).collect();
        wires.detach(gone.iter().copied())?;
        wires.remove_bridges(
            gone.iter().copied().filter(|n| n.namespace != NamespaceOf::Node(n.name.clone())),
        )?;
        for object in gone {
            if owns_namespace(object) {
                self.runtimes.native.release([format!("netns:{}", object.name)])?;
                netns_link::hide(&self.engine.directories.netns, &object.long_name);
            }
        }
        // What an ended deploy may have started already is started from the beginning.
        if !record.complete {
            let make: HashSet<&str> = difference.make_nodes.iter().map(String::as_str).collect();
            let nodes = self.decision.planned.objects.nodes.iter();
            for node in guests_first(nodes.filter(|n| make.contains(n.name.as_str()))) {
                self.runtimes.of(node.runs)?.remove(&node.long_name, true)?;
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
        let kept: HashSet<String> = self.runtimes.native.kept_names()?.into_iter().collect();
        let mut missing: BTreeSet<&str> = BTreeSet::new();
        for place in objects.places() {
            match place {
                NamespaceOf::Host => {}
                of @ (NamespaceOf::Other { .. } | NamespaceOf::Foreign { .. }) => {
                    if let Some(netns) = self.engine.anothers(&record.sockets, of)? {
                        out.insert(of.clone(), netns);
                    }
                }
                NamespaceOf::Node(owner) => {
                    let key = format!("netns:{owner}");
                    if !kept.contains(&key) {
                        missing.insert(owner);
                    } else if let Some(fd) = self.runtimes.native.kept(&key)? {
                        let netns = Netns::from_fd(fd)?.with_label(format!("node {owner}"));
                        out.insert(place.clone(), netns);
                    }
                }
            }
        }
        self.report.event(Event::Phase("making namespaces", missing.len()));
        let made: Vec<Netns> = missing
            .iter()
            .zip(Netns::create_many(missing.len())?)
            .map(|(owner, netns)| netns.with_label(format!("node {owner}")))
            .collect();
        let keys = missing.iter().map(|owner| format!("netns:{owner}"));
        let kept: Vec<_> = keys.zip(made.iter().map(AsFd::as_fd)).collect();
        let paths = self.runtimes.native.keep_fds(&kept)?;
        netns_link::folder(&self.engine.directories.netns)?;
        for ((owner, netns), path) in missing.iter().zip(made).zip(paths) {
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
    fn files(&self, before: &str) -> Result<String, EngineError> {
        labdir::make(&self.lab.dir)?;
        self.decision.certificates.write(self.lab)?;
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
        self.engine.write_names(self.lab, self.decision, before)
    }

    fn start(
        &self,
        nodes: &BTreeSet<usize>,
        order: &Order,
        objects: &Objects,
        wires: &Wires<'_>,
        paths: HashMap<String, PathBuf>,
    ) -> Result<(Vec<Failure>, Vec<String>), EngineError> {
        let starting: Vec<Starting<'_>> = self
            .lab
            .nodes
            .iter()
            .zip(&objects.nodes)
            .map(|(node, object)| Starting {
                node,
                object,
                spec: self.decision.specs.get(&node.name).map(|(s, _)| s),
                steps: self.decision.steps.get(&node.name),
                walks: Mutex::new(None),
                begun: Mutex::new(None),
                looking: Mutex::new(None),
            })
            .collect();
        let folder = self.lab.topology_file.parent().unwrap_or(std::path::Path::new("/"));
        let stages = Stages {
            engine: self.engine,
            objects,
            lab: &self.lab.name,
            runtimes: self.runtimes.clone(),
            paths,
            report: self.report,
            unready: Mutex::default(),
            timeout: self.options.timeout,
            folder,
            interrupted: self.options.interrupted,
        };
        let before: Vec<Vec<usize>> = order.tasks.iter().map(|(_, deps)| deps.clone()).collect();
        let workers = match self.options.max_workers {
            0 => std::thread::available_parallelism().map_or(4, |n| n.get() * 4),
            n => n,
        };
        let graph = Graph { before: &before, workers, keep_going: self.options.keep_failed };
        let made = |links: &[&LinkObject]| match self.make_links(links, objects, wires) {
            Ok(failures) if failures.is_empty() => Outcome::Done,
            Ok(failures) => Outcome::Failed(failures),
            Err(e) => Outcome::Failed(vec![Failure::new("links", e.to_string())]),
        };
        self.report.event(Event::Phase("making links and starting nodes", nodes.len()));
        let (failed, left) =
            schedule::run(&graph, &|| (self.options.interrupted)(), &|t| match &order.tasks[t].0 {
                Task::Stage(task) => stages.run(&starting[task.node], *task),
                Task::Link(l) => made(&[&objects.links[*l]]),
                Task::Links(list) => {
                    made(&list.iter().map(|l| &objects.links[*l]).collect::<Vec<_>>())
                }
            });
        self.report.event(Event::Done);
        let mut failures: Vec<Failure> = failed.into_iter().flat_map(|(_, list)| list).collect();
        if failures.is_empty() && left > 0 && !(self.options.interrupted)() {
            let why =
                format!("{left} steps wait for each other; look at the `wait-for` of the file");
            failures.push(Failure::new("the order of stages", why));
        }
        let unready = stages.unready.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok((failures, unready))
    }

    /// Makes links. Where one has an end in a namespace that comes and goes, nobody moves it
    /// meanwhile, and the namespace is the one that is there now.
    fn make_links(
        &self,
        links: &[&LinkObject],
        objects: &Objects,
        wires: &Wires<'_>,
    ) -> Result<Vec<Failure>, EngineError> {
        let fleeting: HashSet<&str> = objects
            .nodes
            .iter()
            .filter(|n| n.runs.own_namespaces())
            .map(|n| n.name.as_str())
            .collect();
        let moves = |n: &NamespaceOf| match n {
            NamespaceOf::Node(owner) => fleeting.contains(owner.as_str()),
            NamespaceOf::Foreign { .. } => true,
            NamespaceOf::Other { .. } | NamespaceOf::Host => false,
        };
        if !links.iter().flat_map(|l| l.ends()).any(|e| moves(&e.namespace)) {
            return wires.make(links);
        }
        let _lock = self.engine.lock_plumbing(&self.lab.name)?;
        let mut namespaces = HashMap::new();
        for end in links.iter().flat_map(|l| l.ends()) {
            let of = &end.namespace;
            let now = match of {
                NamespaceOf::Node(owner) if moves(of) => {
                    let kept = self.runtimes.native.kept(&format!("netns:{owner}"))?;
                    kept.map(Netns::from_fd).transpose()?
                }
                // Somebody else may have started it again meanwhile.
                NamespaceOf::Foreign { .. } => self.engine.anothers(self.runtimes.sockets(), of)?,
                _ => wires.namespaces.get(of).map(Netns::try_clone).transpose()?,
            };
            if let Some(netns) = now {
                namespaces.insert(of.clone(), netns);
            }
        }
        Wires { namespaces: &namespaces, ..*wires }.make(links)
    }

    /// Nodes that have ended already although nothing says that they should.
    fn ended_at_once(
        &self,
        nodes: &BTreeSet<usize>,
        objects: &Objects,
        begun: Instant,
    ) -> Result<Vec<Failure>, EngineError> {
        let meant: HashSet<&str> = self
            .lab
            .nodes
            .iter()
            .flat_map(|n| n.stages.named().map(|(_, s)| s.wait_for.iter()).into_iter().flatten())
            .filter(|w| w.stage == "exit")
            .map(|w| w.node.as_str())
            .collect();
        // One that will not be started again gets a moment to show that it stays.
        let once = |i: &usize| {
            let spec = self.decision.specs.get(&objects.nodes[*i].name);
            spec.is_some_and(|(s, _)| {
                matches!(s.restart, RestartPolicy::No | RestartPolicy::OnFailure(_))
            })
        };
        if nodes.iter().any(once) {
            std::thread::sleep(MOMENT);
        } else {
            std::thread::sleep(GLANCE.saturating_sub(begun.elapsed()));
        }
        let states: HashMap<String, netloom_runtime::ContainerState> =
            self.runtimes.states(&nodes.iter().map(|i| objects.nodes[*i].runs).collect())?;
        let mut out = Vec::new();
        for (at, object) in nodes.iter().map(|i| (*i, &objects.nodes[*i])) {
            let Some(state) = states.get(&object.long_name) else { continue };
            let again = state.status == Status::Restarting || state.restarts > 0;
            if !(again || state.status == Status::Exited) || meant.contains(object.name.as_str()) {
                continue;
            }
            if self.lab.nodes[at].auto_remove {
                continue;
            }
            let code = state.exit_code.map_or_else(|| "?".into(), |c| c.to_string());
            let mut log = Vec::new();
            let request = netloom_runtime::LogsRequest { follow: false, tail: Some(3) };
            // The log is a help, not the message.
            let runtime = self.runtimes.of(object.runs)?;
            let _ = runtime.logs(&object.long_name, &request, &mut log);
            let log = String::from_utf8_lossy(&log).trim().replace('\r', "").replace('\n', " | ");
            let said =
                if log.is_empty() { "it wrote nothing".into() } else { format!("it wrote: {log}") };
            if again {
                // Its policy may be what makes it work: some wait for others by ending.
                self.report.event(Event::Warning(format!(
                    "node {} ends and is started again and again, last with exit code {code}; {said}",
                    object.name
                )));
                continue;
            }
            out.push(Failure::new(
                format!("node {}", object.name),
                format!("it ended at once with exit code {code}; {said}; give it a command that stays (`cmd: sleep infinity`)"),
            ));
        }
        Ok(out)
    }
}

/// Containers in the order in which they may be removed: Podman keeps who lends others its namespace.
pub(crate) fn guests_first<'n>(nodes: impl Iterator<Item = &'n NodeObject>) -> Vec<&'n NodeObject> {
    let mut out: Vec<&NodeObject> = nodes.filter(|n| n.container).collect();
    out.sort_by_key(|node| owns_namespace(node));
    out
}

/// Whether a node has a namespace of its own.
pub(crate) fn owns_namespace(node: &NodeObject) -> bool {
    node.namespace == NamespaceOf::Node(node.name.clone())
}
