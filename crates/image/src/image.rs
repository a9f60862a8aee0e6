//! An image ready to be run.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::reference::Reference;

/// An image: its layers unpacked on disk, and how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Digest of the configuration document; `None` for the host itself.
    pub id: Option<Digest>,
    /// What it was asked for by; `None` for the host, and for images whose name went to another.
    pub reference: Option<Reference>,
    /// Unpacked layers, topmost first: the order of overlayfs' `lowerdir`.
    pub layers: Vec<PathBuf>,
    /// How to run it.
    pub config: ImageConfig,
    /// Bytes of file data in all layers.
    pub size: u64,
    /// When it was put into the store, in seconds since the epoch.
    pub created: u64,
    /// Where it came from.
    pub source: String,
}

impl Image {
    /// The special image `host`: the host's own root filesystem.
    #[must_use]
    pub fn host() -> Self {
        Self {
            id: None,
            reference: None,
            layers: vec![PathBuf::from("/")],
            config: ImageConfig::default(),
            size: 0,
            created: 0,
            source: "host".into(),
        }
    }
}
