//! Files in a node's folder. The node may have parts of it mounted to write in: no link that it
//! plants there leads out, and nothing it puts in a file's place holds anybody up.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

fn resolve(flags: OFlag) -> OpenHow {
    let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(beneath)
}

fn folder(base: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(base, flags, Mode::empty())?)
}

/// Opens an ordinary file of a folder for reading.
pub fn read(base: &Path, relative: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::from(openat2(folder(base)?, relative, resolve(flags))?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no ordinary file")),
    }
}

/// Writes a file of a folder, beside its place and then into it; makes the folders it is in.
pub fn write(
    base: &Path,
    relative: &Path,
    bytes: &[u8],
    owner: Option<&Metadata>,
) -> io::Result<()> {
    std::fs::create_dir_all(base)?;
    let mut at = folder(base)?;
    let outside = || io::Error::other("it leads out of the node's folder");
    for part in relative.parent().unwrap_or(Path::new("")).components() {
        match part {
            Component::CurDir => continue,
            Component::Normal(_) => {}
            _ => return Err(outside()),
        }
        let name = Path::new(part.as_os_str());
        match mkdirat(&at, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
        at = openat2(&at, name, resolve(OFlag::O_PATH | OFlag::O_DIRECTORY))?;
    }
    let name = Path::new(relative.file_name().ok_or_else(outside)?);
    let new = format!(".{}.new", name.display());
    match unlinkat(&at, new.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let how = resolve(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL);
    let file = openat2(&at, new.as_str(), how.mode(Mode::from_bits_truncate(0o644)))?;
    if let Some(owner) = owner {
        fchown(&file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
    }
    File::from(file).write_all(bytes)?;
    Ok(renameat(&at, new.as_str(), &at, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_pipes_lead_nowhere() {
        let base = std::env::temp_dir().join(format!("netloom-beneath-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        write(&base, Path::new("a/b/file"), b"text", None).unwrap();
        write(&base, Path::new("a/b/file"), b"more", None).unwrap();
        let mut text = String::new();
        read(&base, Path::new("a/b/file")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "more");
        symlink("/etc", base.join("out")).unwrap();
        symlink("/etc/hostname", base.join("a/link")).unwrap();
        nix::unistd::mkfifo(&base.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        for wrong in ["out/passwd", "a/link", "pipe", "../x", "a"] {
            assert!(read(&base, Path::new(wrong)).is_err(), "{wrong}");
        }
        assert!(write(&base, Path::new("out/netloom-test"), b"x", None).is_err());
        assert!(write(&base, Path::new("../netloom-test"), b"x", None).is_err());
        // A link in the file's place is replaced, not followed.
        write(&base, Path::new("a/link"), b"own", None).unwrap();
        assert_eq!(std::fs::read_to_string(base.join("a/link")).unwrap(), "own");
        std::fs::remove_dir_all(&base).unwrap();
    }
}
