//! Floor and netloom in turns, for each size and row.

use crate::measure::{self, Cost, Group, Watch, median};
use crate::place::{Fresh, IMAGE, Place};
use crate::report::{Report, Row};
use crate::topology::Lab;
use crate::{docker, floor, scale};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Flags of `run`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The program to measure, a release build.
    #[arg(long, default_value = "target/release/netloom")]
    netloom: PathBuf,
    /// Sizes of labs.
    #[arg(long, value_delimiter = ',', default_value = "306,1000")]
    nodes: Vec<usize>,
    /// Rows: `a` without a management network, `b` with.
    #[arg(long, value_delimiter = ',', default_value = "a,b", value_parser = ["a", "b"])]
    rows: Vec<String>,
    /// Times each is done; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the folders of the run are made; a disk, as in real life.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Nodes of the file that is resolved and planned; 0 leaves that out.
    #[arg(long, default_value_t = 10_000)]
    scale: usize,
    /// Nodes for Docker, where a daemon answers; 0 leaves that out.
    #[arg(long, default_value_t = 306)]
    docker: usize,
    /// Form of the result.
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Fail when a limit is missed.
    #[arg(long)]
    strict: bool,
}

/// One deploy and destroy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Until everything runs.
    pub deploy: Cost,
    /// Until the command says that all is gone.
    pub destroy: Cost,
    /// Seconds from there until the kernel has let go of the namespaces.
    pub settled: f64,
    /// Most memory of the command, in KiB.
    pub peak: f64,
    /// Most memory of what stays beside the nodes, in KiB.
    pub daemons: f64,
    /// Memory of a node, its own process not counted, in KiB.
    pub each: f64,
    /// Change of the number of mounts the host sees while the lab runs.
    pub mounts: i64,
}

/// Measures everything and prints it.
pub fn run(a: &Arguments) -> Result<()> {
    let place = Place::new(&a.dir, &a.netloom)?;
    let group = Group::new()?;
    let mut report = Report::default();
    for &nodes in &a.nodes {
        for row in &a.rows {
            let lab = Lab::new(nodes, row == "b");
            let row = contest(&place, &group, lab, a.rounds).context(lab.name())?;
            report.rows.push(row);
        }
    }
    if a.scale > 0 {
        report.scale = Some(scale::measure(&place, &group, a.scale, a.rounds)?);
    }
    // What Docker does not do must not cost the rest of the report.
    report.docker = docker::measure(&place, a.docker, &report.rows)
        .unwrap_or_else(|e| docker::Docker::missing(format!("it failed: {e:#}")));
    report.check();
    match a.format.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&report)?),
        _ => print!("{}", report.table()),
    }
    match report.checks.iter().filter(|c| !c.met).count() {
        missed if missed > 0 && a.strict => bail!("{missed} limits missed"),
        _ => Ok(()),
    }
}

fn contest(place: &Place, group: &Group, lab: Lab, rounds: usize) -> Result<Row> {
    let mut floors = Vec::new();
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    for round in 0..rounds {
        eprintln!("{}: round {} of {rounds}", lab.name(), round + 1);
        let fresh = |what: &str| place.fresh(&format!("{}-{what}-{round}", lab.name()));
        floors.push(floor_once(place, group, lab, &fresh("floor")?, false)?);
        ours.push(netloom_once(place, group, lab, &fresh("netloom")?)?);
        bare.push(floor_once(place, group, lab, &fresh("bare")?, true)?);
    }
    let [floor, bare, netloom] = [floors, bare, ours].map(|all| middle(&all));
    Ok(Row {
        nodes: lab.nodes,
        links: lab.links().count(),
        row: if lab.mgmt { "b" } else { "a" },
        floor: floor.into(),
        bare: bare.into(),
        netloom: netloom.into(),
    })
}

/// The median of each number by itself.
fn middle(all: &[Sample]) -> Sample {
    let of = |what: fn(&Sample) -> f64| median(all.iter().map(what));
    let cost = |what: fn(&Sample) -> Cost| Cost {
        wall: median(all.iter().map(|s| what(s).wall)),
        cpu: median(all.iter().map(|s| what(s).cpu)),
        machine_cpu: median(all.iter().map(|s| what(s).machine_cpu)),
    };
    Sample {
        deploy: cost(|s| s.deploy),
        destroy: cost(|s| s.destroy),
        settled: of(|s| s.settled),
        peak: of(|s| s.peak),
        daemons: of(|s| s.daemons),
        each: of(|s| s.each),
        mounts: all.iter().map(|s| s.mounts).max_by_key(|m| m.abs()).unwrap_or(0),
    }
}

/// Makes a command's process join the group before it executes.
pub fn inside(group: &Group, command: &mut Command) -> Result<()> {
    let procs = fs::OpenOptions::new().write(true).open(group.procs())?;
    let join = move || (&procs).write_all(b"0");
    // SAFETY: one write to an open file, which is fine in a child before it executes.
    unsafe { command.pre_exec(join) };
    Ok(())
}

/// Waits until the kernel has taken down what was let go of; the seconds that took.
fn settle() -> Result<f64> {
    let since = std::time::Instant::now();
    floor::barrier().context("wait for the kernel to remove namespaces")?;
    Ok(since.elapsed().as_secs_f64())
}

/// The machine before something is made.
struct Before {
    available: f64,
    mounts: usize,
}

impl Before {
    fn new() -> Self {
        Before { available: measure::available(), mounts: measure::mounts() }
    }

    /// Looks at what was made.
    fn compare(&self, group: &Group, lab: Lab, sample: &mut Sample) {
        let taken = self.available - measure::available();
        let (nodes, others): (Vec<u32>, Vec<u32>) =
            group.members().into_iter().partition(|pid| measure::name(*pid) == "idle");
        let own: f64 = nodes.iter().map(|pid| measure::share(*pid)).sum();
        sample.daemons = others.iter().map(|pid| measure::peak(*pid)).sum();
        sample.each = (taken - own) / lab.nodes as f64;
        sample.mounts = measure::mounts() as i64 - self.mounts as i64;
    }
}

fn floor_once(place: &Place, group: &Group, lab: Lab, fresh: &Fresh, bare: bool) -> Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").args(["--nodes", &lab.nodes.to_string()]);
    command.arg("--layer").arg(place.layer()).arg("--state").arg(fresh.folder.join("state"));
    command.args(lab.mgmt.then_some("--mgmt")).args(bare.then_some("--bare"));
    let log = fresh.folder.join("log");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
    inside(group, &mut command)?;
    let before = Before::new();
    let watch = Watch::start(group);
    let mut child = command.spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let mut sample = Sample { deploy: watch.cost(), ..Sample::default() };
    if line.trim() != "made" {
        child.wait()?;
        bail!("the floor failed: {}", fs::read_to_string(log)?);
    }
    before.compare(group, lab, &mut sample);
    sample.daemons = 0.0;
    let watch = Watch::start(group);
    drop(child.stdin.take());
    let (code, peak) = measure::wait(child.id())?;
    sample.destroy = watch.cost();
    sample.peak = peak;
    if code != 0 {
        bail!("the floor failed: {}", fs::read_to_string(log)?);
    }
    sample.settled = settle()?;
    Ok(sample)
}

fn netloom_once(place: &Place, group: &Group, lab: Lab, fresh: &Fresh) -> Result<Sample> {
    fresh.import(&place.layer())?;
    let file = fresh.folder.join("lab.clab.yml");
    fs::write(&file, lab.file(IMAGE))?;
    let file = file.to_string_lossy().into_owned();
    let before = Before::new();
    let watch = Watch::start(group);
    let peak = command(group, fresh, &["deploy", "--plain", "-t", &file])?;
    let mut sample = Sample { deploy: watch.cost(), peak, ..Sample::default() };
    before.compare(group, lab, &mut sample);
    let running = group.members().iter().filter(|pid| measure::name(**pid) == "idle").count();
    let watch = Watch::start(group);
    command(group, fresh, &["destroy", "--plain", "--cleanup", "-t", &file])?;
    sample.destroy = watch.cost();
    sample.settled = settle()?;
    if running != lab.nodes {
        bail!("{running} of {} nodes ran", lab.nodes);
    }
    Ok(sample)
}

/// Runs a command of netloom to its end; its most memory in KiB.
pub fn command(group: &Group, fresh: &Fresh, arguments: &[&str]) -> Result<f64> {
    let log = fresh.folder.join("log");
    let mut command = fresh.netloom(arguments);
    command.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
    inside(group, &mut command)?;
    let (code, peak) = measure::wait(command.spawn()?.id())?;
    if code != 0 {
        let said = fs::read_to_string(log)?;
        bail!("netloom {} ended with {code}: {said}", arguments.join(" "));
    }
    Ok(peak)
}
