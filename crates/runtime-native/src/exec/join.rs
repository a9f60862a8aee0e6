//! Starting a process inside the namespaces of another.

use crate::child::Op;
use crate::mountfd::{open_in, open_path};
use crate::process::Identity;
use crate::start::cgroup::Group;
use crate::start::{self, Plan, c_string};
use netloom_runtime::{ContainerSpec, ExecSpec, RuntimeError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// What the command reads and writes.
pub(super) enum Streams {
    /// Standard input, output, errors. `own_session` keeps it from the caller's terminal.
    Files { files: [OwnedFd; 3], own_session: bool },
    /// The inner side of a terminal.
    Terminal(OwnedFd),
}

/// What became of the attempt.
pub(super) enum Joined {
    /// It runs, as a child of this process.
    Running(i32),
    /// It could not be executed: 127 or 126, and why.
    Not(i32, String),
}

/// Starts `exec` in the container whose first process is `init`.
pub(super) fn join(
    spec: &ContainerSpec,
    group: &Group,
    init: &Identity,
    exec: &ExecSpec,
    streams: Streams,
) -> Result<Joined, RuntimeError> {
    let not_running = || RuntimeError::NotRunning(spec.name.clone());
    let failed =
        |doing: &str, e| RuntimeError::io(format!("{doing} of container `{}`", spec.name), e);
    let pidfd =
        init.open().map_err(|e| failed("open the first process", e))?.ok_or_else(not_running)?;
    let root = open_path(&root_of(init)).map_err(|e| failed("open the root", e))?;
    if !init.alive() {
        return Err(not_running());
    }
    // One that is still on its way into its namespaces stands in ours, or in the workshop.
    if !arrived(init) {
        return Err(not_running());
    }
    let user = start::user(root.as_fd(), exec.user.as_deref().unwrap_or(&spec.user))?;
    let mut env = start::complete(spec, &user);
    if exec.tty && !env.iter().any(|(key, _)| key == "TERM") {
        env.push(("TERM".into(), "xterm".into()));
    }
    let env = start::joined(&env, &exec.env);
    let program = start::program(&exec.argv, &env)?;

    let mut plan = Plan::new(&spec.name);
    group.join_with(init.pid, &mut plan)?;
    let fd = plan.own(pidfd);
    let kind = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    plan.step(Op::SetNs { fd, kind, what: "enter the container's namespaces" });
    plan.step(Op::Fork);
    match streams {
        Streams::Terminal(slave) => start::take_terminal(slave, &mut plan),
        Streams::Files { files, own_session } => {
            if own_session {
                plan.step(Op::Session);
            }
            let numbers = files.map(|file| plan.own(file));
            start::streams(&mut plan, numbers);
        }
    }
    start::limits(spec, &mut plan)?;
    start::capabilities(spec, &mut plan)?;
    plan.step(Op::Umask { mask: 0o022 });
    plan.step(Op::Identity { uid: user.uid, gid: user.gid, groups: user.groups.clone() });
    let cwd = match exec.cwd.as_deref().unwrap_or(&spec.cwd) {
        "" => "/",
        cwd => cwd,
    };
    plan.step(Op::Chdir { path: c_string(cwd)? });

    match plan.run(&program, 0) {
        Ok(pid) => Ok(Joined::Running(pid)),
        Err(e) => {
            let errno = e.error.raw_os_error();
            match e.step.map(|at| plan.steps.get(at)) {
                Some(None) => {
                    let gone = [Some(libc::ENOENT), Some(libc::ENOTDIR)].contains(&errno);
                    let why = start::explain_program(&program, errno);
                    Ok(Joined::Not(if gone { 127 } else { 126 }, format!("{why}: {}", e.error)))
                }
                _ if !init.alive() => Err(not_running()),
                Some(Some(step)) => Err(plan.failed(step.op.describe(), e.error)),
                None => Err(plan.failed("create the process", e.error)),
            }
        }
    }
}

/// A new terminal in the container's own devpts.
pub(super) fn terminal(
    spec: &ContainerSpec,
    init: &Identity,
    rows: u16,
    columns: u16,
) -> Result<(OwnedFd, OwnedFd), RuntimeError> {
    // As a process of the container would open it: no link leads to a device of the host.
    open_path(&root_of(init))
        .and_then(|root| open_in(root.as_fd(), "dev/pts/ptmx", libc::O_RDWR | libc::O_NOCTTY))
        .and_then(|master| start::open_peer(master, rows, columns))
        .map(|console| (console.master, console.slave))
        .map_err(|e| RuntimeError::io(format!("make a terminal in container `{}`", spec.name), e))
}

/// Whether the process has executed its program: until then it shows this program's command line.
fn arrived(init: &Identity) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", init.pid)).unwrap_or_default();
    !line.split(|b| *b == 0).any(|word| word == b"__supervisor")
}

fn root_of(init: &Identity) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", init.pid))
}

/// Waits for a child of this process and gives its exit code, 128 + signal when it was killed.
pub(super) fn exit_code(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: one int is written.
        if unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } == pid {
            break;
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    })
}

/// Kills a command and what it started in its session.
pub(super) fn kill(pid: i32) {
    use nix::sys::signal::{Signal, kill, killpg};
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = kill(pid, Signal::SIGKILL);
}
