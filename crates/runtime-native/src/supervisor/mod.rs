//! The supervisor: serves the lab's socket, runs restart policies and health checks, and copies
//! terminals to logs. It may be killed at any moment: the holder starts it again, and it goes on
//! from what is on disk and what the holder keeps.

mod console;
mod container;
mod exits;
mod health;
mod lifecycle;
mod recover;
mod requests;
mod timers;

use crate::config::{Layout, NativeConfig};
use crate::holder::HolderClient;
use crate::say::say;
use crate::start::{Workshop, make_ground};
use console::Console;
use container::Container;
use exits::Exits;
use netloom_runtime::RuntimeError;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use timers::Timers;

/// Everything the supervisor's threads share.
pub(crate) struct Supervisor {
    layout: Layout,
    holder: HolderClient,
    workshop: Workshop,
    /// One of these is held while a container of a name that falls to it is created.
    creating: [Mutex<()>; 16],
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    exits: Exits,
    console: Console,
    timers: Timers,
    host_upper: Mutex<Option<Arc<OwnedFd>>>,
}

/// A lock that a panicked thread does not spoil: what it guards is changed in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs as the supervisor of the lab whose records are in `state_dir`; called by the program that
/// [`NativeConfig::exe`] names when its arguments end in `__supervisor DIR`. Only the holder can
/// start it: standard input must be the listening socket, standard output the holder's line.
pub fn main(state_dir: &Path) -> Result<(), RuntimeError> {
    let config = NativeConfig::load(state_dir)?;
    let (listener, doorbell) = take_streams()?;
    let layout = config.layout();
    let holder = HolderClient::connect(&layout)?.ok_or_else(|| {
        RuntimeError::Remote("the supervisor is started by the holder, which does not run".into())
    })?;
    let supervisor = Arc::new(Supervisor {
        console: Console::new(&layout, &holder)?,
        exits: Exits::new(layout.exits()),
        timers: Timers::default(),
        containers: Mutex::default(),
        host_upper: Mutex::default(),
        workshop: Workshop::new()?,
        creating: Default::default(),
        layout,
        holder,
    });
    supervisor.recover()?;
    if let Err(e) = make_ground(&supervisor.layout.ground()) {
        say!("supervisor: nodes make their mount points themselves: {e}");
    }
    let run = |name: &str, body: fn(&Arc<Supervisor>)| {
        let supervisor = Arc::clone(&supervisor);
        thread(name)
            .spawn(move || body(&supervisor))
            .map_err(|e| RuntimeError::io("start the supervisor's threads", e))
    };
    run("console", |s| s.console.run())?;
    run("timers", |s| s.timers.run())?;
    for _ in 0..timers::RESTARTERS {
        run("restart", |s| s.run_restarts())?;
    }
    for _ in 0..timers::CHECKERS {
        run("health", |s| s.run_checks())?;
    }
    let accepting = Arc::clone(&supervisor);
    thread("accept")
        .spawn(move || requests::accept(&accepting, &listener))
        .map_err(|e| RuntimeError::io("start the supervisor's threads", e))?;
    supervisor.watch_exits(doorbell);
    Ok(())
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.into()).stack_size(512 << 10)
}

/// Takes the sockets from standard input and output, and leaves `/dev/null` there.
fn take_streams() -> Result<(UnixListener, UnixStream), RuntimeError> {
    use std::os::fd::AsFd;
    let failed = |e: std::io::Error| RuntimeError::io("take over the holder's sockets", e);
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let doorbell = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failed)?;
    nix::unistd::dup2_stdin(&null)
        .and_then(|()| nix::unistd::dup2_stdout(&null))
        .map_err(|e| failed(e.into()))?;
    Ok((listener.into(), doorbell.into()))
}

impl Supervisor {
    fn find(&self, name: &str) -> Result<Arc<Container>, RuntimeError> {
        lock(&self.containers)
            .get(name)
            .cloned()
            .ok_or_else(|| RuntimeError::NotFound(name.to_owned()))
    }
}
