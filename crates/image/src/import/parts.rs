//! The files of an image archive, in a directory or read in place from a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::SourceKind;
use super::shape::Shape;
use crate::error::Error;
use crate::tar::{Fault, Kind, Reader};
use crate::unpack::member_path;

/// Documents larger than this are not read.
const MOST_DOCUMENT: u64 = 32 << 20;
/// Links followed inside a tar.
const MOST_LINKS: usize = 8;

pub(super) enum Parts {
    Directory(File),
    Tar { file: Arc<File>, members: HashMap<Vec<u8>, Place> },
}

pub(super) enum Place {
    Data {
        offset: u64,
        length: u64,
    },
    /// Where a link points, from the top of the archive.
    Link(Vec<u8>),
}

impl Parts {
    pub fn of_directory(path: &Path) -> Result<Self, Error> {
        File::open(path).map(Self::Directory).map_err(|error| Error::io("open", path, error))
    }

    /// Looks through a plain tar; `None` when it is no image archive. Leaves the file at its start.
    pub fn of_tar(file: &File, input: &str) -> Result<Option<(Self, SourceKind)>, Error> {
        let failed = |source| Error::Read { input: input.to_owned(), source };
        let found = Self::scan(file);
        (&*file).rewind().map_err(failed)?;
        // Compressed, cut short, or not a tar: the next reader will say which.
        let Ok(Some((members, kind))) = found else { return Ok(None) };
        let file = Arc::new(file.try_clone().map_err(failed)?);
        Ok(Some((Self::Tar { file, members }, kind)))
    }

    #[expect(clippy::type_complexity, reason = "private, used once")]
    fn scan(file: &File) -> Result<Option<(HashMap<Vec<u8>, Place>, SourceKind)>, Fault> {
        let mut reader = Reader::new(BufReader::with_capacity(256 << 10, file));
        let mut shape = Shape::default();
        let mut members = HashMap::new();
        while let Some(member) = reader.next()? {
            shape.see(&member.path);
            let Ok(path) = member_path::normalise(&member.path) else { return Ok(None) };
            if shape.is_foreign() {
                return Ok(None);
            }
            let place = match member.kind {
                Kind::File if member.sparse.is_none() => {
                    Place::Data { offset: reader.position(), length: member.stored }
                }
                Kind::HardLink => Place::Link(member.link),
                Kind::Symlink => {
                    let parent = member_path::split(&path).map(|(parent, _)| parent);
                    Place::Link(join(parent.unwrap_or_default(), &member.link))
                }
                _ => continue,
            };
            members.insert(path, place);
        }
        Ok(shape.archive().map(|kind| (members, kind)))
    }

    /// Opens one file; `None` when it is not there.
    pub fn open(&self, name: &str, input: &str) -> Result<Option<Part>, Error> {
        let failed = |source| Error::Read { input: format!("{input}: {name}"), source };
        match self {
            Self::Directory(root) => {
                let how = OpenHow::new()
                    .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
                    .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
                let file = match openat2(root, name, how) {
                    Ok(file) => File::from(file),
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                    Err(error) => return Err(failed(error.into())),
                };
                let metadata = file.metadata().map_err(failed)?;
                if !metadata.is_file() {
                    return Ok(None);
                }
                Ok(Some(Part { file: Arc::new(file), offset: 0, left: metadata.len() }))
            }
            Self::Tar { file, members } => {
                let mut name = name.as_bytes().to_vec();
                for _ in 0..MOST_LINKS {
                    match members.get(&name) {
                        Some(&Place::Data { offset, length }) => {
                            let file = Arc::clone(file);
                            return Ok(Some(Part { file, offset, left: length }));
                        }
                        Some(Place::Link(target)) => name.clone_from(target),
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }

    /// Reads a document whole.
    pub fn document(&self, name: &str, input: &str) -> Result<Vec<u8>, Error> {
        let missing = || Error::MissingPart { input: input.to_owned(), what: name.to_owned() };
        let mut part = self.open(name, input)?.ok_or_else(missing)?;
        if part.left > MOST_DOCUMENT {
            let why = format!("{name} has {} bytes, too many for a document", part.left);
            return Err(super::bad_document(input, "document", &why));
        }
        let mut text = Vec::new();
        part.read_to_end(&mut text)
            .map_err(|source| Error::Read { input: format!("{input}: {name}"), source })?;
        Ok(text)
    }
}

/// A stretch of a file, read without moving the file's own position.
pub(super) struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let count = self.file.read_at(&mut out[..most], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Resolves `..` in a link inside the archive; what leads out of it ends at its top.
fn join(parent: &[u8], link: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let from = if link.starts_with(b"/") { b"".as_slice() } else { parent };
    for part in from.split(|&byte| byte == b'/').chain(link.split(|&byte| byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        assert_eq!(join(b"a", b"../b/layer.tar"), b"b/layer.tar");
        assert_eq!(join(b"a", b"../../../x"), b"x");
        assert_eq!(join(b"a/b", b"/etc/x"), b"etc/x");
    }
}
