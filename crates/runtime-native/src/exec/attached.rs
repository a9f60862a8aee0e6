//! A command on the caller's own terminal or files.

use super::join::{Joined, Streams, exit_code, join, kill, terminal};
use crate::process::{Identity, pidfd_open};
use crate::start::cgroup::Group;
use netloom_runtime::{ContainerSpec, ExecSpec, RuntimeError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// How often the size of the window is compared.
const RESIZE: u16 = 200;

/// Runs `exec` on the caller's standard streams and returns its exit code.
pub(crate) fn run(
    spec: &ContainerSpec,
    group: &Group,
    init: &Identity,
    exec: &ExecSpec,
) -> Result<i32, RuntimeError> {
    let io = |e: io::Error| RuntimeError::io(format!("run `{}`", exec.argv.join(" ")), e);
    let (streams, master) = if exec.tty {
        let (rows, columns) = window_size(std::io::stdin().as_fd()).unwrap_or((24, 80));
        let (master, slave) = terminal(spec, init, rows, columns)?;
        (Streams::Terminal(slave), Some(master))
    } else {
        let files = [
            std::io::stdin().as_fd().try_clone_to_owned().map_err(io)?,
            std::io::stdout().as_fd().try_clone_to_owned().map_err(io)?,
            std::io::stderr().as_fd().try_clone_to_owned().map_err(io)?,
        ];
        (Streams::Files { files, own_session: false }, None)
    };
    let pid = match join(spec, group, init, exec, streams)? {
        Joined::Running(pid) => pid,
        Joined::Not(code, why) => {
            eprintln!("{why}");
            return Ok(code);
        }
    };
    let until = exec.timeout.map(|limit| Instant::now() + limit);
    let process = pidfd_open(pid).map_err(io)?;
    let raw = master.as_ref().and_then(|_| Raw::set());
    let in_time = relay(master.as_ref(), &process, until);
    drop(raw);
    if !matches!(in_time, Ok(true)) {
        kill(pid);
    }
    let code = exit_code(pid).map_err(io)?;
    if in_time.map_err(io)? {
        return Ok(code);
    }
    Err(RuntimeError::Timeout {
        what: format!("`{}` in container `{}`", exec.argv.join(" "), spec.name),
        seconds: exec.timeout.unwrap_or_default().as_secs(),
        seen: "it still ran".into(),
    })
}

/// The caller's terminal in raw mode, restored on drop.
struct Raw(Termios);

impl Raw {
    fn set() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// Carries bytes both ways until the process has ended; false when it has not in time.
fn relay(master: Option<&OwnedFd>, process: &OwnedFd, until: Option<Instant>) -> io::Result<bool> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let mut size = window_size(stdin.as_fd());
    let mut reading = master.is_some();
    let mut showing = master.is_some();
    loop {
        if until.is_some_and(|at| at <= Instant::now()) {
            return Ok(false);
        }
        let mut fds = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        if let Some(master) = master {
            // One that hung up is ready for ever: its place is taken by the process.
            fds.push(match showing {
                true => PollFd::new(master.as_fd(), PollFlags::POLLIN),
                false => PollFd::new(process.as_fd(), PollFlags::POLLIN),
            });
            if reading {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
        }
        match poll(&mut fds, PollTimeout::from(RESIZE)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        let ended = ready(0);
        if let Some(master) = master {
            if showing && ready(1) && !ended {
                showing = copy(master.as_fd(), stdout.as_fd())?;
            }
            if ready(2) && !copy(stdin.as_fd(), master.as_fd())? {
                reading = false;
                // End of input, as a terminal says it.
                let _ = nix::unistd::write(master, &[4]);
            }
            let now = window_size(stdin.as_fd());
            if now != size {
                size = now;
                set_window_size(master, now);
            }
        }
        if ended {
            if let Some(master) = master {
                while readable(master) && copy(master.as_fd(), stdout.as_fd())? {}
            }
            return Ok(true);
        }
    }
}

fn readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLIN))
}

/// Copies what is there; false at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0u8; 4096];
    let count = match nix::unistd::read(from, &mut buffer) {
        Ok(0) | Err(Errno::EIO) => return Ok(false),
        Ok(count) => count,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(true),
        Err(e) => return Err(e.into()),
    };
    let mut left = &buffer[..count];
    while !left.is_empty() {
        match nix::unistd::write(to, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Nobody is there any more to read what was typed.
            Err(Errno::EIO) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(true)
}

fn window_size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl fills the structure.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

fn set_window_size(fd: &OwnedFd, size: Option<(u16, u16)>) {
    let Some((ws_row, ws_col)) = size else { return };
    let size = libc::winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads the structure.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &size) };
}
