//! What an image says about running it.

mod file;
mod overrides;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub(crate) use self::file::{ConfigFile, parse, synthesise};
pub use self::overrides::ConfigOverrides;

/// The run configuration of an image. Empty means not set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImageConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments behind the entry point, or the whole command without one.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Directory the program starts in.
    pub working_dir: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// `port/protocol`.
    pub exposed_ports: Vec<String>,
    /// Paths that want a volume.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to end.
    pub stop_signal: Option<String>,
    /// How to tell whether the program is well.
    pub healthcheck: Option<Healthcheck>,
    /// Shell for commands given as one string.
    pub shell: Vec<String>,
}

/// A health check; absent times are the runtime's to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// `["CMD", ..]`, `["CMD-SHELL", line]` or `["NONE"]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// Of one check.
    pub timeout: Option<Duration>,
    /// Failures in this time after the start do not count.
    pub start_period: Option<Duration>,
    /// Between checks during the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row until the state is unhealthy.
    pub retries: Option<u32>,
}
