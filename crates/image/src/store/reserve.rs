//! Folders of work on its way: downloads, builds. The store itself never looks there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Store;
use super::lock::Lock;
use crate::error::Error;

/// A folder that only its holder works in. What is in it stays for the next holder, until
/// [`Store::prune_downloads`], unless it is forgotten.
#[derive(Debug)]
pub struct Reserved {
    folder: PathBuf,
    lock: PathBuf,
    _held: Lock,
}

impl Store {
    /// The folder of a work, made if need be; none while somebody else has it. The name is one of
    /// letters, digits and dashes.
    ///
    /// # Errors
    /// It cannot be made or locked.
    pub fn reserve(&self, name: &str) -> Result<Option<Reserved>, Error> {
        let downloads = self.downloads();
        let folder = downloads.join(name);
        // Beside the folder, which comes and goes.
        let path = downloads.join(format!("{name}.lock"));
        fs::create_dir_all(&downloads).map_err(|e| Error::io("make", &downloads, e))?;
        let held = loop {
            let Some(lock) = Lock::free(&path)? else { return Ok(None) };
            // Whoever had it may have removed it.
            if same(&lock, &path) {
                break lock;
            }
        };
        fs::create_dir_all(&folder).map_err(|e| Error::io("make", &folder, e))?;
        Ok(Some(Reserved { folder, lock: path, _held: held }))
    }
}

impl Reserved {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the folder, and the lock with it: who waits for that looks again.
    pub fn forget(&self) {
        // What stays is removed by `image prune`.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Whether a lock is that of the file that stands at a path now.
fn same(lock: &Lock, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (lock.about(), fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}
