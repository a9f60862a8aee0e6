//! Create, start, stop, kill, remove.

use super::container::{Container, Life};
use super::timers::Job;
use super::{Supervisor, lock};
use crate::process::boot_ms;
use crate::process::{Identity, boot_id, heeds, now_ms, start_ticks};
use crate::record::{Directory, append, check_name};
use crate::say::say;
use crate::start::{self, Surroundings};
use netloom_runtime::{
    ContainerSpec, ContainerState, Health, NetworkNs, PidNs, Rootfs, RuntimeError,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a killed process may take over vanishing.
const DYING: Duration = Duration::from_secs(30);

impl Supervisor {
    pub(super) fn all(&self) -> Vec<Arc<Container>> {
        lock(&self.containers).values().cloned().collect()
    }

    pub(super) fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        check_name(&spec.name)?;
        refuse_strange(spec)?;
        let directory = Directory(self.layout.container(&spec.name));
        let place = spec.name.bytes().fold(0, |sum, b| sum + usize::from(b)) % self.creating.len();
        let _creating = lock(&self.creating[place]);
        let known = lock(&self.containers).get(&spec.name).cloned();
        if let Some(known) = known {
            return if known.spec == *spec {
                Ok(())
            } else {
                Err(RuntimeError::NameTaken(spec.name.clone()))
            };
        }
        let record = directory.create(spec)?;
        let private = spec.rootfs.private().unwrap_or(Path::new(""));
        let prepared = start::prepare_private(private)
            .map_err(|e| RuntimeError::io(format!("make {}", private.display()), e));
        match prepared {
            Ok(()) => {
                let container = Container::new(record, directory);
                lock(&self.containers).insert(spec.name.clone(), Arc::new(container));
                Ok(())
            }
            Err(e) => {
                let _ = fs::remove_dir_all(&directory.0);
                Err(e)
            }
        }
    }

    pub(super) fn start(self: &Arc<Self>, name: &str) -> Result<ContainerState, RuntimeError> {
        let container = self.find(name)?;
        let _operation = lock(&container.operation);
        {
            let mut life = container.life();
            if life.removed {
                return Err(RuntimeError::NotFound(name.to_owned()));
            }
            if life.running.is_some() {
                return Ok({
                    drop(life);
                    container.state()
                });
            }
            life.forget_failures();
        }
        if container.directory.journal_length() > 16 << 10 {
            let _ = container.directory.compact();
        }
        self.launch(&container)?;
        Ok(container.state())
    }

    /// Starts the first process; the operation lock is held.
    fn launch(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), RuntimeError> {
        let spec = &container.spec;
        let mut journal = container.directory.open_journal()?;
        let offset = self.exits.offset();
        let now = now_ms();
        let restarts = container.life().restarts;
        append(&mut journal, &format!("start {offset} {now} {restarts} {}", boot_ms()))
            .map_err(|e| RuntimeError::io(format!("record the start of {}", spec.name), e))?;
        let started = self.surround(container, journal.as_fd());
        let started = match started {
            Ok(started) => started,
            Err(e) => {
                let _ = append(&mut journal, "failed");
                self.console.forget(&spec.name, &self.holder);
                container.life().restarting = false;
                return Err(e);
            }
        };
        let ticks = start_ticks(started.pid).unwrap_or(0);
        let identity = Identity { pid: started.pid, ticks, boot: boot_id() };
        let generation = {
            let mut life = container.life();
            life.running = Some(identity);
            life.health = spec.healthcheck.as_ref().map(|_| Health::Starting);
            life.started_ms = Some(now);
            life.since = Some(Instant::now());
            life.wanted = true;
            life.restarting = false;
            life.generation += 1;
            life.generation
        };
        if let Some(master) = started.console {
            self.console.add(&spec.name, master, &container.directory.log());
        }
        match self.exits.claim(started.pid, offset, container) {
            Some(exit) => self.ended(container, exit),
            None => self.begin_checks(container, generation),
        }
        Ok(())
    }

    fn surround(
        self: &Arc<Self>,
        container: &Arc<Container>,
        journal: std::os::fd::BorrowedFd<'_>,
    ) -> Result<start::Started, RuntimeError> {
        let spec = &container.spec;
        let kept_network = match &spec.network {
            NetworkNs::Kept(name) => self.holder.get(name)?,
            _ => None,
        };
        let pid_owner = match &spec.pid {
            PidNs::Container(other) => self.find(other)?.running(),
            _ => None,
        };
        let host_upper = if start::is_host(spec) { Some(self.host_upper()?) } else { None };
        let cgroup = (!container.group.is_empty()).then_some(&container.group);
        if let Some(group) = cgroup {
            // What the last run made below its group is in the way of the next one.
            let _ = group.remove_own();
            // A limit that is refused must not leave a group behind.
            group.create(spec).inspect_err(|_| drop(group.remove()))?;
        }
        let key = super::console::key(&spec.name);
        start::start(
            spec,
            Surroundings {
                workshop: &self.workshop,
                ground: &self.layout.ground(),
                journal,
                log: &container.directory.log(),
                kept_network,
                pid_owner,
                host_upper: host_upper.as_ref().map(|fd| fd.as_fd()),
                cgroup,
                keep_console: &|master| self.holder.keep(&key, master).map(|_| ()),
            },
        )
    }

    /// The memory file system for containers made from the host's own root.
    fn host_upper(&self) -> Result<Arc<OwnedFd>, RuntimeError> {
        const KEY: &str = "runtime:host-upper";
        let mut upper = lock(&self.host_upper);
        if let Some(fd) = &*upper {
            return Ok(Arc::clone(fd));
        }
        let fd = match self.holder.get(KEY)? {
            Some(fd) => fd,
            None => {
                let fd = crate::mountfd::Filesystem::new(c"tmpfs")
                    .and_then(|fs| fs.set(c"mode", b"700")?.mount(0))
                    .map_err(|e| RuntimeError::io("make a memory file system", e))?;
                self.holder.keep(KEY, fd.as_fd())?;
                fd
            }
        };
        Ok(Arc::clone(upper.insert(Arc::new(fd))))
    }

    pub(super) fn stop(&self, name: &str, grace: Option<Duration>) -> Result<(), RuntimeError> {
        let container = self.find(name)?;
        let _operation = lock(&container.operation);
        self.note_stop(&container);
        let running = {
            let mut life = container.life();
            life.wanted = false;
            life.restarting = false;
            life.running.clone()
        };
        let Some(init) = running else {
            // Only the delay of its restart policy is over with.
            container.changed();
            return Ok(());
        };
        let grace = grace.unwrap_or(container.spec.stop_grace);
        let signal = container.spec.stop_signal;
        // The first process of a pid namespace ignores what it has no handler for: no need to wait.
        let deaf = container.spec.pid == PidNs::Private && !heeds(init.pid, signal);
        if !deaf && !grace.is_zero() && send(&container, &init, signal)? {
            container.wait_ended(grace);
        }
        self.end(&container)
    }

    /// A full disk must not keep anybody from stopping things.
    fn note_stop(&self, container: &Container) {
        if let Err(e) = container.directory.note("stop") {
            say!("supervisor: {}: {e}", container.spec.name);
        }
    }

    /// Kills the first process and waits until it is gone.
    fn end(&self, container: &Container) -> Result<(), RuntimeError> {
        let Some(init) = container.running() else { return Ok(()) };
        send(container, &init, libc::SIGKILL)?;
        if container.wait_ended(DYING) {
            return Ok(());
        }
        Err(RuntimeError::Timeout {
            what: format!("the end of container `{}` after SIGKILL", container.spec.name),
            seconds: DYING.as_secs(),
            seen: format!("process {} still there", init.pid),
        })
    }

    pub(super) fn kill(&self, name: &str, signal: i32) -> Result<(), RuntimeError> {
        let container = self.find(name)?;
        let init = container.running().ok_or_else(|| RuntimeError::NotRunning(name.into()))?;
        send(&container, &init, signal).map(|_| ())
    }

    pub(super) fn remove(&self, name: &str, force: bool) -> Result<(), RuntimeError> {
        let Ok(container) = self.find(name) else { return Ok(()) };
        let _operation = lock(&container.operation);
        if container.running().is_some() {
            if !force {
                return Err(RuntimeError::Unsupported {
                    what: format!("removing container `{name}`"),
                    why: "it is running; stop it first, or force the removal".into(),
                });
            }
            self.note_stop(&container);
            container.life().wanted = false;
            self.end(&container)?;
        }
        {
            let mut life = container.life();
            life.removed = true;
            life.wanted = false;
        }
        container
            .group
            .remove()
            .map_err(|e| RuntimeError::io(format!("remove the control groups of `{name}`"), e))?;
        if start::is_host(&container.spec)
            && let Ok(memory) = self.host_upper()
        {
            use std::os::fd::AsRawFd;
            let below = format!("/proc/self/fd/{}/{name}", memory.as_raw_fd());
            remove_tree(below.as_ref())?;
        }
        if let Some(private) = container.spec.rootfs.private() {
            remove_tree(private)?;
        }
        // The record goes last: an interrupted removal is found again.
        remove_tree(&container.directory.0)?;
        lock(&self.containers).remove(name);
        Ok(())
    }

    /// Restarts and removes what is due, for ever.
    pub(super) fn run_restarts(self: &Arc<Self>) {
        loop {
            let failed = |name: &str, e| say!("supervisor: {name}: {e}");
            match self.timers.next_restart() {
                Job::Restart { name, generation } => {
                    let Ok(container) = self.find(&name) else { continue };
                    if let Err(e) = self.restart(&container, generation) {
                        failed(&name, e);
                    }
                }
                Job::Remove { name, generation } => {
                    let Ok(container) = self.find(&name) else { continue };
                    if container.life().generation == generation
                        && let Err(e) = self.remove(&name, false)
                    {
                        failed(&name, e);
                    }
                }
                Job::Check { .. } => {}
            }
        }
    }

    fn restart(
        self: &Arc<Self>,
        container: &Arc<Container>,
        generation: u64,
    ) -> Result<(), RuntimeError> {
        let _operation = lock(&container.operation);
        {
            let mut life = container.life();
            if life.generation != generation || !life.restarting || !life.wanted {
                return Ok(());
            }
            if !std::mem::take(&mut life.counted) {
                life.restarts += 1;
            }
        }
        let result = self.launch(container);
        if result.is_err() {
            // A failed start counts as a failed run.
            let mut life = container.life();
            if container.restart_wanted(&life) {
                self.restart_later(container, &mut life);
            }
        }
        result
    }
}

impl Supervisor {
    /// Plans the next run after the policy's delay.
    pub(super) fn restart_later(&self, container: &Container, life: &mut Life) {
        life.restarting = true;
        let when = Instant::now() + life.next_delay();
        let (name, generation) = (container.spec.name.clone(), life.generation);
        self.timers.at(when, Job::Restart { name, generation });
    }
}

fn send(container: &Container, init: &Identity, signal: i32) -> Result<bool, RuntimeError> {
    init.signal(signal).map_err(|e| {
        RuntimeError::io(format!("send signal {signal} to container `{}`", container.spec.name), e)
    })
}

/// What only a runtime with images and networks of its own can take.
fn refuse_strange(spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let refuse = |what: &str| {
        let why = "the embedded runtime is given layers and namespaces".to_owned();
        Err(RuntimeError::Unsupported { what: what.into(), why })
    };
    match (&spec.rootfs, &spec.network) {
        (Rootfs::Image { .. }, _) => refuse("an image of the runtime's own"),
        (_, NetworkNs::Leg(_) | NetworkNs::Bare | NetworkNs::Container(_)) => {
            refuse("a network namespace of the runtime's own")
        }
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<(), RuntimeError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(RuntimeError::io(format!("remove {}", path.display()), e))
        }
        _ => Ok(()),
    }
}
