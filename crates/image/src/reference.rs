//! Image references as Docker writes them: parsing, normal form, short form.

mod error;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::error::ReferenceError;
use crate::digest::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// A fully spelled image reference: `docker.io/library/alpine:latest`.
///
/// Two spellings of one image are equal: `nicolaka/netshoot` is
/// `docker.io/nicolaka/netshoot:latest`. A reference with a digest and no tag has no tag; any
/// other has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises.
    ///
    /// # Errors
    /// Says what is wrong with the text; [`ReferenceError::hint`] says what to write instead.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        error::check_whole(text)?;
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(text, digest)?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            // A colon before the last slash belongs to a port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(parse_tag(text, tag)?)),
            _ => (rest, None),
        };
        let (registry, path) = split_registry(name);
        check_registry(text, registry)?;
        for part in path.split('/') {
            check_part(text, part)?;
        }
        if registry.is_none() && digest.is_none() && tag.is_none() && is_bare_hex(path) {
            return Err(ReferenceError::BareId { text: text.into() });
        }
        let registry = match registry {
            None | Some("index.docker.io") => DEFAULT_REGISTRY,
            Some(registry) => registry,
        };
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{DEFAULT_NAMESPACE}/{path}")
        } else {
            path.to_owned()
        };
        if registry.len() + 1 + repository.len() > 255 {
            return Err(ReferenceError::TooLong { text: text.into() });
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// The registry, with its port: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; absent only when a digest says it all.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest digest asked for.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether both name the same repository, whatever the tag or digest.
    #[must_use]
    pub fn same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }

    /// As people write it: without Docker Hub's registry and namespace (`alpine:latest`).
    #[must_use]
    pub fn short(&self) -> String {
        let full = self.to_string();
        let name = if self.registry == DEFAULT_REGISTRY {
            let bare = full.strip_prefix("docker.io/").unwrap_or(&full);
            bare.strip_prefix("library/").unwrap_or(bare)
        } else {
            &full
        };
        name.to_owned()
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Docker's rule: the first part is a registry if it looks like a host.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), path)
        }
        _ => (None, name),
    }
}

fn check_registry(text: &str, registry: Option<&str>) -> Result<(), ReferenceError> {
    let Some(registry) = registry else { return Ok(()) };
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !registry.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let host_is_good = literal.map_or_else(
        || host.split('.').all(label),
        |address| address.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if host_is_good && port_is_good {
        return Ok(());
    }
    Err(ReferenceError::Registry { text: text.into(), registry: registry.into() })
}

/// Lower-case words joined by `.`, `_`, `__` or dashes.
fn check_part(text: &str, part: &str) -> Result<(), ReferenceError> {
    if part.is_empty() {
        return Err(ReferenceError::EmptyPart { text: text.into() });
    }
    if part.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase { text: text.into(), part: part.into() });
    }
    if let Some(character) =
        part.chars().find(|&c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
    {
        return Err(ReferenceError::Character { text: text.into(), character });
    }
    let is_joint = |c: char| matches!(c, '.' | '_' | '-');
    let bad_joint = part.split(|c| !is_joint(c)).any(|joint| {
        !matches!(joint, "" | "." | "_" | "__") && !joint.bytes().all(|byte| byte == b'-')
    });
    if bad_joint || part.starts_with(is_joint) || part.ends_with(is_joint) {
        return Err(ReferenceError::Separator { text: text.into(), part: part.into() });
    }
    Ok(())
}

fn parse_tag<'text>(text: &str, tag: &'text str) -> Result<&'text str, ReferenceError> {
    if tag.is_empty() {
        return Err(ReferenceError::EmptyTag { text: text.into() });
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if tag.len() > 128
        || !tag.starts_with(word)
        || !tag.chars().all(|c| word(c) || c == '.' || c == '-')
    {
        return Err(ReferenceError::Tag { text: text.into(), tag: tag.into() });
    }
    Ok(tag)
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest, ReferenceError> {
    digest.parse().map_err(|_| ReferenceError::Digest { text: text.into(), digest: digest.into() })
}

fn is_bare_hex(path: &str) -> bool {
    path.len() == 64 && path.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
