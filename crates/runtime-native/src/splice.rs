//! Moving bytes inside the kernel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Moves what can be had without waiting into a pipe.
pub(crate) fn into_pipe(from: &OwnedFd, pipe: &OwnedFd, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK;
    let none = ptr::null_mut();
    // SAFETY: descriptors and numbers; no offsets.
    checked(unsafe { libc::splice(from.as_raw_fd(), none, pipe.as_raw_fd(), none, most, flags) })
}

/// Moves what is in a pipe to a file at an offset, which advances.
pub(crate) fn out_of_pipe(
    pipe: &OwnedFd,
    to: &impl AsRawFd,
    offset: &mut i64,
    most: usize,
) -> io::Result<usize> {
    let none = ptr::null_mut();
    // SAFETY: descriptors and numbers; the offset lives through the call.
    checked(unsafe { libc::splice(pipe.as_raw_fd(), none, to.as_raw_fd(), offset, most, 0) })
}

/// Bytes waiting in a pipe.
pub(crate) fn waiting(pipe: &OwnedFd) -> io::Result<i32> {
    let mut count = 0;
    // SAFETY: the ioctl writes one int.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut count) };
    if result == 0 { Ok(count) } else { Err(io::Error::last_os_error()) }
}
