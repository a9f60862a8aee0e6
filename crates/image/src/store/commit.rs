//! Putting a finished import into the store: layers first, the index last.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::index::Record;
use super::lock::Lock;
use super::{Store, Work};
use crate::digest::Digest;
use crate::error::Error;
use crate::reference::Reference;

/// An image about to be committed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub references: Vec<Reference>,
    /// The configuration document, whose digest is the image's id.
    pub document: Vec<u8>,
    /// Topmost first.
    pub layers: Vec<Layer>,
    pub source: String,
    pub manifest: Option<Digest>,
}

/// A layer in the work directory, or in place already.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Its directory's name under `layers`.
    pub name: String,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Stored,
    Staged { path: PathBuf, size: u64 },
}

impl Store {
    /// Whether a layer is in place and named; holds for as long as an import runs.
    pub(crate) fn has_layer(&self, name: &str) -> Result<bool, Error> {
        Ok(self.layer_path(name).is_dir() && self.read_index()?.layers.contains_key(name))
    }

    /// Makes the images part of the store, all of them or none.
    ///
    /// `_work` is held until the index names the layers, so that nobody sweeps them.
    pub(crate) fn commit(&self, _work: &Work, images: &[Pending]) -> Result<Vec<Digest>, Error> {
        let _lock = Lock::index(&self.root)?;
        let mut index = self.read_index()?;
        let mut ids = Vec::new();
        for image in images {
            for layer in &image.layers {
                if let Place::Staged { path, size } = &layer.place {
                    self.place(layer, path)?;
                    index.layers.insert(layer.name.clone(), *size);
                }
            }
            let id = Digest::of(&image.document);
            self.replace(&self.config_path(&id), &image.document)?;
            let layers: Vec<String> = image.layers.iter().map(|layer| layer.name.clone()).collect();
            let size = layers.iter().filter_map(|layer| index.layers.get(layer)).sum();
            let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let record = Record {
                layers,
                size,
                created: created.as_secs(),
                source: image.source.clone(),
                manifest: image.manifest.clone(),
            };
            index.images.insert(id.clone(), record);
            for reference in &image.references {
                index.references.insert(reference.clone(), id.clone());
            }
            ids.push(id);
        }
        let layers = self.root.join("layers");
        std::fs::File::open(&layers)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Error::io("sync", &layers, error))?;
        self.write_index(&index)?;
        Ok(ids)
    }

    /// Renames a layer into place, unless another import was faster.
    fn place(&self, layer: &Layer, staged: &PathBuf) -> Result<(), Error> {
        let target = self.layer_path(&layer.name);
        if target.is_dir() || !staged.is_dir() {
            return Ok(());
        }
        std::fs::rename(staged, &target).map_err(|error| Error::io("write", &target, error))
    }

    /// Layers must be on disk before the index says so.
    pub(crate) fn sync_files(&self) -> Result<(), Error> {
        let root = std::fs::File::open(&self.root).map_err(|e| Error::io("open", &self.root, e))?;
        nix::unistd::syncfs(&root).map_err(|error| Error::io("sync", &self.root, error))
    }
}
