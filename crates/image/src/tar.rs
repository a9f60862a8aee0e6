//! Reading tar streams: ustar, PAX, GNU long names, and every sparse format GNU tar writes.
//!
//! The reader hands out one [`Member`] at a time and its data in place, without copying. It never
//! trusts a length: every meta record has a ceiling, every number is checked.

mod header;
mod pax;
mod reader;
mod sparse;

pub(crate) use header::BLOCK;
pub(crate) use reader::Reader;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// A stretch of real data inside a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// One member, its extended headers already applied.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    /// Bytes of data that follow in the archive.
    pub stored: u64,
    /// Length of the file once written; differs from `stored` for sparse files only.
    pub length: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<Vec<Extent>>,
}

/// Why a stream is not a readable tar.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the archive ends at byte {at}, inside {inside}")]
    Truncated { at: u64, inside: &'static str },
    #[error("at byte {at}: {why}")]
    Malformed { at: u64, why: String },
    #[error(transparent)]
    Read(#[from] std::io::Error),
}
