//! A pull: manifest, configuration, layers, then the store's own import.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use netloom_image::{Digest, Image, ImportOptions, Reference, Store};
use nix::fcntl::{Flock, FlockArg};
use oci_client::Client;
use oci_client::client::ClientConfig;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use serde_json::json;

use crate::credentials;
use crate::download::{Blob, Downloads};
use crate::error::{Asked, PullError};
use crate::places::{Place, Settings};

/// Blobs downloaded at once.
const AT_ONCE: usize = 4;
/// Manifests and configurations larger than this are none.
const MOST_DOCUMENT: u64 = 32 << 20;

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
        let attempt = Attempt::new(store, reference, settings, &place, progress)?;
        match runtime.block_on(attempt.fetch()) {
            Ok(folder) => return attempt.import(folder),
            Err(e) if e.elsewhere() => last = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(last.unwrap_or_else(|| PullError::Unreachable {
        place: reference.registry().into(),
        why: "there is nowhere to ask".into(),
    }))
}

/// A pull from one place.
struct Attempt<'a> {
    store: &'a Store,
    reference: &'a Reference,
    progress: &'a dyn Progress,
    client: Client,
    auth: RegistryAuth,
    image: oci_client::Reference,
    asked: Asked,
}

/// A layout with all that was missing, which nobody else works on.
struct Fetched {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl<'a> Attempt<'a> {
    fn new(
        store: &'a Store,
        reference: &'a Reference,
        settings: &Settings,
        place: &Place,
        progress: &'a dyn Progress,
    ) -> Result<Self, PullError> {
        let config: ClientConfig = settings.client(place)?;
        let credentials = credentials::find(&place.host);
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
        let asked =
            Asked { place: place.host.clone(), image: reference.short(), who: credentials.who };
        let client = Client::try_from(config).map_err(|e| asked.failed(e))?;
        Ok(Attempt { store, reference, progress, client, auth: credentials.auth, image, asked })
    }

    async fn fetch(&self) -> Result<Fetched, PullError> {
        let (top, top_digest) = self.manifest(&self.image).await?;
        let mut documents = vec![(top_digest.clone(), top)];
        let mut at = 0;
        // An index names the manifest for this machine; that may be an index once more.
        let image = loop {
            let document = self.parse(&documents[at].1)?;
            if document.manifests.is_empty() {
                break document;
            }
            let Some(chosen) = choose(&document.manifests) else {
                // The import says which platforms there are.
                break Document { config: None, layers: Vec::new(), ..document };
            };
            if at > 3 {
                return Err(self.answer("its indexes are nested too deeply".into()));
            }
            let inner = self.image.clone_with_digest(chosen.digest.to_string());
            let (text, _) = self.manifest(&inner).await?;
            documents.push((chosen.digest.clone(), text));
            at += 1;
        };
        let fetched = self.folder(&top_digest)?;
        let downloads = Downloads {
            client: &self.client,
            image: &self.image,
            asked: &self.asked,
            folder: &fetched.folder,
            progress: self.progress,
        };
        for (digest, text) in &documents {
            write(&downloads.whole(digest), text)?;
        }
        if let Some(config) = &image.config {
            if config.size > MOST_DOCUMENT {
                return Err(self.answer(format!("its configuration has {} bytes", config.size)));
            }
            let quiet = Downloads { progress: &Silent, ..downloads };
            quiet.bring(&Blob { digest: config.digest.clone(), size: config.size }).await?;
            let downloads = Downloads { progress: self.progress, ..quiet };
            let document = read(&downloads.whole(&config.digest))?;
            let missing = self.missing(&document, image.layers)?;
            self.progress.begin(missing.len(), missing.iter().map(|b| b.size).sum());
            stream::iter(&missing)
                .map(|blob| downloads.bring(blob))
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
        }
        self.layout(&fetched.folder, &documents[0])?;
        Ok(fetched)
    }

    /// A manifest or index as its registry has it, its digest verified.
    async fn manifest(
        &self,
        image: &oci_client::Reference,
    ) -> Result<(Vec<u8>, Digest), PullError> {
        let accepted: Vec<&str> = INDEXES.into_iter().chain(MANIFESTS).collect();
        let (text, _) = self
            .client
            .pull_manifest_raw(image, &self.auth, &accepted)
            .await
            .map_err(|e| self.asked.failed(e))?;
        let digest = Digest::of(&text);
        match image.digest() {
            Some(wanted) if *wanted != digest.to_string() => Err(PullError::Digest {
                place: self.asked.place.clone(),
                image: self.asked.image.clone(),
                why: format!("the manifest {wanted} came as {digest}"),
            }),
            _ => Ok((text.to_vec(), digest)),
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
    fn folder(&self, digest: &Digest) -> Result<Fetched, PullError> {
        let downloads = self.store.downloads();
        let folder = downloads.join(digest.hex());
        let blobs = folder.join("blobs/sha256");
        let made = fs::create_dir_all(&blobs);
        made.map_err(|source| PullError::File { what: "make", path: blobs, source })?;
        let path = folder.join("lock");
        let failed = |source| PullError::File { what: "lock", path: path.clone(), source };
        let file = File::create(&path).map_err(failed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| failed(errno.into()))?;
        // Whoever had it may have removed the folder.
        fs::create_dir_all(folder.join("blobs/sha256")).map_err(failed)?;
        Ok(Fetched { folder, _lock: lock })
    }

    fn layout(&self, folder: &Path, top: &(Digest, Vec<u8>)) -> Result<(), PullError> {
        let (digest, text) = top;
        let document = self.parse(text)?;
        let kind = match (document.media_type.as_str(), document.manifests.is_empty()) {
            ("", true) => MANIFESTS[0],
            ("", false) => INDEXES[0],
            (kind, _) => kind,
        };
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": kind,
            "digest": digest.to_string(),
            "size": text.len(),
            "annotations": {"io.containerd.image.name": self.reference.to_string()},
        }]});
        write(&folder.join("index.json"), index.to_string().as_bytes())?;
        write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn import(&self, fetched: Fetched) -> Result<Image, PullError> {
        self.progress.unpacking();
        let options =
            ImportOptions { reference: Some(self.reference.clone()), ..ImportOptions::default() };
        let done = self.store.import_as(&fetched.folder, &self.asked.place, &options)?;
        // What is left is of no use to anybody; the next pull would remove it too.
        let _ = fs::remove_dir_all(&fetched.folder);
        done.images.into_iter().next().ok_or_else(|| self.answer("there was no image in it".into()))
    }

    fn answer(&self, why: String) -> PullError {
        let Asked { place, image, .. } = self.asked.clone();
        PullError::Answer { place, image, why }
    }
}

/// The manifest for this machine.
fn choose(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let wanted = netloom_image::host_architecture();
    let fits = |m: &&Descriptor| {
        m.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == wanted)
    };
    // A nested index has no platform of its own.
    let index = |m: &&Descriptor| INDEXES.contains(&m.media_type.as_str());
    manifests.iter().find(fits).or_else(|| manifests.iter().find(index)).or_else(|| {
        // A lone manifest without a platform is for everybody.
        manifests.iter().find(|m| m.platform.is_none()).filter(|_| manifests.len() == 1)
    })
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
struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize, _: u64) {}
    fn bytes(&self, _: u64) {}
}
