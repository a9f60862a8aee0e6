//! The holder's children: nodes, whose exit statuses go to disk, and the supervisor, which is
//! started again whenever it dies.

use crate::config::NativeConfig;
use crate::process::{ended_child, now_ms, reap_child, start_ticks};
use crate::say::say;
use netloom_runtime::RuntimeError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A supervisor that lived shorter than this is restarted with growing delay.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A supervisor that somebody killed has nothing wrong with it.
const KILLED_DELAY: Duration = Duration::from_millis(5);
const KILLED: i32 = 128 + libc::SIGKILL;
/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Watches children.
pub(super) struct Children {
    config: NativeConfig,
    api: UnixListener,
    exits: File,
    signals: SignalFd,
    end: UnixStream,
    ender: Ender,
    supervisor: Option<Supervisor>,
    restart_at: Option<Instant>,
    delay: Duration,
    /// Exits that could not be written yet.
    unwritten: Vec<u8>,
}

struct Supervisor {
    pid: i32,
    since: Instant,
    doorbell: UnixStream,
}

/// Asks the main loop to end, and waits until the nodes are gone.
#[derive(Clone)]
pub(super) struct Ender(Arc<UnixStream>);

impl Ender {
    pub fn end(&self) -> io::Result<()> {
        (&*self.0).write_all(b"e")?;
        (&*self.0).read_exact(&mut [0])
    }
}

impl Children {
    pub fn new(config: NativeConfig, api: UnixListener) -> Result<Self, RuntimeError> {
        let path = config.layout().exits();
        let exits = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|e| RuntimeError::io(format!("open {}", path.display()), e))?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().map_err(|e| RuntimeError::io("block SIGCHLD", e.into()))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags)
            .map_err(|e| RuntimeError::io("watch for SIGCHLD", e.into()))?;
        let (end, ender) =
            UnixStream::pair().map_err(|e| RuntimeError::io("make a socket pair", e))?;
        let ender = Ender(Arc::new(ender));
        let delay = Duration::ZERO;
        let (supervisor, restart_at) = (None, None);
        Ok(Children {
            config,
            api,
            exits,
            signals,
            end,
            ender,
            supervisor,
            restart_at,
            delay,
            unwritten: Vec::new(),
        })
    }

    pub fn ender(&self) -> Ender {
        self.ender.clone()
    }

    /// Starts the supervisor: standard input is the listening socket, standard output the line on
    /// which the holder tells of exits.
    pub fn start_supervisor(&mut self) -> Result<(), RuntimeError> {
        let (doorbell, theirs) =
            UnixStream::pair().map_err(|e| RuntimeError::io("make a socket pair", e))?;
        doorbell
            .set_nonblocking(true)
            .map_err(|e| RuntimeError::io("make the doorbell non-blocking", e))?;
        let api = self
            .api
            .try_clone()
            .map_err(|e| RuntimeError::io("duplicate the listening socket", e))?;
        let exe = if self.config.exe.exists() {
            self.config.exe.clone()
        } else {
            "/proc/self/exe".into()
        };
        let child = Command::new(&exe)
            .args(&self.config.args)
            .arg("__supervisor")
            .arg(&self.config.state_dir)
            .stdin(Stdio::from(OwnedFd::from(api)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|e| RuntimeError::io(format!("execute {}", exe.display()), e))?;
        let (pid, since) = (child.id() as i32, Instant::now());
        self.supervisor = Some(Supervisor { pid, since, doorbell });
        self.restart_at = None;
        Ok(())
    }

    /// Reaps and restarts until told to end.
    pub fn run(&mut self) {
        loop {
            let retry = (!self.unwritten.is_empty()).then(|| Instant::now() + RETRY);
            let timeout = self.restart_at.into_iter().chain(retry).min();
            let timeout = timeout.map_or(PollTimeout::NONE, |at| {
                let left = at.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.end.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, timeout);
            let told = fds[1].any().unwrap_or(false);
            while let Ok(Some(_)) = self.signals.read_signal() {}
            if self.write_exits() {
                self.ring();
            }
            self.reap();
            if told {
                self.end_all();
                return;
            }
            if self.restart_at.is_some_and(|at| at <= Instant::now())
                && let Err(e) = self.start_supervisor()
            {
                say!("holder: {e}");
                self.later();
            }
        }
    }

    fn later(&mut self) {
        self.delay = (self.delay * 2).clamp(Duration::from_millis(50), LONGEST_DELAY);
        self.restart_at = Some(Instant::now() + self.delay);
    }

    /// Writes down and reaps every child that has ended.
    fn reap(&mut self) {
        let mut rung = false;
        while let Some((pid, code)) = ended_child(libc::WNOWAIT) {
            if self.supervisor.as_ref().is_some_and(|s| s.pid == pid) {
                self.supervisor_died(code);
            } else {
                self.record(pid, code);
                rung = true;
            }
            reap_child(pid);
        }
        if rung {
            self.ring();
        }
    }

    fn ring(&self) {
        if let Some(s) = &self.supervisor {
            // A full line has unread rings already; a broken one is about to be replaced.
            let _ = (&s.doorbell).write(b"x");
        }
    }

    /// Writes what waits to be written; whether there was any and it is now.
    fn write_exits(&mut self) -> bool {
        if self.unwritten.is_empty() {
            return false;
        }
        while !self.unwritten.is_empty() {
            match self.exits.write(&self.unwritten) {
                Ok(written @ 1..) => drop(self.unwritten.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The disk is full; it may have room again.
                _ => return false,
            }
        }
        true
    }

    fn record(&mut self, pid: i32, code: i32) {
        let ticks = start_ticks(pid).unwrap_or(0);
        let line = format!("{pid} {ticks} {code} {}\n", now_ms());
        self.unwritten.extend(line.as_bytes());
        if !self.write_exits() {
            say!("holder: exit of {pid} with {code} is not on disk yet");
        }
    }

    fn supervisor_died(&mut self, code: i32) {
        let lived = self.supervisor.take().map_or(Duration::ZERO, |s| s.since.elapsed());
        say!("holder: the supervisor ended with {code} after {} ms", lived.as_millis());
        if lived >= SHORT_LIFE || code == KILLED {
            self.delay = Duration::ZERO;
            self.restart_at = Some(Instant::now() + KILLED_DELAY);
        } else {
            self.later();
        }
    }

    /// Ends the supervisor, then every node, and answers whoever asked.
    fn end_all(&mut self) {
        if let Some(s) = self.supervisor.take() {
            let _ = kill(Pid::from_raw(s.pid), Signal::SIGKILL);
        }
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let left = own_children();
            if left.is_empty() || Instant::now() > until {
                break;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            while ended_child(0).is_some() {}
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.end.write_all(b"d");
        // The answer travels through a thread; give it the time to be sent.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Children of this process, of any thread.
fn own_children() -> Vec<i32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>()
        })
        .collect()
}
