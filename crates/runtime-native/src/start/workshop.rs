//! A mount namespace with next to nothing in it, from which every node's is copied: copying the
//! host's would cost time in proportion to its mount table. What is the same for all nodes and
//! slow to mount, the control group tree, is mounted here once.

use super::cgroup::Tree;
use super::plan::Plan;
use crate::child::Op;
use crate::mountfd::read_only_tree;
use netloom_runtime::{CgroupNs, ContainerSpec, RuntimeError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the control group tree is, as a node in its own control group namespace sees it.
const GROUPS: &CStr = c"/cgroup";

/// The namespace.
pub(crate) struct Workshop(OwnedFd);

impl Workshop {
    /// Makes the namespace, in a thread that then ends.
    pub fn new() -> Result<Self, RuntimeError> {
        let failed =
            |e: io::Error| RuntimeError::io("make the mount namespace nodes start from", e);
        // Read now: the new namespace has no /proc.
        Tree::get();
        let thread =
            std::thread::Builder::new().name("workshop".into()).spawn(build).map_err(failed)?;
        match thread.join() {
            Ok(made) => made.map(Workshop).map_err(failed),
            Err(_) => Err(failed(io::Error::other("the thread panicked"))),
        }
    }

    /// Leads the child into a copy of the namespace.
    ///
    /// Returns the descriptor the child will have of the control group tree, read-only, to be
    /// attached where it belongs; none when the node sees the machine's own tree.
    pub fn enter(
        &self,
        spec: &ContainerSpec,
        plan: &mut Plan,
    ) -> Result<Option<RawFd>, RuntimeError> {
        if spec.cgroupns != Some(CgroupNs::Host) {
            let (kind, what) = (libc::CLONE_NEWCGROUP, "make the control group namespace");
            plan.step(Op::Unshare { kind, what });
        }
        let (fd, kind) = (self.0.as_raw_fd(), libc::CLONE_NEWNS);
        plan.step(Op::SetNs { fd, kind, what: "enter the empty mount namespace" });
        plan.step(Op::Unshare { kind, what: "make the mount namespace" });
        if spec.cgroupns == Some(CgroupNs::Host) || Tree::get().hierarchies().is_empty() {
            return Ok(None);
        }
        // The child replaces it with what it opens.
        let place = File::open("/dev/null").map_err(|e| plan.failed("open /dev/null", e))?;
        let to = plan.own(place.into());
        plan.step(Op::OpenTree { path: GROUPS.to_owned(), to });
        Ok(Some(to))
    }
}

fn build() -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)?;
    let namespace = OwnedFd::from(File::open("/proc/thread-self/ns/mnt")?);
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // Any directory will do; only this namespace sees what is put there.
    mount(Some("netloom"), "/proc", Some("tmpfs"), MsFlags::empty(), Some("size=4k,mode=755"))?;
    // Only this thread: it does not share its directory any more.
    nix::unistd::chdir("/proc")?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    groups()?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/", none, read_only, none)?;
    Ok(namespace)
}

/// Mounts the control group tree, as Docker does: one mount on a unified tree, otherwise one a
/// hierarchy. All read-only: whoever may write has groups of its own, mounted over these.
fn groups() -> io::Result<()> {
    let tree = Tree::get();
    if tree.hierarchies().is_empty() {
        return Ok(());
    }
    let at = Path::new(OsStr::from_bytes(GROUPS.to_bytes()));
    std::fs::create_dir(at)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none = None::<&str>;
    if tree.unified_only() {
        mount(Some("cgroup"), at, Some("cgroup2"), flags, none)?;
    } else {
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some("mode=755,size=64k"))?;
        for hierarchy in tree.hierarchies() {
            let target = at.join(hierarchy.directory());
            match std::fs::create_dir(&target) {
                // Two of one name: the first is shown.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            let (fstype, data) = hierarchy.mount_as();
            // One that this kernel does not mount again is not there for nodes.
            let _ = mount(Some("cgroup"), &target, Some(fstype), flags, Some(data.as_str()));
            for (link, to) in hierarchy.links() {
                match std::os::unix::fs::symlink(to, at.join(link)) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => {}
                }
            }
        }
    }
    read_only_tree(at)
}
