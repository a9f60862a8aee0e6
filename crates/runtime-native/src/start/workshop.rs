//! A mount namespace with nothing in it, from which every node's is copied: copying the host's
//! would cost time in proportion to its mount table.

use super::plan::Plan;
use crate::child::Op;
use netloom_runtime::{CgroupNs, ContainerSpec, RuntimeError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The namespace.
pub(crate) struct Workshop(OwnedFd);

impl Workshop {
    /// Makes the namespace, in a thread that then ends.
    pub fn new() -> Result<Self, RuntimeError> {
        let failed =
            |e: io::Error| RuntimeError::io("make the mount namespace nodes start from", e);
        let thread =
            std::thread::Builder::new().name("workshop".into()).spawn(build).map_err(failed)?;
        match thread.join() {
            Ok(made) => made.map(Workshop).map_err(failed),
            Err(_) => Err(failed(io::Error::other("the thread panicked"))),
        }
    }

    /// Leads the child into a copy of the namespace.
    pub fn enter(&self, spec: &ContainerSpec, plan: &mut Plan) {
        if spec.cgroupns == CgroupNs::Private {
            let (kind, what) = (libc::CLONE_NEWCGROUP, "make the control group namespace");
            plan.step(Op::Unshare { kind, what });
        }
        let (fd, kind) = (self.0.as_raw_fd(), libc::CLONE_NEWNS);
        plan.step(Op::SetNs { fd, kind, what: "enter the empty mount namespace" });
        plan.step(Op::Unshare { kind, what: "make the mount namespace" });
    }
}

fn build() -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    let namespace = OwnedFd::from(File::open("/proc/thread-self/ns/mnt")?);
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // Any directory will do; only this namespace sees what is put there.
    mount(Some("netloom"), "/proc", Some("tmpfs"), MsFlags::empty(), Some("size=4k,mode=755"))?;
    // Only this thread: it does not share its directory any more.
    nix::unistd::chdir("/proc")?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/", none, read_only, none)?;
    Ok(namespace)
}
