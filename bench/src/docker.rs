//! The same work by Docker: `docker run --network none` in parallel, then `ip link`.

use crate::place::Place;
use crate::report::Row;
use crate::topology::Lab;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Requests at once; more made no difference here.
const IN_FLIGHT: usize = 4;
const IMAGE: &str = "netloom-bench-idle";

/// What Docker took.
#[derive(Debug, Default, Serialize)]
pub struct Docker {
    /// Why there is nothing, if so.
    pub missing: Option<String>,
    /// Nodes.
    pub nodes: usize,
    /// Seconds for containers and links.
    pub deploy: f64,
    /// Seconds to remove the containers.
    pub destroy: f64,
    /// Docker's time over netloom's, where netloom was measured with as many nodes.
    pub ratio: Option<f64>,
}

impl Docker {
    /// Why there is nothing to compare with.
    pub fn missing(why: impl Into<String>) -> Self {
        Docker { missing: Some(why.into()), ..Docker::default() }
    }
}

/// Seconds a request may take: daemons have been seen to wait for ever for a container they lost.
const PATIENCE: &str = "180";

fn docker(arguments: &[&str], input: Stdio) -> Result<String> {
    let mut command = Command::new("timeout");
    let out = output(command.args([PATIENCE, "docker"]).args(arguments).stdin(input));
    out.with_context(|| format!("docker {}", arguments.first().unwrap_or(&"")))
}

fn output(command: &mut Command) -> Result<String> {
    let out = command.output()?;
    if !out.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Measures, if a daemon answers.
pub fn measure(place: &Place, nodes: usize, rows: &[Row]) -> Result<Docker> {
    if nodes == 0 {
        return Ok(Docker::missing("not asked for"));
    }
    if let Err(e) = docker(&["version", "--format", "{{.Server.Version}}"], Stdio::null()) {
        let why = e.to_string();
        let why = why.lines().last().unwrap_or_default();
        return Ok(Docker::missing(format!("no daemon answers ({why})")));
    }
    eprintln!("Docker: {nodes} nodes");
    let tar = Command::new("tar")
        .args(["-C", &place.layer().to_string_lossy(), "-c", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let archive = tar.stdout.context("tar has no output")?;
    docker(&["import", "--change", "CMD [\"/bin/idle\"]", "-", IMAGE], archive.into())?;
    let lab = Lab::new(nodes, false);
    let since = Instant::now();
    let made = make(lab);
    let deploy = since.elapsed().as_secs_f64();
    let since = Instant::now();
    let names: Vec<String> = (0..nodes).map(name).collect();
    let mut all = vec!["rm", "-f"];
    all.extend(names.iter().map(String::as_str));
    let removed = docker(&all, Stdio::null());
    let destroy = since.elapsed().as_secs_f64();
    let unnamed = docker(&["rmi", IMAGE], Stdio::null());
    made?;
    removed?;
    unnamed?;
    let same = rows.iter().find(|r| r.nodes == nodes && r.row == "a");
    let ratio = same.map(|r| deploy / r.netloom.deploy.wall);
    Ok(Docker { missing: None, nodes, deploy, destroy, ratio })
}

fn name(node: usize) -> String {
    format!("netloom-bench-{}-n{node}", std::process::id())
}

fn make(lab: Lab) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= lab.nodes {
                return Ok(());
            }
            let run = ["run", "-d", "--network", "none", "--name", &name(at), IMAGE];
            docker(&run, Stdio::null())?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..IN_FLIGHT).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|t| t.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })?;
    let names: Vec<String> = (0..lab.nodes).map(name).collect();
    let mut inspect = vec!["inspect", "-f", "{{.State.Pid}}"];
    inspect.extend(names.iter().map(String::as_str));
    let text = docker(&inspect, Stdio::null())?;
    let pids: Vec<&str> = text.lines().collect();
    let mut pairs = String::new();
    let mut ups: HashMap<usize, String> = HashMap::new();
    for ((a, i), (b, j)) in lab.links() {
        let (p, q) = (pids.get(a).copied(), pids.get(b).copied());
        let (p, q) = (p.unwrap_or_default(), q.unwrap_or_default());
        writeln!(
            pairs,
            "link add eth{i} mtu 9500 netns {p} type veth peer name eth{j} mtu 9500 netns {q}"
        )?;
        writeln!(ups.entry(a).or_default(), "link set eth{i} up")?;
        writeln!(ups.entry(b).or_default(), "link set eth{j} up")?;
    }
    batch(Command::new("ip"), &pairs)?;
    for (node, lines) in ups {
        let mut enter = Command::new("nsenter");
        enter.args(["-t", pids.get(node).copied().unwrap_or_default(), "-n", "ip"]);
        batch(enter, &lines)?;
    }
    Ok(())
}

fn batch(mut command: Command, lines: &str) -> Result<()> {
    let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes())?;
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => bail!("ip -batch failed"),
    }
}
