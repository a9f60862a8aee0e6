//! A container on disk: its specification, written once, and a journal that is only appended to.
//!
//! ```text
//! start <offset in exits> <ms> <restarts> <ms since boot>   about to start
//! pid <n>                                   written by the child itself, first of all
//! failed                                    the start failed
//! exit <code> <ms>                          the first process has ended
//! stop                                      a user wants it to stay down
//! ```

use crate::start::cgroup::Group;
use netloom_runtime::{ContainerSpec, RuntimeError};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What is written when a container is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of the format; another one is left alone.
    pub format: u32,
    pub id: String,
    pub spec: ContainerSpec,
    /// The control groups it was given, whoever asks later and with whatever environment.
    pub group: Group,
}

const FORMAT: u32 = 1;

/// Where a container's files are.
#[derive(Debug, Clone)]
pub(crate) struct Directory(pub PathBuf);

impl Directory {
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Writes the specification of a new container.
    pub fn create(&self, spec: &ContainerSpec) -> Result<Record, RuntimeError> {
        let failed = |e| RuntimeError::io(format!("write {}", self.spec().display()), e);
        let group = Group::of(spec)?;
        let id = new_id().map_err(failed)?;
        let record = Record { format: FORMAT, id, spec: spec.clone(), group };
        let text = serde_json::to_vec(&record).map_err(|e| failed(e.into()))?;
        let new = self.spec().with_extension("new");
        fs::create_dir_all(&self.0)
            .and_then(|()| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, self.spec()))
            .map_err(failed)?;
        Ok(record)
    }

    /// The specification; `None` when its writing was interrupted. Any other trouble is an error:
    /// the container may be running.
    pub fn load(&self) -> io::Result<Option<Record>> {
        let text = match fs::read(self.spec()) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let record: Record = serde_json::from_slice(&text)?;
        if record.format != FORMAT {
            let why =
                format!("its record has format {}, this version knows {FORMAT}", record.format);
            return Err(io::Error::other(why));
        }
        Ok(Some(record))
    }

    /// The journal, open for appending.
    pub fn open_journal(&self) -> Result<File, RuntimeError> {
        let path = self.journal();
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|e| RuntimeError::io(format!("open {}", path.display()), e))
    }

    /// Appends one line.
    pub fn note(&self, line: &str) -> Result<(), RuntimeError> {
        let mut journal = self.open_journal()?;
        append(&mut journal, line)
            .map_err(|e| RuntimeError::io(format!("write {}", self.journal().display()), e))
    }

    /// What the journal says now.
    pub fn replay(&self) -> io::Result<History> {
        match fs::read_to_string(self.journal()) {
            Ok(text) => Ok(History::of(&text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(History::default()),
            Err(e) => Err(e),
        }
    }

    /// Length of the journal.
    pub fn journal_length(&self) -> u64 {
        fs::metadata(self.journal()).map_or(0, |m| m.len())
    }

    /// Rewrites the journal to say no more than that the last run has ended.
    pub fn compact(&self) -> io::Result<()> {
        let Some(run) = self.replay()?.run else { return Ok(()) };
        let Some((code, at)) = run.exit else { return Ok(()) };
        let new = self.journal().with_extension("new");
        let Run { started_ms, restarts, boot_ms, .. } = run;
        let text = format!("start 0 {started_ms} {restarts} {boot_ms}\nexit {code} {at}\n");
        fs::write(&new, text)?;
        fs::rename(new, self.journal())
    }
}

/// Appends one line in one write, so that it is there wholly or not at all.
pub(crate) fn append(journal: &mut File, line: &str) -> io::Result<()> {
    journal.write_all(format!("{line}\n").as_bytes())
}

/// What a journal tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub run: Option<Run>,
    /// Wanted up: started, and not stopped since.
    pub wanted: bool,
    /// The last run that has ended.
    pub ended: Option<Ended>,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub code: i32,
    pub started_ms: u64,
    pub finished_ms: u64,
}

/// The last run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub exits_offset: u64,
    pub started_ms: u64,
    pub restarts: u32,
    /// When it was started, in ms since the machine was: nobody sets that clock.
    pub boot_ms: u64,
    pub pid: Option<i32>,
    pub failed: bool,
    /// Code and time in ms.
    pub exit: Option<(i32, u64)>,
}

impl History {
    fn of(text: &str) -> Self {
        let mut history = History::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let word = words.next().unwrap_or_default();
            let mut number = || words.next().and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
            match (word, history.run.as_mut()) {
                ("start", _) => {
                    history.wanted = true;
                    history.run = Some(Run {
                        exits_offset: number(),
                        started_ms: number(),
                        restarts: number() as u32,
                        boot_ms: number(),
                        ..Run::default()
                    });
                }
                ("pid", Some(run)) => run.pid = Some(number() as i32),
                ("failed", Some(run)) => run.failed = true,
                ("exit", Some(run)) => {
                    let (code, finished_ms) = (number() as i32, number());
                    run.exit = Some((code, finished_ms));
                    history.ended = Some(Ended { code, started_ms: run.started_ms, finished_ms });
                }
                ("stop", _) => history.wanted = false,
                _ => {}
            }
        }
        history
    }
}

fn new_id() -> io::Result<String> {
    let mut random = [0u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// Names that are safe as a directory's.
pub(crate) fn check_name(name: &str) -> Result<(), RuntimeError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= 200 && name.chars().all(fine) {
        return Ok(());
    }
    Err(RuntimeError::Unsupported {
        what: format!("the container name `{}`", name.escape_default()),
        why: "use up to 200 letters, digits, `_`, `.` and `-`, a letter or digit first".into(),
    })
}

/// The directories of all containers.
pub(crate) fn all(containers: &Path) -> Vec<(String, Directory)> {
    let entries = fs::read_dir(containers).into_iter().flatten().flatten();
    entries.filter_map(|e| Some((e.file_name().into_string().ok()?, Directory(e.path())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_is_replayed() {
        let text = "start 0 5 0\npid          77\nexit 3 9\nstart 40 11 1\npid   78\nstop\n";
        let history = History::of(text);
        assert!(!history.wanted);
        let run = history.run.unwrap();
        assert_eq!((run.exits_offset, run.restarts, run.pid, run.exit), (40, 1, Some(78), None));
        let ended = Ended { code: 3, started_ms: 5, finished_ms: 9 };
        assert_eq!(history.ended, Some(ended), "what ended before is not forgotten");
    }

    #[test]
    fn names_stay_in_their_directory() {
        assert!(check_name("clab-a_b.c-n1").is_ok());
        for bad in ["", "..", ".x", "a/b", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
