//! A command whose output is collected.

use super::join::{Joined, Streams, exit_code, join, kill, terminal};
use crate::process::{Identity, pidfd_open};
use crate::start::cgroup::Group;
use netloom_runtime::{ContainerSpec, ExecOutput, ExecSpec, RuntimeError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Runs `exec` and returns what it left: the last `most` bytes of each stream, at least.
pub(crate) fn run(
    spec: &ContainerSpec,
    group: &Group,
    init: &Identity,
    exec: &ExecSpec,
    most: usize,
) -> Result<ExecOutput, RuntimeError> {
    let io = |e: io::Error| RuntimeError::io(format!("run `{}`", exec.argv.join(" ")), e);
    let (streams, mut traffic) = prepare(spec, init, exec).map_err(|e| match e {
        Prepare::Io(e) => io(e),
        Prepare::Runtime(e) => e,
    })?;
    let pid = match join(spec, group, init, exec, streams)? {
        Joined::Running(pid) => pid,
        Joined::Not(code, why) => {
            let stderr = format!("{why}\n").into_bytes();
            return Ok(ExecOutput { code, stdout: Vec::new(), stderr });
        }
    };
    let watched = pidfd_open(pid).map_err(io)?;
    traffic.most = most;
    let until = exec.timeout.and_then(|limit| Instant::now().checked_add(limit));
    let in_time = traffic.flow(&watched, until).map_err(io);
    if !matches!(in_time, Ok(true)) {
        kill(pid);
    }
    let code = exit_code(pid).map_err(io)?;
    if !in_time? {
        let output = if traffic.errors.is_empty() { &traffic.output } else { &traffic.errors };
        let text = String::from_utf8_lossy(output);
        let seen = text.trim_end().lines().last().unwrap_or("no output").to_owned();
        return Err(RuntimeError::Timeout {
            what: format!("`{}` in container `{}`", exec.argv.join(" "), spec.name),
            seconds: exec.timeout.unwrap_or_default().as_secs(),
            seen,
        });
    }
    Ok(ExecOutput { code, stdout: traffic.output, stderr: traffic.errors })
}

enum Prepare {
    Io(io::Error),
    Runtime(RuntimeError),
}

impl<E: Into<io::Error>> From<E> for Prepare {
    fn from(e: E) -> Self {
        Prepare::Io(e.into())
    }
}

/// Our ends of the command's streams.
#[derive(Default)]
struct Traffic {
    most: usize,
    input: Option<OwnedFd>,
    given: Vec<u8>,
    written: usize,
    output_from: Option<OwnedFd>,
    errors_from: Option<OwnedFd>,
    output: Vec<u8>,
    errors: Vec<u8>,
}

fn prepare(
    spec: &ContainerSpec,
    init: &Identity,
    exec: &ExecSpec,
) -> Result<(Streams, Traffic), Prepare> {
    let mut traffic =
        Traffic { given: exec.stdin.clone().unwrap_or_default(), ..Traffic::default() };
    if exec.tty {
        let (master, slave) = terminal(spec, init, 24, 80).map_err(Prepare::Runtime)?;
        set_nonblocking(&master)?;
        if exec.stdin.is_some() {
            traffic.input = Some(master.try_clone()?);
        }
        traffic.output_from = Some(master);
        return Ok((Streams::Terminal(slave), traffic));
    }
    let input = match &exec.stdin {
        Some(_) => {
            let (theirs, ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            set_nonblocking(&ours)?;
            traffic.input = Some(ours);
            theirs
        }
        None => File::open("/dev/null")?.into(),
    };
    let (output_from, output) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (errors_from, errors) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&output_from)?;
    set_nonblocking(&errors_from)?;
    traffic.output_from = Some(output_from);
    traffic.errors_from = Some(errors_from);
    Ok((Streams::Files { files: [input, output, errors], own_session: true }, traffic))
}

fn set_nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(|_| ())
}

impl Traffic {
    /// Moves bytes until the command has ended; false when it has not in time.
    fn flow(&mut self, process: &OwnedFd, until: Option<Instant>) -> io::Result<bool> {
        loop {
            let timeout = match until.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Ok(false),
                Some(left) => PollTimeout::try_from(left + Duration::from_millis(1))
                    .unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            let mut fds = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            for from in [&self.output_from, &self.errors_from].into_iter().flatten() {
                fds.push(PollFd::new(from.as_fd(), PollFlags::POLLIN));
            }
            if let Some(input) = &self.input {
                fds.push(PollFd::new(input.as_fd(), PollFlags::POLLOUT));
            }
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ended = fds[0].any().unwrap_or(false);
            drain(&mut self.output_from, &mut self.output, self.most)?;
            drain(&mut self.errors_from, &mut self.errors, self.most)?;
            if ended {
                return Ok(true);
            }
            self.feed();
        }
    }

    fn feed(&mut self) {
        let Some(input) = &self.input else { return };
        let left = &self.given[self.written..];
        let done = if left.is_empty() {
            true
        } else {
            match nix::unistd::write(input, left) {
                Ok(count) => {
                    self.written += count;
                    self.written == self.given.len()
                }
                Err(Errno::EAGAIN | Errno::EINTR) => false,
                // It does not want to read on.
                Err(_) => true,
            }
        };
        if done {
            self.input = None;
        }
    }
}

/// Reads what is there, as far as that has an end; closes at the end of the stream.
fn drain(from: &mut Option<OwnedFd>, into: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let mut buffer = [0u8; 16 << 10];
    for _ in 0..64 {
        let Some(fd) = from else { break };
        match nix::unistd::read(fd, &mut buffer) {
            // A terminal that nobody has open any more says EIO.
            Ok(0) | Err(Errno::EIO) => *from = None,
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                if into.len() / 2 > most {
                    into.drain(..into.len() - most);
                }
            }
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
