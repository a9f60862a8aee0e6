//! The local image store: content-addressed, shared by concurrent commands, safe against kill -9.
//!
//! ```text
//! root/index.json        references, images, layer sizes     (replaced atomically, fsynced)
//! root/configs/<hex>.json  configuration documents, by image id
//! root/layers/<hex>/     unpacked layers, by diff id, shared between images
//! root/tmp/<pid>-<n>/    work of a running import, locked by it
//! root/lock              held while the index is read and replaced
//! root/downloads/        of pulls on their way, for the next try
//! root/importing         held shared by imports, exclusively while unused layers are swept
//! ```
//!
//! A layer is unpacked under `tmp`, renamed into place, and only then named in the index; what the
//! index does not name does not exist and is swept by the next [`Store::open`]. Whoever is killed
//! loses its locks with its life.

mod commit;
mod index;
mod lock;
mod reserve;
mod sweep;
mod work;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) use self::commit::{Layer, Pending, Place};
use self::index::{Index, Record};
use self::lock::Lock;
pub use self::reserve::Reserved;
pub(crate) use self::work::Work;
use crate::config;
use crate::digest::Digest;
use crate::error::Error;
use crate::image::Image;
use crate::reference::Reference;

/// A store directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The image went too, and not just this name for it.
    pub image: bool,
    /// Layers no image needs any more.
    pub layers: usize,
    /// Bytes of file data in those layers.
    pub bytes: u64,
}

impl Store {
    /// Opens the store, makes it if need be, and clears away what killed imports left.
    ///
    /// # Errors
    /// When the directory cannot be made or written, or its index cannot be read.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self { root: root.into() };
        for part in ["layers", "configs", "tmp"] {
            let path = store.root.join(part);
            let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            make.map_err(|e| Error::io("make", &path, e))?;
        }
        store.close_to_others()?;
        store.sweep()?;
        Ok(store)
    }

    /// Layers hold setuid programs and device nodes: nobody else may get at them. What is above
    /// the store was there before, or is as closed.
    fn close_to_others(&self) -> Result<(), Error> {
        let failed = |e| Error::io("close to other users", &self.root, e);
        let mode = std::fs::metadata(&self.root).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let closed = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&self.root, closed).map_err(failed)?;
        }
        Ok(())
    }

    /// The store's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where downloads on their way are kept. The store itself never looks there.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Removes what pulls left that are no longer on their way; says how many bytes.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn prune_downloads(&self) -> Result<u64, Error> {
        let downloads = self.downloads();
        let mut bytes = 0;
        for entry in std::fs::read_dir(&downloads).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "lock") {
                continue;
            }
            let lock = path.with_extension("lock");
            // Whoever pulls holds it.
            let Some(_held) = Lock::free(&lock)? else { continue };
            bytes += size_of(&path);
            std::fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
            let _ = std::fs::remove_file(&lock);
        }
        Ok(bytes)
    }

    /// The image of this name, if it is here. A digest matches the manifest's or the image's own.
    ///
    /// # Errors
    /// When the index or the image's configuration cannot be read.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>, Error> {
        self.looking(|index| {
            let Some(id) = index.find(reference) else { return Ok(None) };
            self.load(index, &id, Some(reference.clone())).map(Some)
        })
    }

    /// Every name and its image; images without a name come last.
    ///
    /// # Errors
    /// When the index or a configuration cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        self.looking(|index| {
            let mut images = Vec::new();
            for (reference, id) in &index.references {
                images.push(self.load(index, id, Some(reference.clone()))?);
            }
            for id in index.images.keys() {
                if !index.references.values().any(|named| named == id) {
                    images.push(self.load(index, id, None)?);
                }
            }
            Ok(images)
        })
    }

    /// Looks at the index without a lock. Should an image be removed between the look at it and at
    /// its configuration, the look is taken once more.
    fn looking<T>(&self, look: impl Fn(&Index) -> Result<T, Error>) -> Result<T, Error> {
        match look(&self.read_index()?) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                look(&self.read_index()?)
            }
            other => other,
        }
    }

    /// Gives an image another name; an image that had it before loses it.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the index cannot be read or replaced.
    pub fn tag(&self, reference: &Reference, name: &Reference) -> Result<Image, Error> {
        let _lock = Lock::index(&self.root)?;
        let mut index = self.read_index()?;
        let id = index.find(reference).ok_or_else(|| Error::NotFound {
            reference: Box::new(reference.clone()),
            root: self.root.clone(),
        })?;
        index.references.insert(name.clone(), id.clone());
        self.write_index(&index)?;
        self.load(&index, &id, Some(name.clone()))
    }

    /// Removes a name; with the last name goes the image, and every layer no other image needs.
    ///
    /// `users_of` is asked for each layer that would go and names who uses it.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::InUse`] when a layer to be dropped has users.
    pub fn remove(
        &self,
        reference: &Reference,
        users_of: impl Fn(&Path) -> Vec<String>,
    ) -> Result<Removed, Error> {
        let lock = Lock::index(&self.root)?;
        let mut index = self.read_index()?;
        let id = index.find(reference).ok_or_else(|| Error::NotFound {
            reference: Box::new(reference.clone()),
            root: self.root.clone(),
        })?;
        match reference.digest() {
            // A digest means the image under every name it has in that repository.
            Some(_) => {
                index.references.retain(|name, of| !(*of == id && name.same_repository(reference)))
            }
            None => {
                index.references.remove(reference);
            }
        }
        let mut removed = Removed::default();
        if !index.references.values().any(|named| *named == id) {
            removed = self.drop_image(&mut index, &id, reference, &users_of)?;
        }
        self.write_index(&index)?;
        drop(lock);
        self.sweep()?;
        Ok(removed)
    }

    /// Removes every image that has no name and no users.
    ///
    /// # Errors
    /// When the index cannot be read or replaced.
    pub fn prune(&self, users_of: impl Fn(&Path) -> Vec<String>) -> Result<Removed, Error> {
        let lock = Lock::index(&self.root)?;
        let mut index = self.read_index()?;
        let named = |index: &Index, id: &Digest| index.references.values().any(|of| of == id);
        let nameless: Vec<Digest> =
            index.images.keys().filter(|id| !named(&index, id)).cloned().collect();
        let mut total = Removed::default();
        for id in nameless {
            let layers = index.layers_only_of(&id);
            if layers.iter().any(|layer| !users_of(&self.layer_path(layer)).is_empty()) {
                continue;
            }
            let bytes = layers.iter().filter_map(|layer| index.layers.get(layer)).sum::<u64>();
            index.forget(&id);
            total = Removed {
                image: true,
                layers: total.layers + layers.len(),
                bytes: total.bytes + bytes,
            };
        }
        self.write_index(&index)?;
        drop(lock);
        self.sweep()?;
        Ok(total)
    }

    fn drop_image(
        &self,
        index: &mut Index,
        id: &Digest,
        reference: &Reference,
        users_of: &impl Fn(&Path) -> Vec<String>,
    ) -> Result<Removed, Error> {
        let layers = index.layers_only_of(id);
        let mut users: Vec<String> =
            layers.iter().flat_map(|layer| users_of(&self.layer_path(layer))).collect();
        users.sort();
        users.dedup();
        if !users.is_empty() {
            return Err(Error::InUse { reference: Box::new(reference.clone()), users });
        }
        let bytes = layers.iter().filter_map(|layer| index.layers.get(layer)).sum();
        index.forget(id);
        Ok(Removed { image: true, layers: layers.len(), bytes })
    }

    fn load(
        &self,
        index: &Index,
        id: &Digest,
        reference: Option<Reference>,
    ) -> Result<Image, Error> {
        let record = index.images.get(id).ok_or_else(|| Error::Index {
            path: self.index_path(),
            why: format!("it names the image {id} and does not describe it"),
        })?;
        let path = self.config_path(id);
        let document = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let file = config::parse(&document).map_err(|error| Error::BadDocument {
            input: path.display().to_string(),
            what: "image configuration",
            why: error.to_string(),
        })?;
        let Record { layers, size, created, source, .. } = record;
        Ok(Image {
            id: Some(id.clone()),
            reference,
            layers: layers.iter().map(|layer| self.layer_path(layer)).collect(),
            config: file.config,
            size: *size,
            created: *created,
            source: source.clone(),
        })
    }

    pub(crate) fn layer_path(&self, layer: &str) -> PathBuf {
        self.root.join("layers").join(layer)
    }

    /// The configuration document of an image, as it came; empty for the host itself.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn document_of(&self, image: &Image) -> Result<serde_json::Value, Error> {
        let Some(id) = &image.id else { return Ok(serde_json::json!({})) };
        let path = self.config_path(id);
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::io("read", &path, std::io::Error::other(e)))
    }

    pub(crate) fn config_path(&self, id: &Digest) -> PathBuf {
        self.root.join("configs").join(format!("{}.json", id.hex()))
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }
}

/// Bytes of the files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
