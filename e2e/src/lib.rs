//! End-to-end tests of the real program.
//!
//! ```text
//! Sandbox ── own network and mount namespace, own state, run and namespace folders
//!    ├── netloom(args) ──► Done: exit code, output, time     (command.rs, with a deadline)
//!    ├── Snapshot before ... Snapshot after: what was left   (snapshot.rs, processes.rs)
//!    └── images: recipes built and imported once             (images.rs)
//! ```
//!
//! A missing prerequisite fails the test that needs it; nothing is skipped. Knows: the command
//! line and the host. Must never know: anything of the program's crates.

pub mod binary;
pub mod command;
pub mod daemons;
pub mod images;
pub mod ovs;
pub mod processes;
pub mod sandbox;
pub mod snapshot;
pub mod wait;

pub use command::{Done, Runner};
pub use daemons::{Docker, Podman};
pub use ovs::OpenVSwitch;
pub use sandbox::Sandbox;
pub use wait::{eventually, until};

/// Whether the long tier runs (`NETLOOM_FULL=1`).
pub fn full() -> bool {
    std::env::var_os("NETLOOM_FULL").is_some_and(|v| v == "1")
}
