//! One blob into a file: from where the last try ended, its digest verified at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use netloom_image::Digest;
use oci_client::client::{BlobResponse, LayerDescriptor};
use oci_client::{Client, Reference};
use sha2::{Digest as _, Sha256};

use crate::error::{Asked, PullError};
use crate::pull::Progress;

/// Times a broken connection is taken up again without having brought anything.
const TRIES: u32 = 4;

/// A part of an image.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// What it must be.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Where blobs come from, and where they go.
pub(crate) struct Downloads<'a> {
    /// The client, authenticated.
    pub client: &'a Client,
    /// The repository.
    pub image: &'a Reference,
    /// For messages.
    pub asked: &'a Asked,
    /// An OCI layout.
    pub folder: &'a Path,
    /// Who hears of bytes.
    pub progress: &'a dyn Progress,
}

impl Downloads<'_> {
    /// Where a blob stands when it is whole.
    pub fn whole(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    /// Brings a blob here, if it is not.
    pub async fn bring(&self, blob: &Blob) -> Result<(), PullError> {
        let whole = self.whole(&blob.digest);
        if whole.exists() {
            // A power cut may have left it short.
            let kept = Part::open(&whole)?;
            if kept.have == blob.size && kept.hex() == blob.digest.hex() {
                self.progress.bytes(blob.size);
                return Ok(());
            }
            let failed = |source| PullError::File { what: "remove", path: whole.clone(), source };
            fs::remove_file(&whole).map_err(failed)?;
        }
        let path = self.folder.join(format!("{}.part", blob.digest.hex()));
        let mut part = Part::open(&path)?;
        self.progress.bytes(part.have.min(blob.size));
        let mut tries = 0;
        // One that begins anew each time gets no further by that.
        let mut furthest = part.have;
        while part.have < blob.size {
            let end = self.continue_with(blob, &mut part).await;
            if part.have > furthest {
                (furthest, tries) = (part.have, 0);
            }
            match end {
                Ok(()) if part.have >= blob.size => {}
                Err(error) if !transient(&error) || tries >= TRIES => return Err(error),
                Ok(()) if tries >= TRIES => {
                    let why =
                        format!("the connection ends after {} of {} bytes", part.have, blob.size);
                    return Err(self.answer(why));
                }
                _ => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(200 << tries)).await;
                }
            }
        }
        part.finish(blob, &whole).map_err(|why| match why {
            Wrong::File(error) => error,
            Wrong::Bytes(why) => PullError::Digest {
                place: self.asked.place.clone(),
                image: self.asked.image.clone(),
                why,
            },
        })
    }

    async fn continue_with(&self, blob: &Blob, part: &mut Part) -> Result<(), PullError> {
        let digest = blob.digest.to_string();
        let layer = LayerDescriptor { digest: &digest, urls: &None };
        let response = self
            .client
            .pull_blob_stream_partial(self.image, &layer, part.have, None)
            .await
            .map_err(|e| self.asked.failed(e))?;
        let mut stream = match response {
            BlobResponse::Partial(stream) => stream,
            // One that knows no ranges begins anew.
            BlobResponse::Full(stream) => {
                part.restart()?;
                stream
            }
        };
        while let Some(chunk) = stream.next().await {
            if self.progress.stop() {
                return Err(PullError::Stopped);
            }
            let chunk = chunk.map_err(|e| PullError::Unreachable {
                place: self.asked.place.clone(),
                plain: self.asked.plain,
                why: format!("the connection broke: {e}"),
            })?;
            if part.have + chunk.len() as u64 > blob.size {
                return Err(self.answer(format!("{digest} has more than its {} bytes", blob.size)));
            }
            part.add(&chunk)?;
            self.progress.bytes(chunk.len() as u64);
        }
        Ok(())
    }

    fn answer(&self, why: String) -> PullError {
        let Asked { place, image, .. } = self.asked.clone();
        PullError::Answer { place, image, why }
    }
}

/// Whether another try may go better.
fn transient(error: &PullError) -> bool {
    matches!(error, PullError::Unreachable { .. })
}

enum Wrong {
    File(PullError),
    Bytes(String),
}

/// A blob on its way, hashed as it comes.
struct Part {
    path: PathBuf,
    file: File,
    hash: Sha256,
    have: u64,
}

impl Part {
    /// What an earlier pull left is hashed again: nobody vouches for it.
    fn open(path: &Path) -> Result<Part, PullError> {
        let failed = |source| PullError::File { what: "write", path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let mut part = Part {
            path: path.to_owned(),
            hash: Sha256::new(),
            have: 0,
            file: file.try_clone().map_err(failed)?,
        };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                return Ok(part);
            }
            part.hash.update(&buffer[..count]);
            part.have += count as u64;
        }
    }

    fn failed(&self, source: std::io::Error) -> PullError {
        PullError::File { what: "write", path: self.path.clone(), source }
    }

    fn restart(&mut self) -> Result<(), PullError> {
        self.file.set_len(0).map_err(|e| self.failed(e))?;
        (self.hash, self.have) = (Sha256::new(), 0);
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), PullError> {
        self.file.write_all(bytes).map_err(|e| self.failed(e))?;
        self.hash.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    fn hex(&self) -> String {
        self.hash.clone().finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    fn finish(self, blob: &Blob, whole: &Path) -> Result<(), Wrong> {
        let hex = self.hex();
        let failed = |source| {
            Wrong::File(PullError::File { what: "finish", path: self.path.clone(), source })
        };
        if hex != blob.digest.hex() {
            // Another try begins with nothing.
            fs::remove_file(&self.path).map_err(failed)?;
            return Err(Wrong::Bytes(format!("{} came as sha256:{hex}", blob.digest)));
        }
        self.file.sync_data().and_then(|()| fs::rename(&self.path, whole)).map_err(failed)
    }
}
