//! What clients, supervisor and holder say to one another.

use crate::process::Identity;
use netloom_runtime::{ContainerSpec, ContainerState, RuntimeError};
use serde::{Deserialize, Serialize};
use std::io;

/// To the holder.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HolderRequest {
    /// Keep the descriptors sent along, one a name, in place of any others of these names.
    Keep { names: Vec<String> },
    /// Hand out a duplicate.
    Get { name: String },
    /// List the names kept.
    Names,
    /// Close these.
    Release { names: Vec<String> },
    /// End: supervisor, nodes, holder.
    Shutdown,
}

/// From the holder.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HolderReply {
    /// Kept as these descriptor numbers.
    Kept(Vec<i32>),
    /// Sent along.
    Here,
    /// Nothing of that name.
    Nothing,
    /// The names.
    Names(Vec<String>),
    /// Done.
    Done,
    /// Not done.
    Refused(String),
}

/// To the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Create(Box<ContainerSpec>),
    Start {
        name: String,
    },
    Stop {
        name: String,
        grace_ms: Option<u64>,
    },
    Kill {
        name: String,
        signal: i32,
    },
    Remove {
        name: String,
        force: bool,
    },
    Inspect {
        name: String,
    },
    List,
    /// Who runs as first process.
    Locate {
        name: String,
    },
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    State(Box<ContainerState>),
    Inspected(Option<Box<ContainerState>>),
    States(Vec<ContainerState>),
    Located(Option<Located>),
    Failed(Failure),
}

/// A running container, as needed to run something in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Located {
    pub init: Identity,
}

/// [`RuntimeError`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    NotFound(String),
    NameTaken(String),
    NotRunning(String),
    Unsupported { what: String, why: String },
    Start { name: String, step: String, error: Os },
    Timeout { what: String, seconds: u64, seen: String },
    Io { doing: String, error: Os },
    Remote(String),
}

/// [`io::Error`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Os {
    errno: Option<i32>,
    text: String,
}

impl From<io::Error> for Os {
    fn from(e: io::Error) -> Self {
        Os { errno: e.raw_os_error(), text: e.to_string() }
    }
}

impl From<Os> for io::Error {
    fn from(e: Os) -> Self {
        match e.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(e.text),
        }
    }
}

impl From<RuntimeError> for Failure {
    fn from(e: RuntimeError) -> Self {
        match e {
            RuntimeError::NotFound(n) => Failure::NotFound(n),
            RuntimeError::NameTaken(n) => Failure::NameTaken(n),
            RuntimeError::NotRunning(n) => Failure::NotRunning(n),
            RuntimeError::Unsupported { what, why } => Failure::Unsupported { what, why },
            RuntimeError::Start { name, step, source } => {
                Failure::Start { name, step, error: source.into() }
            }
            RuntimeError::Timeout { what, seconds, seen } => {
                Failure::Timeout { what, seconds, seen }
            }
            RuntimeError::Io { doing, source } => Failure::Io { doing, error: source.into() },
            RuntimeError::Remote(text) => Failure::Remote(text),
            // Of other runtimes; its words are enough.
            RuntimeError::Unreachable { .. } => Failure::Remote(e.to_string()),
        }
    }
}

impl From<Failure> for RuntimeError {
    fn from(e: Failure) -> Self {
        match e {
            Failure::NotFound(n) => RuntimeError::NotFound(n),
            Failure::NameTaken(n) => RuntimeError::NameTaken(n),
            Failure::NotRunning(n) => RuntimeError::NotRunning(n),
            Failure::Unsupported { what, why } => RuntimeError::Unsupported { what, why },
            Failure::Start { name, step, error } => {
                RuntimeError::Start { name, step, source: error.into() }
            }
            Failure::Timeout { what, seconds, seen } => {
                RuntimeError::Timeout { what, seconds, seen }
            }
            Failure::Io { doing, error } => RuntimeError::Io { doing, source: error.into() },
            Failure::Remote(text) => RuntimeError::Remote(text),
        }
    }
}
