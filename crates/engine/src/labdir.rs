//! The lab directory: made by us, or somebody's folder that we only add to.

use crate::EngineError;
use crate::destroy::remove_tree;
use fs_err as fs;
use std::path::Path;

/// Says that the folder was made by us and may be removed.
const MARK: &str = ".netloom";

/// Makes a lab directory, unless it is there. It appears with its mark or not at all.
pub fn make(dir: &Path) -> Result<(), EngineError> {
    match std::fs::symlink_metadata(dir) {
        // What is written there would be written wherever somebody else wants it.
        Ok(found) if found.is_symlink() => {
            let what =
                format!("{} is a link: remove it, or name another lab directory", dir.display());
            return Err(std::io::Error::other(what).into());
        }
        Ok(_) => return Ok(()),
        Err(_) => {}
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let new = dir.with_file_name(format!(".{name}.new"));
    remove_tree(&new)?;
    fs::create_dir(&new)?;
    fs::write(new.join(MARK), "made by netloom; `netloom destroy --cleanup` removes it\n")?;
    Ok(fs::rename(&new, dir)?)
}

/// Removes a lab directory that we made. The mark goes last: a removal that is cut short can be
/// repeated.
pub fn remove(dir: &Path) -> Result<(), EngineError> {
    if !dir.join(MARK).is_file() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == MARK {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => remove_tree(&entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    remove_tree(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_here_is_removed() {
        let base = std::env::temp_dir().join(format!("netloom-labdir-{}", std::process::id()));
        let (ours, theirs) = (base.join("ours"), base.join("theirs"));
        std::fs::create_dir_all(&theirs).unwrap();
        for dir in [&ours, &theirs] {
            make(dir).unwrap();
            std::fs::create_dir_all(dir.join("a/b")).unwrap();
            std::fs::write(dir.join("file"), "x").unwrap();
            remove(dir).unwrap();
        }
        assert!(!ours.exists());
        assert!(theirs.join("a/b").is_dir() && theirs.join("file").is_file());
        std::fs::remove_dir_all(&base).unwrap();
    }
}
