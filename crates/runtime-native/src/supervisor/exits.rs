//! Exits: the holder writes them to a file and rings; here they reach their containers.

use super::container::{Container, Life};
use super::timers::Job;
use super::{Supervisor, lock};
use crate::process::now_ms;
use crate::say::say;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Exits nobody has asked for yet are remembered up to this number: most are of processes that a
/// container left behind.
const UNCLAIMED: usize = 4096;

/// An exit as the holder wrote it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    pub offset: u64,
    pub pid: i32,
    pub code: i32,
    pub ms: u64,
}

/// What is known of exits.
pub(super) struct Exits {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    position: u64,
    owners: HashMap<i32, Arc<Container>>,
    unclaimed: Vec<Exit>,
}

impl Exits {
    pub fn new(path: PathBuf) -> Self {
        Exits { path, inner: Mutex::default() }
    }

    /// Length of the file: exits of what is started from now on come behind it.
    pub fn offset(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Complete lines from `position` on, and where they end.
    pub fn read(&self, position: u64) -> (Vec<Exit>, u64) {
        let mut text = Vec::new();
        if let Ok(file) = File::open(&self.path) {
            let mut buffer = vec![0; 64 << 10];
            let mut at = position;
            while let Ok(got @ 1..) = file.read_at(&mut buffer, at) {
                text.extend_from_slice(&buffer[..got]);
                at += got as u64;
            }
        }
        let end = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut exits = Vec::new();
        let mut offset = position;
        for line in String::from_utf8_lossy(&text[..end]).split_inclusive('\n') {
            let mut words = line.split_ascii_whitespace().map(|w| w.parse::<u64>().ok());
            let mut next = || words.next().flatten();
            if let (Some(pid), Some(_), Some(code), Some(ms)) = (next(), next(), next(), next()) {
                exits.push(Exit { offset, pid: pid as i32, code: code as i32, ms });
            }
            offset += line.len() as u64;
        }
        (exits, position + end as u64)
    }

    /// Starts reading here.
    pub fn set_position(&self, position: u64) {
        lock(&self.inner).position = position;
    }

    /// Announces whose exit the pid's next one is; the exit itself when it has happened.
    pub fn claim(&self, pid: i32, offset: u64, container: &Arc<Container>) -> Option<Exit> {
        let mut inner = lock(&self.inner);
        if let Some(at) = inner.unclaimed.iter().position(|e| e.pid == pid && e.offset >= offset) {
            return Some(inner.unclaimed.swap_remove(at));
        }
        inner.owners.insert(pid, Arc::clone(container));
        None
    }

    fn news(&self) -> Vec<(Arc<Container>, Exit)> {
        let position = lock(&self.inner).position;
        let (exits, end) = self.read(position);
        let mut inner = lock(&self.inner);
        inner.position = end;
        let mut news = Vec::new();
        for exit in exits {
            match inner.owners.remove(&exit.pid) {
                Some(container) => news.push((container, exit)),
                None => inner.unclaimed.push(exit),
            }
        }
        if inner.unclaimed.len() > 2 * UNCLAIMED {
            let surplus = inner.unclaimed.len() - UNCLAIMED;
            inner.unclaimed.drain(..surplus);
        }
        news
    }
}

impl Supervisor {
    /// Handles exits until the holder is gone.
    pub(super) fn watch_exits(self: &Arc<Self>, mut doorbell: UnixStream) {
        let mut rings = [0u8; 256];
        loop {
            for (container, exit) in self.exits.news() {
                self.ended(&container, exit);
            }
            match doorbell.read(&mut rings) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// A first process has ended.
    pub(super) fn ended(self: &Arc<Self>, container: &Arc<Container>, exit: Exit) {
        // All it wrote is in the log before anyone hears of the end.
        if !container.group.is_empty() && container.spec.pid != netloom_runtime::PidNs::Private {
            // First, or what it left behind could write for ever.
            let _ = container.group.remove();
        }
        self.console.finish(&container.spec.name, &self.holder);
        let line = format!("exit {} {}", exit.code, exit.ms);
        if let Err(e) = container.directory.note(&line) {
            say!("supervisor: {}: {e}", container.spec.name);
        }
        let mut life = container.life();
        life.running = None;
        life.health = None;
        life.exit_code = Some(exit.code);
        life.finished_ms = Some(exit.ms);
        life.generation += 1;
        let restart = container.restart_wanted(&life);
        if restart {
            self.restart_later(container, &mut life);
        } else if container.spec.auto_remove && life.wanted {
            self.remove_soon(container, &life);
        }
        drop(life);
        container.changed();
    }

    pub(super) fn remove_soon(&self, container: &Container, life: &Life) {
        let (name, generation) = (container.spec.name.clone(), life.generation);
        self.timers.at(Instant::now(), Job::Remove { name, generation });
    }

    /// Notes the end of a process that nobody saw ending.
    pub(super) fn lost(self: &Arc<Self>, container: &Arc<Container>) {
        self.ended(container, Exit { offset: 0, pid: 0, code: 137, ms: now_ms() });
    }
}
