//! Paths of `/proc` and `/sys` that an unprivileged container may not read or not write.

use super::plan::Plan;
use crate::child::Tolerate;
use netloom_runtime::ContainerSpec;
use nix::mount::MsFlags;

const MASKED_FILES: [&str; 6] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
];
const MASKED_DIRECTORIES: [&str; 6] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/proc/interrupts",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Whether an option lifts the protection.
fn lifted(spec: &ContainerSpec) -> bool {
    spec.privileged || spec.security_opts.iter().any(|o| o == "systempaths=unconfined")
}

pub(super) fn paths(spec: &ContainerSpec, plan: &mut Plan) {
    if lifted(spec) {
        return;
    }
    let bind = MsFlags::MS_BIND.bits();
    // What this kernel does not have need not be hidden; it has the same paths in here.
    let here = |path: &&&str| std::path::Path::new(path).exists();
    for path in MASKED_FILES.iter().filter(here) {
        plan.mount_from("/dev/null", "", path, bind, "", Tolerate::Missing);
    }
    for path in MASKED_DIRECTORIES.iter().filter(here) {
        if std::path::Path::new(path).is_dir() {
            let flags = MsFlags::MS_RDONLY.bits() | super::system::safe();
            plan.mount_from("tmpfs", "tmpfs", path, flags, "size=0k", Tolerate::Missing);
        } else {
            plan.mount_from("/dev/null", "", path, bind, "", Tolerate::Missing);
        }
    }
    let read_only = bind | (MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY).bits();
    for path in READ_ONLY.iter().filter(here) {
        plan.mount_from(path, "", path, bind, "", Tolerate::Missing);
        let flags = read_only | super::system::safe();
        plan.mount_from("", "", path, flags, "", Tolerate::Missing);
    }
}
