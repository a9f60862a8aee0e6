//! Clearing away: work of killed imports, and layers the index does not name.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Store;
use super::lock::Lock;
use crate::error::Error;

impl Store {
    /// Removes what nobody owns. Slow work is done after the index lock is let go.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        let index_lock = Lock::index(&self.root)?;
        let mut doomed = Vec::new();
        for path in entries(&self.root.join("tmp"))? {
            if let Some(lock) = Lock::directory(&path)? {
                doomed.push((path, lock));
            }
        }
        if let Some(_quiet) = Lock::no_import(&self.root)? {
            for path in self.unnamed()? {
                if let Some(gone) = self.set_aside(&path)? {
                    doomed.push(gone);
                }
            }
        }
        for path in entries(&self.root)? {
            // Index files of writers killed before the rename; the lock says none is at work.
            if path.extension().is_some_and(|extension| extension == "new") {
                remove(&path)?;
            }
        }
        drop(index_lock);
        for (path, lock) in doomed {
            // What cannot be removed is in nobody's way; it is tried again at the next open.
            let _ = remove(&path);
            drop(lock);
        }
        Ok(())
    }

    /// Layers and configurations that are in place, but not in the index.
    fn unnamed(&self) -> Result<Vec<PathBuf>, Error> {
        let index = self.read_index()?;
        let records = index.images.values();
        let mut named: BTreeSet<PathBuf> =
            records.flat_map(|record| &record.layers).map(|layer| self.layer_path(layer)).collect();
        named.extend(index.images.keys().map(|id| self.config_path(id)));
        let mut found = entries(&self.root.join("layers"))?;
        found.extend(entries(&self.root.join("configs"))?);
        found.retain(|path| !named.contains(path));
        Ok(found)
    }

    /// Moves a path to `tmp` in one step, so that no half-removed layer is ever seen.
    fn set_aside(&self, path: &Path) -> Result<Option<(PathBuf, Lock)>, Error> {
        let aside = (0_u64..)
            .map(|n| self.root.join("tmp").join(format!("{}-gone-{n}", std::process::id())))
            .find(|aside| aside.symlink_metadata().is_err())
            .unwrap_or_default();
        std::fs::rename(path, &aside).map_err(|error| Error::io("remove", path, error))?;
        Ok(Lock::directory(&aside)?.map(|lock| (aside, lock)))
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::io("list", directory, error);
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// Removes a file or a tree; gone already is gone.
fn remove(path: &Path) -> Result<(), Error> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| Error::io("remove", path, error))?,
    };
    let removed =
        if metadata.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
