//! Why an image could not be pulled or pushed, and what to do.

use std::io;
use std::path::PathBuf;

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// An image that could not be pulled or pushed. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry has no such image.
    #[error("{place} has no image `{image}`")]
    Unknown {
        /// The registry asked.
        place: String,
        /// The image.
        image: String,
    },
    /// The registry wants to know who asks, or refuses who asks.
    #[error("{place} does not give `{image}` to {who}")]
    Refused {
        /// The registry asked.
        place: String,
        /// The image.
        image: String,
        /// Whose credentials were used, and where they are from.
        who: String,
    },
    /// The registry takes nothing from who asks.
    #[error("{place} does not take `{image}` from {who}")]
    NotTaken {
        /// The registry asked.
        place: String,
        /// The image.
        image: String,
        /// Whose credentials were used, and where they are from.
        who: String,
    },
    /// The registry cannot be reached.
    #[error("{place} cannot be reached: {why}")]
    Unreachable {
        /// The registry asked.
        place: String,
        /// It was spoken to without TLS.
        plain: bool,
        /// What happened.
        why: String,
    },
    /// The registry answered something else.
    #[error("{place} did not deliver `{image}`: {why}")]
    Answer {
        /// The registry asked.
        place: String,
        /// The image.
        image: String,
        /// What it said.
        why: String,
    },
    /// What came is not what was asked for.
    #[error("{place} delivered other bytes than `{image}` has: {why}")]
    Digest {
        /// The registry asked.
        place: String,
        /// The image.
        image: String,
        /// Which part, and both digests.
        why: String,
    },
    /// A file of ours.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Settings that cannot be used.
    #[error("{path}: {why}", path = path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The user wants to stop. What came stays for the next time.
    #[error("interrupted")]
    Stopped,
    /// The store.
    #[error(transparent)]
    Store(#[from] netloom_image::Error),
}

impl PullError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { .. } => "check name and tag; private images look like none without a log-in".into(),
            Self::Refused { place, .. } | Self::NotTaken { place, .. } => format!("log in with `docker login {place}` or `podman login {place}`"),
            Self::Unreachable { why, .. } if why.contains("CaUsedAsEndEntity") => {
                "the registry shows the certificate of an authority as its own; give it one that this authority has signed".into()
            }
            Self::Unreachable { place, why, .. } if why.contains("certificate") => format!(
                "put the certificate of its authority at /etc/docker/certs.d/{place}/ca.crt"
            ),
            Self::Unreachable { why, .. } if why.contains("lookup") => {
                "is the name right, and does this machine have a name server?".into()
            }
            Self::Unreachable { place, plain: false, why } if why.contains("InvalidContentType") => {
                format!("it speaks no TLS; NETLOOM_PLAIN_HTTP={place} allows that")
            }
            Self::Unreachable { .. } => "does it run, and does this machine reach it?".into(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk of the image store; what was downloaded stays for the next try".into()
            }
            Self::Store(error) => return error.hint().map(|hint| hint.to_string()),
            _ => return None,
        })
    }

    /// Whether another place may do better. A mirror's trouble is never the end.
    pub(crate) fn elsewhere(&self, mirror: bool) -> bool {
        match self {
            Self::Stopped => false,
            Self::File { .. } | Self::Settings { .. } | Self::Store(_) => mirror,
            _ => true,
        }
    }

    /// Of two places' errors the one that says more: an answer before none.
    pub(crate) fn or(self, earlier: Option<PullError>) -> PullError {
        match earlier {
            Some(earlier)
                if matches!(self, Self::Unreachable { .. })
                    && !matches!(earlier, Self::Unreachable { .. }) =>
            {
                earlier
            }
            _ => self,
        }
    }
}

/// Who was asked for what, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Host and port.
    pub place: String,
    /// The image as people write it.
    pub image: String,
    /// Whose credentials.
    pub who: String,
    /// Without TLS.
    pub plain: bool,
}

impl Asked {
    /// The error of a request.
    pub fn failed(&self, error: OciDistributionError) -> PullError {
        let Self { place, image, who, plain } = self.clone();
        let answer =
            |why: String| PullError::Answer { place: place.clone(), image: image.clone(), why };
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => {
                PullError::Unknown { place, image }
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                PullError::Refused { place, image, who }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let codes: Vec<&OciErrorCode> = envelope.errors.iter().map(|e| &e.code).collect();
                let has = |wanted: &[OciErrorCode]| codes.iter().any(|c| wanted.contains(c));
                if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    PullError::Refused { place, image, who }
                } else if has(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    PullError::Unknown { place, image }
                } else {
                    answer(
                        envelope
                            .to_string()
                            .chars()
                            .filter(|c| !c.is_control())
                            .take(400)
                            .collect(),
                    )
                }
            }
            OciDistributionError::ServerError { code: 404, .. } => {
                PullError::Unknown { place, image }
            }
            OciDistributionError::ServerError { code: 401 | 403, .. } => {
                PullError::Refused { place, image, who }
            }
            // It may do better in a moment.
            OciDistributionError::ServerError { code: code @ (429 | 500..=599), .. } => {
                PullError::Unreachable {
                    place,
                    plain,
                    why: format!("it answers with HTTP status {code}"),
                }
            }
            OciDistributionError::ServerError { code, message, .. } => {
                let message: String =
                    message.trim().chars().filter(|c| !c.is_control()).take(200).collect();
                answer(format!("HTTP status {code} {message}").trim().to_owned())
            }
            OciDistributionError::DigestError(error) => {
                PullError::Digest { place, image, why: error.to_string() }
            }
            OciDistributionError::RequestError(error) => match error.status().map(|s| s.as_u16()) {
                Some(401 | 403) => PullError::Refused { place, image, who },
                Some(404) => PullError::Unknown { place, image },
                _ => self.request(&error),
            },
            other => answer(other.to_string()),
        }
    }

    fn request(&self, error: &(dyn std::error::Error + 'static)) -> PullError {
        // The outermost error names the address, the innermost the reason.
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let (place, plain) = (self.place.clone(), self.plain);
        PullError::Unreachable { place, plain, why: innermost.to_string() }
    }
}
