//! Files, links, devices and fifos, and the attributes of each.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::directories::{ParentDirectory, beneath};
use super::{Data, Unpacker, member_path};
use crate::error::{Error, Refusal};
use crate::tar::{Kind, Member};
use crate::xattr;

impl Unpacker {
    /// Makes a file, symbolic link, device or fifo.
    pub(super) fn node(
        &mut self,
        member: &Member,
        parent: &[u8],
        name: &[u8],
        data: &mut impl Data,
    ) -> Result<(), Error> {
        let parent = self.parent(member, parent)?;
        match member.kind {
            Kind::File => self.file(member, &parent, name, data)?,
            Kind::Symlink => {
                self.make(member, &parent, name, |at, name| {
                    symlinkat(member.link.as_slice(), at, name)
                })?;
                self.set_attributes(member, &parent, name)?;
            }
            Kind::CharDevice | Kind::BlockDevice if !self.privileged => {
                self.tally.skipped_devices += 1;
            }
            _ => {
                let kind = match member.kind {
                    Kind::CharDevice => SFlag::S_IFCHR,
                    Kind::BlockDevice => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let device = makedev(member.device.0.into(), member.device.1.into());
                self.make(member, &parent, name, |at, name| {
                    mknodat(at, name, kind, Mode::from_bits_truncate(0o600), device)
                })?;
                self.set_attributes(member, &parent, name)?;
            }
        }
        self.keep_parent(parent);
        Ok(())
    }

    /// Makes a second name for a file that came before.
    pub(super) fn hard_link(
        &mut self,
        member: &Member,
        parent: &[u8],
        name: &[u8],
    ) -> Result<(), Error> {
        let shown = || String::from_utf8_lossy(&member.link).into_owned();
        let target = member_path::normalise(&member.link).map_err(|refusal| {
            let refusal = match refusal {
                Refusal::AbsolutePath => Refusal::AbsoluteLink { target: shown() },
                Refusal::UpwardPath => Refusal::UpwardLink { target: shown() },
                other => other,
            };
            self.refuse(member, refusal)
        })?;
        let missing =
            |this: &Self| this.refuse(member, Refusal::MissingLinkTarget { target: shown() });
        let Some((target_parent, target_name)) = member_path::split(&target) else {
            return Err(missing(self));
        };
        let parent = self.parent(member, parent)?;
        let from = match self.open_inside(target_parent) {
            Ok(from) => from,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Err(missing(self)),
            Err(error) => return Err(self.failed(member, "link", error)),
        };
        match fstatat(&from, target_name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => return Err(missing(self)),
            // A name that is its own target is there already.
            Ok(stat) => {
                let own = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW);
                if own.is_ok_and(|own| (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino)) {
                    self.keep_parent(parent);
                    return Ok(());
                }
            }
            Err(Errno::ENOENT) => return Err(missing(self)),
            Err(error) => return Err(self.failed(member, "link", error)),
        }
        self.make(member, &parent, name, |at, name| {
            linkat(&from, target_name, at, name, AtFlags::empty())
        })?;
        self.keep_parent(parent);
        Ok(())
    }

    fn file(
        &mut self,
        member: &Member,
        parent: &ParentDirectory,
        name: &[u8],
        data: &mut impl Data,
    ) -> Result<(), Error> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let file = self.make(member, parent, name, |at, name| openat(at, name, flags, mode))?;
        let mut file = File::from(file);
        self.write(member, &mut file, data)?;
        if (member.uid, member.gid) != self.owner {
            let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
            let result = fchown(&file, Some(uid), Some(gid));
            self.owner_result(member, result)?;
        }
        let failed = |error| self.failed(member, "set the attributes of", error);
        fchmod(&file, Mode::from_bits_truncate(member.mode)).map_err(failed)?;
        if !member.xattrs.is_empty() {
            self.set_xattrs(member, &beneath(parent, name))?;
        }
        let time = time(member);
        futimens(&file, &time, &time)
            .map_err(|error| self.failed(member, "set the attributes of", error))
    }

    /// Calls `make`; when the name is taken, clears it and calls again.
    fn make<T>(
        &mut self,
        member: &Member,
        parent: &ParentDirectory,
        name: &[u8],
        make: impl Fn(std::os::fd::BorrowedFd<'_>, &[u8]) -> nix::Result<T>,
    ) -> Result<T, Error> {
        match make(parent.as_fd(), name) {
            Err(Errno::EEXIST) => {
                self.clear(member, parent, name)?;
                make(parent.as_fd(), name)
            }
            other => other,
        }
        .map_err(|error| self.failed(member, "make", error))
    }

    /// Removes what an earlier member of the same name left.
    fn clear(
        &mut self,
        member: &Member,
        parent: &ParentDirectory,
        name: &[u8],
    ) -> Result<(), Error> {
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => std::fs::remove_dir_all(beneath(parent, name))
                .map_err(|error| self.failed(member, "replace the directory", error)),
            Err(error) => Err(self.failed(member, "replace", error)),
        }
    }

    /// Owner, mode, extended attributes, time: in this order, for each may undo the next.
    fn set_attributes(
        &mut self,
        member: &Member,
        parent: &ParentDirectory,
        name: &[u8],
    ) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
        let result = fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW);
        self.owner_result(member, result)?;
        if member.kind != Kind::Symlink {
            // The node was made a moment ago in a directory nobody else writes to.
            let mode = Mode::from_bits_truncate(member.mode);
            fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)
                .map_err(|error| self.failed(member, "set the attributes of", error))?;
        }
        self.set_xattrs(member, &beneath(parent, name))?;
        let time = time(member);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(|error| self.failed(member, "set the attributes of", error))
    }

    /// Sets the owner by path, following the last link only if told to.
    pub(super) fn set_owner_of(
        &mut self,
        member: &Member,
        path: &Path,
        follow: bool,
    ) -> Result<(), Error> {
        let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
        let flags = if follow { AtFlags::empty() } else { AtFlags::AT_SYMLINK_NOFOLLOW };
        let result = fchownat(nix::fcntl::AT_FDCWD, path, Some(uid), Some(gid), flags);
        self.owner_result(member, result)
    }

    fn owner_result(&mut self, member: &Member, result: nix::Result<()>) -> Result<(), Error> {
        match result {
            Ok(()) => Ok(()),
            Err(Errno::EPERM | Errno::EINVAL) if !self.privileged => {
                self.tally.skipped_owners += 1;
                Ok(())
            }
            Err(error) => Err(self.failed(member, "set the owner of", error)),
        }
    }

    /// Sets the extended attributes, leaving out those that would speak to overlayfs.
    pub(super) fn set_xattrs(&mut self, member: &Member, path: &Path) -> Result<(), Error> {
        for (name, value) in &member.xattrs {
            let overlays =
                name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
            if overlays || name == b"security.selinux" {
                self.tally.skipped_attributes += 1;
                continue;
            }
            match xattr::set(path, name, value) {
                Ok(()) => {}
                Err(error) if xattr::is_absent(&error) => self.tally.skipped_attributes += 1,
                Err(error)
                    if error.raw_os_error() == Some(libc::EPERM)
                        && (!self.privileged || name.starts_with(b"user.")) =>
                {
                    self.tally.skipped_attributes += 1;
                }
                Err(error) => {
                    return Err(self.failed(member, "set an extended attribute of", error));
                }
            }
        }
        Ok(())
    }
}

fn time(member: &Member) -> TimeSpec {
    TimeSpec::new(member.mtime.0, i64::from(member.mtime.1))
}
