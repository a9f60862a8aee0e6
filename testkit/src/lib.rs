//! What tests of several crates share: daemons of their own, an image, the contract of runtimes.
//!
//! Knows: the runtime trait, and how daemons are started. Must never know: who implements it.

pub mod busybox;
pub mod contract;
pub mod daemon;

pub use contract::Fixture;
pub use daemon::{Dockerd, PodmanService};
