//! `/proc`, `/sys` and the control group tree below it.

use super::cgroup;
use super::plan::Plan;
use crate::child::{Op, Tolerate};
use netloom_runtime::{ContainerSpec, NetworkNs, RuntimeError};
use nix::mount::MsFlags;

/// What kernel file systems are mounted with.
pub(super) fn safe() -> u64 {
    (MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC).bits()
}

pub(super) fn mount(spec: &ContainerSpec, plan: &mut Plan) -> Result<(), RuntimeError> {
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
    mount_cgroups(read_only, plan)
}

/// As Docker does: one mount on a unified tree, otherwise one a hierarchy.
fn mount_cgroups(read_only: u64, plan: &mut Plan) -> Result<(), RuntimeError> {
    let flags = safe() | read_only;
    let root = "/sys/fs/cgroup";
    let tree = cgroup::Tree::get();
    if tree.unified_only() {
        plan.mount_from("cgroup", "cgroup2", root, flags, "", Tolerate::Anything);
        return Ok(());
    }
    if tree.hierarchies().is_empty() {
        return Ok(());
    }
    let whole = safe();
    plan.mount_from("tmpfs", "tmpfs", root, whole, "mode=755,size=64k", Tolerate::Missing);
    for hierarchy in tree.hierarchies() {
        let target = format!("{root}/{}", hierarchy.directory());
        plan.make_directory_at(&target, 0o755)?;
        let (fstype, data) = hierarchy.mount_as();
        plan.mount_from("cgroup", fstype, &target, flags, &data, Tolerate::Anything);
        for (link, to) in hierarchy.links() {
            let path = super::c_string(&format!("{root}/{link}"))?;
            plan.tolerant(Op::Symlink { to: super::c_string(&to)?, path }, Tolerate::Anything);
        }
    }
    if read_only != 0 {
        let remount = MsFlags::MS_REMOUNT.bits() | flags;
        plan.mount_from("tmpfs", "tmpfs", root, remount, "mode=755,size=64k", Tolerate::Anything);
    }
    Ok(())
}
