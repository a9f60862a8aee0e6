//! Start, stop and restart of nodes; their namespaces, links and addresses stay.

use crate::deploy::need_root;
use crate::error::Failure;
use crate::exec::{AT_ONCE, Selection};
use crate::record::{LabRecord, lock_lab};
use crate::report::{Event, Reporter};
use crate::runtimes::Runtimes;
use crate::schedule::{self, Graph, Outcome};
use crate::{Engine, EngineError};
use netloom_runtime::ExecSpec;

/// What is done to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Start,
    Stop,
    Restart,
}

impl Engine {
    /// Starts nodes and runs their commands again.
    pub fn start(
        &self,
        lab: &str,
        nodes: &[String],
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        self.change(lab, nodes, Change::Start, report)
    }

    /// Stops nodes.
    pub fn stop(
        &self,
        lab: &str,
        nodes: &[String],
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        self.change(lab, nodes, Change::Stop, report)
    }

    /// Stops nodes and starts them again.
    pub fn restart(
        &self,
        lab: &str,
        nodes: &[String],
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        self.change(lab, nodes, Change::Restart, report)
    }

    fn change(
        &self,
        lab: &str,
        nodes: &[String],
        change: Change,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        need_root("starting and stopping nodes")?;
        let _lock = lock_lab(&self.directories, lab)?;
        let no_lab = || EngineError::NoLab(lab.into());
        let record = LabRecord::load(&self.directories, lab)?.ok_or_else(no_lab)?;
        let runtimes = self.runtimes(&record)?.ok_or_else(|| EngineError::Gone(lab.into()))?;
        for node in nodes {
            self.container(&record, node)?;
        }
        let selection = Selection { nodes: nodes.to_vec(), labels: Vec::new() };
        let containers = record.objects.containers();
        let chosen: Vec<_> = record
            .nodes
            .iter()
            .filter(|(n, r)| selection.includes(n, r))
            .filter(|(n, _)| containers.contains(n.as_str()))
            .collect();
        let word = match change {
            Change::Start => "starting nodes",
            Change::Stop => "stopping nodes",
            Change::Restart => "restarting nodes",
        };
        report.event(Event::Phase(word, chosen.len()));
        let before = vec![Vec::new(); chosen.len()];
        let graph = Graph { before: &before, workers: AT_ONCE, keep_going: true };
        let (failed, _) = schedule::run(&graph, &|| false, &|i| {
            let (name, node) = chosen[i];
            let done = self.one(&record, &runtimes, report, (name, node), change);
            report.event(Event::Step);
            match done {
                Ok(()) => Outcome::Done,
                Err(e) => Outcome::Failed(Failure::new(format!("node {name}"), e.to_string())),
            }
        });
        let failures: Vec<Failure> = failed.into_iter().map(|(_, failure)| failure).collect();
        report.event(Event::Done);
        if failures.is_empty() { Ok(()) } else { Err(EngineError::Failed(failures)) }
    }
}

impl Engine {
    fn one(
        &self,
        record: &LabRecord,
        runtimes: &Runtimes,
        report: &dyn Reporter,
        (name, node): (&String, &crate::NodeRecord),
        change: Change,
    ) -> Result<(), EngineError> {
        let runtime = runtimes.of(node.runs)?;
        let running = runtime.inspect(&node.long_name)?.is_some_and(|s| s.pid.is_some());
        if change != Change::Start {
            runtime.stop(&node.long_name, None)?;
        }
        if change == Change::Stop || (change == Change::Start && running) {
            return Ok(());
        }
        runtime.start(&node.long_name)?;
        let objects = &record.objects;
        let place = objects.nodes.iter().find(|o| o.name == *name);
        if let Some(place) = place {
            let runtimes = (&*runtimes.native, &*runtime);
            self.plumb_started(&record.name, runtimes, objects, place, report)?;
        }
        for command in &node.exec {
            let argv = shlex::split(command).unwrap_or_default();
            let out = runtime.exec(&node.long_name, &ExecSpec { argv, ..ExecSpec::default() });
            let (code, stdout, stderr) = match out {
                Ok(out) => (
                    out.code,
                    String::from_utf8_lossy(&out.stdout).into_owned(),
                    String::from_utf8_lossy(&out.stderr).into_owned(),
                ),
                Err(e) => (-1, String::new(), e.to_string()),
            };
            report.event(Event::Executed {
                node: name.to_string(),
                command: command.clone(),
                code,
                stdout,
                stderr,
            });
        }
        Ok(())
    }
}
