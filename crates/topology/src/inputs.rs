//! Everything the resolver may know of the world.

use netloom_diag::SourceFile;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Files beside the topology, read on demand.
pub trait Files {
    /// The text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Whether something is there.
    fn exists(&self, path: &Path) -> bool;
}

/// No files: a topology on its own, as text from standard input may be.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }

    fn exists(&self, _: &Path) -> bool {
        false
    }
}

/// Facts of the git checkout the topology stands in.
#[derive(Debug, Clone, Default)]
pub struct Git {
    /// Name of the branch.
    pub branch: String,
    /// Full hash of the commit.
    pub hash: String,
}

/// What the command line says instead of the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Owner of the lab.
    pub owner: Option<String>,
    /// Lab name.
    pub name: Option<String>,
    /// Management network name.
    pub network: Option<String>,
    /// Management IPv4 subnet.
    pub ipv4_subnet: Option<String>,
    /// Management IPv6 subnet.
    pub ipv6_subnet: Option<String>,
    /// Runtime of nodes that name none.
    pub runtime: Option<String>,
}

/// Where things are on this machine.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The user's home.
    pub home: PathBuf,
    /// Parent of lab directories; beside the topology file when `None`.
    pub labdir_base: Option<PathBuf>,
    /// Owner of the lab.
    pub owner: String,
}

/// Everything the resolver may know of the world.
pub struct Inputs<'a> {
    /// The topology file: the name shown in messages, and the text.
    pub topology: SourceFile,
    /// Its absolute path.
    pub path: PathBuf,
    /// Files with template variables, in order of precedence (later wins).
    pub vars: Vec<SourceFile>,
    /// Further templates by name.
    pub templates: Vec<(String, String)>,
    /// Environment for `${...}` and `__IMPORT_ENVS`.
    pub env: BTreeMap<String, String>,
    /// The git checkout, if any.
    pub git: Option<Git>,
    /// Command line.
    pub overrides: Overrides,
    /// Places.
    pub settings: Settings,
    /// Other files.
    pub files: &'a dyn Files,
}

impl Inputs<'_> {
    /// The folder of the topology file.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// A path of the topology file made absolute: `~`, relative to the file, `.` and `..` removed.
    pub fn absolute(&self, path: &str) -> PathBuf {
        absolute(&self.settings.home, self.dir(), path)
    }
}

/// A path as users write it made absolute: `~`, relative to a folder, `.` and `..` removed.
pub fn absolute(home: &Path, folder: &Path, path: &str) -> PathBuf {
    clean(&match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => folder.join(path),
    })
}

/// A path without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}
