//! The runtime as the engine sees it.

use crate::config::{Layout, NativeConfig};
use crate::exec;
use crate::holder::HolderClient;
use crate::leftovers::reap_leftovers;
use crate::process::Identity;
use crate::protocol::{Located, Reply, Request};
use crate::record::Directory;
use crate::start::cgroup::Group;
use crate::{logs, socket, wire};
use netloom_runtime::{
    ContainerSpec, ContainerState, ExecOutput, ExecSpec, LogsRequest, Runtime, RuntimeError, Status,
};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A handle on one lab's embedded runtime. Cheap to share between threads: each call in flight
/// has a connection of its own.
#[derive(Debug)]
pub struct NativeRuntime {
    layout: Layout,
    holder: HolderClient,
    idle: Mutex<Vec<UnixStream>>,
}

impl NativeRuntime {
    /// Connects to the lab's holder, and starts it when there is none. What a dead holder left
    /// behind is cleaned up first.
    pub fn open(config: &NativeConfig) -> Result<Self, RuntimeError> {
        let layout = config.layout();
        for directory in [layout.state_dir(), layout.run_dir(), &layout.containers()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|e| RuntimeError::io(format!("make {}", directory.display()), e))?;
        }
        let _lock = lock(&layout)?;
        if let Some(runtime) = Self::connect(config)? {
            return Ok(runtime);
        }
        reap_leftovers(config)?;
        config.save()?;
        start_holder(config)?;
        Self::connect(config)?.ok_or_else(|| {
            let log = layout.own_log();
            RuntimeError::Remote(format!("the lab's holder ended at once; see {}", log.display()))
        })
    }

    /// Connects to the lab's holder; `None` when it does not run.
    pub fn connect(config: &NativeConfig) -> Result<Option<Self>, RuntimeError> {
        let layout = config.layout();
        let holder = HolderClient::connect(&layout)?;
        Ok(holder.map(|holder| NativeRuntime { layout, holder, idle: Mutex::default() }))
    }

    /// Gives the holder a descriptor to keep under a name, in place of any other of that name.
    /// The path opens the same thing as long as it is kept.
    pub fn keep_fd(&self, name: &str, fd: OwnedFd) -> Result<PathBuf, RuntimeError> {
        let number = self.holder.keep(name, fd.as_fd())?;
        Ok(PathBuf::from(format!("/proc/{}/fd/{number}", self.holder.identity.pid)))
    }

    /// As [`NativeRuntime::keep_fd`], for many at once; the paths come in the same order.
    pub fn keep_fds(&self, all: &[(String, BorrowedFd<'_>)]) -> Result<Vec<PathBuf>, RuntimeError> {
        let numbers = self.holder.keep_many(all)?;
        let pid = self.holder.identity.pid;
        Ok(numbers.into_iter().map(|n| PathBuf::from(format!("/proc/{pid}/fd/{n}"))).collect())
    }

    /// A duplicate of what is kept under a name.
    pub fn kept(&self, name: &str) -> Result<Option<OwnedFd>, RuntimeError> {
        self.holder.get(name)
    }

    /// The names of everything kept, sorted; the runtime's own begin with `console:` and
    /// `runtime:`.
    pub fn kept_names(&self) -> Result<Vec<String>, RuntimeError> {
        self.holder.names()
    }

    /// Lets go of these, all at once.
    pub fn release<S: Into<String>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<(), RuntimeError> {
        self.holder.release(names.into_iter().map(Into::into).collect())
    }

    /// Ends supervisor, nodes and holder. Records and private file systems stay; remove
    /// containers before to have nothing left.
    pub fn shutdown(&self) -> Result<(), RuntimeError> {
        const LIMIT: Duration = Duration::from_secs(30);
        self.holder.shutdown()?;
        if self.holder.identity.wait_gone(LIMIT) {
            for (_, directory) in crate::record::all(&self.layout.containers()) {
                if let Ok(Some(record)) = directory.load() {
                    let name = &record.spec.name;
                    record.group.remove().map_err(|e| {
                        RuntimeError::io(format!("remove the control groups of {name}"), e)
                    })?;
                }
            }
            return Ok(());
        }
        Err(RuntimeError::Timeout {
            what: "the end of the lab's holder".into(),
            seconds: LIMIT.as_secs(),
            seen: format!("process {} still there", self.holder.identity.pid),
        })
    }

    /// Process id of the holder.
    pub fn holder_pid(&self) -> u32 {
        self.holder.identity.pid as u32
    }

    /// Where a container's log is.
    pub fn log_path(&self, name: &str) -> PathBuf {
        Directory(self.layout.container(name)).log()
    }

    /// The outer side of a running container's terminal: what is written is typed. Reading from
    /// it would take bytes from the log. `None` without a terminal.
    pub fn console(&self, name: &str) -> Result<Option<OwnedFd>, RuntimeError> {
        self.holder.get(&format!("console:{name}"))
    }

    fn ask(&self, request: &Request) -> Result<Reply, RuntimeError> {
        let failed = |e| RuntimeError::io("talk to the lab's supervisor", e);
        // What is idempotent is asked again when the supervisor was killed over it; the socket
        // stays, for the holder owns it.
        let again = !matches!(request, Request::Kill { .. });
        let patience = patience(request);
        let mut last = None;
        let mut tries = 0;
        while tries < 20 {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let fresh = idle.is_none();
            let socket = match idle {
                Some(socket) => socket,
                None => socket::connect(&self.layout.api_socket()).map_err(failed)?,
            };
            socket.set_read_timeout(Some(patience)).map_err(failed)?;
            let answer = wire::send(&socket, request, &[]).and_then(|()| wire::receive(&socket));
            match answer {
                Ok(Some((Reply::Failed(failure), _))) => {
                    self.give_back(socket);
                    return Err(failure.into());
                }
                Ok(Some((reply, _))) => {
                    self.give_back(socket);
                    return Ok(reply);
                }
                Ok(None) => last = Some(io::Error::from(io::ErrorKind::ConnectionReset)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(RuntimeError::Timeout {
                        what: "an answer of the lab's supervisor".into(),
                        seconds: patience.as_secs(),
                        seen: self.last_words(),
                    });
                }
                Err(e) => last = Some(e),
            }
            if !self.holder.identity.alive() {
                break;
            }
            if !fresh {
                // The others were to the same supervisor.
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                continue;
            }
            if !again {
                break;
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(failed(last.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())))
    }

    /// What holder and supervisor said last.
    fn last_words(&self) -> String {
        let path = self.layout.own_log();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        match text.lines().last() {
            Some(line) => format!("`{line}` in {}", path.display()),
            None => format!("nothing in {}", path.display()),
        }
    }

    fn give_back(&self, socket: UnixStream) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    }

    fn done(&self, request: &Request) -> Result<(), RuntimeError> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What is needed to run something in a container.
    fn inside(&self, name: &str) -> Result<(ContainerSpec, Group, Identity), RuntimeError> {
        let located = match self.ask(&Request::Locate { name: name.to_owned() })? {
            Reply::Located(located) => located,
            other => return Err(unexpected(&other)),
        };
        let Located { init } = located.ok_or_else(|| RuntimeError::NotRunning(name.into()))?;
        let directory = Directory(self.layout.container(name));
        let record = directory
            .load()
            .map_err(|e| RuntimeError::io(format!("read the record of container `{name}`"), e))?
            .ok_or_else(|| RuntimeError::NotFound(name.into()))?;
        Ok((record.spec, record.group, init))
    }
}

/// How long an answer may take: a stop waits for the node, all else is done at once or, on a machine
/// that is short of everything, soon.
fn patience(request: &Request) -> Duration {
    const USUAL: Duration = Duration::from_secs(60);
    match request {
        Request::Stop { grace_ms: Some(ms), .. } => USUAL + Duration::from_millis(*ms),
        // The node's own grace is known to the supervisor only.
        Request::Stop { grace_ms: None, .. } => USUAL * 10,
        _ => USUAL,
    }
}

fn unexpected(reply: &Reply) -> RuntimeError {
    RuntimeError::Remote(format!("the supervisor gave an unexpected answer: {reply:?}"))
}

fn lock(layout: &Layout) -> Result<Flock<File>, RuntimeError> {
    let path = layout.lock();
    let failed = |e| RuntimeError::io(format!("lock {}", path.display()), e);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(e.into()))
}

/// Starts the holder and waits until it listens.
fn start_holder(config: &NativeConfig) -> Result<(), RuntimeError> {
    let path = config.layout().own_log();
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(|e| RuntimeError::io(format!("open {}", path.display()), e))?;
    let output = Command::new(&config.exe)
        .args(&config.args)
        .arg("__holder")
        .arg(&config.state_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .output()
        .map_err(|e| RuntimeError::io(format!("execute {}", config.exe.display()), e))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.trim() == "ok" {
        return Ok(());
    }
    let said = if said.is_empty() { "nothing" } else { said.trim() };
    Err(RuntimeError::Remote(format!(
        "the lab's holder could not start; it said: {said}; see {}",
        path.display()
    )))
}

impl Runtime for NativeRuntime {
    fn name(&self) -> &'static str {
        "native"
    }

    fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.done(&Request::Create(Box::new(spec.clone())))
    }

    fn start(&self, name: &str) -> Result<ContainerState, RuntimeError> {
        match self.ask(&Request::Start { name: name.to_owned() })? {
            Reply::State(state) => Ok(*state),
            other => Err(unexpected(&other)),
        }
    }

    fn stop(&self, name: &str, grace: Option<Duration>) -> Result<(), RuntimeError> {
        let grace_ms = grace.map(|g| g.as_millis() as u64);
        self.done(&Request::Stop { name: name.to_owned(), grace_ms })
    }

    fn kill(&self, name: &str, signal: i32) -> Result<(), RuntimeError> {
        self.done(&Request::Kill { name: name.to_owned(), signal })
    }

    fn remove(&self, name: &str, force: bool) -> Result<(), RuntimeError> {
        self.done(&Request::Remove { name: name.to_owned(), force })
    }

    fn inspect(&self, name: &str) -> Result<Option<ContainerState>, RuntimeError> {
        match self.ask(&Request::Inspect { name: name.to_owned() })? {
            Reply::Inspected(state) => Ok(state.map(|s| *s)),
            other => Err(unexpected(&other)),
        }
    }

    fn list(&self) -> Result<Vec<ContainerState>, RuntimeError> {
        match self.ask(&Request::List)? {
            Reply::States(states) => Ok(states),
            other => Err(unexpected(&other)),
        }
    }

    fn exec(&self, name: &str, exec: &ExecSpec) -> Result<ExecOutput, RuntimeError> {
        let (spec, group, init) = self.inside(name)?;
        exec::run(&spec, &group, &init, exec, usize::MAX)
    }

    fn exec_attached(&self, name: &str, exec: &ExecSpec) -> Result<i32, RuntimeError> {
        let (spec, group, init) = self.inside(name)?;
        exec::run_attached(&spec, &group, &init, exec)
    }

    fn logs(&self, name: &str, req: &LogsRequest, out: &mut dyn Write) -> Result<(), RuntimeError> {
        let path = self.log_path(name);
        if fs::symlink_metadata(&path).is_err() && self.inspect(name)?.is_none() {
            return Err(RuntimeError::NotFound(name.to_owned()));
        }
        logs::copy(&path, req, out, &mut || {
            Ok(self
                .inspect(name)?
                .is_some_and(|s| matches!(s.status, Status::Running | Status::Restarting)))
        })
    }
}
