//! Resource limits of the first process.

use super::plan::Plan;
use crate::child::Op;
use crate::say::say;
use netloom_runtime::{ContainerSpec, RuntimeError};

const NAMES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

pub(crate) fn apply(spec: &ContainerSpec, plan: &mut Plan) -> Result<(), RuntimeError> {
    for limit in &spec.ulimits {
        let Some((_, resource)) = NAMES.iter().find(|(name, _)| *name == limit.name) else {
            return Err(RuntimeError::Unsupported {
                what: format!("ulimit {}", limit.name),
                why: format!("there are {}", NAMES.map(|(name, _)| name).join(", ")),
            });
        };
        let most = host_limit(*resource);
        let hard = limit.hard.min(most);
        if hard < limit.hard {
            say!(
                "{}: ulimit {} lowered from {} to {most}, the most this host grants",
                spec.name,
                limit.name,
                limit.hard
            );
        }
        let soft = limit.soft.min(hard);
        plan.step(Op::Limit { resource: *resource, soft, hard });
    }
    Ok(())
}

/// Our own hard limit: without CAP_SYS_RESOURCE nothing higher can be set.
fn host_limit(resource: u32) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is filled by the call.
    if unsafe { libc::getrlimit(resource, &mut limit) } == 0 { limit.rlim_max } else { u64::MAX }
}
