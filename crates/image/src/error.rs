//! Everything that can go wrong with images, one sentence each; [`Error::hint`] says what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::reference::{Reference, ReferenceError};

/// A failed image operation. The message says what, where and why.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum Error {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("no space left while trying to {action} {}", path.display())]
    DiskFull { action: &'static str, path: PathBuf },
    #[error("cannot read {input}: {source}")]
    Read { input: String, source: io::Error },
    #[error("{input} is cut short: {detail}")]
    Truncated { input: String, detail: String },
    #[error("{input} is damaged: {detail}")]
    Corrupt { input: String, detail: String },
    #[error("{input}: refused `{member}`: {refusal}")]
    Refused { input: String, member: String, refusal: Refusal },
    #[error("{input}: cannot {action} `{member}`: {source}")]
    Member { input: String, member: String, action: &'static str, source: io::Error },
    #[error("{input}: {what} has digest {actual}, but {expected} was promised")]
    DigestMismatch { input: String, what: String, expected: Digest, actual: Digest },
    #[error("{input} holds no image: {why}")]
    NotAnImage { input: String, why: String },
    #[error("{input}: the {what} is not valid: {why}")]
    BadDocument { input: String, what: &'static str, why: String },
    #[error("{input} refers to {what}, which is not in it")]
    MissingPart { input: String, what: String },
    #[error("{input} has no image for linux/{wanted}, only for {}", available.join(", "))]
    NoPlatform { input: String, wanted: String, available: Vec<String> },
    #[error("{input} does not say what its image is called")]
    NeedsReference { input: String },
    #[error("{input} holds several images ({}), none of them called `{reference}`", names.join(", "))]
    WhichImage { input: String, reference: String, names: Vec<String> },
    #[error("no image `{reference}` in the store {}", root.display())]
    NotFound { reference: Box<Reference>, root: PathBuf },
    #[error("image `{reference}` is in use by {}", users.join(", "))]
    InUse { reference: Box<Reference>, users: Vec<String> },
    #[error("the index {} is not readable: {why}", path.display())]
    Index { path: PathBuf, why: String },
    #[error("the index {} has format {found}; this program knows {known}", path.display())]
    IndexVersion { path: PathBuf, found: u64, known: u64 },
    #[error("waited {seconds} s for {}, held by process {holder}", path.display())]
    LockTimeout { path: PathBuf, seconds: u64, holder: String },
    #[error("the root filesystem {} contains the image store {}", source_dir.display(), root.display())]
    ContainsStore { source_dir: PathBuf, root: PathBuf },
}

/// Why an archive member, or an archive, is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum Refusal {
    #[error("its path is absolute")]
    AbsolutePath,
    #[error("its path leads upwards with `..`")]
    UpwardPath,
    #[error("its path is not a path")]
    NotAPath,
    #[error("its parent `{parent}` is not a directory")]
    ParentNotADirectory { parent: String },
    #[error("it is a hard link to `{target}`, an absolute path")]
    AbsoluteLink { target: String },
    #[error("it is a hard link to `{target}`, which leads upwards with `..`")]
    UpwardLink { target: String },
    #[error("it is a hard link to `{target}`, which does not come before it in the archive")]
    MissingLinkTarget { target: String },
    #[error("the archive unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the archive has more than {limit} members")]
    TooManyMembers { limit: u64 },
    #[error("{packed} bytes unpack to more than {unpacked}, over {limit} to one: a bomb")]
    Ratio { packed: u64, unpacked: u64, limit: u64 },
    #[error("it hides a name that is not one")]
    BadWhiteout,
}

impl Error {
    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Reference(error) => error.hint(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or choose a store directory of your own".into()
            }
            Self::DiskFull { path, .. } => format!(
                "free some space on the filesystem of {} or remove images; the store is as it was",
                path.display()
            ),
            Self::Truncated { .. } => "copy or download the file again".into(),
            Self::Corrupt { .. } | Self::DigestMismatch { .. } => {
                "copy or download the file again; do not use this one".into()
            }
            Self::Refused { refusal, .. } => refusal.hint().into(),
            Self::NotAnImage { .. } => "give a root filesystem (directory or tar), an OCI layout \
                 (directory or tar), or the output of `docker save`"
                .into(),
            Self::MissingPart { .. } => "make the archive again; it is not complete".into(),
            Self::NoPlatform { .. } => "get the image for this machine's architecture".into(),
            Self::NeedsReference { .. } => "give the reference it is to have".into(),
            Self::WhichImage { .. } => {
                "give no reference to import them all, or one of the names".into()
            }
            Self::NotFound { .. } => "import it first, or check the spelling".into(),
            Self::InUse { .. } => "destroy those nodes first".into(),
            Self::Index { path, .. } => {
                format!("move {} away and import the images again", path.display())
            }
            Self::IndexVersion { .. } => "use the newer program that wrote it".into(),
            Self::LockTimeout { holder, .. } => format!("see what process {holder} is doing"),
            Self::ContainsStore { .. } => {
                "use `image: host` for the host itself, or move the store elsewhere".into()
            }
            Self::Member { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "import as root".into()
            }
            _ => return None,
        })
    }

    /// A failed system call on `path`; tells a full disk from the rest.
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (source, path) = (source.into(), path.to_owned());
        if is_disk_full(&source) {
            return Self::DiskFull { action, path };
        }
        Self::Io { action, path, source }
    }
}

impl Refusal {
    fn hint(&self) -> &'static str {
        match self {
            Self::AbsolutePath | Self::AbsoluteLink { .. } => {
                "make the archive with relative paths: `tar -C <root> -cf <file> .`"
            }
            Self::TooLarge { .. } | Self::TooManyMembers { .. } | Self::Ratio { .. } => {
                "if you trust the archive, unpack it by hand and import the directory"
            }
            _ => "do not trust this archive; make it again from its source",
        }
    }
}

/// Out of space or inodes, or out of quota.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
