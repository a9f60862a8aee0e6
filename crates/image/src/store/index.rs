//! `index.json`: which names and images there are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Store;
use crate::digest::Digest;
use crate::error::Error;
use crate::reference::Reference;

const VERSION: u64 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    version: u64,
    pub references: BTreeMap<Reference, Digest>,
    pub images: BTreeMap<Digest, Record>,
    /// Bytes of file data in each layer.
    pub layers: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Topmost first.
    pub layers: Vec<String>,
    pub size: u64,
    /// Seconds since the epoch.
    pub created: u64,
    pub source: String,
    /// Digest of the manifest it came with, if there was one.
    pub manifest: Option<Digest>,
}

/// Read before the rest, which another version may shape differently.
#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl Index {
    /// The image a reference means.
    pub fn find(&self, reference: &Reference) -> Option<Digest> {
        if let Some(id) = self.references.get(reference) {
            return Some(id.clone());
        }
        let wanted = reference.digest()?;
        let mut names = self.references.iter().filter(|(name, _)| name.same_repository(reference));
        names
            .find(|(_, id)| {
                let manifest = self.images.get(id).and_then(|record| record.manifest.as_ref());
                *id == wanted || manifest == Some(wanted)
            })
            .map(|(_, id)| id.clone())
    }

    /// Layers no image but this one needs.
    pub fn layers_only_of(&self, id: &Digest) -> BTreeSet<String> {
        let others = self.images.iter().filter(|(other, _)| *other != id);
        let needed: BTreeSet<&String> = others.flat_map(|(_, record)| &record.layers).collect();
        let own = self.images.get(id).map(|record| record.layers.as_slice()).unwrap_or_default();
        own.iter().filter(|layer| !needed.contains(layer)).cloned().collect()
    }

    /// Drops an image and the layers only it needs.
    pub fn forget(&mut self, id: &Digest) {
        for layer in self.layers_only_of(id) {
            self.layers.remove(&layer);
        }
        self.images.remove(id);
        self.references.retain(|_, named| named != id);
    }
}

impl Store {
    /// The index; empty when there is none yet.
    pub(super) fn read_index(&self) -> Result<Index, Error> {
        let path = self.index_path();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Index { version: VERSION, ..Index::default() });
            }
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let unreadable =
            |error: serde_json::Error| Error::Index { path: path.clone(), why: error.to_string() };
        let VersionOnly { version } = serde_json::from_slice(&text).map_err(unreadable)?;
        if version != VERSION {
            return Err(Error::IndexVersion { path, found: version, known: VERSION });
        }
        serde_json::from_slice(&text).map_err(unreadable)
    }

    /// Replaces the index; the caller holds its lock.
    pub(super) fn write_index(&self, index: &Index) -> Result<(), Error> {
        let path = self.index_path();
        let mut text = serde_json::to_vec_pretty(index)
            .map_err(|error| Error::Index { path: path.clone(), why: error.to_string() })?;
        text.push(b'\n');
        self.replace(&path, &text)
    }

    /// Writes a file beside its place, syncs it, and renames it into place.
    pub(super) fn replace(&self, path: &Path, text: &[u8]) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = self.root.join(format!("{name}.{}.new", std::process::id()));
        let written = std::fs::File::create(&new).and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| std::fs::rename(&new, path));
        if let Err(error) = renamed {
            // The file may not even exist; the first error is the one to tell.
            let _ = std::fs::remove_file(&new);
            return Err(Error::io("write", path, error));
        }
        let parent = path.parent().unwrap_or(&self.root);
        std::fs::File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Error::io("sync", parent, error))
    }
}
