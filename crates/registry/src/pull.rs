//! A pull: manifest, configuration, layers, then the store's own import.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use netloom_image::{Digest, Image, ImportOptions, Reference, Reserved, Store};
use oci_client::Client;
use oci_client::client::ClientConfig;
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::ask::Host;
use crate::credentials;
use crate::download::{Blob, Downloads};
use crate::error::{Asked, PullError};
use crate::places::{Place, Settings};

/// Blobs downloaded at once.
const AT_ONCE: usize = 4;
/// How often it is asked whether to stop, and whether another pull has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long a manifest may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A layer larger than this is none.
const MOST_LAYER: u64 = 1 << 40;
/// Manifests and configurations larger than this are none.
const MOST_DOCUMENT: u64 = 32 << 20;

/// Indexes inside indexes, followed this deep, and this many of each.
const MOST_NESTED: usize = 3;
const MOST_BRANCHES: usize = 8;

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Hears of a pull.
pub trait Progress: Sync {
    /// So many layers are missing, of so many bytes.
    fn begin(&self, layers: usize, bytes: u64);
    /// So many more bytes are here.
    fn bytes(&self, count: u64);
    /// Layers are unpacked now.
    fn unpacking(&self) {}
    /// Whether the user wants to stop; asked with every piece that comes.
    fn stop(&self) -> bool {
        false
    }
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// Either a manifest or an index of such.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// Pulls an image into the store, whatever is there already, and returns it. Of the layers only
/// those are fetched that the store does not have.
///
/// # Errors
/// The last place's, when there are several; the store is as it was then.
pub fn pull(
    store: &Store,
    reference: &Reference,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Image, PullError> {
    // Which of two cryptographic libraries is used is for the program to say; once is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|source| {
            PullError::File { what: "start a runtime for", path: store.root().into(), source }
        })?;
    let mut last = None;
    for place in settings.places(reference.registry()) {
        let tried =
            Attempt::new(store, reference, settings, &place, progress).and_then(|mut attempt| {
                runtime.block_on(attempt.known("pull"))?;
                attempt.whole(&runtime)
            });
        match tried {
            Ok(image) => return Ok(image),
            Err(e) if e.elsewhere(place.mirror) => last = Some(e.or(last)),
            Err(e) => return Err(e),
        }
    }
    Err(last.unwrap_or_else(|| PullError::Unreachable {
        place: reference.registry().into(),
        plain: false,
        why: "there is nowhere to ask".into(),
    }))
}

/// Ends when the user wants to stop.
pub(crate) async fn stopped(progress: &dyn Progress) {
    while !progress.stop() {
        tokio::time::sleep(LOOK).await;
    }
}

/// A pull from one place, or a push to it.
pub(crate) struct Attempt<'a> {
    store: &'a Store,
    reference: &'a Reference,
    pub progress: &'a dyn Progress,
    pub client: Client,
    pub auth: RegistryAuth,
    /// For requests of our own.
    pub host: Host,
    /// What is to be exchanged for a token first.
    pub identity: Option<String>,
    pub image: oci_client::Reference,
    pub asked: Asked,
}

impl<'a> Attempt<'a> {
    pub fn new(
        store: &'a Store,
        reference: &'a Reference,
        settings: &Settings,
        place: &Place,
        progress: &'a dyn Progress,
    ) -> Result<Self, PullError> {
        let config: ClientConfig = settings.client(place)?;
        let credentials = credentials::find(&place.host, reference.repository());
        let (host, repository) = (place.host.clone(), reference.repository().to_owned());
        let image = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => {
                oci_client::Reference::with_digest(host, repository, digest.to_string())
            }
            (None, tag) => oci_client::Reference::with_tag(
                host,
                repository,
                tag.unwrap_or("latest").to_owned(),
            ),
        };
        let asked = Asked {
            place: place.host.clone(),
            image: reference.short(),
            who: credentials.who,
            plain: place.plain,
        };
        let host = Host::new(image.resolve_registry(), &config)
            .map_err(|e| asked.failed(OciDistributionError::RequestError(e)))?;
        let client = Client::try_from(config).map_err(|e| asked.failed(e))?;
        let (auth, identity) = (credentials.auth, credentials.identity);
        Ok(Attempt { store, reference, progress, client, auth, host, identity, image, asked })
    }

    /// Fetches and imports. What others remove from the store meanwhile is fetched after all; what
    /// turns out to be damaged is fetched anew, once.
    fn whole(&self, runtime: &Runtime) -> Result<Image, PullError> {
        let fetch = || {
            runtime.block_on(async {
                tokio::select! {
                    fetched = self.fetch() => fetched,
                    () = stopped(self.progress) => Err(PullError::Stopped),
                }
            })
        };
        let fetched = fetch()?;
        match self.import(&fetched) {
            Err(PullError::Store(netloom_image::Error::MissingPart { .. })) => {}
            Err(PullError::Store(
                netloom_image::Error::Corrupt { .. } | netloom_image::Error::DigestMismatch { .. },
            )) => fetched.forget(),
            other => return other,
        }
        drop(fetched);
        self.import(&fetch()?)
    }

    async fn fetch(&self) -> Result<Reserved, PullError> {
        let (text, digest) = self.manifest(&self.image).await?;
        let (text, digest) = self.leaf(text, digest).await?;
        let image = self.parse(&text)?;
        let Some(config) = image.config else {
            return Err(self.answer("its manifest names no configuration".into()));
        };
        if config.size > MOST_DOCUMENT {
            return Err(self.answer(format!("its configuration has {} bytes", config.size)));
        }
        if let Some(layer) = image.layers.iter().find(|l| l.size > MOST_LAYER) {
            return Err(self.answer(format!("the layer {} has {} bytes", layer.digest, layer.size)));
        }
        let fetched = self.folder(&digest).await?;
        let quiet = Downloads {
            client: &self.client,
            image: &self.image,
            asked: &self.asked,
            folder: fetched.folder(),
            progress: &Silent,
        };
        write(&quiet.whole(&digest), &text)?;
        quiet.bring(&Blob { digest: config.digest.clone(), size: config.size }).await?;
        let downloads = Downloads { progress: self.progress, ..quiet };
        let document = read(&downloads.whole(&config.digest))?;
        let missing = self.missing(&document, image.layers)?;
        let bytes = missing.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        self.progress.begin(missing.len(), bytes);
        stream::iter(&missing)
            .map(|blob| downloads.bring(blob))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        self.layout(fetched.folder(), &image.media_type, &text, &digest)?;
        Ok(fetched)
    }

    /// The manifest for this machine: the one that came, or the one an index leads to.
    async fn leaf(&self, text: Vec<u8>, digest: Digest) -> Result<(Vec<u8>, Digest), PullError> {
        let mut available = Vec::new();
        // The best of an index first; what is nested is looked through before what says nothing.
        let mut left = vec![(text, digest, 0)];
        while let Some((text, digest, depth)) = left.pop() {
            let document = self.parse(&text)?;
            if document.manifests.is_empty() {
                return Ok((text, digest));
            }
            if depth >= MOST_NESTED {
                return Err(self.answer("its indexes are nested too deeply".into()));
            }
            let mut chosen: Vec<(u8, &Descriptor)> = Vec::new();
            for manifest in &document.manifests {
                match rank(manifest) {
                    Some(rank) => chosen.push((rank, manifest)),
                    None => available.extend(manifest.platform.as_ref().map(Platform::to_string)),
                }
            }
            chosen.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
            // The last one is taken first.
            for (_, manifest) in chosen.into_iter().take(MOST_BRANCHES) {
                let inner = self.image.clone_with_digest(manifest.digest.to_string());
                let (text, digest) = self.manifest(&inner).await?;
                left.push((text, digest, depth + 1));
                if rank(manifest) == Some(0) {
                    break;
                }
            }
        }
        available.sort();
        available.dedup();
        let (machine, has) = (netloom_image::host_architecture(), available.join(", "));
        Err(self.answer(format!("it is for {has}, and this machine is linux/{machine}")))
    }

    /// A manifest or index as its registry has it, its digest verified.
    async fn manifest(
        &self,
        image: &oci_client::Reference,
    ) -> Result<(Vec<u8>, Digest), PullError> {
        let accepted: Vec<&str> = INDEXES.into_iter().chain(MANIFESTS).collect();
        let asked = self.document(image, &accepted, MOST_DOCUMENT);
        let text =
            tokio::time::timeout(PATIENCE, asked).await.map_err(|_| PullError::Unreachable {
                place: self.asked.place.clone(),
                plain: self.asked.plain,
                why: format!("it does not answer within {} s", PATIENCE.as_secs()),
            })??;
        let digest = Digest::of(&text);
        match image.digest() {
            Some(wanted) if *wanted != digest.to_string() => Err(PullError::Digest {
                place: self.asked.place.clone(),
                image: self.asked.image.clone(),
                why: format!("the manifest {wanted} came as {digest}"),
            }),
            _ => Ok((text, digest)),
        }
    }

    fn parse(&self, text: &[u8]) -> Result<Document, PullError> {
        let document: Document = serde_json::from_slice(text)
            .map_err(|e| self.answer(format!("its manifest cannot be read: {e}")))?;
        if document.config.is_none() && document.manifests.is_empty() {
            return Err(self.answer("its manifest is of a kind from before 2017 (schema 1)".into()));
        }
        Ok(document)
    }

    /// The layers that the store does not have.
    fn missing(&self, config: &[u8], layers: Vec<Descriptor>) -> Result<Vec<Blob>, PullError> {
        let have = self.store.layers_of(config).unwrap_or_default();
        let mut out: Vec<Blob> = Vec::new();
        for (at, layer) in layers.into_iter().enumerate() {
            let here = have.get(at).copied().unwrap_or(false);
            if !here && out.iter().all(|b| b.digest != layer.digest) {
                out.push(Blob { digest: layer.digest, size: layer.size });
            }
        }
        Ok(out)
    }

    /// The folder of this image's downloads, once nobody else works on it.
    async fn folder(&self, digest: &Digest) -> Result<Reserved, PullError> {
        let fetched = loop {
            match self.store.reserve(digest.hex())? {
                Some(fetched) => break fetched,
                None => tokio::time::sleep(LOOK).await,
            }
        };
        let blobs = fetched.folder().join("blobs/sha256");
        let made = fs::create_dir_all(&blobs);
        made.map_err(|source| PullError::File { what: "make", path: blobs, source })?;
        Ok(fetched)
    }

    fn layout(
        &self,
        folder: &Path,
        kind: &str,
        text: &[u8],
        digest: &Digest,
    ) -> Result<(), PullError> {
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": if kind.is_empty() { MANIFESTS[0] } else { kind },
            "digest": digest.to_string(),
            "size": text.len(),
            "annotations": {"io.containerd.image.name": self.reference.to_string()},
        }]});
        write(&folder.join("index.json"), index.to_string().as_bytes())?;
        write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn import(&self, fetched: &Reserved) -> Result<Image, PullError> {
        self.progress.unpacking();
        let options =
            ImportOptions { reference: Some(self.reference.clone()), ..ImportOptions::default() };
        let done = self.store.import_as(fetched.folder(), &self.asked.place, &options)?;
        fetched.forget();
        done.images.into_iter().next().ok_or_else(|| self.answer("there was no image in it".into()))
    }

    pub(crate) fn answer(&self, why: String) -> PullError {
        let Asked { place, image, .. } = self.asked.clone();
        PullError::Answer { place, image, why }
    }
}

/// How well a manifest of an index fits: 0 best, none if it is for another machine.
fn rank(manifest: &Descriptor) -> Option<u8> {
    match &manifest.platform {
        Some(p) if p.os == "linux" && p.architecture == netloom_image::host_architecture() => {
            Some(0)
        }
        _ if INDEXES.contains(&manifest.media_type.as_str()) => Some(1),
        Some(_) => None,
        None => Some(2),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PullError> {
    fs::write(path, bytes).map_err(|source| PullError::File {
        what: "write",
        path: path.into(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, PullError> {
    fs::read(path).map_err(|source| PullError::File { what: "read", path: path.into(), source })
}

/// Nobody hears.
pub(crate) struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize, _: u64) {}
    fn bytes(&self, _: u64) {}
}
