//! The lab directory: made by us, or somebody's folder that we only add to.

use crate::EngineError;
use crate::destroy::remove_tree;
use fs_err as fs;
use std::path::Path;

/// Says that the folder was made by us and may be removed.
const MARK: &str = ".netloom";

/// Makes a lab directory, unless it is there.
pub fn make(dir: &Path) -> Result<(), EngineError> {
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        fs::write(dir.join(MARK), "made by netloom; `netloom destroy --cleanup` removes it\n")?;
    }
    Ok(())
}

/// Removes a lab directory that we made.
pub fn remove(dir: &Path) -> Result<(), EngineError> {
    if dir.join(MARK).is_file() { remove_tree(dir) } else { Ok(()) }
}
