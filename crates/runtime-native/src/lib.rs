//! The embedded container runtime: namespaces, overlayfs, control groups, and two processes a lab.
//!
//! ```text
//! engine ── NativeRuntime ──unix socket──► supervisor   starts nodes, restarts them, logs
//!                │                              ▲  │
//!                │ descriptors                  │  │ clone(CLONE_PARENT)
//!                └────unix socket──► holder ────┘  ▼
//!                                      │         nodes (children of the holder)
//!                                      └─ keeps namespaces and terminals, writes exit statuses
//! ```
//!
//! Knows: how a container is made on Linux. Must never know: topologies, kinds, links.

mod child;
mod config;
mod exec;
pub mod holder;
mod leftovers;
mod logs;
mod mountfd;
mod process;
mod protocol;
mod record;
mod runtime;
mod say;
mod socket;
mod splice;
mod start;
pub mod supervisor;
mod wire;
mod xattr;

pub use config::NativeConfig;
pub use leftovers::{Reaped, end, reap_leftovers};
pub use runtime::NativeRuntime;
pub use start::changed;
