//! Becoming a process of one's own.

use netloom_runtime::RuntimeError;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// The pipe on which whoever started the holder waits.
pub(super) struct Ready(File);

impl Ready {
    /// Tells the starter, who reads until the end.
    pub fn report(mut self, text: &str) {
        let _ = self.0.write_all(text.as_bytes());
    }
}

/// Forks; `None` in the calling process, the readiness pipe in the daemon.
pub(super) fn detach(log: &Path) -> Result<Option<Ready>, RuntimeError> {
    let failed = |doing: &str, e: nix::errno::Errno| RuntimeError::io(doing, e.into());
    // Whatever the caller had open (a lock, a pipe somebody reads to its end) is not the lab's.
    // SAFETY: plain numbers; nothing here has opened anything yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    let ready = nix::unistd::dup(std::io::stdout())
        .map_err(|e| failed("duplicate the readiness pipe", e))?;
    nix::fcntl::fcntl(&ready, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .map_err(|e| failed("close the readiness pipe on exec", e))?;
    // SAFETY: the caller promises that no thread has been started, so the child may do anything.
    match unsafe { fork() }.map_err(|e| failed("fork the holder", e))? {
        ForkResult::Parent { .. } => return Ok(None),
        ForkResult::Child => {}
    }
    setsid().map_err(|e| failed("start a session", e))?;
    let null = OpenOptions::new()
        .read(true)
        .open("/dev/null")
        .map_err(|e| RuntimeError::io("open /dev/null", e))?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .map_err(|e| RuntimeError::io(format!("open {}", log.display()), e))?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&log))
        .and_then(|()| dup2_stderr(&log))
        .map_err(|e| failed("set the standard streams", e))?;
    std::env::set_current_dir("/").map_err(|e| RuntimeError::io("change directory to /", e))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal(ignored, SigHandler::SigIgn) }
            .map_err(|e| failed("ignore hang-up, interrupt and termination", e))?;
    }
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| failed("become a subreaper", e))?;
    Ok(Some(Ready(File::from(ready))))
}

/// Two descriptors a node add up; takes all the system grants.
pub(super) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
