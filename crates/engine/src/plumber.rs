//! What keeps the links of a running lab whole where a daemon may start containers again at any
//! moment: by hand, by a restart policy, or because the daemon itself was started again.
//!
//! Lives in the supervisor's process, which the holder starts again when it dies. A thread for every
//! daemon listens to what happens there; one for the lab's joined links lets carrier follow the
//! cable.

use crate::apply::owns_namespace;
use crate::certificates::late_authority;
use crate::outside::foreign;
use crate::record::LabRecord;
use crate::runtimes::{LAB_LABEL, Runtimes};
use crate::wire::WIRING;
use crate::{Engine, EngineError};
use netloom_datapath::carrier::{self, Changes};
use netloom_datapath::{Netns, Socket};
use netloom_plan::{Impl, NamespaceOf, NodeObject, Objects, Runs};
use netloom_runtime_docker::Which;
use nix::poll::PollTimeout;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a lab is left alone before what nobody waits for is made.
const QUIET: Duration = Duration::from_secs(1);
/// How long a daemon that does not answer is left alone at first, and at most.
const AGAIN: Duration = Duration::from_millis(200);
const SELDOM: Duration = Duration::from_millis(500);
/// How often it is tried to bring links back, the second time after a second, then twice as long.
const TRIES: u32 = 6;

/// Watches over a lab until the process ends; does nothing for labs that need none.
pub fn watch(engine: &Engine, lab: &str) {
    let (mut watched, mut strangers) = (BTreeSet::new(), BTreeSet::new());
    let (mut following, mut certified) = (false, false);
    let Ok(mut changes) = Records::of(engine, lab) else { return };
    loop {
        if let Ok(Some(record)) = LabRecord::load(&engine.directories, lab) {
            let fleeting = record.runtimes().into_iter().filter(|r| r.own_namespaces());
            for runs in fleeting.filter(|r| watched.insert(*r)) {
                let (engine, lab) = (engine.clone(), lab.to_owned());
                std::thread::spawn(move || listen(|| listen_once(&engine, &lab, runs)));
            }
            for runs in foreign(&record).into_keys().filter(|r| strangers.insert(*r)) {
                let (engine, lab) = (engine.clone(), lab.to_owned());
                std::thread::spawn(move || listen(|| strangers_once(&engine, &lab, runs)));
            }
            if record.complete && !std::mem::replace(&mut certified, true) {
                let record = record.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(QUIET);
                    if let Err(e) = late_authority(&record) {
                        eprintln!("certificate authority: {e}");
                    }
                });
            }
            if !following && cables(&record).next().is_some() {
                following = true;
                let (engine, lab) = (engine.clone(), lab.to_owned());
                std::thread::spawn(move || follow(&engine, &lab));
            }
        }
        if !changes.wait() {
            return;
        }
    }
}

/// Tells when a lab's record is written anew.
struct Records {
    inotify: Inotify,
}

impl Records {
    fn of(engine: &Engine, lab: &str) -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(&engine.directories.lab(lab), AddWatchFlags::IN_MOVED_TO)?;
        Ok(Records { inotify })
    }

    /// False when it cannot be told any more.
    fn wait(&mut self) -> bool {
        loop {
            match self.inotify.read_events() {
                Ok(_) => return true,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Listens to a daemon, again and again.
fn listen(mut once: impl FnMut() -> Result<(), EngineError>) {
    let mut told = false;
    let mut wait = AGAIN;
    loop {
        match once() {
            Ok(()) => (told, wait) = (false, AGAIN),
            // A daemon that is away is away for a while: it is said once.
            Err(e) => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("plumber: {e}");
                }
                wait = (wait * 2).min(SELDOM);
            }
        }
        std::thread::sleep(wait);
    }
}

/// Brings links back to containers of somebody else that are started again, as long as the lab
/// leads links to them.
fn strangers_once(engine: &Engine, lab: &str, runs: Runs) -> Result<(), EngineError> {
    let Some(record) = LabRecord::load(&engine.directories, lab)? else { return Ok(()) };
    let Some(socket) = record.sockets.get(&runs) else { return Ok(()) };
    let daemon = engine.daemons.anew(runs, socket)?;
    let ours = || -> Vec<String> {
        let record = LabRecord::load(&engine.directories, lab).ok().flatten();
        let names = record.and_then(|r| foreign(&r).remove(&runs));
        names.into_iter().flatten().collect()
    };
    let all = || ours().iter().for_each(|name| rewire(engine, lab, runs, name, 0));
    daemon.watch(Which::All, all, |happened| {
        if happened.action == "start" && ours().contains(&happened.name) {
            rewire(engine, lab, runs, &happened.name, 0);
        }
        true
    })?;
    Ok(())
}

/// Brings links back to one container; what fails is tried again for a while.
fn rewire(engine: &Engine, lab: &str, runs: Runs, name: &str, tried: u32) {
    if let Err(e) = engine.rewire(lab, runs, name) {
        eprintln!("plumber: {name}: {e}");
        if tried < TRIES {
            let (engine, lab, name) = (engine.clone(), lab.to_owned(), name.to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(1 << tried));
                rewire(&engine, &lab, runs, &name, tried + 1);
            });
        }
    }
}

/// Brings links back whenever a daemon starts one of the lab's containers.
fn listen_once(engine: &Engine, lab: &str, runs: Runs) -> Result<(), EngineError> {
    let Some(record) = LabRecord::load(&engine.directories, lab)? else { return Ok(()) };
    let daemon = match record.sockets.get(&runs) {
        Some(socket) => engine.daemons.anew(runs, socket)?,
        None => return Ok(()),
    };
    let all = || mend(engine, lab, runs, None, 0);
    daemon.watch(Which::Label(&format!("{LAB_LABEL}={lab}")), all, |happened| {
        if happened.action == "start" {
            mend(engine, lab, runs, Some(&happened.name), 0);
        }
        true
    })?;
    Ok(())
}

/// Brings links back of one container, or of all; what fails is tried again for a while.
fn mend(engine: &Engine, lab: &str, runs: Runs, only: Option<&str>, tried: u32) {
    let failed = match engine.mend(lab, runs, only) {
        Ok(failed) => failed,
        Err(e) => vec![(only.map(str::to_owned), e)],
    };
    for (name, e) in failed {
        eprintln!("plumber: {}: {e}", name.as_deref().unwrap_or(lab));
        if tried < TRIES {
            let (engine, lab) = (engine.clone(), lab.to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(1 << tried));
                mend(&engine, &lab, runs, name.as_deref(), tried + 1);
            });
        }
    }
}

/// Containers whose links could not be brought back, and why.
type Failed = Vec<(Option<String>, EngineError)>;

impl Engine {
    /// Brings the links of a lab's nodes back to where their containers are, and has nodes that
    /// share a namespace that is gone started again.
    pub(crate) fn mend(
        &self,
        lab: &str,
        runs: Runs,
        only: Option<&str>,
    ) -> Result<Failed, EngineError> {
        let Some(record) = LabRecord::load(&self.directories, lab)? else { return Ok(Vec::new()) };
        let Some(runtimes) = self.runtimes(&record)? else { return Ok(Vec::new()) };
        let runtime = runtimes.of(runs)?;
        let everything = record.everything();
        let mut failed = Vec::new();
        let meant = |n: &&NodeObject| {
            n.container
                && n.runs == runs
                && owns_namespace(n)
                && only.is_none_or(|name| name == n.long_name)
        };
        for node in everything.nodes.iter().filter(meant) {
            let native = &runtimes.native;
            let plumbed = self.plumb(lab, native, &*runtime, &everything, node);
            let done = plumbed.and_then(|lost| {
                lost.iter().for_each(|what| eprintln!("plumber: {}: lost: {what}", node.name));
                follow_owner(&runtimes, &everything, node)
            });
            if let Err(e) = done {
                failed.push((Some(node.long_name.clone()), e));
            }
        }
        Ok(failed)
    }
}

/// Starts nodes again that run in the namespace their owner had before.
fn follow_owner(
    runtimes: &Runtimes,
    objects: &Objects,
    owner: &NodeObject,
) -> Result<(), EngineError> {
    let here = NamespaceOf::Node(owner.name.clone());
    let guests = objects.nodes.iter().filter(|n| n.container && n.namespace == here);
    for guest in guests.filter(|n| n.name != owner.name) {
        let Some(kept) = runtimes.native.kept(&format!("netns:{}", owner.name))? else { continue };
        let kept = Netns::from_fd(kept)?;
        let runtime = runtimes.of(guest.runs)?;
        let Some(pid) = runtime.inspect(&guest.long_name)?.and_then(|s| s.pid) else { continue };
        if Netns::from_pid(pid).is_ok_and(|netns| !netns.same(&kept)) {
            runtime.stop(&guest.long_name, Some(Duration::ZERO))?;
            runtime.start(&guest.long_name)?;
        }
    }
    Ok(())
}

fn cables(record: &LabRecord) -> impl Iterator<Item = [String; 2]> {
    let links = record.objects.links.iter().chain(&record.pending.links);
    links.filter_map(|l| match &l.how {
        Impl::Stitch { ports } => Some(ports.clone()),
        _ => None,
    })
}

/// Lets carrier follow the cables of a lab.
fn follow(engine: &Engine, lab: &str) {
    loop {
        if let Err(e) = follow_once(engine, lab) {
            eprintln!("plumber: {e}");
        }
        std::thread::sleep(AGAIN);
    }
}

fn follow_once(engine: &Engine, lab: &str) -> Result<(), EngineError> {
    let Some(native) = engine.runtime(lab)? else { return Ok(()) };
    let Some(wiring) = native.kept(WIRING)? else { return Ok(()) };
    let wiring = Netns::from_fd(wiring)?.with_label(WIRING);
    let mut changes = Changes::of(&wiring)?;
    let mut socket = Socket::open_in(&wiring)?;
    let path = engine.directories.lab(lab).join("lab.json");
    let mut known = (None, Vec::new());
    loop {
        let written = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
        if known.0 != written {
            let record = LabRecord::load(&engine.directories, lab)?;
            known = (written, record.iter().flat_map(cables).collect());
        }
        carrier::follow(&mut socket, &known.1)?;
        changes.wait(PollTimeout::NONE);
        // Many change at once when a lab is made.
        std::thread::sleep(Duration::from_millis(5));
    }
}
