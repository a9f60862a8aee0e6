//! Images a daemon has.

use crate::daemon::{Daemon, status};
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptions, ImportImageOptions};
use futures_util::StreamExt;
use netloom_runtime::RuntimeError;
use std::io::{Read, Write};
use std::time::Duration;

/// How long a daemon may be silent while it pulls, loads or saves.
const SILENCE: Duration = Duration::from_secs(300);
/// Pieces an image is handed over in, in bytes.
const PIECE: usize = 1 << 20;

/// An image of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonImage {
    /// Its number, `sha256:...`.
    pub id: String,
    /// Bytes.
    pub size: u64,
}

/// How to log in at a registry.
#[derive(Clone, Default)]
pub struct Login {
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
}

impl Daemon {
    /// The image of a name.
    pub fn image(&self, name: &str) -> Result<Option<DaemonImage>, RuntimeError> {
        let answer = self.ask(&format!("look for image {name}"), async {
            match self.docker.inspect_image(name).await {
                Err(e) if status(&e) == Some(404) => Ok(None),
                other => other.map(Some),
            }
        })?;
        Ok(answer.map(|i| DaemonImage {
            id: i.id.unwrap_or_default(),
            size: i.size.and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
        }))
    }

    /// Has the daemon pull an image, by name and tag or digest.
    pub fn pull(
        &self,
        name: &str,
        tag: &str,
        login: Option<Login>,
        stop: fn() -> bool,
    ) -> Result<(), RuntimeError> {
        let options = CreateImageOptions {
            from_image: Some(name.into()),
            tag: Some(tag.into()),
            ..CreateImageOptions::default()
        };
        let login = login.map(|l| DockerCredentials {
            username: Some(l.user),
            password: Some(l.password),
            ..DockerCredentials::default()
        });
        let what = format!("pull {name}:{tag}");
        self.run(async {
            let mut stream = self.docker.create_image(Some(options), None, login);
            self.drain(&what, &mut stream, stop, |info| info.error_detail.and_then(|d| d.message))
                .await
        })
    }

    /// Gives the daemon an archive with images (`docker save`).
    pub fn load(&self, mut archive: impl Read + Send + 'static) -> Result<(), RuntimeError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let reader = std::thread::spawn(move || {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut archive).take(PIECE as u64).read_to_end(&mut piece);
                let (last, piece) = match read {
                    Ok(0) => return,
                    Ok(_) => (false, Ok(piece.into())),
                    Err(e) => (true, Err(e)),
                };
                if sender.blocking_send(piece).is_err() || last {
                    return;
                }
            }
        });
        let what = "load an image";
        let done = self.run(async {
            let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|piece| (piece, receiver))
            });
            let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
            let mut stream =
                self.docker.import_image_stream::<_, std::io::Error>(options, pieces, None);
            self.drain(
                what,
                &mut stream,
                || false,
                |info| info.error_detail.and_then(|d| d.message),
            )
            .await
        });
        // It ends with its input, or when nobody takes more.
        let _ = reader.join();
        done
    }

    /// Writes an image as an archive (`docker save`).
    pub fn save(&self, name: &str, out: &mut dyn Write) -> Result<(), RuntimeError> {
        let what = format!("save image {name}");
        self.run(async {
            let mut stream = self.docker.export_image(name);
            while let Some(piece) = self.next(&what, &mut stream).await? {
                out.write_all(&piece).map_err(|e| RuntimeError::io(what.clone(), e))?;
            }
            Ok(())
        })
    }

    async fn next<T>(
        &self,
        what: &str,
        stream: &mut (impl futures_util::Stream<Item = Result<T, bollard::errors::Error>> + Unpin),
    ) -> Result<Option<T>, RuntimeError> {
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(item))) => Ok(Some(item)),
            Ok(Some(Err(e))) => Err(self.error(what, &e)),
            Err(_) => Err(RuntimeError::Timeout {
                what: format!("{} to {what}", self.program.title()),
                seconds: SILENCE.as_secs(),
                seen: "nothing new".into(),
            }),
        }
    }

    async fn drain<T>(
        &self,
        what: &str,
        stream: &mut (impl futures_util::Stream<Item = Result<T, bollard::errors::Error>> + Unpin),
        stop: fn() -> bool,
        complaint: fn(T) -> Option<String>,
    ) -> Result<(), RuntimeError> {
        loop {
            let waited = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if stop() {
                        return;
                    }
                }
            };
            tokio::select! {
                item = self.next(what, stream) => match item? {
                    None => return Ok(()),
                    Some(item) => {
                        if let Some(words) = complaint(item) {
                            let title = self.program.title();
                            let text = format!("{title} could not {what}: {words}");
                            return Err(RuntimeError::Remote(text));
                        }
                    }
                },
                () = waited => return Err(RuntimeError::Remote("interrupted".into())),
            }
        }
    }
}
