//! The plan under construction: steps, and the descriptors that must stay open for them.

use crate::child::{Failed, MountArgs, Op, Program, Step, Tolerate, spawn};
use crate::process::Identity;
use netloom_runtime::RuntimeError;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Steps for a child, in order.
pub(crate) struct Plan {
    name: String,
    pub steps: Vec<Step>,
    open: Vec<OwnedFd>,
}

/// A C string, or an error that says which text holds a zero byte.
pub(crate) fn c_string(text: &str) -> Result<CString, RuntimeError> {
    CString::new(text).map_err(|_| RuntimeError::Unsupported {
        what: format!("`{}`", text.escape_default()),
        why: "it contains a zero byte; remove it".into(),
    })
}

/// A failure to prepare the start of a container.
pub(crate) fn failed(name: &str, step: impl Into<String>, source: io::Error) -> RuntimeError {
    RuntimeError::Start { name: name.to_owned(), step: step.into(), source }
}

impl Plan {
    pub fn new(name: &str) -> Self {
        Plan { name: name.to_owned(), steps: Vec::with_capacity(96), open: Vec::new() }
    }

    pub fn failed(&self, step: impl Into<String>, source: io::Error) -> RuntimeError {
        failed(&self.name, step, source)
    }

    pub fn step(&mut self, op: Op) {
        self.tolerant(op, Tolerate::Nothing);
    }

    pub fn tolerant(&mut self, op: Op, tolerate: Tolerate) {
        self.steps.push(Step { op, tolerate });
    }

    /// Keeps a descriptor open until the child has run.
    pub fn own(&mut self, fd: OwnedFd) -> RawFd {
        let number = fd.as_raw_fd();
        self.open.push(fd);
        number
    }

    /// Makes the child go on inside another process's pid namespace.
    pub fn join_pid_namespace(&mut self, owner: &Identity) -> Result<(), RuntimeError> {
        let what = "join the pid namespace";
        let fd = owner
            .open()
            .and_then(|fd| fd.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH)))
            .map_err(|e| self.failed(what, e))?;
        let fd = self.own(fd);
        self.step(Op::SetNs { fd, kind: libc::CLONE_NEWPID, what });
        self.step(Op::Fork);
        Ok(())
    }

    /// Puts the root file system over the workshop's empty root and enters it. Nothing of the
    /// host is below, so there is nothing to unmount (which would wait for all processors).
    pub fn attach_root(&mut self, root: OwnedFd) {
        let fd = self.own(root);
        self.step(Op::Attach { fd, target: c"/".to_owned() });
        self.step(Op::EnterRoot { fd });
    }

    /// Makes a directory of the container and its parents.
    pub fn make_directory(&mut self, path: &str, mode: u32) -> Result<(), RuntimeError> {
        for (at, _) in path.match_indices('/').skip(1) {
            self.tolerant(Op::Mkdir { path: c_string(&path[..at])?, mode }, Tolerate::Exists);
        }
        if path.len() > 1 {
            self.tolerant(Op::Mkdir { path: c_string(path)?, mode }, Tolerate::Exists);
        }
        Ok(())
    }

    /// Makes the parents of a path of the container.
    pub fn make_parents(&mut self, path: &Path) -> Result<(), RuntimeError> {
        match path.parent().and_then(Path::to_str) {
            Some(parent) => self.make_directory(parent, 0o755),
            None => Ok(()),
        }
    }

    /// mount(2) with the given parts.
    pub fn mount(&mut self, fstype: &str, target: &str, flags: u64, data: &str) {
        self.mount_from(fstype, fstype, target, flags, data, Tolerate::Nothing);
    }

    pub fn mount_from(
        &mut self,
        source: &str,
        fstype: &str,
        target: &str,
        flags: u64,
        data: &str,
        tolerate: Tolerate,
    ) {
        let part = |s: &str| CString::new(s).unwrap_or_default();
        let args = MountArgs {
            source: part(source),
            target: part(target),
            fstype: part(fstype),
            flags,
            data: part(data),
        };
        self.tolerant(Op::Mount(Box::new(args)), tolerate);
    }

    /// Carries the plan out in a new child.
    pub fn run(&self, program: &Program, flags: i32) -> Result<i32, Failed> {
        spawn(&self.steps, program, flags)
    }
}
