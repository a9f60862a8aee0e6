//! Standard streams of the first process: a terminal, or files.

use super::plan::Plan;
use super::user::User;
use crate::child::Op;
use netloom_runtime::{ContainerSpec, RuntimeError};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Both ends of a new terminal.
pub(crate) struct Console {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

const TIOCGPTPEER: libc::c_ulong = 0x5441;

/// Unlocks the terminal behind `master` and opens its other side in the same devpts.
pub(crate) fn open_peer(master: OwnedFd, rows: u16, columns: u16) -> io::Result<Console> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let unlocked: libc::c_int = 0;
    let raw = master.as_raw_fd();
    // SAFETY: the ioctls read an int and a winsize that live through the calls; the last returns
    // a new descriptor that nobody else owns.
    let slave = unsafe {
        if libc::ioctl(raw, libc::TIOCSPTLCK, &unlocked) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::ioctl(raw, libc::TIOCSWINSZ, &size) != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        let peer = libc::ioctl(raw, TIOCGPTPEER, flags);
        if peer < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(peer)
    };
    Ok(Console { master, slave })
}

/// Makes the terminal the child's standard streams and controlling terminal.
pub(crate) fn take(slave: OwnedFd, plan: &mut Plan) {
    let fd = plan.own(slave);
    plan.step(Op::Session);
    plan.step(Op::ControllingTty { fd });
    streams(plan, [fd; 3]);
}

/// Nothing on standard input, output and errors appended to the log.
pub(super) fn plain(
    spec: &ContainerSpec,
    log: &Path,
    user: &User,
    plan: &mut Plan,
) -> Result<(), RuntimeError> {
    let _ = spec;
    let null = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/null")
        .map_err(|e| plan.failed("open /dev/null", e))?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)
        .map_err(|e| plan.failed(format!("open log {}", log.display()), e))?;
    if user.uid != 0 {
        own(log.as_fd(), user);
    }
    let (input, output) = (plan.own(null.into()), plan.own(log.into()));
    plan.step(Op::Session);
    streams(plan, [input, output, output]);
    Ok(())
}

/// Lets the container's user open `/dev/stdout` again; a user namespace may lack the id.
pub(super) fn own(fd: BorrowedFd<'_>, user: &User) {
    let _ = std::os::unix::fs::fchown(fd, Some(user.uid), None);
}

pub(crate) fn streams(plan: &mut Plan, from: [i32; 3]) {
    for (to, from) in (0..).zip(from) {
        plan.step(Op::Dup { from, to });
    }
    plan.step(Op::CloseFrom { first: 3 });
}
