//! Commands in nodes, and on the host on a node's behalf.

use crate::apply::owns_namespace;
use crate::report::{Event, Reporter};
use crate::schedule::{self, Graph, Outcome};
use crate::{Engine, EngineError, LabRecord, NodeRecord, Runtimes};
use netloom_plan::NodeObject;
use netloom_runtime::{ExecOutput, ExecSpec, LogsRequest, Runtime, RuntimeError};
use netloom_topology::Node;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Commands that run at once, each with pipes and a connection of its own.
pub(crate) const AT_ONCE: usize = 64;

/// Which nodes of a lab.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By short or container name; empty for all.
    pub nodes: Vec<String>,
    /// By label, `k=v` or `k`.
    pub labels: Vec<String>,
}

impl Selection {
    /// Whether it names nodes in any way.
    fn names_any(&self) -> bool {
        !(self.nodes.is_empty() && self.labels.is_empty())
    }

    /// Whether a node is meant.
    pub fn includes(&self, name: &str, node: &crate::NodeRecord) -> bool {
        let named = self.nodes.is_empty() || self.nodes.iter().any(|n| node.is_called(name, n));
        named
            && self.labels.iter().all(|l| match l.split_once('=') {
                Some((k, v)) => node.labels.get(k).is_some_and(|have| have == v),
                None => node.labels.contains_key(l),
            })
    }
}

/// What a command left in one node.
#[derive(Debug, Clone)]
pub struct ExecResult {
    /// Container name.
    pub container: String,
    /// Short name.
    pub node: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it left; an error when it could not be run.
    pub output: Result<ExecOutput, String>,
}

impl Engine {
    /// Runs a command in the selected nodes of a lab, in parallel.
    pub fn exec(
        &self,
        lab: &LabRecord,
        selection: &Selection,
        argv: &[String],
    ) -> Result<Vec<ExecResult>, EngineError> {
        let runtimes = self.runtimes(lab)?.ok_or_else(|| EngineError::Gone(lab.name.clone()))?;
        let executing = lab.objects.executing();
        let places: HashMap<&str, &NodeObject> =
            lab.objects.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
        let chosen: Vec<_> = lab
            .nodes
            .iter()
            .filter(|(name, node)| selection.includes(name, node))
            .filter(|(name, _)| executing.contains(name.as_str()))
            // In containers of somebody else nothing is run that does not name them.
            .filter(|(name, _)| selection.names_any() || !places[name.as_str()].outside)
            .collect();
        if let Some(missing) = selection
            .nodes
            .iter()
            .find(|n| !lab.nodes.iter().any(|(s, r)| *s == **n || r.long_name == **n))
        {
            return Err(EngineError::NoNode { lab: lab.name.clone(), node: missing.clone() });
        }
        let spec = ExecSpec { argv: argv.to_vec(), ..ExecSpec::default() };
        let results = Mutex::new(Vec::with_capacity(chosen.len()));
        let before = vec![Vec::new(); chosen.len()];
        let graph = Graph { before: &before, workers: AT_ONCE, keep_going: true };
        schedule::run::<()>(&graph, &|| false, &|i| {
            let (name, node) = chosen[i];
            let result = ExecResult {
                container: node.long_name.clone(),
                node: name.clone(),
                argv: spec.argv.clone(),
                output: self
                    .runtime_of(&runtimes, places[name.as_str()])
                    .and_then(|r| Ok(r.exec(&node.long_name, &spec)?))
                    .map_err(|e| e.to_string()),
            };
            results.lock().unwrap_or_else(|e| e.into_inner()).push((i, result));
            Outcome::Done
        });
        let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
        results.sort_by_key(|(i, _)| *i);
        let results = results.into_iter().map(|(_, result)| result).collect();
        Ok(results)
    }

    /// Runs a command in a node on the caller's terminal; returns its exit code.
    pub fn attach(&self, lab: &LabRecord, node: &str, spec: &ExecSpec) -> Result<i32, EngineError> {
        let runtimes = self.runtimes(lab)?.ok_or_else(|| EngineError::Gone(lab.name.clone()))?;
        let name = self.container(lab, node)?;
        Ok(self.runtime_by_name(lab, &runtimes, &name)?.exec_attached(&name, spec)?)
    }

    /// Copies the log of a node to `out`.
    pub fn logs(
        &self,
        lab: &LabRecord,
        node: &str,
        request: &LogsRequest,
        out: &mut dyn Write,
    ) -> Result<(), EngineError> {
        let runtimes = self.runtimes(lab)?.ok_or_else(|| EngineError::Gone(lab.name.clone()))?;
        let name = self.container(lab, node)?;
        Ok(self.runtime_by_name(lab, &runtimes, &name)?.logs(&name, request, out)?)
    }

    /// What runs a container.
    fn runtime_by_name(
        &self,
        lab: &LabRecord,
        runtimes: &Runtimes,
        container: &str,
    ) -> Result<Arc<dyn Runtime>, EngineError> {
        match lab.everything_ref().find(|n| n.long_name == container && n.outside) {
            Some(node) => self.runtime_of(runtimes, node),
            None => runtimes.of(lab.runs_of(container)),
        }
    }

    /// Container name of a node given by short or container name; of a node in parts, that of the
    /// first.
    pub fn container(&self, lab: &LabRecord, node: &str) -> Result<String, EngineError> {
        let exact = |(name, r): &(&String, &NodeRecord)| *name == node || r.long_name == node;
        let owners: HashSet<&str> =
            lab.everything_ref().filter(|n| owns_namespace(n)).map(|n| n.name.as_str()).collect();
        let first = |(name, r): &(&String, &NodeRecord)| {
            r.is_called(name, node) && owners.contains(name.as_str())
        };
        lab.nodes
            .iter()
            .find(exact)
            .or_else(|| lab.nodes.iter().find(first))
            .map(|(_, r)| r.long_name.clone())
            .ok_or_else(|| EngineError::NoNode { lab: lab.name.clone(), node: node.into() })
    }
}

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs one of the file's commands in a node and reports what came of it. Nobody waits for it any
/// longer once the user wants to stop; it goes with its node.
pub fn run_command(
    runtime: &Arc<dyn Runtime>,
    report: &dyn Reporter,
    node: &Node,
    command: &str,
    interrupted: fn() -> bool,
) {
    let argv = shlex::split(command).unwrap_or_default();
    let spec = ExecSpec { argv, ..ExecSpec::default() };
    let Some(done) = exec_unless(runtime, &node.long_name, &spec, interrupted) else { return };
    let (code, stdout, stderr) = match done {
        Ok(out) => (out.code, lossy(&out.stdout), lossy(&out.stderr)),
        Err(RuntimeError::NotRunning(_)) => (-1, String::new(), "the node is not running".into()),
        Err(e) => (-1, String::new(), e.to_string()),
    };
    report.event(Event::Executed {
        node: node.name.clone(),
        command: command.into(),
        code,
        stdout,
        stderr,
    });
}

/// Runs a command in a container; nobody waits for it any longer once the user wants to stop.
pub fn exec_unless(
    runtime: &Arc<dyn Runtime>,
    container: &str,
    spec: &ExecSpec,
    interrupted: fn() -> bool,
) -> Option<Result<ExecOutput, RuntimeError>> {
    let (sender, receiver) = mpsc::channel();
    let (name, runtime, spec) = (container.to_owned(), Arc::clone(runtime), spec.clone());
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(runtime.exec(&name, &spec));
    });
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(done) => return Some(done),
            Err(RecvTimeoutError::Timeout) if interrupted() => return None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Runs one of the file's commands on the host and reports what came of it. It is killed when the
/// user wants to stop. Its output goes to files, so that what it leaves running holds nobody up.
pub fn run_on_host(
    report: &dyn Reporter,
    node: &Node,
    command: &str,
    folder: &Path,
    interrupted: fn() -> bool,
) {
    let (code, stdout, stderr) = match on_host(command, folder, interrupted) {
        Ok(Some(done)) => done,
        Ok(None) => return,
        Err(e) => (-1, String::new(), e.to_string()),
    };
    report.event(Event::Executed {
        node: format!("{} (host)", node.name),
        command: command.into(),
        code,
        stdout,
        stderr,
    });
}

fn on_host(
    command: &str,
    folder: &Path,
    interrupted: fn() -> bool,
) -> std::io::Result<Option<(i32, String, String)>> {
    let argv = shlex::split(command).unwrap_or_default();
    let Some((program, arguments)) = argv.split_first() else { return Ok(None) };
    let mut files = [scratch()?, scratch()?];
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(files[0].try_clone()?)
        .stderr(files[1].try_clone()?)
        .spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupted() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    };
    let mut texts = [String::new(), String::new()];
    for (file, text) in files.iter_mut().zip(&mut texts) {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        *text = lossy(&bytes);
    }
    let [stdout, stderr] = texts;
    Ok(Some((status.code().unwrap_or(-1), stdout, stderr)))
}

/// A file without a name.
fn scratch() -> std::io::Result<File> {
    let fd =
        nix::sys::memfd::memfd_create("netloom-output", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    Ok(File::from(fd))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
