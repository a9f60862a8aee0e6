//! Walking a directory tree as if it were an archive.
//!
//! Every entry becomes a member and goes through the unpacker, which thus has one way of making
//! things. Sorted names make the order, and so the digest, the tree's own. The walk stays on the
//! filesystem it begins on; a mount point comes along as an empty directory. Sockets stay behind.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, lseek};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::Error;
use crate::tar::{Extent, Fault, Kind, Member};
use crate::unpack::{Data, Unpacker};
use crate::xattr;

const CHUNK: usize = 256 << 10;

/// Copies the tree at `source`; returns the digest of everything copied.
pub(super) fn copy(source: &Path, unpacker: &mut Unpacker) -> Result<Digest, Error> {
    let failed = |error: io::Error| Error::io("read", source, error);
    let root = File::open(source).map_err(failed)?;
    let metadata = root.metadata().map_err(failed)?;
    let mut walk = Walk {
        unpacker,
        device: metadata.dev(),
        first_names: HashMap::new(),
        hash: Sha256::new(),
        buffer: vec![0; CHUNK],
    };
    let by_fd = PathBuf::from(format!("/proc/self/fd/{}/.", root.as_raw_fd()));
    let mut member = member(&metadata, b"./".to_vec(), Kind::Directory);
    member.xattrs = xattrs(&by_fd).map_err(failed)?;
    walk.add(&member, source, None)?;
    walk.directory(&root, source, b"")?;
    Ok(Digest::from_hash(walk.hash))
}

struct Walk<'u> {
    unpacker: &'u mut Unpacker,
    device: u64,
    /// The first path of every file that has several.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &File, shown: &Path, path: &[u8]) -> Result<(), Error> {
        let by_fd = PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()));
        let failed = |error: io::Error| Error::io("list", shown, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&by_fd).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for name in names {
            let mut inner = path.to_vec();
            if !inner.is_empty() {
                inner.push(b'/');
            }
            inner.extend_from_slice(name.as_bytes());
            self.entry(directory, &by_fd.join(&name), &shown.join(&name), inner, &name)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &File,
        by_fd: &Path,
        shown: &Path,
        path: Vec<u8>,
        name: &OsStr,
    ) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("read", shown, error);
        let metadata = by_fd.symlink_metadata().map_err(failed)?;
        let Some(kind) = kind(&metadata) else { return Ok(()) };
        let mut member = member(&metadata, path, kind);
        if kind != Kind::Directory && metadata.nlink() > 1 {
            if let Some(first) = self.first_names.get(&(metadata.dev(), metadata.ino())) {
                member.kind = Kind::HardLink;
                member.link.clone_from(first);
                return self.add(&member, shown, None);
            }
            let key = (metadata.dev(), metadata.ino());
            self.first_names.insert(key, member.path.clone());
        }
        member.xattrs = xattrs(by_fd).map_err(failed)?;
        match kind {
            Kind::Symlink => {
                let target = readlinkat(parent, name).map_err(|error| failed(error.into()))?;
                member.link = target.as_bytes().to_vec();
                self.add(&member, shown, None)
            }
            Kind::File => {
                let file = open_beneath(parent, name, OFlag::O_NONBLOCK).map_err(failed)?;
                member.length = metadata.len();
                member.sparse = extents(&file, &metadata).map_err(failed)?;
                member.stored = member
                    .sparse
                    .as_ref()
                    .map_or(member.length, |map| map.iter().map(|extent| extent.length).sum());
                self.add(&member, shown, Some(file))
            }
            Kind::Directory => {
                self.add(&member, shown, None)?;
                if metadata.dev() != self.device {
                    return Ok(());
                }
                let file = open_beneath(parent, name, OFlag::O_DIRECTORY).map_err(failed)?;
                self.directory(&file, shown, &member.path)
            }
            _ => self.add(&member, shown, None),
        }
    }

    fn add(&mut self, member: &Member, shown: &Path, file: Option<File>) -> Result<(), Error> {
        describe(&mut self.hash, member);
        let mut data = FileData {
            file,
            extents: match &member.sparse {
                Some(map) => map.clone(),
                None => vec![Extent { offset: 0, length: member.stored }],
            },
            next: 0,
            position: 0,
            buffer: &mut self.buffer,
            filled: 0..0,
            hash: &mut self.hash,
        };
        let result = self.unpacker.add(member, &mut data);
        match result {
            Err(Error::Truncated { .. }) => {
                let error = io::Error::other("the file shrank while it was copied");
                Err(Error::io("copy", shown, error))
            }
            other => other,
        }
    }
}

/// Feeds everything about a member, but not its data, to the digest.
fn describe(hash: &mut Sha256, member: &Member) {
    let text = |hash: &mut Sha256, bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    text(hash, &member.path);
    text(hash, &member.link);
    let (seconds, nanos) = member.mtime;
    let (major, minor) = member.device;
    for number in [member.kind as u32, member.mode, member.uid, member.gid, nanos, major, minor] {
        hash.update(number.to_le_bytes());
    }
    hash.update(seconds.to_le_bytes());
    hash.update(member.length.to_le_bytes());
    hash.update((member.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &member.xattrs {
        text(hash, name);
        text(hash, value);
    }
    for extent in member.sparse.iter().flatten() {
        hash.update(extent.offset.to_le_bytes());
        hash.update(extent.length.to_le_bytes());
    }
}

fn kind(metadata: &Metadata) -> Option<Kind> {
    let kind = metadata.file_type();
    Some(match () {
        () if kind.is_file() => Kind::File,
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_symlink() => Kind::Symlink,
        () if kind.is_char_device() => Kind::CharDevice,
        () if kind.is_block_device() => Kind::BlockDevice,
        () if kind.is_fifo() => Kind::Fifo,
        () => return None,
    })
}

fn member(metadata: &Metadata, path: Vec<u8>, kind: Kind) -> Member {
    let device = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    Member {
        path,
        link: Vec::new(),
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or_default()),
        device,
        stored: 0,
        length: 0,
        xattrs: Vec::new(),
        sparse: None,
    }
}

fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = xattr::list(path)?;
    names.sort();
    let mut found = Vec::new();
    for name in names {
        if let Some(value) = xattr::get(path, &name)? {
            found.push((name, value));
        }
    }
    Ok(found)
}

fn open_beneath(parent: &File, name: &OsStr, extra: OFlag) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | extra;
    Ok(File::from(openat(parent, name, flags, Mode::empty())?))
}

/// Where a file has data; `None` when it has no holes.
fn extents(file: &File, metadata: &Metadata) -> io::Result<Option<Vec<Extent>>> {
    if metadata.blocks() * 512 >= metadata.len() {
        return Ok(None);
    }
    let length = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
    let (mut map, mut position) = (Vec::new(), 0);
    while position < length {
        let start = match lseek(file, position, Whence::SeekData) {
            Ok(start) => start,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek(file, start, Whence::SeekHole)?.min(length);
        let (offset, size) = (start.cast_unsigned(), (end - start).cast_unsigned());
        map.push(Extent { offset, length: size });
        position = end;
    }
    Ok(Some(map))
}

/// The data of one file, hashed on its way.
struct FileData<'b> {
    file: Option<File>,
    extents: Vec<Extent>,
    next: usize,
    /// Bytes of the current extent already read.
    position: u64,
    buffer: &'b mut Vec<u8>,
    filled: std::ops::Range<usize>,
    hash: &'b mut Sha256,
}

impl Data for FileData<'_> {
    fn piece(&mut self) -> Result<&[u8], Fault> {
        if self.filled.is_empty() {
            self.fill()?;
        }
        Ok(&self.buffer[self.filled.clone()])
    }

    fn used(&mut self, count: usize) {
        self.filled.start += count;
    }
}

impl FileData<'_> {
    fn fill(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        while let Some(extent) = self.extents.get(self.next) {
            if self.position == extent.length {
                (self.next, self.position) = (self.next + 1, 0);
                continue;
            }
            if self.position == 0 {
                io::Seek::seek(file, io::SeekFrom::Start(extent.offset))?;
            }
            let left = extent.length - self.position;
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let count = file.read(&mut self.buffer[..most])?;
            self.hash.update(&self.buffer[..count]);
            self.position += count as u64;
            self.filled = 0..count;
            return Ok(());
        }
        Ok(())
    }
}
