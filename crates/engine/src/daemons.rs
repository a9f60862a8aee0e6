//! Docker and Podman, found once a command.

use crate::EngineError;
use netloom_plan::Runs;
use netloom_runtime::RuntimeError;
use netloom_runtime_docker::{Daemon, Program, socket_of};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The daemons a command speaks to.
#[derive(Default)]
pub struct Daemons {
    environment: BTreeMap<String, String>,
    known: Mutex<BTreeMap<(Runs, PathBuf), Arc<Daemon>>>,
}

impl fmt::Debug for Daemons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Daemons")
    }
}

impl Daemons {
    /// Those this environment means (`DOCKER_HOST`, `CONTAINER_HOST`).
    pub fn new(environment: BTreeMap<String, String>) -> Self {
        Daemons { environment, known: Mutex::default() }
    }

    /// Where one listens for new labs.
    pub fn socket(&self, runs: Runs) -> Result<PathBuf, EngineError> {
        Ok(socket_of(program(runs)?, &self.environment)?)
    }

    /// The one at a socket.
    pub fn at(&self, runs: Runs, socket: &Path) -> Result<Arc<Daemon>, EngineError> {
        let key = (runs, socket.to_owned());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(daemon) = known().get(&key) {
            return Ok(daemon.clone());
        }
        // One that takes its time must not hold up who speaks to another.
        let daemon = Arc::new(Daemon::connect(program(runs)?, socket)?);
        Ok(known().entry(key).or_insert(daemon).clone())
    }

    /// The one at a socket, with a connection of its own: who listens to a daemon that was started
    /// again must not keep the one that is gone.
    pub fn anew(&self, runs: Runs, socket: &Path) -> Result<Arc<Daemon>, EngineError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(runs, socket.to_owned()));
        drop(known);
        self.at(runs, socket)
    }

    /// The one new labs are given to.
    pub fn usual(&self, runs: Runs) -> Result<Arc<Daemon>, EngineError> {
        self.at(runs, &self.socket(runs)?)
    }
}

fn program(runs: Runs) -> Result<Program, RuntimeError> {
    Program::named(runs.program()).ok_or_else(|| RuntimeError::Unsupported {
        what: format!("runtime `{}`", runs.word()),
        why: "it has no daemon".into(),
    })
}
