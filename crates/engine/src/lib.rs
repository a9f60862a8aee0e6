//! The lab as a whole: observe, plan, apply, record; stages, destroy, start and stop, inspect.
//!
//! ```text
//! deploy, destroy, start, stop  ─►  lock ─► observe ─► plan ─► record ─► apply ─► record
//! ```
//!
//! Knows: what belongs to a lab and in which order it is made. Must never know: how a link or a
//! container is made, nor how anything is shown.

mod apply;
mod beneath;
mod by_hand;
mod certificates;
mod clusters;
mod daemon_network;
mod daemons;
mod decide;
mod deploy;
mod destroy;
mod details;
mod digest;
mod directories;
mod error;
mod events;
mod exec;
mod fetch;
mod files;
mod heal;
mod healthy;
mod honour;
mod hosts;
mod hostwide;
mod image;
mod inspect;
mod inventory;
mod labdir;
mod ledger;
mod lifecycle;
mod machine;
mod names;
mod netns_link;
mod outputs;
mod outside;
mod part;
mod plumb;
pub mod plumber;
mod preflight;
mod prepare;
mod record;
mod report;
mod runtimes;
mod save;
mod schedule;
mod spec;
mod stages;
mod steps;
mod tunnel;
mod tunnel_by_hand;
mod wire;

pub use daemons::Daemons;
pub use deploy::{DeployOptions, Deployed, Planned};
pub use destroy::DestroyOptions;
pub use directories::Directories;
pub use error::EngineError;
pub use events::{Happening, Watch};
pub use exec::{ExecResult, Selection};
pub use inspect::{InterfaceRow, NodeRow};
pub use labdir::make as make_lab_dir;
pub use ledger::Ledger;
pub use netloom_datapath::impair::{Impairment, Made};
pub use record::{LabRecord, NodeRecord, WAITING};
pub use report::{Event, Reporter};
pub use runtimes::Runtimes;
pub use save::{SaveOptions, Saved};
pub use tunnel_by_hand::HandTunnel;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything a command needs to work on labs.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Where state is kept.
    pub directories: Directories,
    /// The program that is started as holder and supervisor of a lab.
    pub exe: PathBuf,
    /// Its arguments before `__holder`.
    pub args: Vec<OsString>,
    /// Docker and Podman.
    pub daemons: Arc<Daemons>,
}
