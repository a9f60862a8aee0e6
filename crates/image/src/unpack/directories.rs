//! Directories: found, made, and given their attributes at the end.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Tally, Unpacker, member_path};
use crate::error::{Error, Refusal};
use crate::tar::Member;
use crate::xattr;

/// Attributes a directory gets once nothing more is made in it.
pub(super) struct Pending {
    path: Vec<u8>,
    member: Member,
}

impl Unpacker {
    /// Notes the attributes of the top directory.
    pub(super) fn root_directory(&mut self, member: &Member) -> Result<(), Error> {
        self.put_off(member, &[])
    }

    /// Makes a directory, or adopts the one already there.
    pub(super) fn directory(
        &mut self,
        member: &Member,
        path: &[u8],
        parent: &[u8],
        name: &[u8],
    ) -> Result<(), Error> {
        let parent = self.parent(member, parent)?;
        match mkdirat(&parent, name, Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => self.replace_by_directory(member, &parent, name)?,
            Err(error) => return Err(self.failed(member, "make the directory", error)),
        }
        self.keep_parent(parent);
        self.tally.implied_directories.remove(path);
        self.put_off(member, path)
    }

    /// Keeps a directory's attributes until the end, as far as that is reasonable.
    fn put_off(&mut self, member: &Member, path: &[u8]) -> Result<(), Error> {
        const MOST: usize = 256 << 20;
        let xattrs: usize = member.xattrs.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.put_off_bytes += path.len() + xattrs;
        if self.put_off_bytes > MOST {
            return Err(self.refuse(member, Refusal::TooLarge { limit: MOST as u64 }));
        }
        self.pending.push(Pending { path: path.to_vec(), member: member.clone() });
        Ok(())
    }

    fn replace_by_directory(
        &mut self,
        member: &Member,
        parent: &ParentDirectory,
        name: &[u8],
    ) -> Result<(), Error> {
        let failed = |error| self.failed(member, "make the directory", error);
        let old = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = SFlag::from_bits_truncate(old.st_mode & libc::S_IFMT);
        if kind == SFlag::S_IFDIR {
            return Ok(());
        }
        unlinkat(parent, name, UnlinkatFlags::NoRemoveDir).map_err(failed)?;
        mkdirat(parent, name, Mode::S_IRWXU).map_err(failed)?;
        if kind == SFlag::S_IFCHR && old.st_rdev == 0 {
            // Hidden below and made anew here: nothing of the lower directory may shine through.
            self.set_opaque(member, &beneath(parent, name))?;
        }
        Ok(())
    }

    /// The directory a member goes into, made where the archive left it out.
    ///
    /// Links on the way are followed inside the target only, as under chroot.
    pub(super) fn parent(
        &mut self,
        member: &Member,
        path: &[u8],
    ) -> Result<ParentDirectory, Error> {
        if let Some((_, directory)) = self.parent.take_if(|(known, _)| known == path) {
            return Ok(ParentDirectory { path: path.to_vec(), directory });
        }
        let directory = match self.open_inside(path) {
            Err(Errno::ENOENT) => self.make_parent(member, path)?,
            other => other.map_err(|error| self.parent_fault(member, path, error))?,
        };
        Ok(ParentDirectory { path: path.to_vec(), directory })
    }

    /// Keeps the descriptor for the next member, which usually goes to the same place.
    pub(super) fn keep_parent(&mut self, parent: ParentDirectory) {
        self.parent = Some((parent.path, parent.directory));
    }

    fn make_parent(&mut self, member: &Member, path: &[u8]) -> Result<OwnedFd, Error> {
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
        let ends: Vec<usize> = slashes.map(|(at, _)| at).chain([path.len()]).collect();
        for end in ends {
            let path = &path[..end];
            match self.open_inside(path) {
                Ok(_) => continue,
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(self.parent_fault(member, path, error)),
            }
            let (above, name) = member_path::split(path).unwrap_or_default();
            let above = self.open_inside(above).map_err(|e| self.parent_fault(member, above, e))?;
            match mkdirat(&above, name, Mode::S_IRWXU) {
                Ok(()) => {}
                // It is there and yet not found: a link to nowhere.
                Err(Errno::EEXIST) => {
                    return Err(self.parent_fault(member, path, Errno::ENOTDIR));
                }
                Err(error) => return Err(self.failed(member, "make the parents of", error)),
            }
            nix::sys::stat::fchmodat(
                &above,
                name,
                Mode::from_bits_truncate(0o755),
                nix::sys::stat::FchmodatFlags::FollowSymlink,
            )
            .map_err(|error| self.failed(member, "make the parents of", error))?;
            self.tally.implied_directories.insert(path.to_vec());
        }
        self.open_inside(path).map_err(|error| self.parent_fault(member, path, error))
    }

    fn parent_fault(&self, member: &Member, path: &[u8], error: Errno) -> Error {
        match error {
            Errno::ENOTDIR | Errno::ELOOP => {
                let parent = String::from_utf8_lossy(path).into_owned();
                self.refuse(member, Refusal::ParentNotADirectory { parent })
            }
            error => self.failed(member, "find the parent of", error),
        }
    }

    /// Opens a directory as if the target were `/`.
    pub(super) fn open_inside(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// Sets what was put off, and returns the tally.
    pub fn finish(mut self) -> Result<Tally, Error> {
        self.parent = None;
        let mut pending = std::mem::take(&mut self.pending);
        // Deepest first, for a closed directory bars the way; of two alike, the later wins.
        pending.sort_by(|one, other| other.path.cmp(&one.path));
        for Pending { path, member } in &pending {
            self.settle(path, member)?;
        }
        Ok(self.tally)
    }

    fn settle(&mut self, path: &[u8], member: &Member) -> Result<(), Error> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let directory = match openat2(&self.root, path, how) {
            Ok(directory) => directory,
            // A later member took its place.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(error) => return Err(self.failed(member, "set the attributes of", error)),
        };
        let by_fd = PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()));
        self.set_owner_of(member, &by_fd, true)?;
        let failed = |error| self.failed(member, "set the attributes of", error);
        fchmod(&directory, Mode::from_bits_truncate(member.mode)).map_err(failed)?;
        self.set_xattrs(member, &by_fd)?;
        let failed = |error| self.failed(member, "set the attributes of", error);
        let (seconds, nanos) = member.mtime;
        let time = TimeSpec::new(seconds, i64::from(nanos));
        futimens(&directory, &time, &time).map_err(failed)
    }

    /// Makes a directory hide what lies below it.
    pub(super) fn set_opaque(&self, member: &Member, path: &std::path::Path) -> Result<(), Error> {
        let name = format!("{}.overlay.opaque", self.overlay);
        xattr::set(path, name.as_bytes(), b"y")
            .map_err(|error| self.failed(member, "make opaque", error))
    }
}

/// A directory open for making things in it, and its path in the archive.
pub(super) struct ParentDirectory {
    path: Vec<u8>,
    directory: OwnedFd,
}

impl std::os::fd::AsFd for ParentDirectory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// A path for calls that take no descriptor; the descriptor is resolved by the kernel.
pub(super) fn beneath(parent: &ParentDirectory, name: &[u8]) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.directory.as_raw_fd()));
    path.push(std::ffi::OsStr::from_bytes(name));
    path
}
