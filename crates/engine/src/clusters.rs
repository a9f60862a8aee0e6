//! Kubernetes clusters that the program `kind` makes: their nodes are containers of Docker or Podman,
//! which a lab has links to as to any container of somebody else. A cluster is written down before it
//! is made, and goes with its lab.

use crate::deploy::DeployOptions;
use crate::record::LabRecord;
use crate::report::{Event, Reporter};
use crate::{Engine, EngineError, Ledger};
use fs_err as fs;
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_kinds::Role;
use netloom_plan::Runs;
use netloom_topology::{Lab, Node, StartupConfig};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The program.
pub const PROGRAM: &str = "kind";
/// How often it is asked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of its messages that an error shows.
const LAST: usize = 8;

/// Nodes of a lab that are clusters.
pub fn of(lab: &Lab) -> impl Iterator<Item = &Node> {
    lab.nodes.iter().filter(|n| n.kind_data.role == Role::K8sCluster)
}

/// The cluster of a lab that a container will be a node of, by its name (`<cluster>-control-plane`).
pub fn will_have<'a>(lab: &'a Lab, container: &str) -> Option<&'a Node> {
    of(lab).find(|n| container.strip_prefix(&n.name).is_some_and(|rest| rest.starts_with('-')))
}

/// What runs the nodes of a cluster.
pub fn runs(node: &Node) -> Runs {
    match Runs::named(&node.runtime) {
        Some(Runs::Podman | Runs::Rootless) => Runs::Podman,
        _ => Runs::Docker,
    }
}

/// What a lab's clusters need of this machine, and what stands in their way.
pub fn check(lab: &Lab, record: Option<&LabRecord>, found: &mut Diagnostics) {
    let Some(first) = of(lab).next() else { return };
    if !installed() {
        found.push(
            Diagnostic::error("missing-program", format!("`{PROGRAM}` is not installed"))
                .at(first.span)
                .hint("it makes Kubernetes clusters: https://kind.sigs.k8s.io"),
        );
        return;
    }
    for node in of(lab) {
        let ours = record.is_some_and(|r| r.clusters.contains(&node.name));
        match there(runs(node)) {
            Ok(list) if list.contains(&node.name) && !ours => found.push(
                Diagnostic::error(
                    "name-taken",
                    format!("there is a cluster `{}` that is not this lab's", node.name),
                )
                .at(node.span)
                .hint(format!("{PROGRAM} delete cluster --name {}", node.name)),
            ),
            Ok(_) => {}
            Err(e) => found.push(Diagnostic::error("no-daemon", e.to_string()).at(node.span)),
        }
    }
}

fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(PROGRAM).is_file())
}

/// Clusters that are there.
fn there(runs: Runs) -> Result<BTreeSet<String>, EngineError> {
    let out = kind(runs, &["get", "clusters"], &|| false)?;
    Ok(out.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())
}

impl Engine {
    /// Makes the clusters of a lab that are not there, and removes those it had and has no more.
    /// Says whether any was made.
    pub(crate) fn make_clusters(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let mut record = LabRecord::load(&self.directories, &lab.name)?;
        let had = record.as_ref().map(|r| r.clusters.clone()).unwrap_or_default();
        let names: BTreeSet<&str> = of(lab).map(|n| n.name.as_str()).collect();
        let gone: Vec<String> =
            had.iter().filter(|name| !names.contains(name.as_str())).cloned().collect();
        if names.is_empty() && gone.is_empty() {
            return Ok(());
        }
        // They take minutes: nothing is begun that could not be finished.
        let mut found = Diagnostics::default();
        let runtimes = self.existing(&lab.name)?;
        let ledger = Ledger::read(&self.directories)?;
        self.decide(lab, options, runtimes.as_ref(), &ledger, &mut found)?;
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        let mut wanted = Vec::new();
        for node in of(lab) {
            if !there(runs(node))?.contains(&node.name) {
                wanted.push(node);
            }
        }
        if wanted.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let record = record.get_or_insert_with(|| LabRecord {
            topology: lab.topology_file.clone(),
            lab_dir: lab.dir.clone(),
            owner: lab.owner.clone(),
            complete: false,
            ..LabRecord::new(&lab.name)
        });
        report.event(Event::Phase("making Kubernetes clusters", wanted.len()));
        for node in wanted {
            record.clusters.insert(node.name.clone());
            record.cluster_runs.insert(node.name.clone(), runs(node));
            record.save(&self.directories)?;
            self.make_cluster(lab, node, options)?;
            report.event(Event::Step);
        }
        for name in gone {
            remove(record, &name)?;
            record.save(&self.directories)?;
        }
        report.event(Event::Done);
        Ok(())
    }

    fn make_cluster(
        &self,
        lab: &Lab,
        node: &Node,
        options: &DeployOptions,
    ) -> Result<(), EngineError> {
        let mut argv = vec!["create".to_owned(), "cluster".into(), "--name".into()];
        argv.push(node.name.clone());
        if !node.image.is_empty() {
            argv.extend(["--image".into(), node.image.clone()]);
        }
        let config = match &node.startup_config {
            Some(StartupConfig::File(path)) => Some(path.clone()),
            Some(StartupConfig::Text(text)) => {
                let folder = self.directories.node(&lab.name, &node.name);
                fs::create_dir_all(&folder)?;
                let path = folder.join("cluster.yaml");
                fs::write(&path, text)?;
                Some(path)
            }
            _ => None,
        };
        if let Some(path) = config {
            argv.extend(["--config".into(), path.display().to_string()]);
        }
        let settings = &node.extras["k8s_kind"]["deploy"];
        if let Some(path) = settings["kubeconfig"].as_str().filter(|p| !p.is_empty()) {
            let beside = lab.topology_file.parent().map(PathBuf::from).unwrap_or_default();
            argv.extend(["--kubeconfig".into(), beside.join(path).display().to_string()]);
        }
        if let Some(wait) = settings["wait"].as_str().filter(|w| !w.is_empty()) {
            argv.extend(["--wait".into(), wait.into()]);
        }
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        kind(runs(node), &argv, &options.interrupted).map(drop)
    }

    /// Removes the clusters of a lab that goes.
    pub(crate) fn remove_clusters(&self, record: &LabRecord) -> Result<(), EngineError> {
        let mut record = record.clone();
        for name in record.clusters.clone() {
            remove(&mut record, &name)?;
        }
        Ok(())
    }
}

fn remove(record: &mut LabRecord, name: &str) -> Result<(), EngineError> {
    let runs = record.cluster_runs.get(name).copied().unwrap_or(Runs::Docker);
    // One that is not there is removed.
    kind(runs, &["delete", "cluster", "--name", name], &|| false)?;
    record.clusters.remove(name);
    record.cluster_runs.remove(name);
    Ok(())
}

/// Runs the program; its standard output.
fn kind(runs: Runs, argv: &[&str], interrupted: &dyn Fn() -> bool) -> Result<String, EngineError> {
    let failed = |why: String| {
        EngineError::Io(std::io::Error::other(format!("{PROGRAM} {}: {why}", argv.join(" "))))
    };
    let mut command = Command::new(PROGRAM);
    command.args(argv).stdin(Stdio::null());
    if runs == Runs::Podman {
        command.env("KIND_EXPERIMENTAL_PROVIDER", "podman");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let read = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut stream) = stream {
                // What it could not say is not waited for.
                let _ = stream.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = read(child.stdout.take().map(|s| Box::new(s) as _));
    let err = read(child.stderr.take().map(|s| Box::new(s) as _));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupted() {
            child.kill()?;
            child.wait()?;
            return Err(EngineError::Interrupted);
        }
        std::thread::sleep(LOOK);
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    let lines: Vec<&str> = err.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST)..].join("; ");
    Err(failed(if last.is_empty() { status.to_string() } else { last }))
}
