//! Extended attributes by path, never following a link at its end.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Sets one attribute.
pub(crate) fn set(path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
    let (path, name) = (text(path.as_os_str().as_bytes())?, text(name)?);
    // SAFETY: both strings are NUL-terminated and outlive the call; value is as long as said.
    let result = unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Removes one attribute.
pub(crate) fn remove(path: &Path, name: &[u8]) -> io::Result<()> {
    let (path, name) = (text(path.as_os_str().as_bytes())?, text(name)?);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let result = unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The value of one attribute; `None` when it is not there.
pub(crate) fn get(path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let (path, name) = (text(path.as_os_str().as_bytes())?, text(name)?);
    let read = |buffer: &mut [u8]| {
        // SAFETY: both strings are NUL-terminated; the buffer is writable for its length.
        unsafe {
            libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        }
    };
    match grow(read) {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of all attributes.
pub(crate) fn list(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let path = text(path.as_os_str().as_bytes())?;
    let read = |buffer: &mut [u8]| {
        // SAFETY: the string is NUL-terminated; the buffer is writable for its length.
        unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    };
    match grow(read) {
        Ok(names) => {
            let names = names.split(|&byte| byte == 0);
            Ok(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
        }
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// No such attribute, or a filesystem that keeps none of this sort.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP))
}

/// Calls until the buffer is large enough.
fn grow(read: impl Fn(&mut [u8]) -> isize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        if let Ok(count) = usize::try_from(read(&mut buffer)) {
            buffer.truncate(count);
            return Ok(buffer);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || buffer.len() > 1 << 20 {
            return Err(error);
        }
        buffer.resize(buffer.len() * 8, 0);
    }
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(OsStr::from_bytes(bytes).as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
