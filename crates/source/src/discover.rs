//! Which file is meant by what the user gave.

use crate::SourceError;
use std::path::{Path, PathBuf};

/// The topology file meant by `-t`: a file, a folder with exactly one, or the folder one is in.
pub fn discover(given: Option<&Path>) -> Result<PathBuf, SourceError> {
    let path = given.unwrap_or(Path::new("."));
    let text = path.to_string_lossy();
    if text.contains("://") {
        return Err(SourceError::Remote(text.into_owned()));
    }
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut files: Vec<PathBuf> = fs_err::read_dir(path)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".clab.yml") || name.ends_with(".clab.yaml")
        })
        .collect();
    files.sort();
    match files.len() {
        1 => Ok(files.remove(0)),
        0 => Err(SourceError::NoTopology(path.to_path_buf())),
        _ => {
            let names: Vec<_> = files
                .iter()
                .filter_map(|f| f.file_name())
                .map(|n| n.to_string_lossy().into_owned())
                .collect();
            Err(SourceError::Ambiguous { dir: path.to_path_buf(), files: names.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(discover(Some(dir.path())), Err(SourceError::NoTopology(_))));
        std::fs::write(dir.path().join("a.clab.yml"), "").unwrap();
        assert_eq!(discover(Some(dir.path())).unwrap(), dir.path().join("a.clab.yml"));
        std::fs::write(dir.path().join("b.clab.yaml"), "").unwrap();
        assert!(matches!(discover(Some(dir.path())), Err(SourceError::Ambiguous { .. })));
        let remote = Path::new("https://example.org/x.clab.yml");
        assert!(matches!(discover(Some(remote)), Err(SourceError::Remote(_))));
    }
}
