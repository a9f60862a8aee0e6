//! The OCI image layout: index, manifests, blobs named by their digest.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Found, FoundLayer, ImportOptions, Parts, bad_document, choose};
use crate::config;
use crate::digest::Digest;
use crate::error::Error;
use crate::platform;
use crate::reference::Reference;

/// Indexes inside indexes, followed this deep.
const MOST_NESTED: usize = 4;

#[derive(Deserialize)]
struct ManifestIndex {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// The manifests that share a name.
struct Named {
    names: Vec<Reference>,
    manifests: Vec<Descriptor>,
}

/// The images of a layout that fit the options and this machine.
pub(super) fn read(
    parts: &Parts,
    input: &str,
    options: &ImportOptions,
) -> Result<Vec<Found>, Error> {
    let layout = Layout { parts, input };
    let text = parts.document("index.json", input)?;
    let index: ManifestIndex = layout.parse("index.json", &text)?;
    let mut named: Vec<Named> = Vec::new();
    for descriptor in index.manifests {
        let names: Vec<Reference> = descriptor.name().into_iter().collect();
        match named.iter_mut().find(|other| other.names == names) {
            Some(other) => other.manifests.push(descriptor),
            None => named.push(Named { names, manifests: vec![descriptor] }),
        }
    }
    if named.is_empty() {
        let why = "its index is empty".into();
        return Err(Error::NotAnImage { input: input.to_owned(), why });
    }
    let chosen = choose(input, options.reference.as_ref(), named, |named| &mut named.names)?;
    chosen.into_iter().map(|named| layout.image(named)).collect()
}

struct Layout<'p> {
    parts: &'p Parts,
    input: &'p str,
}

impl Layout<'_> {
    fn image(&self, named: Named) -> Result<Found, Error> {
        let mut leaves = Vec::new();
        for descriptor in named.manifests {
            self.flatten(descriptor, &mut leaves, MOST_NESTED)?;
        }
        let wanted = platform::host_architecture();
        let fits = |platform: &Platform| {
            (platform.os.is_empty() || platform.os == "linux") && platform.architecture == wanted
        };
        let mut available = Vec::new();
        // A stated platform decides; where none is stated, the configuration says.
        for leaf in &leaves {
            if let Some(platform) = leaf.platform.as_ref().filter(|platform| !fits(platform)) {
                available.push(format!("{}/{}", platform.os, platform.architecture));
                continue;
            }
            let found = self.manifest(leaf, &named.names)?;
            let file = self.config(&found.document)?;
            let stated = Platform { architecture: file.architecture, os: file.os };
            if leaf.platform.is_some() || stated.architecture.is_empty() || fits(&stated) {
                return Ok(found);
            }
            available.push(format!("{}/{}", stated.os, stated.architecture));
        }
        available.dedup();
        Err(Error::NoPlatform { input: self.input.to_owned(), wanted: wanted.into(), available })
    }

    /// Replaces indexes by what they list; leaves out attestations, which are no images.
    fn flatten(
        &self,
        descriptor: Descriptor,
        leaves: &mut Vec<Descriptor>,
        depth: usize,
    ) -> Result<(), Error> {
        if descriptor.annotation("vnd.docker.reference.type").is_some() {
            return Ok(());
        }
        if !descriptor.is_index() {
            leaves.push(descriptor);
            return Ok(());
        }
        if depth == 0 {
            return Err(bad_document(self.input, "index", &"indexes are nested too deeply"));
        }
        let text = self.blob(&descriptor)?;
        let index: ManifestIndex = self.parse("index", &text)?;
        for inner in index.manifests {
            self.flatten(inner, leaves, depth - 1)?;
        }
        Ok(())
    }

    fn manifest(&self, descriptor: &Descriptor, names: &[Reference]) -> Result<Found, Error> {
        let text = self.blob(descriptor)?;
        let manifest: Manifest = self.parse("manifest", &text)?;
        let kind = &manifest.config.media_type;
        if !kind.is_empty() && !kind.contains("image") {
            let why = format!("the manifest describes a `{kind}`");
            return Err(Error::NotAnImage { input: self.input.to_owned(), why });
        }
        let document = self.blob(&manifest.config)?;
        let diff_ids = self.config(&document)?.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let why = format!(
                "it lists {} layers, the configuration {}",
                manifest.layers.len(),
                diff_ids.len()
            );
            return Err(bad_document(self.input, "manifest", &why));
        }
        let layers = manifest.layers.into_iter().zip(diff_ids);
        let layers = layers.map(|(layer, diff_id)| FoundLayer {
            part: layer.path(),
            diff_id,
            packed: Some((layer.digest, layer.size)),
        });
        Ok(Found {
            names: names.to_vec(),
            document,
            layers: layers.collect(),
            manifest: Some(descriptor.digest.clone()),
        })
    }

    fn config(&self, document: &[u8]) -> Result<config::ConfigFile, Error> {
        config::parse(document)
            .map_err(|error| bad_document(self.input, "image configuration", &error))
    }

    /// A small blob, its digest verified.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let text = self.parts.document(&descriptor.path(), self.input)?;
        let actual = Digest::of(&text);
        if actual != descriptor.digest {
            return Err(Error::DigestMismatch {
                input: self.input.to_owned(),
                what: format!("the document {}", descriptor.path()),
                expected: descriptor.digest.clone(),
                actual,
            });
        }
        Ok(text)
    }

    fn parse<'t, T: Deserialize<'t>>(
        &self,
        what: &'static str,
        text: &'t [u8],
    ) -> Result<T, Error> {
        serde_json::from_slice(text).map_err(|error| bad_document(self.input, what, &error))
    }
}

impl Descriptor {
    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest.hex())
    }

    fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The image's name. A bare word in `ref.name` is a tag without a repository: no name.
    fn name(&self) -> Option<Reference> {
        let full = self.annotation("io.containerd.image.name");
        let word = self.annotation("org.opencontainers.image.ref.name");
        let name = full.or_else(|| word.filter(|name| name.contains(['/', ':'])))?;
        Reference::parse(name).ok()
    }
}
