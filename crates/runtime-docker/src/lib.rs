//! Docker and Podman as runtimes, over the API they have in common; no program of theirs is called.
//!
//! ```text
//! Daemon (daemon.rs) ── one socket, one deadline for every question, one way to read errors
//!    ├── Containers (runtime.rs): the Runtime trait; spec (create.rs), states (state.rs),
//!    │      commands (exec.rs, attached.rs), logs (logs.rs)
//!    ├── networks (network.rs)      ├── images (image.rs)      └── what happens (events.rs)
//! ```
//!
//! Knows: how these two are spoken to. Must never know: labs, links, topologies.

mod attached;
mod create;
mod daemon;
mod events;
mod exec;
mod image;
mod logs;
mod network;
mod runtime;
mod state;

pub use daemon::{Daemon, Program, socket_of};
pub use events::{Happened, Which};
pub use image::{DaemonImage, Login};
pub use network::{BRIDGE, DaemonNetwork, MTU, NewNetwork, Subnet};
pub use runtime::Containers;
