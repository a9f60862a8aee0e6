//! Unpacking an untrusted layer tar into a directory, in overlayfs form.
//!
//! Every member is made relative to a directory descriptor that `openat2` resolved inside the
//! target, so no path, link or race inside the archive leads out of it. Whiteouts become overlay
//! whiteouts. Directory attributes are set last, deepest first.

mod adopt;
mod data;
mod directories;
pub(crate) mod member_path;
mod node;
mod whiteout;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

pub(crate) use self::adopt::adopt_attributes;
pub(crate) use self::data::Data;
use crate::digest::Digest;
use crate::error::{Error, Refusal};
use crate::stream::{Bomb, Limits, Stream, Totals};
use crate::tar::{Fault, Kind, Member, Reader};
use crate::xattr;

/// What came of an unpacked layer.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Digest of the archive as it came.
    pub packed: Digest,
    /// Size of the archive as it came.
    pub packed_size: u64,
    /// Digest of the tar inside: the layer's diff id.
    pub diff_id: Digest,
    /// What was made, and what could not be.
    pub tally: Tally,
}

/// Counts over one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Archive members.
    pub members: u64,
    /// Bytes of file data.
    pub bytes: u64,
    /// Directories no member described; their attributes are not the archive's.
    pub implied_directories: BTreeSet<Vec<u8>>,
    /// Device nodes left out for lack of privilege.
    pub skipped_devices: u64,
    /// Extended attributes left out: overlay's own, or not supported by the filesystem.
    pub skipped_attributes: u64,
    /// Owners left out for lack of privilege.
    pub skipped_owners: u64,
}

/// Unpacks a layer tar (plain, gzip, zstd or xz) into the empty directory `into`.
///
/// `input` names the archive in messages. With `strict`, an archive without its end marker is
/// refused; use it where no digest vouches for completeness.
///
/// # Errors
/// [`Error::Refused`] for a member that would escape and for bombs, [`Error::Truncated`],
/// [`Error::Corrupt`], [`Error::DiskFull`]. What was unpacked until then stays in `into`.
pub fn unpack_layer(
    source: impl Read + Send + 'static,
    into: &Path,
    input: &str,
    limits: &Limits,
    strict: bool,
) -> Result<Unpacked, Error> {
    unpack_watched(source, into, input, limits, strict, |_| {})
}

/// [`unpack_layer`], showing each member to `watch` before it is made.
pub(crate) fn unpack_watched(
    source: impl Read + Send + 'static,
    into: &Path,
    input: &str,
    limits: &Limits,
    strict: bool,
    mut watch: impl FnMut(&Member),
) -> Result<Unpacked, Error> {
    let stream = Stream::open(source, limits)
        .map_err(|source| Error::Read { input: input.to_owned(), source })?;
    let mut unpacker = Unpacker::new(into, input, limits)?;
    let mut reader = Reader::new(stream);
    while let Some(member) = reader.next().map_err(|fault| stream_fault(input, fault))? {
        watch(&member);
        unpacker.add(&member, &mut reader)?;
    }
    let ended_properly = reader.ended_properly();
    let totals = reader.into_inner().finish();
    let totals = totals.map_err(|error| stream_fault(input, Fault::Read(error)))?;
    check_end(input, &unpacker.tally, ended_properly, strict)?;
    let tally = unpacker.finish()?;
    let Totals { packed, packed_size, unpacked } = totals;
    Ok(Unpacked { packed, packed_size, diff_id: unpacked, tally })
}

fn check_end(input: &str, tally: &Tally, proper: bool, strict: bool) -> Result<(), Error> {
    if !strict || proper {
        return Ok(());
    }
    let input = input.to_owned();
    if tally.members == 0 {
        return Err(Error::NotAnImage { input, why: "it is empty".into() });
    }
    Err(Error::Truncated { input, detail: "the end marker is missing".into() })
}

/// Sorts a failed read into cut short, damaged, refused, or not readable.
pub(crate) fn stream_fault(input: &str, fault: Fault) -> Error {
    let input = input.to_owned();
    let detail = fault.to_string();
    match fault {
        Fault::Truncated { .. } => Error::Truncated { input, detail },
        Fault::Malformed { at: 0, .. } => {
            Error::NotAnImage { input, why: "it is not a tar, nor a compressed tar".into() }
        }
        Fault::Malformed { .. } => Error::Corrupt { input, detail },
        Fault::Read(source) => {
            if let Some(Bomb(refusal)) = source.get_ref().and_then(|inner| inner.downcast_ref()) {
                let refusal = refusal.clone();
                return Error::Refused { member: input.clone(), input, refusal };
            }
            match source.kind() {
                std::io::ErrorKind::UnexpectedEof => Error::Truncated { input, detail },
                // Decoders speak without an errno; the kernel speaks with one.
                _ if source.raw_os_error().is_none() => Error::Corrupt { input, detail },
                _ => Error::Read { input, source },
            }
        }
    }
}

/// Makes members below one directory.
pub(crate) struct Unpacker {
    root: OwnedFd,
    path: PathBuf,
    input: String,
    most_members: u64,
    /// The prefix of overlay's attributes: `trusted.` needs privilege, `user.` does not.
    overlay: &'static str,
    privileged: bool,
    owner: (u32, u32),
    pending: Vec<directories::Pending>,
    /// Bytes of paths and attributes in there.
    put_off_bytes: usize,
    /// The directory the last member went into.
    parent: Option<(Vec<u8>, OwnedFd)>,
    tally: Tally,
}

impl Unpacker {
    /// `input` names the archive in messages.
    pub fn new(into: &Path, input: &str, limits: &Limits) -> Result<Self, Error> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        let root =
            open(into, flags, Mode::empty()).map_err(|error| Error::io("open", into, error))?;
        let privileged = can_set_trusted(into)?;
        Ok(Self {
            root,
            path: into.to_owned(),
            input: input.to_owned(),
            most_members: limits.members,
            overlay: if privileged { "trusted" } else { "user" },
            privileged,
            owner: (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
            pending: Vec::new(),
            put_off_bytes: 0,
            parent: None,
            tally: Tally::default(),
        })
    }

    /// Makes one member, reading its data from `data`.
    pub fn add(&mut self, member: &Member, data: &mut impl Data) -> Result<(), Error> {
        self.tally.members += 1;
        if self.tally.members > self.most_members {
            let limit = self.most_members;
            return Err(self.refuse(member, Refusal::TooManyMembers { limit }));
        }
        let path = member_path::normalise(&member.path).map_err(|r| self.refuse(member, r))?;
        let Some((parent, name)) = member_path::split(&path) else {
            return self.root_directory(member);
        };
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(member, parent, hidden);
        }
        match member.kind {
            Kind::Directory => self.directory(member, &path, parent, name),
            Kind::HardLink => self.hard_link(member, parent, name),
            _ => self.node(member, parent, name, data),
        }
    }

    fn refuse(&self, member: &Member, refusal: Refusal) -> Error {
        let member = String::from_utf8_lossy(&member.path).into_owned();
        Error::Refused { input: self.input.clone(), member, refusal }
    }

    /// A failed system call while making `member`.
    fn failed(
        &self,
        member: &Member,
        action: &'static str,
        error: impl Into<std::io::Error>,
    ) -> Error {
        let source = error.into();
        if crate::error::is_disk_full(&source) {
            return Error::DiskFull { action, path: self.path.clone() };
        }
        let member = String::from_utf8_lossy(&member.path).into_owned();
        Error::Member { input: self.input.clone(), member, action, source }
    }
}

/// Tries it out: only privilege over the whole system lets `trusted.` attributes be set.
fn can_set_trusted(directory: &Path) -> Result<bool, Error> {
    const PROBE: &[u8] = b"trusted.netloom.probe";
    match xattr::set(directory, PROBE, b"1") {
        Ok(()) => {
            xattr::remove(directory, PROBE).map_err(|e| Error::io("probe", directory, e))?;
            Ok(true)
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) || xattr::is_absent(&error) => {
            Ok(false)
        }
        Err(error) => Err(Error::io("probe", directory, error)),
    }
}
