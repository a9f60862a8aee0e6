//! The network namespace.

use super::plan::Plan;
use crate::child::Op;
use netloom_runtime::{ContainerSpec, NetworkNs, RuntimeError};
use std::fs::File;
use std::os::fd::OwnedFd;

pub(super) fn enter(
    spec: &ContainerSpec,
    kept: Option<OwnedFd>,
    plan: &mut Plan,
) -> Result<(), RuntimeError> {
    let fd = match (&spec.network, kept) {
        (NetworkNs::Host, _) => return Ok(()),
        (NetworkNs::Path(path), _) => File::open(path)
            .map(OwnedFd::from)
            .map_err(|e| plan.failed(format!("open network namespace {}", path.display()), e))?,
        (NetworkNs::Kept(_), Some(fd)) => fd,
        (NetworkNs::Leg(_) | NetworkNs::Bare | NetworkNs::Container(_), _) => {
            return Err(RuntimeError::Unsupported {
                what: "a network namespace of the runtime's own".into(),
                why: "the embedded runtime is given one".into(),
            });
        }
        (NetworkNs::Kept(name), None) => {
            return Err(RuntimeError::Unsupported {
                what: format!("network namespace `{name}`"),
                why: "the lab's holder keeps none of that name; make it first".into(),
            });
        }
    };
    let fd = plan.own(fd);
    plan.step(Op::SetNs { fd, kind: libc::CLONE_NEWNET, what: "enter the network namespace" });
    Ok(())
}
