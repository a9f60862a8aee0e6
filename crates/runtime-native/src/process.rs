//! Processes told apart for ever: pid, start time and boot.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub ticks: u64,
    pub boot: String,
}

impl Identity {
    /// The running process `pid`, `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Identity { pid, ticks: start_ticks(pid)?, boot: boot_id() })
    }

    /// Whether this very process still runs (a zombie does not).
    pub fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, ticks)| state != 'Z' && ticks == self.ticks)
            && self.boot == boot_id()
    }

    /// Sends a signal to this very process; `Ok(false)` when it is gone.
    pub fn signal(&self, signal: i32) -> io::Result<bool> {
        let Some(fd) = self.open()? else { return Ok(false) };
        // SAFETY: a pidfd and null siginfo; the kernel only reads the arguments.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if done == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            e => Err(e),
        }
    }

    /// A descriptor of this very process; `None` when it is gone.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let fd = match pidfd_open(self.pid) {
            Ok(fd) => fd,
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(self.alive().then_some(fd))
    }

    /// Waits until the process is gone; false when it still runs after `limit`.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        let until = std::time::Instant::now() + limit;
        while self.alive() {
            if std::time::Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// A descriptor of the process `pid`.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers in, a new descriptor (close-on-exec) or -1 out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// State letter and start time of a process.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Start time of a process in clock ticks since boot; zombies have one too.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    stat(pid).map(|(_, ticks)| ticks)
}

/// Milliseconds since the machine was started, sleep included.
pub(crate) fn boot_ms() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |t| t.tv_sec() as u64 * 1000 + t.tv_nsec() as u64 / 1_000_000)
}

/// Identity of this boot of the machine.
pub(crate) fn boot_id() -> String {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|s| s.trim().to_owned())
            .unwrap_or_default()
    })
    .clone()
}

/// Whether the process `pid` would do anything about `signal`: it has a handler, or the signal is
/// blocked and so will be fetched. The first process of a pid namespace ignores all others.
pub(crate) fn heeds(pid: i32, signal: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let bit = 1u64 << (signal - 1).clamp(0, 63);
    status
        .lines()
        .filter_map(|l| l.strip_prefix("SigCgt:").or_else(|| l.strip_prefix("SigBlk:")))
        .filter_map(|v| u64::from_str_radix(v.trim(), 16).ok())
        .any(|mask| mask & bit != 0)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// A child that has ended, with its exit code (128 + signal when killed); with `WNOWAIT` it stays
/// a zombie. By hand, because nix gives up on children killed by real-time signals.
pub(crate) fn ended_child(extra: i32) -> Option<(i32, i32)> {
    let options = libc::WEXITED | libc::WNOHANG | extra;
    // SAFETY: siginfo_t is plain memory, filled by the kernel; its pid and status are valid to
    // read for SIGCHLD, and zero when nothing has ended.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &mut info, options) != 0 || info.si_pid() == 0 {
            return None;
        }
        let killed = info.si_code != libc::CLD_EXITED;
        Some((info.si_pid(), info.si_status() + if killed { 128 } else { 0 }))
    }
}

/// Takes the zombie `pid` off the process table.
pub(crate) fn reap_child(pid: i32) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
}
