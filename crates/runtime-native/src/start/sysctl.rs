//! Kernel parameters of the container's namespaces.

use super::plan::{Plan, c_string};
use crate::child::Op;
use netloom_runtime::{ContainerSpec, NetworkNs, RuntimeError};
use std::io;

const ROOT: &str = "/proc/sys/";

/// Parameters that belong to an ipc namespace; everything outside these and `net` is the host's.
const OF_IPC: [&str; 9] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "fs/mqueue/",
];
/// And to a uts namespace.
const OF_UTS: [&str; 2] = ["kernel/domainname", "kernel/hostname"];

pub(super) fn write(spec: &ContainerSpec, plan: &mut Plan) -> Result<(), RuntimeError> {
    for (key, value) in &spec.sysctls {
        let path = path_of(key);
        let refuse = |why: &str| RuntimeError::Unsupported {
            what: format!("sysctl {key}"),
            why: why.to_owned(),
        };
        if path.starts_with("net/") {
            if spec.network == NetworkNs::Host {
                return Err(refuse("the node is in the host's network namespace; set it there"));
            }
        } else if !OF_IPC.iter().chain(&OF_UTS).any(|known| path.starts_with(known)) {
            return Err(refuse("it is a parameter of the whole machine; set it on the host"));
        }
        if path.split('/').any(|part| part == "..") {
            return Err(refuse("there is no such parameter"));
        }
        let path = c_string(&format!("{ROOT}{path}"))?;
        plan.step(Op::Parameter { path, data: value.clone().into_bytes() });
    }
    Ok(())
}

/// Dots separate, unless a slash comes first: then dots are part of names (`eth0.100`).
fn path_of(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => key.to_owned(),
        _ => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    }
}

/// The error for a parameter that could not be written.
pub(super) fn explain(op: &Op, error: &io::Error) -> Option<RuntimeError> {
    let Op::Parameter { path, data } = op else { return None };
    let key = path.to_str().ok()?.strip_prefix(ROOT)?.replace('/', ".");
    let value = String::from_utf8_lossy(data);
    let why = match error.raw_os_error() {
        Some(libc::ENOENT) => "this kernel has no such parameter; remove it, or load the \
                               module that brings it"
            .to_owned(),
        Some(libc::EINVAL) => format!("the kernel does not take the value `{value}`"),
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            format!("it cannot be set inside a container: {error}")
        }
        _ => format!("writing `{value}` failed: {error}"),
    };
    Some(RuntimeError::Unsupported { what: format!("sysctl {key}"), why })
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn first_separator_decides() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            path_of("net.ipv4.conf.eth0/100.forwarding"),
            "net/ipv4/conf/eth0.100/forwarding"
        );
        assert_eq!(
            path_of("net/ipv4/conf/eth0.100/forwarding"),
            "net/ipv4/conf/eth0.100/forwarding"
        );
    }
}
