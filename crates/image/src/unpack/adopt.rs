//! Attributes for directories a layer uses without describing them.
//!
//! Overlayfs shows a directory with the attributes of its topmost layer. A layer that holds
//! `tmp/x` and says nothing of `tmp` must not turn 1777 into 0755, so `tmp` takes after the layer
//! below.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::error::Error;
use crate::xattr;

/// Copies attributes from `lowers` (topmost first) to the implied directories of `layer`.
pub(crate) fn adopt_attributes(
    layer: &Path,
    lowers: &[PathBuf],
    implied: &BTreeSet<Vec<u8>>,
) -> Result<(), Error> {
    // Deepest first, so that no time set is touched again.
    for path in implied.iter().rev() {
        let path = OsStr::from_bytes(path);
        let Some(model) = lowers.iter().find_map(|lower| open_inside(lower, path).ok()) else {
            continue;
        };
        let directory = match open_inside(layer, path) {
            Ok(directory) => directory,
            // A later member of the layer took its place.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(Error::io("open", &layer.join(path), error)),
        };
        copy_attributes(&model, &directory)
            .map_err(|error| Error::io("set the attributes of", &layer.join(path), error))?;
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

fn open_inside(root: &Path, path: &OsStr) -> io::Result<File> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(File::from(openat2(&root, path, how)?))
}

fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let model = from.metadata()?;
    fchown(to, Some(model.uid()), Some(model.gid()))?;
    to.set_permissions(std::fs::Permissions::from_mode(model.mode() & 0o7777))?;
    let by_fd = |file: &File| PathBuf::from(format!("/proc/self/fd/{}/.", file.as_raw_fd()));
    for name in xattr::list(&by_fd(from))? {
        let overlays = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if overlays || name == b"security.selinux" {
            continue;
        }
        if let Some(value) = xattr::get(&by_fd(from), &name)? {
            xattr::set(&by_fd(to), &name, &value)?;
        }
    }
    to.set_modified(model.modified()?)
}
