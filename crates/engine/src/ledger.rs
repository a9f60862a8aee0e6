//! What labs share: management networks, and settings of the host that were changed for them.

use crate::record::{Lock, lock_file, read_json, write_json};
use crate::{Directories, EngineError};
use netloom_plan::{NamespaceOf, Network, Objects};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The host ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Which start of the machine the settings below are of (`/proc/sys/kernel/random/boot_id`).
    #[serde(default)]
    pub boot: String,
    /// Networks by name.
    #[serde(default)]
    pub networks: BTreeMap<String, Network>,
    /// Settings of the host before the first change, by key.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Interfaces in the host's namespace, and the lab each belongs to.
    #[serde(default)]
    pub interfaces: BTreeMap<String, String>,
    /// Ports of the host that lead into labs, as `8080/tcp`, and the lab of each.
    #[serde(default)]
    pub ports: BTreeMap<String, String>,
    /// Addresses added to bridges that are not ours, by bridge.
    #[serde(default)]
    pub added: BTreeMap<String, BTreeSet<String>>,
    /// Chains of others that were given rules, by network.
    #[serde(default)]
    pub through: BTreeMap<String, BTreeSet<String>>,
    /// Bridges of the host that were given a way through, and the labs that have links on them.
    #[serde(default)]
    pub bridges: BTreeMap<String, BTreeSet<String>>,
    /// Tunnels made by a command of their own, and the interface each is joined to.
    #[serde(default)]
    pub tunnels: BTreeMap<String, String>,
}

/// The ledger while nobody else may touch it.
pub struct Locked {
    /// The ledger.
    pub ledger: Ledger,
    path: PathBuf,
    _lock: Lock,
}

impl Ledger {
    /// How a port is called in [`Ledger::ports`].
    pub fn port(number: u16, protocol: &str) -> String {
        format!("{number}/{protocol}")
    }

    /// Reads the ledger without locking it, to look at.
    pub fn read(directories: &Directories) -> Result<Ledger, EngineError> {
        Ok(read_json(&path(directories))?.unwrap_or_default())
    }

    /// Locks and reads the ledger; hold it only shortly. Who waits stops when the user wants to.
    pub fn lock(
        directories: &Directories,
        interrupted: Option<fn() -> bool>,
    ) -> Result<Locked, EngineError> {
        let lock = lock_file(&directories.state.join("locks").join("ledger"), interrupted)?;
        let mut ledger = Ledger::read(directories)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if !ledger.boot.is_empty() && ledger.boot != boot.trim() {
            // The machine has been started anew: nothing of ours is set.
            ledger.sysctls.clear();
            ledger.added.clear();
            ledger.through.clear();
            ledger.tunnels.clear();
        }
        ledger.boot = boot.trim().into();
        Ok(Locked { ledger, path: path(directories), _lock: lock })
    }
}

/// What the lab takes of the host's names and ports.
pub fn note_shared(ledger: &mut Ledger, lab: &str, objects: &[&Objects]) {
    ledger.ports.retain(|_, l| l != lab);
    for port in objects.iter().flat_map(|o| &o.nodes).flat_map(|n| &n.ports) {
        ledger.ports.insert(Ledger::port(port.host_port, &port.protocol), lab.to_string());
    }
    ledger.interfaces.retain(|_, l| l != lab);
    let ends = objects.iter().flat_map(|o| &o.links).flat_map(|l| l.ends());
    for end in ends.filter(|e| e.namespace == NamespaceOf::Host) {
        ledger.interfaces.entry(end.interface.clone()).or_insert_with(|| lab.to_string());
    }
}

impl Locked {
    /// Writes the ledger; one with nothing in it goes.
    pub fn save(&self) -> Result<(), EngineError> {
        let empty = Ledger { boot: self.ledger.boot.clone(), ..Ledger::default() };
        if self.ledger != empty {
            return write_json(&self.path, &self.ledger);
        }
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(EngineError::Io(e)),
            _ => Ok(()),
        }
    }
}

fn path(directories: &Directories) -> PathBuf {
    directories.state.join("ledger.json")
}
