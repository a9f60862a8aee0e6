//! Host files and directories visible in the container.

use super::plan::{Plan, c_string};
use crate::child::{Op, Tolerate};
use crate::mountfd::{clone_tree, open_in};
use netloom_runtime::{ContainerSpec, RuntimeError};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// Where the targets of binds really are: a link of the image is followed even if it leads to
/// nothing yet (`/etc/resolv.conf` to a file below `/run`, say), and never out of the image.
pub(super) fn targets(spec: &ContainerSpec, root: BorrowedFd<'_>) -> Vec<PathBuf> {
    spec.binds.iter().map(|bind| settle(root, &bind.target)).collect()
}

fn settle(root: BorrowedFd<'_>, target: &Path) -> PathBuf {
    const MOST: usize = 40;
    let mut path = target.to_owned();
    for _ in 0..MOST {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let link = open_in(root, &path.to_string_lossy(), flags)
            .ok()
            .and_then(|fd| nix::fcntl::readlinkat(&fd, "").ok());
        match link {
            // A relative one starts where the link stands; an absolute one replaces all.
            Some(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            None => break,
        }
    }
    path
}

/// Each source is copied as a detached mount now; the child attaches it. The target is made in
/// the private layer when it is missing, as directory or file like its source.
pub(super) fn mount(
    spec: &ContainerSpec,
    targets: &[PathBuf],
    plan: &mut Plan,
) -> Result<(), RuntimeError> {
    for (bind, target) in spec.binds.iter().zip(targets) {
        let doing = || format!("bind {}", bind.source.display());
        let meta = std::fs::metadata(&bind.source).map_err(|e| plan.failed(doing(), e))?;
        let tree = clone_tree(&bind.source, bind.recursive, bind.read_only)
            .map_err(|e| plan.failed(doing(), e))?;
        let fd = plan.own(tree);
        let parents = target;
        let target = target.to_string_lossy();
        if meta.is_dir() {
            plan.make_directory(&target, 0o755)?;
        } else {
            plan.make_parents(parents)?;
            plan.tolerant(Op::Touch { path: c_string(&target)? }, Tolerate::Exists);
        }
        plan.step(Op::Attach { fd, target: c_string(&target)? });
    }
    Ok(())
}
