//! File locks, waited for with a deadline.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;

const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// A lock held until dropped, or until the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Flock<File>,
}

impl Lock {
    /// The right to read and replace the index; held for milliseconds.
    pub fn index(root: &Path) -> Result<Self, Error> {
        let path = root.join("lock");
        let mut lock = Self::wait(&path, FlockArg::LockExclusiveNonblock)?;
        // Only for the message of whoever waits too long.
        let _ = lock.set_len(0).and_then(|()| lock.rewind());
        let _ = write!(lock, "{}", std::process::id());
        Ok(Self { file: lock })
    }

    /// The promise that no layer is swept meanwhile.
    pub fn importing(root: &Path) -> Result<Self, Error> {
        let lock = Self::wait(&root.join("importing"), FlockArg::LockSharedNonblock)?;
        Ok(Self { file: lock })
    }

    /// The right to sweep layers; `None` while any import runs.
    pub fn no_import(root: &Path) -> Result<Option<Self>, Error> {
        let path = root.join("importing");
        let lock = Self::attempt(&path, open(&path)?, FlockArg::LockExclusiveNonblock)?;
        Ok(lock.ok().map(|file| Self { file }))
    }

    /// A lock file of others; `None` while somebody has it.
    pub fn free(path: &Path) -> Result<Option<Self>, Error> {
        let lock = Self::attempt(path, open(path)?, FlockArg::LockExclusiveNonblock)?;
        Ok(lock.ok().map(|file| Self { file }))
    }

    /// What the locked file is.
    pub fn about(&self) -> std::io::Result<std::fs::Metadata> {
        self.file.metadata()
    }

    /// A directory of work in progress; `None` when its owner lives, or it is gone.
    pub fn directory(path: &Path) -> Result<Option<Self>, Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            // Its owner has just removed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        let lock = Self::attempt(path, file, FlockArg::LockExclusiveNonblock)?;
        Ok(lock.ok().map(|file| Self { file }))
    }

    fn wait(path: &Path, kind: FlockArg) -> Result<Flock<File>, Error> {
        let start = Instant::now();
        let mut file = open(path)?;
        loop {
            file = match Self::attempt(path, file, kind)? {
                Ok(lock) => return Ok(lock),
                Err(file) => file,
            };
            if start.elapsed() > DEADLINE {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                if holder.is_empty() {
                    holder = "unknown".into();
                }
                let (path, seconds) = (path.to_owned(), DEADLINE.as_secs());
                return Err(Error::LockTimeout { path, seconds, holder });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn attempt(
        path: &Path,
        file: File,
        kind: FlockArg,
    ) -> Result<Result<Flock<File>, File>, Error> {
        match Flock::lock(file, kind) {
            Ok(lock) => Ok(Ok(lock)),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(Err(file)),
            Err((_, error)) => Err(Error::io("lock", path, error)),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| Error::io("open", path, error))
}
