//! Docker as the runtime: netloom's deploy against the same containers made by Docker alone.
//!
//! What netloom asked Docker for is read back and asked for again, by this program, with as many
//! requests at once and without links: that is the daemon's time. The rest of a deploy is ours.

use crate::measure::median;
use crate::place::Place;
use crate::topology::Lab;
use anyhow::{Context, Result, bail};
use netloom_testkit::{Dockerd, busybox};
use serde_json::{Value as Json, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const IMAGE: &str = "netloom-bench/busybox:latest";

/// Flags of `daemon`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The program to measure, a release build.
    #[arg(long, default_value = "target/release/netloom")]
    netloom: PathBuf,
    /// Sizes of labs, two links a node.
    #[arg(long, value_delimiter = ',', default_value = "50,200")]
    nodes: Vec<usize>,
    /// Times each is done; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the folders of the run are made.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// A containerlab that deploys the same file on the same daemon, once a round.
    #[arg(long)]
    containerlab: Option<PathBuf>,
}

/// Seconds of one round: deploy and destroy by netloom, by Docker alone, by containerlab.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    ours: [f64; 2],
    daemon: [f64; 2],
    theirs: Option<[f64; 2]>,
    /// Processor time of the deploy command.
    cpu: f64,
}

/// Measures and prints.
pub fn run(a: &Arguments) -> Result<()> {
    let place = Place::new(&a.dir, &a.netloom)?;
    // Mounts of the daemon are nobody else's.
    // SAFETY: plain numbers; no other thread runs yet.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
        bail!("a mount namespace needs root: {}", std::io::Error::last_os_error());
    }
    run_to_end(Command::new("mount").args(["--make-rprivate", "/"]))?;
    let daemon = Dockerd::with(&[]);
    let socket = daemon.socket();
    load(&place, &socket)?;
    println!(
        "Docker as the runtime, two links a node, medians of {} rounds, seconds\n\
         nodes | netloom deploy, destroy | Docker alone | ours: of the deploy, processor | containerlab deploy, destroy: times ours",
        a.rounds
    );
    for nodes in &a.nodes {
        let lab = Lab::new(*nodes, true);
        let rounds: Vec<Round> =
            (0..a.rounds).map(|n| round(&place, &socket, lab, n, a)).collect::<Result<_>>()?;
        let of = |f: &dyn Fn(&Round) -> f64| median(rounds.iter().map(f));
        let (ours, alone) = (of(&|r| r.ours[0]), of(&|r| r.daemon[0]));
        let theirs = rounds.iter().all(|r| r.theirs.is_some()).then(|| {
            let [deploy, destroy] = [0, 1].map(|i| of(&|r| r.theirs.map_or(0.0, |t| t[i])));
            let times = of(&|r| r.theirs.map_or(0.0, |t| t[0] / r.ours[0]));
            let gone = of(&|r| r.theirs.map_or(0.0, |t| t[1] / r.ours[1]));
            format!("{deploy:.1}, {destroy:.1}: {times:.2}x, {gone:.2}x")
        });
        println!(
            "{nodes:5} | {ours:.2}, {:.2} | {alone:.2}, {:.2} | {:.1} %, {:.2} | {}",
            of(&|r| r.ours[1]),
            of(&|r| r.daemon[1]),
            of(&|r| (r.ours[0] - r.daemon[0]) / r.ours[0] * 100.0),
            of(&|r| r.cpu),
            theirs.unwrap_or_else(|| "not asked for".into()),
        );
    }
    Ok(())
}

fn run_to_end(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn load(place: &Place, socket: &Path) -> Result<()> {
    let folder = place.fresh("busybox")?.folder;
    let root = folder.join("root");
    busybox::unpack(&root);
    let archive = folder.join("image.tar");
    let mut file = fs::File::create(&archive)?;
    busybox::archive(&root, IMAGE, &["sleep", "1000000"], &mut file);
    let host = format!("unix://{}", socket.display());
    run_to_end(
        Command::new("docker").env("DOCKER_HOST", host).args(["load", "-q", "-i"]).arg(archive),
    )?;
    Ok(())
}

fn round(place: &Place, socket: &Path, lab: Lab, n: usize, a: &Arguments) -> Result<Round> {
    let fresh = place.fresh(&format!("daemon-{}-{n}", lab.nodes))?;
    fs::create_dir_all(fresh.folder.join("etc"))?;
    let file = fresh.folder.join("lab.clab.yml");
    fs::write(&file, lab.file(IMAGE))?;
    let host = format!("unix://{}", socket.display());
    let topology = file.display().to_string();
    let netloom = |arguments: &[&str]| -> Result<f64> {
        let since = Instant::now();
        run_to_end(fresh.netloom(arguments).env("DOCKER_HOST", &host).current_dir(&fresh.folder))?;
        Ok(since.elapsed().as_secs_f64())
    };
    let before = children();
    let deploy = netloom(&["deploy", "-t", &topology, "--plain", "--runtime", "docker"])?;
    let cpu = children() - before;
    let wanted: Vec<(String, Json)> = (0..lab.nodes)
        .map(|at| {
            let name = format!("clab-{}-n{at}", lab.name());
            Ok((
                name.clone(),
                body(&ask(socket, "GET", &format!("/containers/{name}/json"), None)?),
            ))
        })
        .collect::<Result<_>>()?;
    let destroy = netloom(&["destroy", "-t", &topology, "--keep-mgmt-net"])?;
    let daemon = alone(socket, &wanted)?;
    // The network goes with the last lab on it.
    netloom(&["deploy", "-t", &topology, "--plain", "--runtime", "docker", "--node-filter", "n0"])?;
    netloom(&["destroy", "-t", &topology, "--cleanup"])?;
    let theirs = match &a.containerlab {
        None => None,
        Some(program) => {
            let time = |arguments: &[&str]| -> Result<f64> {
                let since = Instant::now();
                let mut command = Command::new(program);
                command
                    .args(arguments)
                    .env("DOCKER_HOST", &host)
                    .env("CLAB_VERSION_CHECK", "disable");
                run_to_end(command.current_dir(&fresh.folder))?;
                Ok(since.elapsed().as_secs_f64())
            };
            let deploy = time(&["deploy", "-t", &topology])?;
            Some([deploy, time(&["destroy", "-t", &topology, "--cleanup"])?])
        }
    };
    Ok(Round { ours: [deploy, destroy], daemon, theirs, cpu })
}

/// Processor time of all children that have ended, in seconds.
fn children() -> f64 {
    // SAFETY: a structure of numbers, written by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// What a container was asked for with, from what it is.
fn body(inspected: &Json) -> Json {
    let mut body = inspected["Config"].clone();
    body["HostConfig"] = inspected["HostConfig"].clone();
    let mut ends = inspected["NetworkSettings"]["Networks"].clone();
    for (_, end) in ends.as_object_mut().into_iter().flatten() {
        *end = json!({ "IPAMConfig": end["IPAMConfig"], "Aliases": end["Aliases"] });
    }
    body["NetworkingConfig"] = json!({ "EndpointsConfig": ends });
    body
}

/// Makes, starts and removes containers, as netloom does it: so many at once.
fn alone(socket: &Path, wanted: &[(String, Json)]) -> Result<[f64; 2]> {
    let workers = std::thread::available_parallelism().map_or(4, |n| n.get() * 4);
    let each = |workers: usize, work: &(dyn Fn(&(String, Json)) -> Result<()> + Sync)| {
        let (since, next) = (Instant::now(), AtomicUsize::new(0));
        let failed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                            work(one)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().filter_map(|t| t.join().ok()?.err()).next()
        });
        match failed {
            Some(e) => Err(e),
            None => Ok(since.elapsed().as_secs_f64()),
        }
    };
    let made = each(workers, &|(name, body)| {
        ask(socket, "POST", &format!("/containers/create?name={name}"), Some(body))?;
        ask(socket, "POST", &format!("/containers/{name}/start"), None)?;
        Ok(())
    })?;
    let removed = each(16, &|(name, _)| {
        ask(socket, "DELETE", &format!("/containers/{name}?force=1&v=1"), None)?;
        Ok(())
    })?;
    Ok([made, removed])
}

/// One question to Docker's API.
fn ask(socket: &Path, method: &str, path: &str, body: Option<&Json>) -> Result<Json> {
    let body = body.map(Json::to_string).unwrap_or_default();
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "{method} /v1.41{path} HTTP/1.0\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("an answer")?;
    let code: u16 = head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
    if !(200..400).contains(&code) {
        bail!("{method} {path}: {code} {text}");
    }
    Ok(serde_json::from_str(text).unwrap_or(Json::Null))
}
