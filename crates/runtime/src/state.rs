//! What a container is doing.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the runtime knows of a container now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The container's name.
    pub name: String,
    /// Runtime's identifier, 64 hexadecimal digits with every runtime.
    pub id: String,
    /// Running or not.
    pub status: Status,
    /// Result of the health check, `None` without one.
    pub health: Option<Health>,
    /// First process, as seen from the host; `None` unless running.
    pub pid: Option<u32>,
    /// Exit code of the last run (128 + signal when killed).
    pub exit_code: Option<i32>,
    /// Start of the current or last run, seconds since 1970.
    pub started_at: Option<u64>,
    /// End of the last run, seconds since 1970.
    pub finished_at: Option<u64>,
    /// How often the restart policy started it again.
    pub restarts: u32,
    /// Labels of the specification.
    pub labels: BTreeMap<String, String>,
    /// Image as it was named.
    #[serde(default)]
    pub image: String,
    /// Addresses with prefix length that the runtime itself gave it.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What is mounted where: paths of the host and in the container.
    #[serde(default)]
    pub mounts: Vec<(String, String)>,
}

/// Life of a container.
///
/// ```text
/// created ──start──► running ──exit──► exited ──restart policy──► running
///                       ▲                 │
///                       └──────start──────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Recorded, never started.
    Created,
    /// First process alive.
    Running,
    /// Ended by itself, waiting for the restart policy's delay.
    Restarting,
    /// Ended.
    Exited,
}

impl Status {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        }
    }
}

/// Result of health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No verdict yet.
    Starting,
    /// Last check succeeded.
    Healthy,
    /// `retries` checks in a row failed.
    Unhealthy,
}

impl Health {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }
}
