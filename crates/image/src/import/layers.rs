//! Unpacking the layers of an image, each one once.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{Found, FoundLayer, Import, Parts};
use crate::config;
use crate::digest::Digest;
use crate::error::Error;
use crate::store::{Layer, Place, Store};
use crate::unpack::{Tally, Unpacked, adopt_attributes, unpack_layer};
use crate::xattr;

/// Layers of this import so far.
#[derive(Default)]
pub(super) struct Layers {
    /// By name.
    staged: HashMap<String, Layer>,
    pub tally: Tally,
}

impl Store {
    /// Which layers of an image configuration are here already, base first.
    ///
    /// # Errors
    /// The document cannot be read, or the index.
    pub fn layers_of(&self, document: &[u8]) -> Result<Vec<bool>, Error> {
        let bad = |e: serde_json::Error| super::bad_document("", "image configuration", &e);
        let diff_ids = config::parse(document).map_err(bad)?.diff_ids;
        let mut chain: Option<Digest> = None;
        let mut out = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let this = chained(chain.as_ref(), &diff_id);
            let names = Names::of(&diff_id, &this);
            out.push(self.has_layer(&names.own)? || self.has_layer(&names.placed)?);
            chain = Some(this);
        }
        Ok(out)
    }
}

/// The digest of a layer and all below it.
fn chained(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}

impl Import<'_> {
    /// Unpacks what the store does not have. Returns the stack, topmost first.
    pub(super) fn stage(
        &mut self,
        parts: &Parts,
        found: &Found,
        layers: &mut Layers,
    ) -> Result<Vec<Layer>, Error> {
        let mut stack: Vec<Layer> = Vec::new();
        let mut chain: Option<Digest> = None;
        for layer in &found.layers {
            let this = chained(chain.as_ref(), &layer.diff_id);
            let names = Names::of(&layer.diff_id, &this);
            chain = Some(this);
            let staged = match self.known(&names, layers)? {
                Some(known) => known,
                None => self.unpack(parts, layer, &names, &stack, layers)?,
            };
            if self.hides_all_below(&staged)? {
                stack.clear();
            }
            // Overlayfs takes no directory twice; the upper one covers all the lower one does.
            stack.retain(|other| other.name != staged.name);
            stack.insert(0, staged);
        }
        Ok(stack)
    }

    fn known(&self, names: &Names, layers: &Layers) -> Result<Option<Layer>, Error> {
        for name in [&names.own, &names.placed] {
            if let Some(layer) = layers.staged.get(name) {
                return Ok(Some(layer.clone()));
            }
            if self.store.has_layer(name)? {
                return Ok(Some(Layer { name: name.clone(), place: Place::Stored }));
            }
        }
        Ok(None)
    }

    fn unpack(
        &mut self,
        parts: &Parts,
        layer: &FoundLayer,
        names: &Names,
        below: &[Layer],
        layers: &mut Layers,
    ) -> Result<Layer, Error> {
        let what = || Error::MissingPart {
            input: self.input.clone(),
            what: format!("the layer {}", layer.part),
        };
        let part = parts.open(&layer.part, &self.input)?.ok_or_else(what)?;
        let path = self.work.directory()?;
        let input = format!("{}: {}", self.input, layer.part);
        let unpacked = unpack_layer(part, &path, &input, &self.options.limits, false)?;
        self.verify(layer, &unpacked)?;
        let Tally { implied_directories, bytes, .. } = &unpacked.tally;
        let name = if implied_directories.is_empty() { &names.own } else { &names.placed };
        let lowers: Vec<PathBuf> = below.iter().map(|layer| self.path_of(layer)).collect();
        adopt_attributes(&path, &lowers, implied_directories)?;
        let place = Place::Staged { path, size: *bytes };
        let staged = Layer { name: name.clone(), place };
        layers.tally.add(&unpacked.tally);
        layers.staged.insert(name.clone(), staged.clone());
        Ok(staged)
    }

    fn verify(&self, layer: &FoundLayer, unpacked: &Unpacked) -> Result<(), Error> {
        let mismatch = |what: String, expected: &Digest, actual: &Digest| {
            let (input, expected, actual) = (self.input.clone(), expected.clone(), actual.clone());
            Err(Error::DigestMismatch { input, what, expected, actual })
        };
        if let Some((digest, size)) = &layer.packed {
            if unpacked.packed_size != *size {
                let detail = format!(
                    "{} has {} bytes, not the {size} promised",
                    layer.part, unpacked.packed_size
                );
                return Err(Error::Corrupt { input: self.input.clone(), detail });
            }
            if unpacked.packed != *digest {
                return mismatch(format!("the layer {}", layer.part), digest, &unpacked.packed);
            }
        }
        if unpacked.diff_id != layer.diff_id {
            let what = format!("the tar in the layer {}", layer.part);
            return mismatch(what, &layer.diff_id, &unpacked.diff_id);
        }
        Ok(())
    }

    /// An opaque top directory is not honoured by overlayfs; the layers below are left out instead.
    fn hides_all_below(&self, layer: &Layer) -> Result<bool, Error> {
        let path = self.path_of(layer);
        for name in [b"trusted.overlay.opaque".as_slice(), b"user.overlay.opaque"] {
            match xattr::get(&path, name) {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(error) => return Err(Error::io("read the attributes of", &path, error)),
            }
        }
        Ok(false)
    }

    fn path_of(&self, layer: &Layer) -> PathBuf {
        match &layer.place {
            Place::Stored => self.store.layer_path(&layer.name),
            Place::Staged { path, .. } => path.clone(),
        }
    }
}

/// The two names a layer may be stored under.
struct Names {
    /// By its diff id: the layer is the same on any stack.
    own: String,
    /// By its place in the stack: it takes directory attributes from the layers below.
    placed: String,
}

impl Names {
    fn of(diff_id: &Digest, chain: &Digest) -> Self {
        let placed = Digest::of(format!("placed {chain}").as_bytes());
        Self { own: diff_id.hex().to_owned(), placed: placed.hex().to_owned() }
    }
}

impl Tally {
    /// Adds the counts of another layer.
    fn add(&mut self, other: &Self) {
        self.members += other.members;
        self.bytes += other.bytes;
        self.skipped_devices += other.skipped_devices;
        self.skipped_attributes += other.skipped_attributes;
        self.skipped_owners += other.skipped_owners;
    }
}
