//! One stage of one node: start, commands, waiting.

use crate::error::Failure;
use crate::exec::{run_command, run_on_host};
use crate::healthy::{Verdict, ended, healthy};
use crate::report::{Event, Reporter};
use crate::runtimes::Runtimes;
use crate::schedule::Outcome;
use crate::steps::{Place, Walks};
use crate::{Engine, EngineError};
use netloom_kinds::Role;
use netloom_plan::{NodeObject, Objects, Runs, StageTask};
use netloom_runtime::{ContainerSpec, NetworkNs};
use netloom_topology::{Node, Stage, StepData};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a stage that depends on a node's own doing is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A node being brought up.
pub struct Starting<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its place in the network.
    pub object: &'a NodeObject,
    /// Its container, unless it has none.
    pub spec: Option<&'a ContainerSpec>,
    /// When its first task began, and when a delayed start may go.
    pub begun: Mutex<Option<Instant>>,
    /// What the steps of its kind are filled in with, if they are run.
    pub steps: Option<&'a StepData>,
    /// Those steps, once they have begun.
    pub walks: Mutex<Option<Walks>>,
    /// Since when somebody looks at whether it is healthy, or has ended.
    pub looking: Mutex<Option<(usize, Instant)>>,
}

/// What stages need.
pub struct Stages<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Everything the lab has.
    pub objects: &'a Objects,
    /// The lab's name.
    pub lab: &'a str,
    /// The runtimes.
    pub runtimes: Runtimes,
    /// Paths of the namespaces the holder keeps, by the name they are kept under.
    pub paths: HashMap<String, PathBuf>,
    /// Who is told.
    pub report: &'a dyn Reporter,
    /// Nodes whose steps did not all pass.
    pub unready: Mutex<Vec<String>>,
    /// Longest time for a stage others wait for.
    pub timeout: Duration,
    /// Folder commands on the host run in.
    pub folder: &'a Path,
    /// Whether the user wants to stop.
    pub interrupted: fn() -> bool,
}

impl Stages<'_> {
    /// Does a stage, or says that it is not time yet.
    pub fn run(&self, at: &Starting<'_>, task: StageTask) -> Outcome<Vec<Failure>> {
        let (name, stage) = at.node.stages.named()[task.stage];
        match task.stage {
            0 => return self.create(at, stage),
            3 if task.awaited => return self.wait(at, task.stage, name, stage, healthy),
            4 if task.awaited => return self.wait(at, task.stage, name, stage, ended),
            3 | 4 => return Outcome::Done,
            _ => {}
        }
        let entered = || at.walks.lock().unwrap_or_else(|e| e.into_inner()).is_some();
        if task.enters && !(task.stage == 2 && entered()) {
            self.commands(at, stage, "on-enter");
        }
        if task.stage == 2 {
            if let Outcome::Later(wait) = self.steps(at) {
                return Outcome::Later(wait);
            }
            self.configure(at);
        }
        if task.leaves {
            self.commands(at, stage, "on-exit");
        }
        Outcome::Done
    }

    fn create(&self, at: &Starting<'_>, stage: &Stage) -> Outcome<Vec<Failure>> {
        let delay = Duration::from_secs(at.node.startup_delay);
        {
            let mut begun = at.begun.lock().unwrap_or_else(|e| e.into_inner());
            let since = *begun.get_or_insert_with(Instant::now);
            if since.elapsed() < delay {
                return Outcome::Later(delay - since.elapsed());
            }
        }
        let start = || -> Result<(), String> {
            let host = Stage {
                wait_for: Vec::new(),
                exec: stage.exec.iter().filter(|e| e.target == "host").cloned().collect(),
            };
            self.commands(at, &host, "on-enter");
            if let Some(spec) = at.spec {
                self.launch(at, spec).map_err(|e| e.to_string())?;
            }
            let inside = Stage {
                wait_for: Vec::new(),
                exec: stage.exec.iter().filter(|e| e.target != "host").cloned().collect(),
            };
            self.commands(at, &inside, "on-enter");
            self.commands(at, stage, "on-exit");
            Ok(())
        };
        match start() {
            Ok(()) => {
                self.report.event(Event::Step);
                Outcome::Done
            }
            Err(why) => failed(at, why),
        }
    }

    /// Makes the container, starts it, and brings its links where it is.
    fn launch(&self, at: &Starting<'_>, spec: &ContainerSpec) -> Result<(), EngineError> {
        let runs = at.object.runs;
        let runtime = self.runtimes.of(runs)?;
        let mut spec = spec.clone();
        if let (Runs::Podman, NetworkNs::Kept(key)) = (runs, &spec.network)
            && let Some(path) = self.paths.get(key)
        {
            spec.network = NetworkNs::Path(path.clone());
        }
        // One that stands is started as it is: what other nodes change of it (names, the number of
        // its interfaces) is no reason to make it anew, and those that are made anew are gone.
        if runtime.inspect(&spec.name)?.is_none() {
            runtime.create(&spec)?;
        }
        runtime.start(&spec.name)?;
        let runtimes = (&*self.runtimes.native, &*runtime);
        self.engine.plumb_started(self.lab, runtimes, self.objects, at.object, self.report)
    }

    /// The steps of the node's kind. What they do not reach is told, and ends nothing.
    fn steps(&self, at: &Starting<'_>) -> Outcome<Vec<Failure>> {
        let Some(data) = at.steps else { return Outcome::Done };
        let mut walks = at.walks.lock().unwrap_or_else(|e| e.into_inner());
        let walks = walks.get_or_insert_with(|| Walks::of(at.node));
        let runtime = match self.runtimes.of(at.object.runs) {
            Ok(runtime) => runtime,
            Err(e) => return failed(at, e.to_string()),
        };
        let place = Place {
            runtime,
            node: at.node,
            object: at.object,
            data,
            interrupted: self.interrupted,
        };
        let (outcome, why) = walks.go_on(&place, self.report);
        if let Some(why) = why {
            self.report.event(Event::Warning(why));
            self.unready.lock().unwrap_or_else(|e| e.into_inner()).push(at.node.name.clone());
        }
        outcome
    }

    /// The node's own commands. Their failure is shown, and does not end the deploy: files in use
    /// rely on it.
    fn configure(&self, at: &Starting<'_>) {
        for command in &at.node.exec {
            if at.spec.is_some() || at.object.outside {
                self.inside(at, command);
            } else if at.node.kind_data.role == Role::Host {
                run_on_host(self.report, at.node, command, self.folder, self.interrupted);
            }
        }
    }

    fn commands(&self, at: &Starting<'_>, stage: &Stage, phase: &str) {
        for exec in stage.exec.iter().filter(|e| e.phase == phase) {
            if exec.target == "host" {
                run_on_host(self.report, at.node, &exec.command, self.folder, self.interrupted);
            } else if at.spec.is_some() || at.object.outside {
                self.inside(at, &exec.command);
            }
        }
    }

    fn inside(&self, at: &Starting<'_>, command: &str) {
        if !(self.interrupted)() {
            match self.engine.runtime_of(&self.runtimes, at.object) {
                Ok(runtime) => {
                    run_command(&runtime, self.report, at.node, command, self.interrupted);
                }
                Err(e) => self.report.event(Event::Warning(e.to_string())),
            }
        }
    }

    fn wait(
        &self,
        at: &Starting<'_>,
        number: usize,
        name: &str,
        stage: &Stage,
        look: fn(Option<&netloom_runtime::ContainerState>) -> Verdict,
    ) -> Outcome<Vec<Failure>> {
        let seen = self.engine.runtime_of(&self.runtimes, at.object);
        let state = match seen.and_then(|r| Ok(r.inspect(&at.node.long_name)?)) {
            Ok(state) => state,
            Err(e) => return failed(at, e.to_string()),
        };
        let since = {
            let mut looking = at.looking.lock().unwrap_or_else(|e| e.into_inner());
            match *looking {
                Some((stage, since)) if stage == number => since,
                _ => looking.insert((number, Instant::now())).1,
            }
        };
        match look(state.as_ref()) {
            Verdict::Yes => {
                self.commands(at, stage, "on-enter");
                self.commands(at, stage, "on-exit");
                Outcome::Done
            }
            Verdict::Never(why) => {
                failed(at, format!("others wait for its stage `{name}`, but {why}"))
            }
            Verdict::NotYet(seen) if since.elapsed() > self.timeout => {
                let why = format!(
                    "waited {} s for its stage `{name}`; last seen: {seen}; look at `netloom logs {}`, or allow more time with --timeout",
                    self.timeout.as_secs(),
                    at.node.name,
                );
                let late = Failure::new(format!("node {}", at.node.name), why);
                Outcome::Failed(vec![Failure { late: true, ..late }])
            }
            Verdict::NotYet(_) => Outcome::Later(LOOK),
        }
    }
}

fn failed(at: &Starting<'_>, why: String) -> Outcome<Vec<Failure>> {
    Outcome::Failed(vec![Failure::new(format!("node {}", at.node.name), why)])
}
