//! The record of a lab: what was made or is about to be, enough to unmake it without its file.

use crate::{Directories, EngineError};
use fs_err as fs;
use netloom_plan::Objects;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Version of the format.
const FORMAT: u32 = 1;

/// A lab as it was deployed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabRecord {
    /// Version of the format.
    pub format: u32,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: String,
    /// Topology file.
    pub topology: PathBuf,
    /// Lab directory.
    pub lab_dir: PathBuf,
    /// Whether the lab directory was made by us.
    pub made_lab_dir: bool,
    /// Management network, if it uses one.
    pub network: Option<String>,
    /// What is on the host, or may be.
    pub objects: Objects,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeRecord>,
    /// Labs whose namespaces this one uses.
    pub uses: BTreeSet<String>,
    /// Whether the last deploy went through.
    pub complete: bool,
}

/// A node as it was deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Container name.
    pub long_name: String,
    /// Kind as written.
    pub kind: String,
    /// Image as written.
    pub image: String,
    /// Group.
    pub group: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Digest of everything the container is made from; a change makes it anew.
    pub digest: String,
    /// Commands run in the node when it is up.
    pub exec: Vec<String>,
    /// Path of its namespace, as others can open it.
    pub netns: Option<PathBuf>,
}

impl LabRecord {
    /// The record of a lab.
    pub fn load(directories: &Directories, lab: &str) -> Result<Option<LabRecord>, EngineError> {
        read_json(&file(directories, lab))
    }

    /// Writes the record, safe against being killed half-way.
    pub fn save(&self, directories: &Directories) -> Result<(), EngineError> {
        fs::create_dir_all(directories.lab(&self.name))?;
        write_json(&file(directories, &self.name), self)
    }

    /// A new record without objects.
    pub fn new(name: &str) -> LabRecord {
        LabRecord {
            format: FORMAT,
            name: name.into(),
            owner: String::new(),
            topology: PathBuf::new(),
            lab_dir: PathBuf::new(),
            made_lab_dir: false,
            network: None,
            objects: Objects::default(),
            nodes: BTreeMap::new(),
            uses: BTreeSet::new(),
            complete: false,
        }
    }

    /// All records, by name.
    pub fn all(directories: &Directories) -> Result<Vec<LabRecord>, EngineError> {
        let folder = directories.labs();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut names: Vec<String> = fs::read_dir(folder)?
            .filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect();
        names.sort();
        let mut out = Vec::new();
        for name in names {
            out.extend(LabRecord::load(directories, &name)?);
        }
        Ok(out)
    }
}

fn file(directories: &Directories, lab: &str) -> PathBuf {
    directories.lab(lab).join("lab.json")
}

/// Reads JSON; `None` when the file is not there.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, EngineError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(EngineError::Record { path: path.into(), why: e.to_string() }),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| EngineError::Record { path: path.into(), why: e.to_string() })
}

/// Writes JSON beside the file, syncs and renames.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), EngineError> {
    let wrong = |why: String| EngineError::Record { path: path.into(), why };
    let text = serde_json::to_vec(value).map_err(|e| wrong(e.to_string()))?;
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e| wrong(e.to_string()))
}

/// A lock that other commands respect; given back when dropped.
pub struct Lock {
    _file: Flock<File>,
}

/// Locks a lab for changes.
pub fn lock_lab(directories: &Directories, lab: &str) -> Result<Lock, EngineError> {
    let folder = directories.state.join("locks");
    fs::create_dir_all(&folder)?;
    let file = fs::File::create(folder.join(format!("{lab}.lock")))?.into_file();
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Lock { _file: file }),
        Err(_) => Err(EngineError::Busy(lab.into())),
    }
}

/// Locks a file, waiting for whoever has it.
pub fn lock_file(path: &Path) -> Result<Lock, EngineError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = fs::File::create(path)?.into_file();
    Flock::lock(file, FlockArg::LockExclusive)
        .map(|file| Lock { _file: file })
        .map_err(|(_, e)| EngineError::Io(e.into()))
}
