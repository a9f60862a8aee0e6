//! Kubernetes clusters that the program `kind` makes: their nodes are containers of Docker or Podman,
//! which a lab has links to as to any container of somebody else. A cluster is written down before it
//! is made, and goes with its lab.

use crate::daemon_network::LATE;
use crate::deploy::DeployOptions;
use crate::record::LabRecord;
use crate::report::{Event, Reporter};
use crate::{Engine, EngineError, Ledger};
use fs_err as fs;
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_kinds::Role;
use netloom_plan::Runs;
use netloom_topology::{Lab, Node, StartupConfig};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program.
const PROGRAM: &str = "kind";
/// How often it is asked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of its messages that an error shows.
const LAST: usize = 8;

/// A cluster of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// What runs its nodes.
    pub runs: Runs,
    /// Where that listens.
    pub socket: PathBuf,
    /// The file with its keys, if it is not the user's own.
    pub kubeconfig: Option<PathBuf>,
    /// Whether it was made to the end.
    pub made: bool,
}

/// Nodes of a lab that are clusters.
pub fn of(lab: &Lab) -> impl Iterator<Item = &Node> {
    lab.nodes.iter().filter(|n| n.kind_data.role == Role::K8sCluster)
}

/// The cluster of a lab, not made yet, that a container will be a node of, by its name.
pub fn will_have<'a>(
    lab: &'a Lab,
    record: Option<&LabRecord>,
    container: &str,
) -> Option<&'a Node> {
    let numbered = |role: &str, word: &str| {
        role.strip_prefix(word).is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
    };
    of(lab).find(|n| {
        let made = record.and_then(|r| r.clusters.get(&n.name)).is_some_and(|c| c.made);
        let role = container.strip_prefix(&n.name).and_then(|rest| rest.strip_prefix('-'));
        !made
            && role.is_some_and(|r| {
                r == "external-load-balancer"
                    || numbered(r, "control-plane")
                    || numbered(r, "worker")
            })
    })
}

/// What runs the nodes of a cluster.
pub fn runs(node: &Node) -> Runs {
    match Runs::named(&node.runtime) {
        Some(Runs::Podman | Runs::Rootless) => Runs::Podman,
        _ => Runs::Docker,
    }
}

impl Engine {
    /// What a lab's clusters need of this machine, and what stands in their way.
    pub(crate) fn check_clusters(
        &self,
        lab: &Lab,
        record: Option<&LabRecord>,
        found: &mut Diagnostics,
    ) {
        let Some(first) = of(lab).next() else { return };
        if !on_path(PROGRAM) {
            found.push(
                Diagnostic::error("missing-program", format!("`{PROGRAM}` is not installed"))
                    .at(first.span)
                    .hint("it makes Kubernetes clusters: https://kind.sigs.k8s.io"),
            );
            return;
        }
        for node in of(lab) {
            match self.in_the_way(node, record) {
                Ok(None) => {}
                Ok(Some((what, hint))) => {
                    found.push(Diagnostic::error("cluster", what).at(node.span).hint(hint));
                }
                Err(e) => found.push(Diagnostic::error("cluster", e.to_string()).at(node.span)),
            }
        }
    }

    fn in_the_way(
        &self,
        node: &Node,
        record: Option<&LabRecord>,
    ) -> Result<Option<(String, String)>, EngineError> {
        let cluster = self.planned_cluster(node, record)?;
        if std::fs::metadata(&cluster.socket).is_ok_and(|m| m.uid() != 0) {
            let what =
                format!("cluster `{}` cannot be made by an ordinary user's Podman", node.name);
            return Ok(Some((what, "use Docker, or root's Podman".into())));
        }
        let ours = record.is_some_and(|r| r.clusters.contains_key(&node.name));
        if !ours && there(&cluster)?.contains(&node.name) {
            let what = format!("there is a cluster `{}` that is not this lab's", node.name);
            return Ok(Some((what, format!("{PROGRAM} delete cluster --name {}", node.name))));
        }
        Ok(None)
    }

    /// A cluster as it is, or is to be: it stays with the daemon it was made on.
    fn planned_cluster(
        &self,
        node: &Node,
        record: Option<&LabRecord>,
    ) -> Result<ClusterRecord, EngineError> {
        if let Some(known) = record.and_then(|r| r.clusters.get(&node.name)) {
            return Ok(known.clone());
        }
        let runs = runs(node);
        Ok(ClusterRecord {
            runs,
            socket: self.daemons.socket(runs)?,
            kubeconfig: None,
            made: false,
        })
    }

    /// Makes the clusters of a lab that are not there, and those anew that were made half-way;
    /// removes those it had and has no more.
    pub(crate) fn make_clusters(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let mut record = LabRecord::load(&self.directories, &lab.name)?;
        let had = record.as_ref().map(|r| r.clusters.clone()).unwrap_or_default();
        let names: BTreeSet<&str> = of(lab).map(|n| n.name.as_str()).collect();
        let gone: Vec<&String> = had.keys().filter(|n| !names.contains(n.as_str())).collect();
        if names.is_empty() && gone.is_empty() {
            return Ok(());
        }
        // They take minutes: nothing is begun that could not be finished.
        let mut found = Diagnostics::default();
        let runtimes = self.existing(&lab.name)?;
        let ledger = Ledger::read(&self.directories)?;
        let decision = self.decide(lab, options, runtimes.as_ref(), &ledger, &mut found)?;
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        self.refuse_removing_used(lab, &decision)?;
        for name in gone {
            self.remove_cluster(&lab.name, name)?;
        }
        let mut wanted = Vec::new();
        for node in of(lab) {
            let cluster = self.planned_cluster(node, record.as_ref())?;
            if !(cluster.made && there(&cluster)?.contains(&node.name)) {
                wanted.push((node, cluster));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        if record.is_none() {
            record = Some(LabRecord {
                topology: lab.topology_file.clone(),
                lab_dir: lab.dir.clone(),
                owner: lab.owner.clone(),
                complete: false,
                ..LabRecord::new(&lab.name)
            });
            record.iter().try_for_each(|r| r.save(&self.directories))?;
        }
        report.event(Event::Phase("making Kubernetes clusters", wanted.len()));
        for (node, cluster) in wanted {
            self.make_cluster(lab, node, cluster, options)?;
            report.event(Event::Step);
        }
        report.event(Event::Done);
        Ok(())
    }

    fn make_cluster(
        &self,
        lab: &Lab,
        node: &Node,
        mut cluster: ClusterRecord,
        options: &DeployOptions,
    ) -> Result<(), EngineError> {
        let name = node.name.as_str();
        let known = LabRecord::load(&self.directories, &lab.name)?;
        if known.is_some_and(|r| r.clusters.contains_key(name)) {
            // One of ours that was not finished.
            delete(name, &cluster)?;
        } else if there(&cluster)?.contains(name) {
            let what = format!("cluster `{name}`");
            return Err(EngineError::InUse { lab: what, users: "somebody else".into() });
        }
        let mut argv: Vec<String> =
            ["create", "cluster", "--name", name].map(str::to_owned).to_vec();
        if !node.image.is_empty() {
            argv.extend(["--image".into(), node.image.clone()]);
        }
        let config = match &node.startup_config {
            Some(StartupConfig::File(path)) => Some(path.clone()),
            Some(StartupConfig::Text(text)) => {
                let folder = self.directories.node(&lab.name, name);
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
            let beside = lab.topology_file.parent().unwrap_or(Path::new("/"));
            let path = beside.join(path);
            argv.extend(["--kubeconfig".into(), path.display().to_string()]);
            cluster.kubeconfig = Some(path);
        }
        if let Some(wait) = settings["wait"].as_str().filter(|w| !w.is_empty()) {
            argv.extend(["--wait".into(), wait.into()]);
        }
        cluster.made = false;
        self.note_cluster(&lab.name, name, Some(cluster.clone()))?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        if let Err(e) = kind(&cluster, &argv, &options.interrupted) {
            // Somebody was quicker: it is not ours to delete.
            if e.to_string().contains("already exist") {
                self.note_cluster(&lab.name, name, None)?;
            }
            return Err(e);
        }
        cluster.made = true;
        self.note_cluster(&lab.name, name, Some(cluster))
    }

    /// Writes down what becomes of a cluster.
    fn note_cluster(
        &self,
        lab: &str,
        name: &str,
        cluster: Option<ClusterRecord>,
    ) -> Result<(), EngineError> {
        let Some(mut record) = LabRecord::load(&self.directories, lab)? else { return Ok(()) };
        match cluster {
            Some(cluster) => drop(record.clusters.insert(name.into(), cluster)),
            None => drop(record.clusters.remove(name)),
        }
        record.save(&self.directories)
    }

    /// Removes a cluster of a lab.
    pub(crate) fn remove_cluster(&self, lab: &str, name: &str) -> Result<(), EngineError> {
        let Some(record) = LabRecord::load(&self.directories, lab)? else { return Ok(()) };
        let Some(cluster) = record.clusters.get(name) else { return Ok(()) };
        delete(name, cluster)?;
        self.note_cluster(lab, name, None)
    }

    /// Removes the clusters of a lab that goes; each is tried.
    pub(crate) fn remove_clusters(&self, record: &LabRecord) -> Result<(), EngineError> {
        let done = record.clusters.keys().map(|name| self.remove_cluster(&record.name, name));
        done.filter(Result::is_err).collect::<Vec<_>>().into_iter().next().unwrap_or(Ok(()))
    }
}

/// Deletes a cluster; one that is not there is deleted.
fn delete(name: &str, cluster: &ClusterRecord) -> Result<(), EngineError> {
    let mut argv = vec!["delete", "cluster", "--name", name];
    let file = cluster.kubeconfig.as_ref().map(|p| p.display().to_string());
    argv.extend(file.iter().flat_map(|file| ["--kubeconfig", file]));
    kind(cluster, &argv, &|| false)?;
    if !cluster.made {
        // Who was killed may have asked for a container a moment before.
        std::thread::sleep(LATE);
        kind(cluster, &argv, &|| false)?;
    }
    match cluster.kubeconfig.as_ref().map(std::fs::remove_file) {
        Some(Err(e)) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Clusters that are there, on the daemon of one.
fn there(cluster: &ClusterRecord) -> Result<BTreeSet<String>, EngineError> {
    let out = kind(cluster, &["get", "clusters"], &|| false)?;
    Ok(out.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())
}

/// Runs the program; its standard output. It ends with who runs it.
fn kind(
    cluster: &ClusterRecord,
    argv: &[&str],
    interrupted: &dyn Fn() -> bool,
) -> Result<String, EngineError> {
    let failed = |why: String| {
        EngineError::Io(std::io::Error::other(format!("{PROGRAM} {}: {why}", argv.join(" "))))
    };
    let mut command = match on_path("setpriv") {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "--", PROGRAM]);
            command
        }
        false => Command::new(PROGRAM),
    };
    let socket = format!("unix://{}", cluster.socket.display());
    match cluster.runs {
        Runs::Docker => command.env("DOCKER_HOST", socket),
        _ => command.env("CONTAINER_HOST", socket).env("KIND_EXPERIMENTAL_PROVIDER", "podman"),
    };
    let mut child = command
        .args(argv)
        // A key pressed at the terminal is heard here, and handed on in order.
        .process_group(0)
        .stdin(Stdio::null())
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
    let group = Pid::from_raw(child.id().cast_signed());
    let mut asked: Option<Instant> = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        match asked {
            None if interrupted() => {
                // It may have ended this moment.
                let _ = killpg(group, Signal::SIGTERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > PATIENCE => {
                let _ = killpg(group, Signal::SIGKILL);
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
    };
    if asked.is_some() {
        return Err(EngineError::Interrupted);
    }
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    let lines: Vec<&str> = err.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST)..].join("; ");
    Err(failed(if last.is_empty() { status.to_string() } else { last }))
}
