//! Docker and Podman, found once a command.

use crate::{Engine, EngineError};
use netloom_plan::Runs;
use netloom_runtime::{ContainerState, Runtime, RuntimeError};
use netloom_runtime_docker::{Containers, Daemon, Program, socket_of};
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

    /// Those that answer where new labs are given to them.
    pub fn answering(&self) -> impl Iterator<Item = (Runs, PathBuf, Arc<Daemon>)> {
        [Runs::Docker, Runs::Podman].into_iter().filter_map(|runs| {
            let socket = self.socket(runs).ok().filter(|socket| socket.exists())?;
            let daemon = self.at(runs, &socket).ok()?;
            Some((runs, socket, daemon))
        })
    }

    /// The one new labs are given to.
    pub fn usual(&self, runs: Runs) -> Result<Arc<Daemon>, EngineError> {
        self.at(runs, &self.socket(runs)?)
    }
}

impl Engine {
    /// Containers of the daemons with a label, whoever runs them; none where no daemon answers.
    pub fn labelled(&self, key: &str, value: &str) -> Result<Vec<ContainerState>, EngineError> {
        let mut out = Vec::new();
        for (_, _, daemon) in self.daemons.answering() {
            let all = Containers::of_anybody(daemon).list()?;
            out.extend(all.into_iter().filter(|c| c.labels.get(key).is_some_and(|v| v == value)));
        }
        Ok(out)
    }
}

fn program(runs: Runs) -> Result<Program, RuntimeError> {
    Program::named(runs.program()).ok_or_else(|| RuntimeError::Unsupported {
        what: format!("runtime `{}`", runs.word()),
        why: "it has no daemon".into(),
    })
}
