//! What is outside of a topology file: other files, the environment, the checkout, the user.
//!
//! Gathers it all into one [`netloom_topology::Inputs`], so that resolving is a pure function.
//! Knows: where things are. Must never know: what they mean.

mod discover;
mod gather;
mod git;
mod kinds;

pub use discover::discover;
pub use gather::{Disk, Request, gather};
pub use kinds::catalogue;

use std::path::PathBuf;
use thiserror::Error;

/// A topology that cannot be had.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Nothing there.
    #[error(
        "No topology files matching the pattern *.clab.yml or *.clab.yaml found. Looked in {}; name a file with -t, or a lab that runs with --name",
        .0.display()
    )]
    NoTopology(PathBuf),
    /// More than one.
    #[error("{dir} has more than one topology file: {files}; choose one with -t")]
    Ambiguous {
        /// The folder.
        dir: PathBuf,
        /// The files.
        files: String,
    },
    /// A file that cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A scheme or form this version does not fetch.
    #[error(
        "`{0}` is not a local file; fetching topologies from the network is not supported yet, download it first"
    )]
    Remote(String),
    /// A user's kind file.
    #[error("{0}")]
    Kind(#[from] netloom_kinds::KindError),
}
