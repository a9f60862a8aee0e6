//! Capabilities and the promise never to gain any.

use super::plan::Plan;
use crate::child::Op;
use netloom_runtime::{ContainerSpec, RuntimeError};

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has that asks for nothing: Docker's list without MKNOD. Docker grants that one
/// behind a filter of devices; there is none here, and with it a node could read the host's disks.
const DEFAULT: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Adds the steps; they come before the change of user, which needs capabilities.
pub(crate) fn apply(spec: &ContainerSpec, plan: &mut Plan) -> Result<(), RuntimeError> {
    for option in &spec.security_opts {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => {
                plan.step(Op::NoNewPrivileges);
            }
            "no-new-privileges=false" | "no-new-privileges:false" => {}
            "systempaths=unconfined" => {}
            // Nothing of this kind is applied here, so nothing needs to be relaxed.
            o if ["seccomp", "apparmor", "label"].iter().any(|p| o.starts_with(p)) => {}
            other => {
                return Err(RuntimeError::Unsupported {
                    what: format!("security option `{other}`"),
                    why: "known are no-new-privileges and systempaths=unconfined; seccomp, \
                          apparmor and label are accepted and have no effect"
                        .into(),
                });
            }
        }
    }
    if !spec.privileged {
        let keep = wanted(spec)?;
        plan.step(Op::Bounding { keep, last: last_capability() });
        plan.step(Op::NoInheritable);
    }
    Ok(())
}

fn wanted(spec: &ContainerSpec) -> Result<u64, RuntimeError> {
    let added = bits(&spec.cap_add)?;
    let dropped = bits(&spec.cap_drop)?;
    let default = bits(&DEFAULT)?;
    // A capability named beats `ALL` on the other side, as with Docker.
    Ok(match (added == u64::MAX, dropped == u64::MAX) {
        (true, false) => !dropped,
        (_, true) => added,
        (false, false) => (default | added) & !dropped,
    })
}

fn bits(names: &[impl AsRef<str>]) -> Result<u64, RuntimeError> {
    names.iter().try_fold(0, |all, name| Ok(all | bit(name.as_ref())?))
}

fn bit(name: &str) -> Result<u64, RuntimeError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(u64::MAX);
    }
    match NAMES.iter().position(|known| *known == bare) {
        Some(at) => Ok(1 << at),
        None => Err(RuntimeError::Unsupported {
            what: format!("capability `{name}`"),
            why: format!("known are ALL, {}", NAMES.join(", ")),
        }),
    }
}

/// The highest capability this kernel knows.
fn last_capability() -> u32 {
    static LAST: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *LAST.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(NAMES.len() as u32 - 1)
    })
}
