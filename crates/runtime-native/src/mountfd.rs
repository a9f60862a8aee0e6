//! Detached mounts: made and changed through descriptors, in nobody's mount table.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const OPEN_TREE_CLONE: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const AT_RECURSIVE: i32 = 0x8000;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// Attributes of a mount.
pub(crate) const READ_ONLY: u64 = 1;
pub(crate) const NO_SUID: u64 = 2;
pub(crate) const NO_EXEC: u64 = 8;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: i64) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel just returned this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// A file system being configured.
pub(crate) struct Filesystem(OwnedFd);

impl Filesystem {
    pub fn new(fstype: &CStr) -> io::Result<Self> {
        // SAFETY: a C string and a flag; returns a descriptor or -1.
        owned(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), 1) }).map(Filesystem)
    }

    pub fn set(&self, key: &CStr, value: &[u8]) -> io::Result<&Self> {
        let value = CString::new(value).map_err(io::Error::other)?;
        // SAFETY: both strings live through the call.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                FSCONFIG_SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0usize,
            )
        })?;
        Ok(self)
    }

    pub fn flag(&self, key: &CStr) -> io::Result<&Self> {
        // SAFETY: the string lives through the call; a flag has no value.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                FSCONFIG_SET_FLAG,
                key.as_ptr(),
                0usize,
                0usize,
            )
        })?;
        Ok(self)
    }

    /// Makes the detached mount.
    pub fn mount(&self, attributes: u64) -> io::Result<OwnedFd> {
        let none = 0usize;
        // SAFETY: plain numbers.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                none,
                none,
                none,
            )
        })?;
        // SAFETY: plain numbers; returns a descriptor or -1.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), 1, attributes) })
    }

    /// What the file system had to say about the last failure.
    pub fn complaint(&self) -> Option<String> {
        let mut buffer = [0u8; 1024];
        let got = nix::unistd::read(&self.0, &mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..got]).trim().to_owned())
    }
}

/// A detached copy of what is visible at `path`, private to whoever holds it.
pub(crate) fn clone_tree(path: &Path, recursive: bool, read_only: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let recursion = if recursive { AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | recursion as u32;
    // SAFETY: the string lives through the call; returns a descriptor or -1.
    let tree =
        owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    let set = if read_only { READ_ONLY } else { 0 };
    set_attributes(tree.as_fd(), set, libc::MS_PRIVATE, recursion)?;
    Ok(tree)
}

/// Makes what is mounted at a path, and below, read-only.
pub(crate) fn read_only_tree(path: &Path) -> io::Result<()> {
    set_attributes(open_path(path)?.as_fd(), READ_ONLY, 0, AT_RECURSIVE)
}

fn set_attributes(mount: BorrowedFd<'_>, set: u64, propagation: u64, how: i32) -> io::Result<()> {
    // struct mount_attr: set, clear, propagation, user namespace.
    let attributes = [set, 0, propagation, 0];
    // SAFETY: an empty path and 32 bytes of attributes, both alive through the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | how,
            attributes.as_ptr(),
            32usize,
        )
    })?;
    Ok(())
}

/// Opens `path` below `root` as a process with that root would: no symbolic link leads out.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &str, flags: i32) -> io::Result<OwnedFd> {
    let path = CString::new(path).map_err(io::Error::other)?;
    // struct open_how: flags, mode, resolve.
    let how = [(flags | libc::O_CLOEXEC) as u64, 0, RESOLVE_IN_ROOT];
    // SAFETY: the string and 24 bytes of struct open_how live through the call.
    owned(unsafe {
        libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), how.as_ptr(), 24usize)
    })
}

/// Opens a directory or anything else without reading it.
pub(crate) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map(OwnedFd::from)
}
