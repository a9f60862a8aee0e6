//! Host files and directories visible in the container.

use super::plan::{Plan, c_string};
use crate::child::{Op, Tolerate};
use crate::mountfd::clone_tree;
use netloom_runtime::{ContainerSpec, RuntimeError};

/// Each source is copied as a detached mount now; the child attaches it. The target is made in
/// the private layer when it is missing, as directory or file like its source.
pub(super) fn mount(spec: &ContainerSpec, plan: &mut Plan) -> Result<(), RuntimeError> {
    for bind in &spec.binds {
        let doing = || format!("bind {}", bind.source.display());
        let meta = std::fs::metadata(&bind.source).map_err(|e| plan.failed(doing(), e))?;
        let tree = clone_tree(&bind.source, bind.recursive, bind.read_only)
            .map_err(|e| plan.failed(doing(), e))?;
        let fd = plan.own(tree);
        let target = bind.target.to_string_lossy();
        if meta.is_dir() {
            plan.make_directory(&target, 0o755)?;
        } else {
            plan.make_parents(&bind.target)?;
            plan.tolerant(Op::Touch { path: c_string(&target)? }, Tolerate::Exists);
        }
        plan.step(Op::Attach { fd, target: c_string(&target)? });
    }
    Ok(())
}
