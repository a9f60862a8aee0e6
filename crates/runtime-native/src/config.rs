//! What the caller decides about a lab's runtime, and where everything lies on disk.

use netloom_runtime::RuntimeError;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a lab's runtime lives and which program its two processes run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeConfig {
    /// Records that outlive the processes (`/var/lib/netloom/labs/<lab>/runtime`).
    pub state_dir: PathBuf,
    /// Sockets (`/run/netloom/<lab>`).
    pub run_dir: PathBuf,
    /// Program to execute; it must call [`crate::holder::main`] when its arguments are `args`
    /// followed by `__holder DIR`, and [`crate::supervisor::main`] for `__supervisor DIR`.
    pub exe: PathBuf,
    /// Arguments before `__holder` and `__supervisor`.
    pub args: Vec<OsString>,
}

impl NativeConfig {
    /// Reads what [`NativeConfig::save`] wrote.
    pub(crate) fn load(state_dir: &Path) -> Result<Self, RuntimeError> {
        let path = Layout::new(state_dir, Path::new("/")).config_file();
        let text =
            fs::read(&path).map_err(|e| RuntimeError::io(format!("read {}", path.display()), e))?;
        serde_json::from_slice(&text)
            .map_err(|e| RuntimeError::io(format!("parse {}", path.display()), e.into()))
    }

    /// Writes the configuration for the processes to be started.
    pub(crate) fn save(&self) -> Result<(), RuntimeError> {
        let path = self.layout().config_file();
        let text = serde_json::to_vec(self)
            .map_err(|e| RuntimeError::io("write the configuration as JSON", e.into()))?;
        let new = path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|e| RuntimeError::io(format!("write {}", path.display()), e))
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.state_dir, &self.run_dir)
    }
}

/// Every path used, in one place.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    state: PathBuf,
    run: PathBuf,
}

impl Layout {
    fn new(state: &Path, run: &Path) -> Self {
        Layout { state: state.to_owned(), run: run.to_owned() }
    }

    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    pub fn config_file(&self) -> PathBuf {
        self.state.join("config.json")
    }

    /// Serialises those who would start a holder.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// Who the holder is.
    pub fn holder_file(&self) -> PathBuf {
        self.state.join("holder.json")
    }

    /// What holder and supervisor have to say.
    pub fn own_log(&self) -> PathBuf {
        self.state.join("runtime.log")
    }

    /// Exit statuses, appended by the holder.
    pub fn exits(&self) -> PathBuf {
        self.state.join("exits")
    }

    /// Which log the bytes in the console pipe belong to.
    pub fn console_owner(&self) -> PathBuf {
        self.state.join("console-owner")
    }

    /// The layer below all others of every container.
    pub fn ground(&self) -> PathBuf {
        self.state.join("ground")
    }

    pub fn containers(&self) -> PathBuf {
        self.state.join("c")
    }

    pub fn container(&self, name: &str) -> PathBuf {
        self.containers().join(name)
    }

    pub fn holder_socket(&self) -> PathBuf {
        self.run.join("h.sock")
    }

    pub fn api_socket(&self) -> PathBuf {
        self.run.join("s.sock")
    }
}
