//! Bringing images in: what they are is told from their content, never from a file's name.
//!
//! ```text
//! directory ─► oci-layout? manifest.json? ─► OCI layout | docker archive | root filesystem
//! plain tar file ─► names at the top ──────► the same, read in place
//! stdin, compressed ─► unpacked while watching the names ─► the same, from the work directory
//! ```

mod docker;
mod layers;
mod oci;
mod parts;
mod rootfs;
mod shape;
mod walk;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use self::layers::Layers;
use self::parts::Parts;
use self::shape::Shape;
use crate::config::ConfigOverrides;
use crate::digest::Digest;
use crate::error::Error;
use crate::image::Image;
use crate::reference::Reference;
use crate::store::{Pending, Store, Work};
use crate::stream::Limits;
use crate::unpack::{Tally, unpack_watched};

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The name the image gets; needed where the source has none.
    pub reference: Option<Reference>,
    /// Changes to the run configuration.
    pub overrides: ConfigOverrides,
    /// Ceilings on what archives may unpack to.
    pub limits: Limits,
    /// Do not wait for the disk. Kill -9 still leaves the store whole; a power cut within the
    /// next half minute may leave an image with empty files.
    pub no_sync: bool,
}

/// What a source turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A root filesystem in a directory.
    RootfsDirectory,
    /// A root filesystem in a tar.
    RootfsTar,
    /// An OCI image layout, as a directory or a tar.
    OciLayout,
    /// The output of `docker save`, as a tar or unpacked.
    DockerArchive,
}

/// A finished import.
#[derive(Debug, Clone)]
pub struct Imported {
    /// What the source turned out to be.
    pub kind: SourceKind,
    /// The images, one for each name.
    pub images: Vec<Image>,
    /// Counts over all layers unpacked now; `implied_directories` stays empty.
    pub tally: Tally,
}

/// One import on its way.
struct Import<'s> {
    store: &'s Store,
    work: Work,
    /// The source, for messages and the record.
    input: String,
    options: &'s ImportOptions,
}

impl Store {
    /// Imports from a file or directory, or from standard input when `source` is `-`.
    ///
    /// # Errors
    /// Everything in [`Error`] that speaks of an input; the store is then as it was.
    pub fn import(&self, source: &Path, options: &ImportOptions) -> Result<Imported, Error> {
        if source == Path::new("-") {
            return self.import_reader(std::io::stdin(), "standard input", options);
        }
        self.import_as(source, &source.display().to_string(), options)
    }

    /// Imports from a file or directory under another name in messages and in the record: that of
    /// the registry it was downloaded from, say.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn import_as(
        &self,
        source: &Path,
        input: &str,
        options: &ImportOptions,
    ) -> Result<Imported, Error> {
        let metadata = std::fs::metadata(source).map_err(|e| Error::io("read", source, e))?;
        let import = self.begin(input.to_owned(), options)?;
        if metadata.is_dir() {
            return import.directory(source);
        }
        let file = File::open(source).map_err(|error| Error::io("read", source, error))?;
        if metadata.is_file()
            && let Some((parts, kind)) = Parts::of_tar(&file, &import.input)?
        {
            return import.archive(parts, kind);
        }
        import.stream(file)
    }

    /// Imports an archive from any reader; `input` names it in messages and in the record.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn import_reader(
        &self,
        source: impl Read + Send + 'static,
        input: &str,
        options: &ImportOptions,
    ) -> Result<Imported, Error> {
        self.begin(input.to_owned(), options)?.stream(source)
    }

    fn begin<'s>(&'s self, input: String, options: &'s ImportOptions) -> Result<Import<'s>, Error> {
        Ok(Import { store: self, work: Work::begin(self)?, input, options })
    }
}

impl Import<'_> {
    fn directory(mut self, source: &Path) -> Result<Imported, Error> {
        let shape = Shape::of_directory(source);
        if let Some(kind) = shape.archive() {
            return self.archive(Parts::of_directory(source)?, kind);
        }
        let reference = self.reference()?;
        let (layer, tally) = self.copy_directory(source)?;
        self.finish_rootfs(SourceKind::RootfsDirectory, reference, layer, tally)
    }

    /// Unpacks first; what came out says what it was.
    fn stream(mut self, source: impl Read + Send + 'static) -> Result<Imported, Error> {
        let into = self.work.directory()?;
        let mut shape = Shape::default();
        let limits = &self.options.limits;
        let unpacked = unpack_watched(source, &into, &self.input, limits, true, |member| {
            shape.see(&member.path);
        })?;
        if let Some(kind) = shape.archive() {
            let parts = Parts::of_directory(&into)?;
            return self.archive(parts, kind);
        }
        let reference = self.reference()?;
        let layer = rootfs::Layer { diff_id: unpacked.diff_id, path: into };
        self.finish_rootfs(SourceKind::RootfsTar, reference, layer, unpacked.tally)
    }

    fn archive(mut self, parts: Parts, kind: SourceKind) -> Result<Imported, Error> {
        let found = match kind {
            SourceKind::OciLayout => oci::read(&parts, &self.input, self.options)?,
            _ => docker::read(&parts, &self.input, self.options)?,
        };
        let mut layers = Layers::default();
        let mut pending = Vec::new();
        for found in found {
            let stack = self.stage(&parts, &found, &mut layers)?;
            pending.push(Pending {
                references: found.names,
                document: self.document(&found.document)?,
                layers: stack,
                source: self.input.clone(),
                manifest: found.manifest,
            });
        }
        self.finish(kind, &pending, layers.tally)
    }

    fn finish(
        self,
        kind: SourceKind,
        pending: &[Pending],
        tally: Tally,
    ) -> Result<Imported, Error> {
        if !self.options.no_sync {
            self.store.sync_files()?;
        }
        self.store.commit(&self.work, pending)?;
        let mut images = Vec::new();
        for reference in pending.iter().flat_map(|image| &image.references) {
            images.extend(self.store.resolve(reference)?);
        }
        Ok(Imported { kind, images, tally })
    }

    /// The name asked for, for sources that have none of their own.
    fn reference(&self) -> Result<Reference, Error> {
        let reference = self.options.reference.clone();
        reference.ok_or_else(|| Error::NeedsReference { input: self.input.clone() })
    }

    /// The configuration document with the overrides applied; as it came when there are none.
    fn document(&self, document: &[u8]) -> Result<Vec<u8>, Error> {
        if self.options.overrides.is_empty() {
            return Ok(document.to_vec());
        }
        let bad =
            |error: serde_json::Error| bad_document(&self.input, "image configuration", &error);
        let mut value: Value = serde_json::from_slice(document).map_err(bad)?;
        self.options.overrides.apply(&mut value);
        serde_json::to_vec(&value).map_err(bad)
    }
}

/// An image found in an archive, not yet unpacked.
struct Found {
    names: Vec<Reference>,
    document: Vec<u8>,
    /// Base first.
    layers: Vec<FoundLayer>,
    manifest: Option<Digest>,
}

struct FoundLayer {
    /// Path inside the archive.
    part: String,
    diff_id: Digest,
    /// Digest and size of the blob, where the archive states them.
    packed: Option<(Digest, u64)>,
}

/// Narrows several images down to the one asked for, and gives it its name.
fn choose<T>(
    input: &str,
    wanted: Option<&Reference>,
    mut found: Vec<T>,
    names: impl Fn(&mut T) -> &mut Vec<Reference>,
) -> Result<Vec<T>, Error> {
    let Some(wanted) = wanted else {
        if found.iter_mut().any(|image| names(image).is_empty()) {
            return Err(Error::NeedsReference { input: input.to_owned() });
        }
        return Ok(found);
    };
    if found.len() > 1 {
        let shown = found
            .iter_mut()
            .flat_map(|image| names(image).iter().map(Reference::short).collect::<Vec<_>>())
            .collect();
        found.retain_mut(|image| names(image).contains(wanted));
        if found.len() != 1 {
            let (input, reference) = (input.to_owned(), wanted.short());
            return Err(Error::WhichImage { input, reference, names: shown });
        }
    }
    for image in &mut found {
        *names(image) = vec![wanted.clone()];
    }
    Ok(found)
}

fn bad_document(input: &str, what: &'static str, why: &dyn std::fmt::Display) -> Error {
    Error::BadDocument { input: input.to_owned(), what, why: why.to_string() }
}
