//! One `Inputs` from the file system and the environment.

use crate::SourceError;
use crate::git::git;
use netloom_diag::SourceFile;
use netloom_topology::{Files, Inputs, Overrides, Settings};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files of this machine.
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The topology file; `-` is standard input.
    pub path: PathBuf,
    /// Files with template variables instead of those beside the topology.
    pub vars: Vec<PathBuf>,
    /// Values instead of the file's.
    pub overrides: Overrides,
    /// Environment.
    pub env: BTreeMap<String, String>,
}

/// Reads the topology file and everything it may refer to while it is resolved.
pub fn gather<'a>(request: Request, disk: &'a Disk) -> Result<Inputs<'a>, SourceError> {
    let (name, text, path) = if request.path == Path::new("-") || request.path == Path::new("stdin")
    {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        ("<stdin>".to_string(), text, std::env::current_dir()?.join("stdin.clab.yml"))
    } else {
        let text = String::from_utf8(fs_err::read(&request.path)?).map_err(|_| {
            let what = format!("{} is not a text file", request.path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        (request.path.display().to_string(), text, fs_err::canonicalize(&request.path)?)
    };
    let vars = match request.vars.is_empty() {
        true => beside(&path),
        false => request.vars.clone(),
    };
    let vars = vars
        .iter()
        .map(|v| Ok(SourceFile::new(v.display().to_string(), fs_err::read_to_string(v)?)))
        .collect::<Result<Vec<_>, SourceError>>()?;
    let here = std::env::current_dir().unwrap_or_default();
    let dir = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let var = |name: &str| request.env.get(name).filter(|v| !v.is_empty());
    let given = request.overrides.owner.as_ref();
    let owner = given.or(var("CLAB_OWNER")).or(var("SUDO_USER")).or(var("USER"));
    let owner = owner.cloned().unwrap_or_default();
    let settings = Settings {
        home: var("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from),
        // Relative to where the command is given.
        labdir_base: var("CLAB_LABDIR_BASE").map(|base| here.join(base)),
        owner,
    };
    Ok(Inputs {
        templates: if text.contains("{{") { templates(&dir)? } else { Vec::new() },
        git: if text.contains("__git") { git(&dir) } else { None },
        topology: SourceFile::new(name, text),
        path,
        vars,
        env: request.env,
        overrides: request.overrides,
        settings,
        files: disk,
    })
}

/// `<topology without its last extension>_vars.{yaml,yml,json}` beside the file, in order of name.
fn beside(path: &Path) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut found: Vec<PathBuf> = ["json", "yaml", "yml"]
        .iter()
        .map(|ext| path.with_file_name(format!("{stem}_vars.{ext}")))
        .filter(|p| p.is_file())
        .collect();
    found.sort();
    found
}

/// `clab_templates/*.gotmpl` beside the topology, by file name without extension.
fn templates(dir: &Path) -> Result<Vec<(String, String)>, SourceError> {
    let folder = dir.join("clab_templates");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for entry in fs_err::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "gotmpl") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            out.push((name, fs_err::read_to_string(&path)?));
        }
    }
    out.sort();
    Ok(out)
}
