//! Images written as archives, as `docker save` does: for other programs, or for another store.
//!
//! Layers were unpacked once, and the archives they came in are not kept. So they are packed anew,
//! always the same way from the same files: the image has the same contents and another digest.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::image::Image;
use crate::reference::Reference;
use crate::store::{Store, Work};
use crate::xattr;

/// Beginning of the names of attributes that belong to overlayfs.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

impl Store {
    /// Writes an image as an archive that `docker load`, `podman load` and [`Store::import`] read.
    ///
    /// # Errors
    /// When its files cannot be read, scratch space cannot be written, or `out` refuses more.
    pub fn save(
        &self,
        image: &Image,
        reference: &Reference,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let write = |config: &str, layers: &[(String, PathBuf)]| {
            self.write_archive(config, layers, reference, out)
                .map_err(|e| Error::io("write an archive of", self.root(), e))
        };
        self.packed(image, write)?
    }

    /// Gives the layers of an image packed, base first, each with its digest and in a file that
    /// goes afterwards, and the configuration that fits them.
    ///
    /// # Errors
    /// When its files cannot be read, or scratch space cannot be written.
    pub fn packed<T>(
        &self,
        image: &Image,
        with: impl FnOnce(&str, &[(String, PathBuf)]) -> T,
    ) -> Result<T, Error> {
        let mut work = Work::begin(self)?;
        let scratch = work.directory()?;
        let failed = |e| Error::io("pack an image in", &scratch, e);
        fs::create_dir_all(&scratch).map_err(failed)?;
        let mut layers = Vec::new();
        // Base first, as archives have it.
        for (number, layer) in image.layers.iter().rev().enumerate() {
            let path = scratch.join(number.to_string());
            let digest = pack(layer, &path).map_err(|e| Error::io("pack", layer, e))?;
            layers.push((digest, path));
        }
        let config = self.document(image, &layers)?.to_string();
        Ok(with(&config, &layers))
    }

    /// The image's configuration with the digests its layers have now.
    fn document(&self, image: &Image, layers: &[(String, PathBuf)]) -> Result<Value, Error> {
        let mut document = self.document_of(image)?;
        let ids: Vec<String> =
            layers.iter().map(|(digest, _)| format!("sha256:{digest}")).collect();
        document["rootfs"] = json!({ "type": "layers", "diff_ids": ids });
        // How the layers came to be is told of the archives they came in.
        if let Some(map) = document.as_object_mut() {
            map.remove("history");
        }
        Ok(document)
    }

    fn write_archive(
        &self,
        config: &str,
        layers: &[(String, PathBuf)],
        reference: &Reference,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let config_name = format!("{}.json", hex(&Sha256::digest(config)));
        let names: Vec<String> =
            layers.iter().map(|(digest, _)| format!("{digest}/layer.tar")).collect();
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [reference.short()],
            "Layers": names,
        }])
        .to_string();
        let mut archive = tar::Builder::new(out);
        let mut add = |name: &str, size: u64, source: &mut dyn Read| {
            let mut header = tar::Header::new_gnu();
            header.set_size(size);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, source)
        };
        add(&config_name, config.len() as u64, &mut config.as_bytes())?;
        let mut written = Vec::new();
        for ((_, path), name) in layers.iter().zip(&names) {
            // Two equal layers are one file.
            if !written.contains(&name) {
                let mut file = File::open(path)?;
                add(name, file.metadata()?.len(), &mut file)?;
                written.push(name);
            }
        }
        add("manifest.json", manifest.len() as u64, &mut manifest.as_bytes())?;
        archive.finish()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Packs a layer; gives the digest of what was written.
fn pack(layer: &Path, into: &Path) -> io::Result<String> {
    let mut file = File::options().read(true).write(true).create_new(true).open(into)?;
    {
        let archive = tar::Builder::new(io::BufWriter::new(&mut file));
        let mut packer = Packer { archive, linked: HashMap::new() };
        packer.folder(layer, Path::new(""))?;
        packer.archive.into_inner()?.flush()?;
    }
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut Hashing(&mut hash))?;
    Ok(hex(&hash.finalize()))
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Packer<W: Write> {
    archive: tar::Builder<W>,
    /// Where a file with several names was packed, by device and inode.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<W> {
    /// What is in a folder, sorted, so that the same files are packed the same way.
    fn folder(&mut self, at: &Path, inside: &Path) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(at)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let inside = inside.join(entry.file_name());
            self.member(&entry.path(), &inside)?;
        }
        Ok(())
    }

    fn member(&mut self, path: &Path, inside: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        let kind = metadata.file_type();
        // What overlayfs hides with, as archives hide.
        if kind.is_char_device() && metadata.rdev() == 0 {
            let mut name = b".wh.".to_vec();
            name.extend(inside.file_name().unwrap_or_default().as_bytes());
            return self.marker(&inside.with_file_name(OsStr::from_bytes(&name)));
        }
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&metadata, tar::HeaderMode::Complete);
        // Names are looked up nowhere: numbers count.
        header.set_username("")?;
        header.set_groupname("")?;
        header.set_size(0);
        let opaque = self.attributes(path)?;
        if kind.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            self.archive.append_data(&mut header, inside, io::empty())?;
            if opaque {
                self.marker(&inside.join(".wh..wh..opq"))?;
            }
            return self.folder(path, inside);
        }
        if kind.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            return self.archive.append_link(&mut header, inside, fs::read_link(path)?);
        }
        if metadata.nlink() > 1 {
            let place = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&place) {
                header.set_entry_type(tar::EntryType::Link);
                return self.archive.append_link(&mut header, inside, first);
            }
            self.linked.insert(place, inside.to_owned());
        }
        if kind.is_file() {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(metadata.len());
            return self.archive.append_data(&mut header, inside, File::open(path)?);
        }
        if kind.is_char_device() || kind.is_block_device() {
            let block = kind.is_block_device();
            header.set_entry_type(if block { tar::EntryType::Block } else { tar::EntryType::Char });
            header.set_device_major(libc::major(metadata.rdev()))?;
            header.set_device_minor(libc::minor(metadata.rdev()))?;
        } else if kind.is_fifo() {
            header.set_entry_type(tar::EntryType::Fifo);
        } else {
            // A socket is nothing without who listens.
            return Ok(());
        }
        self.archive.append_data(&mut header, inside, io::empty())
    }

    fn marker(&mut self, inside: &Path) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(0);
        self.archive.append_data(&mut header, inside, io::empty())
    }

    /// Extended attributes of what comes next; whether a folder hides what is below it.
    fn attributes(&mut self, path: &Path) -> io::Result<bool> {
        let mut opaque = false;
        let mut kept = Vec::new();
        for name in xattr::list(path)? {
            let Some(value) = xattr::get(path, &name)? else { continue };
            if OVERLAY.iter().any(|own| name.starts_with(own)) {
                opaque |= name.ends_with(b".opaque") && value == b"y";
            } else if let Ok(name) = String::from_utf8(name) {
                kept.push((format!("SCHILY.xattr.{name}"), value));
            }
        }
        if !kept.is_empty() {
            let pairs = kept.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            self.archive.append_pax_extensions(pairs)?;
        }
        Ok(opaque)
    }
}
