//! The catalogue with the user's own kinds.

use crate::SourceError;
use netloom_kinds::{Catalogue, Kind};
use std::path::{Path, PathBuf};

/// The built-in kinds, those of the user's configuration, and those beside the topology (which
/// win).
pub fn catalogue(
    config: Option<&Path>,
    topology_dir: Option<&Path>,
) -> Result<Catalogue, SourceError> {
    let mut catalogue = Catalogue::builtin();
    let folders = [config.map(|c| c.join("kinds")), topology_dir.map(|t| t.join("netloom-kinds"))];
    for folder in folders.into_iter().flatten().filter(|f| f.is_dir()) {
        let mut found: Vec<PathBuf> = fs_err::read_dir(&folder)?
            .filter_map(|e| e.ok().map(|e| e.path().join("kind.yml")))
            .filter(|p| p.is_file())
            .collect();
        found.sort();
        for file in found {
            catalogue.add(read(&file)?);
        }
    }
    Ok(catalogue)
}

fn read(file: &Path) -> Result<Kind, SourceError> {
    let text = fs_err::read_to_string(file)?;
    let mut kind = Catalogue::parse(&file.display().to_string(), &text)?;
    for entry in fs_err::read_dir(file.parent().unwrap_or(Path::new(".")))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name != "kind.yml" {
            kind.templates.insert(name, fs_err::read_to_string(&path)?);
        }
    }
    Ok(kind)
}
