//! The record of a lab: what was made or is about to be, enough to unmake it without its file.

use crate::clusters::ClusterRecord;
use crate::{Directories, EngineError};
use fs_err as fs;
use netloom_plan::{NodeObject, Objects, Runs};
use netloom_topology::{ROOT_LONG_NAME, ROOT_NAME};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    /// Management networks it has addresses in, or had when a deploy was ended half-way.
    pub networks: BTreeSet<String>,
    /// What was made.
    pub objects: Objects,
    /// What a deploy that has not gone through may have made besides.
    #[serde(default)]
    pub pending: Objects,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeRecord>,
    /// Labs whose namespaces this one uses.
    pub uses: BTreeSet<String>,
    /// Digest of the names and resolvers nodes were given: what they changed of them since stays
    /// unless these change.
    #[serde(default)]
    pub names: String,
    /// Sockets of the daemons that run some of its nodes.
    #[serde(default)]
    pub sockets: BTreeMap<Runs, PathBuf>,
    /// Kubernetes clusters made for it, or about to be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, ClusterRecord>,
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
    /// Digest of everything the container was made from; empty while it is being made. A change
    /// makes it anew.
    pub digest: String,
    /// Commands run in the node when it is up.
    pub exec: Vec<String>,
    /// Path of its namespace, as others can open it.
    pub netns: Option<PathBuf>,
    /// What runs it.
    #[serde(default)]
    pub runs: Runs,
    /// Layers it was started from, whatever name the image has by now.
    #[serde(default)]
    pub layers: Vec<PathBuf>,
}

impl NodeRecord {
    /// Whether a name means this node: its own, its container's, or that of the node it is a part
    /// of. `own` is its short name.
    pub fn is_called(&self, own: &str, name: &str) -> bool {
        let root = |label: &str| self.labels.get(label).is_some_and(|root| root == name);
        name == own || name == self.long_name || root(ROOT_NAME) || root(ROOT_LONG_NAME)
    }
}

impl LabRecord {
    /// Nodes that are on the host, or may be; one that is made anew comes twice.
    pub fn everything_ref(&self) -> impl Iterator<Item = &NodeObject> {
        self.objects.nodes.iter().chain(&self.pending.nodes)
    }

    /// The record of a lab.
    pub fn load(directories: &Directories, lab: &str) -> Result<Option<LabRecord>, EngineError> {
        let record: Option<LabRecord> = read_json(&file(directories, lab))?;
        match record {
            Some(r) if r.format != FORMAT => Err(EngineError::Record {
                path: file(directories, lab),
                why: format!("it has format {}, this version knows {FORMAT}", r.format),
            }),
            other => Ok(other),
        }
    }

    /// Writes the record, safe against being killed half-way.
    pub fn save(&self, directories: &Directories) -> Result<(), EngineError> {
        private_dir(&directories.state)?;
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
            networks: BTreeSet::new(),
            objects: Objects::default(),
            pending: Objects::default(),
            nodes: BTreeMap::new(),
            uses: BTreeSet::new(),
            names: String::new(),
            sockets: BTreeMap::new(),
            clusters: BTreeMap::new(),
            complete: false,
        }
    }

    /// Everything that is on the host, or may be.
    pub fn everything(&self) -> Objects {
        // A node that was given another container name may be there under both.
        let mut out = self.objects.clone();
        out.add(self.pending.clone());
        out
    }

    /// Names of all labs that have left a trace, sorted.
    pub fn folders(directories: &Directories) -> Result<Vec<String>, EngineError> {
        let folder = directories.labs();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut names: Vec<String> = fs::read_dir(folder)?
            .filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// All records that can be read, by name. One that cannot is the concern of whoever names it.
    pub fn all(directories: &Directories) -> Result<Vec<LabRecord>, EngineError> {
        let names = LabRecord::folders(directories)?;
        let mut out = Vec::new();
        for name in names {
            if let Ok(Some(record)) = LabRecord::load(directories, &name) {
                out.push(record);
            }
        }
        Ok(out)
    }
}

fn file(directories: &Directories, lab: &str) -> PathBuf {
    directories.lab(lab).join("lab.json")
}

/// Makes the state directory, which holds what labs were given: nobody else may look.
fn private_dir(path: &Path) -> Result<(), EngineError> {
    use std::os::unix::fs::DirBuilderExt;
    use std::os::unix::fs::PermissionsExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // It may have been made by something that did not know.
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
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
    let wrong = |why| EngineError::Unwritten { path: path.into(), why };
    let text = serde_json::to_vec(value).map_err(|e| wrong(e.into()))?;
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&new);
        wrong(e)
    })
}

/// A lock that other commands respect; given back when dropped.
pub struct Lock {
    _file: Flock<File>,
}

/// Refuses what is no name of a lab: names become names of folders.
pub fn check_name(lab: &str) -> Result<(), EngineError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !lab.is_empty() && !lab.starts_with('.') && lab.chars().all(plain) {
        true => Ok(()),
        false => Err(EngineError::NoLab(lab.into())),
    }
}

/// Locks a lab for changes.
pub fn lock_lab(directories: &Directories, lab: &str) -> Result<Lock, EngineError> {
    check_name(lab)?;
    private_dir(&directories.state)?;
    let folder = directories.state.join("locks");
    fs::create_dir_all(&folder)?;
    let file = fs::File::create(folder.join(format!("{lab}.lock")))?.into_file();
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Lock { _file: file }),
        Err(_) => Err(EngineError::Busy(lab.into())),
    }
}

/// How long a lock that is held only shortly is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// After which time somebody hears of it.
const SILENCE: Duration = Duration::from_secs(5);

/// Who hears that a command waits for another one; nobody if it is not set.
pub static WAITING: std::sync::OnceLock<fn(&str)> = std::sync::OnceLock::new();

/// Locks a file, waiting for whoever has it: until the user wants to stop, or some time has passed;
/// without somebody to ask, for as long as it takes, as what was made must be written down.
pub fn lock_file(path: &Path, interrupted: Option<fn() -> bool>) -> Result<Lock, EngineError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?.into_file();
    let begun = Instant::now();
    let mut told = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => return Ok(Lock { _file: file }),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
            Err((_, e)) => return Err(EngineError::Io(e.into())),
        };
        if interrupted.is_some_and(|asked| asked()) {
            return Err(EngineError::Interrupted);
        }
        if interrupted.is_some() && begun.elapsed() > PATIENCE {
            return Err(EngineError::Timeout {
                what: format!("the lock {}", path.display()),
                seconds: PATIENCE.as_secs(),
                seen: "another command has it; `lslocks` shows which".into(),
            });
        }
        if !told && begun.elapsed() > SILENCE {
            told = true;
            if let Some(tell) = WAITING.get() {
                let path = path.display();
                tell(&format!("another command has {path}, waiting for it; `lslocks` shows which"));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
