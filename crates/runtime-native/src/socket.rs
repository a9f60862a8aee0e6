//! Socket paths of any length: the kernel takes 107 bytes, a detour through `/proc/self/fd` is
//! always shorter.

use crate::mountfd::open_path;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

const LONGEST: usize = 107;

/// A path short enough for a socket address, valid while this value lives.
pub(crate) struct Short {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl Short {
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Short { path: path.to_owned(), _directory: None });
        };
        if path.as_os_str().as_bytes().len() <= LONGEST {
            return Ok(Short { path: path.to_owned(), _directory: None });
        }
        let directory = open_path(directory)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Short { path, _directory: Some(directory) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Connects to the socket at `path`.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(Short::of(path)?.path())
}
