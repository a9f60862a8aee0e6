//! Capabilities by name.

use crate::lab::Node;
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};

/// The kernel's capabilities, without `CAP_`.
const CAPABILITIES: [&str; 41] = [
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

/// Capabilities that the kernel has.
pub fn check(node: &Node, found: &mut Diagnostics) {
    for text in &node.cap_add {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if name != "ALL" && !CAPABILITIES.contains(&name) {
            let near = did_you_mean(name, CAPABILITIES);
            found.push(
                Diagnostic::error("unknown-capability", format!("there is no capability `{text}`"))
                    .at(node.span_of("cap-add"))
                    .hint("`man 7 capabilities` lists them")
                    .maybe_hint(near.map(|n| format!("did you mean `{n}`?"))),
            );
        }
    }
}
