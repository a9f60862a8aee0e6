//! `/proc`, `/sys` and the control group tree below it.

use super::cgroup::{self, Group};
use super::plan::Plan;
use crate::child::{Op, Tolerate};
use crate::mountfd::clone_tree;
use netloom_runtime::{ContainerSpec, NetworkNs, RuntimeError};
use nix::mount::MsFlags;
use std::os::fd::RawFd;
use std::path::Path;

/// What kernel file systems are mounted with.
pub(super) fn safe() -> u64 {
    (MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC).bits()
}

pub(super) fn mount(
    spec: &ContainerSpec,
    groups: Option<RawFd>,
    group: Option<&Group>,
    plan: &mut Plan,
) -> Result<(), RuntimeError> {
    let read_only = if spec.privileged { 0 } else { MsFlags::MS_RDONLY.bits() };
    for path in ["/proc", "/sys", "/dev"] {
        plan.make_directory(path, 0o755)?;
    }
    plan.mount("proc", "/proc", safe(), "");
    let tolerate = match spec.network {
        // A user namespace may not show the devices of a network namespace it does not own.
        NetworkNs::Host if super::layers::in_user_namespace() => Tolerate::Anything,
        _ => Tolerate::Nothing,
    };
    plan.mount_from("sysfs", "sysfs", "/sys", safe() | read_only, "", tolerate);
    mount_cgroups(spec, groups, group, plan)
}

/// The tree the workshop has mounted, read-only, and over it the hierarchies in which the node has
/// a group of its own: a privileged node may write there, and only there.
fn mount_cgroups(
    spec: &ContainerSpec,
    shared: Option<RawFd>,
    group: Option<&Group>,
    plan: &mut Plan,
) -> Result<(), RuntimeError> {
    const ROOT: &str = "/sys/fs/cgroup";
    let Some(fd) = shared else {
        // The machine's own tree, to look at.
        if let Ok(tree) = clone_tree(Path::new(ROOT), true, true) {
            let fd = plan.own(tree);
            plan.tolerant(Op::Attach { fd, target: super::c_string(ROOT)? }, Tolerate::Missing);
            let own = group.filter(|_| spec.privileged).map(|g| g.places(cgroup::Tree::get()));
            for (_, directory) in own.unwrap_or_default() {
                let tree = clone_tree(directory, false, false)
                    .map_err(|e| plan.failed(format!("open {}", directory.display()), e))?;
                let fd = plan.own(tree);
                let target = super::c_string(&directory.to_string_lossy())?;
                plan.tolerant(Op::Attach { fd, target }, Tolerate::Missing);
            }
        }
        return Ok(());
    };
    plan.tolerant(Op::Attach { fd, target: super::c_string(ROOT)? }, Tolerate::Missing);
    let tree = cgroup::Tree::get();
    for (hierarchy, directory) in group.map(|g| g.places(tree)).unwrap_or_default() {
        let target = match tree.unified_only() {
            true => ROOT.to_owned(),
            false => format!("{ROOT}/{}", hierarchy.directory()),
        };
        let own = clone_tree(directory, false, !spec.privileged)
            .map_err(|e| plan.failed(format!("open {}", directory.display()), e))?;
        let fd = plan.own(own);
        plan.tolerant(Op::Attach { fd, target: super::c_string(&target)? }, Tolerate::Missing);
    }
    Ok(())
}
