//! The steps a child can be told to take.

use std::ffi::CString;
use std::os::fd::RawFd;

/// One thing the child does. Descriptors are borrowed from the plan that made the step.
#[derive(Debug)]
pub(crate) enum Op {
    /// Write `pid <number>\n`, the child's pid as its parent sees it.
    RecordPid { fd: RawFd },
    /// Write fixed bytes to an open file.
    WriteFd { fd: RawFd, data: Vec<u8>, what: &'static str },
    /// Enter namespaces.
    SetNs { fd: RawFd, kind: i32, what: &'static str },
    /// Leave for new namespaces.
    Unshare { kind: i32, what: &'static str },
    /// Go on in a child of this child (needed after entering a pid namespace).
    Fork,
    /// Open the root of a mount as the given descriptor.
    OpenTree { path: CString, to: RawFd },
    /// Attach a detached mount.
    Attach { fd: RawFd, target: CString },
    /// Make a directory the root.
    EnterRoot { fd: RawFd },
    /// mount(2).
    Mount(Box<MountArgs>),
    /// Make a directory.
    Mkdir { path: CString, mode: u32 },
    /// Make an empty file.
    Touch { path: CString },
    /// Make a device node.
    Mknod { path: CString, mode: u32, device: u64 },
    /// Set a kernel parameter of the container.
    Parameter { path: CString, data: Vec<u8> },
    /// Set the host name.
    Hostname { name: Vec<u8> },
    /// New session.
    Session,
    /// Take the terminal as controlling terminal.
    ControllingTty { fd: RawFd },
    /// Copy a descriptor to a given number.
    Dup { from: RawFd, to: RawFd },
    /// Close all descriptors from this on.
    CloseFrom { first: u32 },
    /// Set a resource limit.
    Limit { resource: u32, soft: u64, hard: u64 },
    /// Keep only these capabilities in the bounding set.
    Bounding { keep: u64, last: u32 },
    /// Hand no capabilities down past the bounding set.
    NoInheritable,
    /// Never gain privileges again.
    NoNewPrivileges,
    /// Take on an identity.
    Identity { uid: u32, gid: u32, groups: Vec<u32> },
    /// Change directory.
    Chdir { path: CString },
    /// Set the file mode mask.
    Umask { mask: u32 },
}

/// Arguments of mount(2).
#[derive(Debug)]
pub(crate) struct MountArgs {
    pub source: CString,
    pub target: CString,
    pub fstype: CString,
    pub flags: u64,
    pub data: CString,
}

/// Which errors of a step do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerate {
    Nothing,
    /// It is there already.
    Exists,
    /// There is no such thing here.
    Missing,
    /// Whatever it was.
    Anything,
}

/// A step and what it may suffer.
#[derive(Debug)]
pub(crate) struct Step {
    pub op: Op,
    pub tolerate: Tolerate,
}

/// What is executed in the end.
#[derive(Debug)]
pub(crate) struct Program {
    /// Paths tried in order.
    pub candidates: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
}

impl Op {
    /// What is being done, for an error message.
    pub fn describe(&self) -> String {
        let text = |c: &CString| c.to_string_lossy().into_owned();
        match self {
            Op::RecordPid { .. } => "record the process id".into(),
            Op::WriteFd { what, .. } | Op::SetNs { what, .. } | Op::Unshare { what, .. } => {
                (*what).into()
            }
            Op::Fork => "create the process in its pid namespace".into(),
            Op::OpenTree { path, .. } => format!("open {}", text(path)),
            Op::Attach { target, .. } => format!("mount on {}", text(target)),
            Op::EnterRoot { .. } => "enter the root file system".into(),
            Op::Mount(m) if m.fstype.is_empty() => format!("bind on {}", text(&m.target)),
            Op::Mount(m) => format!("mount {} on {}", text(&m.fstype), text(&m.target)),
            Op::Mkdir { path, .. } => format!("make directory {}", text(path)),
            Op::Touch { path } => format!("make file {}", text(path)),
            Op::Mknod { path, .. } => format!("make device {}", text(path)),
            Op::Parameter { path, .. } => format!("write {}", text(path)),
            Op::Hostname { .. } => "set the host name".into(),
            Op::Session => "start a session".into(),
            Op::ControllingTty { .. } => "take the controlling terminal".into(),
            Op::Dup { .. } => "set the standard streams".into(),
            Op::CloseFrom { .. } => "close inherited descriptors".into(),
            Op::Limit { resource, .. } => format!("set resource limit {resource}"),
            Op::Bounding { .. } => "reduce capabilities".into(),
            Op::NoInheritable => "empty the inheritable capabilities".into(),
            Op::NoNewPrivileges => "forbid new privileges".into(),
            Op::Identity { uid, gid, .. } => format!("become user {uid}:{gid}"),
            Op::Chdir { path } => format!("change directory to {}", text(path)),
            Op::Umask { .. } => "set the file mode mask".into(),
        }
    }
}
