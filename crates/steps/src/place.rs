//! Files in the node and ports of it. Files are reached through the root of its first process, and
//! no link in the node leads out of it.

use crate::walk::Try;
use netloom_kinds::step::{Copy, Wait};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// Passes when the file is there, or the port answers.
pub fn wait(step: &Wait, one: &Try<'_>) -> Result<(), String> {
    if let Some(path) = &step.file {
        let path = one.fill(path)?;
        return match beneath(one, &path, OFlag::O_PATH) {
            Ok(_) => Ok(()),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(format!("there is no {path} in it yet")),
            Err(e) => Err(format!("look for {path} in it: {e}")),
        };
    }
    let port = step.port.ok_or("neither a file nor a port is named")?;
    match one.node.connect(port, one.limit) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("port {port} does not answer: {e}")),
    }
}

/// Copies a file of the host into the node.
pub fn copy(step: &Copy, one: &Try<'_>) -> Result<(), String> {
    let (from, to) = (one.fill(&step.from)?, one.fill(&step.to)?);
    let bytes = std::fs::read(&from).map_err(|e| format!("read {from}: {e}"))?;
    // What stands there may be anything: nobody waits at the end of a pipe.
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let wrong = |e: &dyn std::fmt::Display| format!("write {to} in it: {e}");
    let mut file = File::from(beneath(one, &to, flags).map_err(|e| wrong(&e))?);
    if !file.metadata().map_err(|e| wrong(&e))?.is_file() {
        return Err(format!("{to} in it is no ordinary file"));
    }
    file.set_len(0).and_then(|()| file.write_all(&bytes)).map_err(|e| wrong(&e))
}

fn beneath(one: &Try<'_>, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    let pid = one.node.pid().ok_or(Errno::ESRCH)?;
    let root = format!("/proc/{pid}/root");
    let root =
        open(root.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut how =
        OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    if flags.contains(OFlag::O_CREAT) {
        how = how.mode(Mode::from_bits_truncate(0o644));
    }
    let file = openat2(&root, path, how)?;
    // Its number may have become somebody else's meanwhile.
    if one.node.pid() == Some(pid) { Ok(file) } else { Err(Errno::ESRCH) }
}
