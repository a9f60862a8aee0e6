//! Whiteouts: from the archive's marker files to overlayfs' own form.

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};

use super::Unpacker;
use super::directories::beneath;
use crate::error::{Error, Refusal};
use crate::tar::Member;

impl Unpacker {
    /// `.wh.<hidden>` in `parent`.
    pub(super) fn whiteout(
        &mut self,
        member: &Member,
        parent: &[u8],
        hidden: &[u8],
    ) -> Result<(), Error> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(self.refuse(member, Refusal::BadWhiteout));
        }
        let parent = self.parent(member, parent)?;
        if hidden == b".wh..opq" {
            self.set_opaque(member, &beneath(&parent, b"."))?;
        } else if !hidden.starts_with(b".wh.") {
            // What this very layer makes is not hidden, only what lies below.
            let own = fstatat(&parent, hidden, AtFlags::AT_SYMLINK_NOFOLLOW);
            match own.map(|stat| stat.st_mode & libc::S_IFMT) {
                Ok(libc::S_IFDIR) => self.set_opaque(member, &beneath(&parent, hidden))?,
                Ok(_) => {}
                Err(Errno::ENOENT) => mknodat(&parent, hidden, SFlag::S_IFCHR, Mode::empty(), 0)
                    .map_err(|error| self.failed(member, "make the whiteout", error))?,
                Err(error) => return Err(self.failed(member, "make the whiteout", error)),
            }
        }
        self.keep_parent(parent);
        Ok(())
    }
}
