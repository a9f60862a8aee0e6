//! What can go wrong, as callers need to tell it apart.

use thiserror::Error;

/// A runtime's refusal or failure.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// No container of that name.
    #[error("there is no container named `{0}`")]
    NotFound(String),
    /// The name is taken by a container with another specification.
    #[error("the name `{0}` is taken by another container")]
    NameTaken(String),
    /// The operation needs a running container.
    #[error("container `{0}` is not running")]
    NotRunning(String),
    /// The specification cannot be honoured on this machine.
    #[error("{what}: {why}")]
    Unsupported {
        /// The key or feature.
        what: String,
        /// Why not, and what to do.
        why: String,
    },
    /// The program that runs the containers cannot be reached.
    #[error("{runtime} does not answer at {socket}: {why}")]
    Unreachable {
        /// Which (`Docker`, `Podman`).
        runtime: String,
        /// Where it was looked for.
        socket: String,
        /// What went wrong, and what to do.
        why: String,
    },
    /// The first process could not be started.
    #[error("container `{name}` could not be started: {step}: {source}")]
    Start {
        /// The container.
        name: String,
        /// What was being done (`mount overlay`, `execute /bin/sh`).
        step: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something awaited did not happen in time.
    #[error("waited {seconds} s for {what}; last seen: {seen}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was last seen.
        seen: String,
    },
    /// A system call failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The runtime's own process answered with an error.
    #[error("{0}")]
    Remote(String),
}

impl RuntimeError {
    /// Wraps a system error with what was being done.
    pub fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        RuntimeError::Io { doing: doing.into(), source }
    }
}
