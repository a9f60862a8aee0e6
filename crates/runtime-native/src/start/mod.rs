//! From a container specification to a running first process.
//!
//! Everything is decided and opened here; the outcome is a list of steps for the child
//! ([`crate::child`]) and the descriptors they use.

mod binds;
mod capabilities;
pub(crate) mod cgroup;
mod console;
mod devices;
mod environment;
mod layers;
mod limits;
mod network;
mod plan;
mod protect;
mod sysctl;
mod system;
mod tmpfs;
mod user;
mod workshop;

pub(crate) use capabilities::apply as capabilities;
pub(crate) use console::{open_peer, streams, take as take_terminal};
pub(crate) use environment::{complete, explain as explain_program, joined, program};
pub use layers::changed;
pub(crate) use layers::{is_host, make_ground, prepare_private};
pub(crate) use limits::apply as limits;
pub(crate) use plan::{Plan, c_string};
pub(crate) use user::lookup as user;
pub(crate) use workshop::Workshop;

use crate::child::{Failed, Op, Program};
use crate::process::Identity;
use netloom_runtime::{ContainerSpec, PidNs, RuntimeError, Stdio};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What a start needs besides the specification.
pub(crate) struct Surroundings<'a> {
    pub workshop: &'a Workshop,
    /// The layer below all others.
    pub ground: &'a Path,
    /// Where pid and exit are written down; the child writes its pid here first of all.
    pub journal: BorrowedFd<'a>,
    /// Log, for output that does not pass through a terminal.
    pub log: &'a Path,
    /// The namespace named by `NetworkNs::Kept`.
    pub kept_network: Option<OwnedFd>,
    /// First process of the container whose pid namespace is shared.
    pub pid_owner: Option<Identity>,
    /// Upper directories for the host's own root as image live on this memory file system.
    pub host_upper: Option<BorrowedFd<'a>>,
    pub cgroup: Option<&'a cgroup::Group>,
    /// Called with the terminal's master before anything runs on it.
    pub keep_console: &'a dyn Fn(BorrowedFd<'_>) -> Result<(), RuntimeError>,
}

/// A container whose first process has been executed.
pub(crate) struct Started {
    pub pid: i32,
    pub console: Option<OwnedFd>,
}

/// Starts the first process as a child of the caller's parent.
pub(crate) fn start(
    spec: &ContainerSpec,
    around: Surroundings<'_>,
) -> Result<Started, RuntimeError> {
    let mut plan = Plan::new(&spec.name);
    let mut flags = libc::CLONE_PARENT | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    match (&spec.pid, &around.pid_owner) {
        (PidNs::Private, _) => flags |= libc::CLONE_NEWPID,
        (PidNs::Host, _) => {}
        (PidNs::Container(_), Some(owner)) => plan.join_pid_namespace(owner)?,
        (PidNs::Container(other), None) => return Err(RuntimeError::NotRunning(other.clone())),
    }
    let root = layers::mount(spec, around.ground, around.host_upper)?;
    let user = user::lookup(root.as_fd(), &spec.user)?;
    let env = environment::complete(spec, &user);
    let journal = around.journal.as_raw_fd();
    plan.step(Op::RecordPid { fd: journal });
    if let Some(group) = around.cgroup {
        group.join(&mut plan)?;
    }
    network::enter(spec, around.kept_network, &mut plan)?;
    let groups = around.workshop.enter(spec, &mut plan)?;
    let targets = binds::targets(spec, root.as_fd());
    plan.attach_root(root);
    plan.step(Op::Hostname { name: spec.hostname.clone().into_bytes() });
    system::mount(spec, groups, around.cgroup, &mut plan)?;
    let console = devices::mount(spec, &user, &mut plan)?;
    tmpfs::mount(spec, &mut plan)?;
    binds::mount(spec, &targets, &mut plan)?;
    sysctl::write(spec, &mut plan)?;
    protect::paths(spec, &mut plan);
    let master = match console {
        Some(console) => {
            (around.keep_console)(console.master.as_fd())?;
            console::take(console.slave, &mut plan);
            Some(console.master)
        }
        None => {
            console::plain(spec, around.log, &user, &mut plan)?;
            None
        }
    };
    plan.make_directory(&spec.cwd, 0o755)?;
    limits::apply(spec, &mut plan)?;
    capabilities::apply(spec, &mut plan)?;
    plan.step(Op::Umask { mask: 0o022 });
    plan.step(Op::Identity { uid: user.uid, gid: user.gid, groups: user.groups.clone() });
    plan.step(Op::Chdir { path: c_string(if spec.cwd.is_empty() { "/" } else { &spec.cwd })? });
    let program = environment::program(&spec.argv, &env)?;
    debug_assert!(spec.stdio != Stdio::Tty || master.is_some());
    let pid = plan.run(&program, flags).map_err(|e| explain(spec, &plan, &program, e))?;
    Ok(Started { pid, console: master })
}

/// Says what the child was doing when it failed.
fn explain(spec: &ContainerSpec, plan: &Plan, program: &Program, failed: Failed) -> RuntimeError {
    let errno = failed.error.raw_os_error();
    let step = match failed.step.map(|at| plan.steps.get(at)) {
        None => "create the process".to_owned(),
        Some(None) => environment::explain(program, errno),
        Some(Some(step)) => {
            if let Some(error) = sysctl::explain(&step.op, &failed.error) {
                return error;
            }
            step.op.describe()
        }
    };
    RuntimeError::Start { name: spec.name.clone(), step, source: failed.error }
}
