//! The work directory of one import.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Store;
use super::lock::Lock;
use crate::error::Error;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A directory under `tmp`, removed when dropped; its locks tell others that its owner lives.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    parts: u64,
    _alive: Lock,
    _importing: Lock,
}

impl Work {
    /// Starts an import: from now on no layer is swept.
    pub fn begin(store: &Store) -> Result<Self, Error> {
        let importing = Lock::importing(&store.root)?;
        // Under the index lock, so that no sweep comes between making and locking.
        let _index = Lock::index(&store.root)?;
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = store.root.join("tmp").join(format!("{}-{count}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => {}
                // A namesake from another process id namespace, or from before a reboot.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("make", &path, error)),
            }
            let Some(alive) = Lock::directory(&path)? else { continue };
            return Ok(Self { path, parts: 0, _alive: alive, _importing: importing });
        }
    }

    /// A new empty directory in it.
    pub fn directory(&mut self) -> Result<PathBuf, Error> {
        self.parts += 1;
        let path = self.path.join(self.parts.to_string());
        std::fs::create_dir(&path).map_err(|error| Error::io("make", &path, error))?;
        Ok(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed now is swept at the next open.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
