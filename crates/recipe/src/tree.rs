//! The members of a layer: from a tar, from files, cleaned, and written in one fixed order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use netloom_image::Image;
use tar::{EntryType, Header};

use crate::Recipe;
use crate::error::Error;
use crate::fingerprint::files;
use crate::recipe::inner;

/// Never wanted in a lab, or written anew at every installation.
const DROP: [&str; 34] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/bash-completion",
    "usr/share/zoneinfo",
    "usr/share/common-licenses",
    "usr/share/misc/pci.ids",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/systemd",
    "lib/systemd",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
    "etc/resolv.conf",
    "etc/hostname",
    "etc/machine-id",
    "etc/apt",
    "etc/passwd-",
    "etc/shadow-",
    "etc/group-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "etc/.pwd.lock",
    "var/lib/systemd",
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
];
/// Endings of files that are compiled from others, or only of use to compilers.
const ENDINGS: [&str; 3] = ["pyc", "a", "la"];
/// Directories that every root file system needs, with their modes.
const NEEDED: [(&str, u32); 10] = [
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("run/lock", 0o1777),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/cache", 0o755),
    ("root", 0o700),
];
/// Beginning of the names of attributes in tars.
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// A member of a layer.
#[derive(Debug, Clone)]
struct Member {
    mode: u32,
    owner: (u64, u64),
    attributes: Vec<(String, Vec<u8>)>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    /// Bytes of the tar it came from.
    Packed {
        offset: u64,
        size: u64,
    },
    File(PathBuf),
    Nothing,
    Symlink(PathBuf),
    HardLink(PathBuf),
    /// Devices and pipes.
    Special(EntryType, u32, u32),
}

impl Member {
    fn new(mode: u32, what: What) -> Member {
        Member { mode, owner: (0, 0), attributes: Vec::new(), what }
    }
}

/// The members of a layer.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    members: BTreeMap<PathBuf, Member>,
    tar: Option<PathBuf>,
    /// Directories of the layers below, topmost first.
    below: Vec<PathBuf>,
}

impl Tree {
    /// An empty layer above an image.
    pub fn above(image: &Image) -> Tree {
        Tree { below: image.layers.clone(), ..Tree::default() }
    }

    /// Debian's root file system from a tar, without what nobody wants or what is never the same.
    pub fn debian(tar: &Path, recipe: &Recipe) -> Result<Tree, Error> {
        let mut tree = Tree::read(tar).map_err(Error::io("read", tar))?;
        let kept: Vec<PathBuf> = recipe.keep.iter().filter_map(|k| inner(k)).collect();
        let stays = |path: &Path| kept.iter().any(|k| path.starts_with(k) || k.starts_with(path));
        for path in DROP {
            tree.drop(Path::new(path), &stays);
        }
        tree.members.retain(|path, member| {
            let ending = path.extension().is_some_and(|e| ENDINGS.iter().any(|n| e == *n));
            !ending || matches!(member.what, What::Directory) || stays(path)
        });
        for (path, mode) in NEEDED {
            tree.directory(Path::new(path), mode);
        }
        Ok(tree)
    }

    fn read(path: &Path) -> io::Result<Tree> {
        let mut tree = Tree { tar: Some(path.to_owned()), ..Tree::default() };
        let mut archive = tar::Archive::new(File::open(path)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = clean(&entry.path()?);
            if name.as_os_str().is_empty() {
                continue;
            }
            let mut attributes = Vec::new();
            if let Some(extensions) = entry.pax_extensions()? {
                for extension in extensions {
                    let extension = extension?;
                    if let Ok(key) = extension.key()
                        && key.starts_with(ATTRIBUTE)
                    {
                        attributes.push((key.to_owned(), extension.value_bytes().to_vec()));
                    }
                }
            }
            attributes.sort();
            let target = entry.link_name()?.map(|t| t.into_owned()).unwrap_or_default();
            let header = entry.header();
            let kind = header.entry_type();
            let what = match kind {
                EntryType::Directory => What::Directory,
                EntryType::Symlink => What::Symlink(target),
                EntryType::Link => What::HardLink(clean(&target)),
                EntryType::Char | EntryType::Block | EntryType::Fifo => {
                    let number = |n: Option<u32>| n.unwrap_or_default();
                    let (major, minor) = (header.device_major()?, header.device_minor()?);
                    What::Special(kind, number(major), number(minor))
                }
                _ => What::Packed { offset: entry.raw_file_position(), size: entry.size() },
            };
            let member = Member {
                mode: header.mode()? & 0o7777,
                owner: (header.uid()?, header.gid()?),
                attributes,
                what,
            };
            tree.members.insert(name, member);
        }
        Ok(tree)
    }

    /// What a recipe leaves out and puts in.
    pub fn apply(&mut self, recipe: &Recipe) -> Result<(), Error> {
        for path in recipe.strip.iter().filter_map(|p| inner(p)) {
            let path = self.real(&path);
            self.drop(&path, &|_| false);
            if self.look(&path).is_some()
                && let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            {
                let mut hidden = OsString::from(".wh.");
                hidden.push(name);
                self.members.insert(parent.join(hidden), Member::new(0o644, What::Nothing));
            }
        }
        for own in files(recipe)? {
            let what = match own.link {
                Some(target) => What::Symlink(target),
                None => What::File(own.source),
            };
            self.put(&own.path, if own.program { 0o755 } else { 0o644 }, what);
        }
        for (path, target) in &recipe.links {
            if let Some(path) = inner(path) {
                self.put(&path, 0o777, What::Symlink(target.into()));
            }
        }
        Ok(())
    }

    /// Whether the layer says nothing.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What the layers below have at a path.
    fn look(&self, path: &Path) -> Option<fs::Metadata> {
        for layer in &self.below {
            if let Ok(about) = fs::symlink_metadata(layer.join(path)) {
                // How overlayfs says that there is nothing.
                return (!about.file_type().is_char_device() || about.rdev() != 0).then_some(about);
            }
            let gone = path.ancestors().skip(1).any(|above| {
                fs::symlink_metadata(layer.join(above))
                    .is_ok_and(|a| a.file_type().is_char_device() && a.rdev() == 0)
            });
            if gone {
                return None;
            }
        }
        None
    }

    /// A path with its first part followed: `bin` leads to `usr/bin`.
    fn real(&self, path: &Path) -> PathBuf {
        let mut path = path.to_owned();
        for _ in 0..8 {
            let mut parts = path.components();
            let Some(first) = parts.next().map(|c| PathBuf::from(c.as_os_str())) else { break };
            let rest = parts.as_path();
            if rest.as_os_str().is_empty() {
                break;
            }
            let target = match self.members.get(&first).map(|m| &m.what) {
                Some(What::Symlink(target)) => target.clone(),
                Some(_) => break,
                None => {
                    let link = self.below.iter().find_map(|l| fs::read_link(l.join(&first)).ok());
                    let Some(target) = link else { break };
                    target
                }
            };
            path = clean(&target).join(rest);
        }
        path
    }

    /// Puts a directory there, and those above it that are missing.
    fn directory(&mut self, path: &Path, mode: u32) {
        let path = self.real(path);
        self.parents(&path);
        let is = |m: &Member| matches!(m.what, What::Directory);
        if self.members.get(&path).is_none_or(is) {
            self.members.insert(path, Member::new(mode, What::Directory));
        }
    }

    fn parents(&mut self, path: &Path) {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.retain(|p| !p.as_os_str().is_empty());
        for parent in above.into_iter().rev() {
            let hidden = hidden(parent);
            let again = hidden.is_some_and(|h| self.members.remove(&h).is_some());
            if !again && (self.members.contains_key(parent) || self.look(parent).is_some()) {
                continue;
            }
            self.members.insert(parent.to_owned(), Member::new(0o755, What::Directory));
            if again {
                // Of what was there below, nothing comes through.
                let mark = parent.join(".wh..wh..opq");
                self.members.insert(mark, Member::new(0o644, What::Nothing));
            }
        }
    }

    fn put(&mut self, path: &Path, mode: u32, what: What) {
        let path = self.real(path);
        self.parents(&path);
        if let Some(hidden) = hidden(&path) {
            self.members.remove(&hidden);
        }
        let mut member = Member::new(mode, what);
        // Whoever had the file keeps it.
        if !matches!(member.what, What::Symlink(_)) {
            match (self.members.get(&path), self.look(&path)) {
                (Some(old), _) if matches!(old.what, What::Packed { .. } | What::File(_)) => {
                    member.owner = old.owner;
                }
                (None, Some(old)) if old.is_file() => {
                    member.owner = (old.uid().into(), old.gid().into());
                }
                _ => {}
            }
        }
        self.members.insert(path, member);
    }

    /// Takes a path and all below it out of this layer.
    fn drop(&mut self, path: &Path, stays: &dyn Fn(&Path) -> bool) {
        let goes = |p: &PathBuf| p.starts_with(path) && !stays(p);
        let gone: Vec<PathBuf> = self.members.keys().filter(|p| goes(p)).cloned().collect();
        let gone: BTreeMap<PathBuf, Member> =
            gone.into_iter().filter_map(|p| self.members.remove_entry(&p)).collect();
        // Of a file with several names, the first of those that stay has the bytes now.
        let mut heirs: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        for (name, member) in &mut self.members {
            let What::HardLink(target) = &member.what else { continue };
            let Some(file) = gone.get(target) else { continue };
            match heirs.get(target) {
                Some(heir) => member.what = What::HardLink(heir.clone()),
                None => {
                    heirs.insert(target.clone(), name.clone());
                    *member = file.clone();
                }
            }
        }
    }

    /// Writes the layer: by name, hard links behind what they lead to, one time for all.
    pub fn write(&self, out: &mut dyn Write, epoch: u32) -> io::Result<()> {
        let mut source = self.tar.as_ref().map(File::open).transpose()?;
        let mut archive = tar::Builder::new(out);
        let linked = |m: &Member| matches!(m.what, What::HardLink(_));
        let first = self.members.iter().filter(|(_, m)| !linked(m));
        for (path, member) in first.chain(self.members.iter().filter(|(_, m)| linked(m))) {
            if !member.attributes.is_empty() {
                let list = member.attributes.iter().map(|(k, v)| (k.as_str(), v.as_slice()));
                archive.append_pax_extensions(list)?;
            }
            let mut header = Header::new_gnu();
            header.set_mode(member.mode);
            header.set_uid(member.owner.0);
            header.set_gid(member.owner.1);
            header.set_mtime(epoch.into());
            header.set_size(0);
            let plain = EntryType::Regular;
            header.set_entry_type(plain);
            match &member.what {
                What::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    archive.append_data(&mut header, path, io::empty())?;
                }
                What::Nothing => archive.append_data(&mut header, path, io::empty())?,
                What::Packed { offset, size } => {
                    let file = source.as_mut().ok_or_else(|| io::Error::other("no tar"))?;
                    file.seek(SeekFrom::Start(*offset))?;
                    header.set_size(*size);
                    archive.append_data(&mut header, path, file.take(*size))?;
                }
                What::File(from) => {
                    let file = File::open(from)?;
                    header.set_size(file.metadata()?.len());
                    archive.append_data(&mut header, path, file)?;
                }
                What::Symlink(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, path, target)?;
                }
                What::HardLink(target) => {
                    header.set_entry_type(EntryType::Link);
                    archive.append_link(&mut header, path, target)?;
                }
                What::Special(kind, major, minor) => {
                    header.set_entry_type(*kind);
                    header.set_device_major(*major)?;
                    header.set_device_minor(*minor)?;
                    archive.append_data(&mut header, path, io::empty())?;
                }
            }
        }
        archive.finish()
    }
}

/// The whiteout of a path.
fn hidden(path: &Path) -> Option<PathBuf> {
    let mut name = b".wh.".to_vec();
    name.extend(path.file_name()?.as_bytes());
    Some(path.with_file_name(OsString::from_vec(name)))
}

/// A name from a tar without its `./` and `/`.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect()
}
