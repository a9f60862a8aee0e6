//! A push: layers are packed anew, always the same way from the same files, then what the registry
//! does not have is sent.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use futures_util::stream;
use netloom_image::{Image, Reference, Store};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use oci_client::{Client, RegistryOperation};
use sha2::{Digest, Sha256};

use crate::error::PullError;
use crate::places::Settings;
use crate::pull::{Attempt, Progress, stopped};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Bytes sent at once.
const PIECE: usize = 1 << 20;

/// A layer as it is sent.
struct Blob {
    path: std::path::PathBuf,
    digest: String,
    size: u64,
}

/// Pushes an image to the registry its name says, and returns the address of its manifest.
///
/// # Errors
/// What the registry has by then stays there; nobody sees it without the manifest, which comes last.
pub fn push(
    store: &Store,
    image: &Image,
    reference: &Reference,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<String, PullError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|source| {
            PullError::File { what: "start a runtime for", path: store.root().into(), source }
        })?;
    let work = |work: Pin<Box<dyn Future<Output = Result<String, PullError>> + '_>>| {
        runtime.block_on(async {
            tokio::select! {
                done = work => done,
                () = stopped(progress) => Err(PullError::Stopped),
            }
        })
    };
    let mut last = None;
    for place in settings.places(reference.registry()).into_iter().filter(|p| !p.mirror) {
        let mut attempt = Attempt::new(store, reference, settings, &place, progress)?;
        // Before the work of packing.
        let known = runtime.block_on(attempt.known("pull,push"));
        match known.and_then(|()| work(Box::pin(asked(&attempt)))) {
            Ok(_) => {}
            Err(e) if e.elsewhere(false) => {
                last = Some(e.or(last));
                continue;
            }
            Err(e) => return Err(e),
        }
        return store.packed(image, |config, layers| {
            let blobs = layers.iter().map(|(_, path)| compressed(path));
            let blobs = blobs.collect::<Result<Vec<Blob>, PullError>>()?;
            progress.begin(blobs.len(), blobs.iter().map(|b| b.size).sum());
            work(Box::pin(send(&attempt, config, &blobs)))
        })?;
    }
    Err(last.unwrap_or_else(|| PullError::Unreachable {
        place: reference.registry().into(),
        plain: false,
        why: "there is nowhere to send it".into(),
    }))
}

/// A layer compressed beside itself; without a time, so that it is the same every time.
fn compressed(layer: &Path) -> Result<Blob, PullError> {
    let path = layer.with_extension("gz");
    let work = || -> io::Result<(String, u64)> {
        let out = File::create(&path)?;
        let mut gzip = GzBuilder::new().mtime(0).write(Counting::new(out), Compression::default());
        io::copy(&mut File::open(layer)?, &mut gzip)?;
        let done = gzip.finish()?;
        // Twice is too much room.
        fs::remove_file(layer)?;
        let digest: String = done.hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok((format!("sha256:{digest}"), done.size))
    };
    let (digest, size) = work().map_err(|source| PullError::File {
        what: "compress",
        path: layer.to_owned(),
        source,
    })?;
    Ok(Blob { path, digest, size })
}

/// Writes, counts and digests.
struct Counting {
    out: File,
    hash: Sha256,
    size: u64,
}

impl Counting {
    fn new(out: File) -> Self {
        Counting { out, hash: Sha256::new(), size: 0 }
    }
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a registry says to one who may not write.
fn refused(at: &Attempt<'_>, error: OciDistributionError) -> PullError {
    match at.asked.failed(error) {
        PullError::Refused { place, image, who } => PullError::NotTaken { place, image, who },
        other => other,
    }
}

/// Logs in, and looks whether that will do.
async fn asked(at: &Attempt<'_>) -> Result<String, PullError> {
    at.client.store_auth_if_needed(at.image.resolve_registry(), &at.auth).await;
    at.client
        .auth(&at.image, &at.auth, RegistryOperation::Push)
        .await
        .map_err(|e| refused(at, e))?;
    // No registry has this; what matters is whether it says so.
    let nothing = format!("sha256:{}", "0".repeat(64));
    match at.client.blob_exists(&at.image, &nothing).await.map_err(|e| refused(at, e)) {
        Err(PullError::Unknown { .. }) | Ok(_) => Ok(String::new()),
        Err(e) => Err(e),
    }
}

async fn send(at: &Attempt<'_>, config: &str, blobs: &[Blob]) -> Result<String, PullError> {
    let failed = |e| refused(at, e);
    let client: &Client = &at.client;
    let mut layers = Vec::new();
    for blob in blobs {
        if !client.blob_exists(&at.image, &blob.digest).await.map_err(failed)? {
            let pieces = pieces(&blob.path).map_err(|source| PullError::File {
                what: "read",
                path: blob.path.clone(),
                source,
            })?;
            client
                .push_blob_stream(&at.image, pieces, &blob.digest, Some(blob.size))
                .await
                .map_err(failed)?;
        }
        at.progress.bytes(blob.size);
        layers.push(descriptor(LAYER, &blob.digest, blob.size));
    }
    let digest: String = Sha256::digest(config).iter().map(|b| format!("{b:02x}")).collect();
    let digest = format!("sha256:{digest}");
    client.push_blob(&at.image, config.as_bytes().to_vec(), &digest).await.map_err(failed)?;
    let manifest = OciImageManifest {
        schema_version: 2,
        media_type: Some(MANIFEST.into()),
        config: descriptor(CONFIG, &digest, config.len() as u64),
        layers,
        ..OciImageManifest::default()
    };
    client.push_manifest(&at.image, &OciManifest::Image(manifest)).await.map_err(failed)
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.into(),
        digest: digest.into(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}

type Piece = Result<Bytes, OciDistributionError>;

/// A file in pieces.
fn pieces(path: &Path) -> io::Result<impl futures_util::Stream<Item = Piece> + Send + use<>> {
    let file = File::open(path)?;
    Ok(stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Bytes::from(piece)), file))
            }
            Err(e) => Some((Err(e.into()), file)),
        }
    }))
}
