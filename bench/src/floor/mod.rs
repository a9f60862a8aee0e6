//! The floor: the objects of a lab, made by system calls and nothing else.
//!
//! Runs as a process of its own (`netloom-bench floor`), so that it can be measured like
//! `netloom deploy`: it prints `made`, waits for a line, removes all and ends.

mod netlink;
mod network;
mod node;

use crate::topology::Lab;
use anyhow::{Context, Result, bail};
use network::{Ends, Namespaces};
pub use network::{barrier, loopback};
use std::ffi::CString;
use std::fmt::Write;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Flags of the floor process.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Nodes.
    #[arg(long)]
    nodes: usize,
    /// With the management network.
    #[arg(long)]
    mgmt: bool,
    /// Neither `/proc`, `/sys` nor `/dev` in nodes.
    #[arg(long)]
    bare: bool,
    /// The image's layer.
    #[arg(long)]
    layer: PathBuf,
    /// Where nodes keep their changes.
    #[arg(long)]
    state: PathBuf,
}

/// Makes, waits, removes.
pub fn run(a: &Arguments) -> Result<()> {
    raise_limits();
    let lab = Lab::new(a.nodes, a.mgmt);
    let clock = Clock(Instant::now());
    let namespaces = network::namespaces(lab.nodes).context("make namespaces")?;
    clock.say("namespaces");
    std::fs::create_dir_all(&a.state)?;
    let shared = shared(a, &lab)?;
    let pids = std::thread::scope(|scope| {
        let wires = scope.spawn(|| wire(&lab, &namespaces, &clock));
        let pids = nodes(&lab, &namespaces, &shared, a)?;
        clock.say("nodes");
        wires.join().map_err(|_| anyhow::anyhow!("the thread of the links panicked"))??;
        anyhow::Ok(pids)
    })?;
    clock.say("all");
    println!("made");
    io::stdin().lock().read_line(&mut String::new())?;
    remove(&lab, namespaces, &pids, a)
}

/// Says on standard error how long it took to get somewhere.
struct Clock(Instant);

impl Clock {
    fn say(&self, what: &str) {
        eprintln!("floor: {what} after {:.3} s", self.0.elapsed().as_secs_f64());
    }
}

fn raise_limits() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one structure, alive through both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

fn c_string(path: &std::path::Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_encoded_bytes())?)
}

fn shared(a: &Arguments, lab: &Lab) -> Result<node::Shared> {
    let hosts = a.state.join("hosts");
    if lab.mgmt {
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        for at in 0..lab.nodes {
            for address in Lab::addresses(at) {
                writeln!(text, "{address}\tclab-bench-n{at} n{at}")?;
            }
        }
        std::fs::write(&hosts, text)?;
    }
    Ok(node::Shared {
        empty: node::empty_namespace().context("make the empty mount namespace")?,
        layer: c_string(&a.layer)?,
        hosts: lab.mgmt.then(|| c_string(&hosts)).transpose()?,
        bare: a.bare,
    })
}

fn wire(lab: &Lab, namespaces: &Namespaces, clock: &Clock) -> Result<()> {
    let mut ends = Ends::new(lab.nodes);
    if lab.mgmt {
        network::management(lab, namespaces, &mut ends).context("make the management network")?;
        clock.say("management");
    }
    network::links(lab, namespaces, &mut ends).context("make links")?;
    clock.say("links");
    ends.finish(lab, namespaces).context("set interfaces up")?;
    clock.say("interfaces");
    if lab.mgmt {
        network::open(lab).context("set the bridges up")?;
    }
    Ok(())
}

fn nodes(
    lab: &Lab,
    namespaces: &Namespaces,
    shared: &node::Shared,
    a: &Arguments,
) -> Result<Vec<i32>> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<i32>> {
        let mut pids = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= lab.nodes {
                return Ok(pids);
            }
            let name = format!("n{at}");
            let private = a.state.join(&name);
            pids.push(node::start(shared, namespaces.fd(at), &name, &private)?);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..network::threads()).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(lab.nodes);
        for thread in threads {
            match thread.join() {
                Ok(pids) => all.extend(pids.context("start a node")?),
                Err(_) => bail!("a thread that starts nodes panicked"),
            }
        }
        Ok(all)
    })
}

fn remove(lab: &Lab, namespaces: Namespaces, pids: &[i32], a: &Arguments) -> Result<()> {
    let clock = Clock(Instant::now());
    if lab.mgmt {
        network::remove(lab).context("remove the management network")?;
    }
    for &pid in pids {
        // SAFETY: plain numbers; a child of ours that has not been waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    clock.say("killing");
    let mut broken = 0;
    for &pid in pids {
        let mut status = 0;
        // SAFETY: one number, alive through the call.
        unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        broken += usize::from(!libc::WIFSIGNALED(status));
    }
    clock.say("end of nodes");
    drop(namespaces);
    std::fs::remove_dir_all(&a.state)?;
    clock.say("removal");
    match broken {
        0 => Ok(()),
        n => bail!("{n} nodes had not come up or ended by themselves"),
    }
}
