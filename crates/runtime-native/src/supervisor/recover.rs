//! Going on after the last supervisor was killed.

use super::container::Container;
use super::exits::Exit;
use super::{Supervisor, lock};
use crate::process::{Identity, boot_id, start_ticks};
use crate::record;
use netloom_runtime::{Health, RuntimeError};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a child may take from its creation to its first step.
const ON_ITS_WAY: Duration = Duration::from_millis(10);

/// A run whose end is not in the journal.
struct Open {
    container: Arc<Container>,
    pid: i32,
    offset: u64,
    /// Start time, when there is such a process (or zombie) now.
    ticks: Option<u64>,
}

impl Supervisor {
    /// Reads every record. Runs that ended meanwhile are ended now, with the policy's consequences.
    pub(super) fn recover(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let path = self.layout.containers();
        fs::create_dir_all(&path)
            .map_err(|e| RuntimeError::io(format!("make {}", path.display()), e))?;
        let mut open = Vec::new();
        let mut waited = false;
        for (name, directory) in record::all(&path) {
            let Some(record) = directory.load() else {
                // Killed while it was being created or removed: nothing refers to it.
                let _ = fs::remove_dir_all(&directory.0);
                continue;
            };
            let container = match Container::new(record, directory) {
                Ok(container) => Arc::new(container),
                Err(e) => {
                    eprintln!("supervisor: {name} is left alone: {e}");
                    continue;
                }
            };
            open.extend(self.resume(&container, &mut waited));
            lock(&self.containers).insert(name, container);
        }
        // Whoever was there a moment ago and is gone now has its exit in the file by then.
        let (exits, end) = self.exits.read(0);
        self.exits.set_position(end);
        for run in open {
            self.settle(&run, &exits);
        }
        Ok(())
    }

    /// Takes over what the journal says; the run that may still be going on.
    fn resume(self: &Arc<Self>, container: &Arc<Container>, waited: &mut bool) -> Option<Open> {
        let mut history = container.directory.replay();
        if history
            .run
            .as_ref()
            .is_some_and(|run| run.pid.is_none() && !run.failed && run.exit.is_none())
        {
            // A child on its way may be about to write its pid.
            if !std::mem::replace(waited, true) {
                std::thread::sleep(ON_ITS_WAY);
            }
            history = container.directory.replay();
        }
        let run = history.run?;
        let mut life = container.life();
        life.wanted = history.wanted;
        life.restarts = run.restarts;
        if let Some((code, at)) = run.exit {
            life.exit_code = Some(code);
            life.started_ms = Some(run.started_ms);
            life.finished_ms = Some(at);
            if container.restart_wanted(&life) {
                self.restart_later(container, &mut life);
            }
            return None;
        }
        let Some(pid) = run.pid.filter(|_| !run.failed) else {
            // A start that came to nothing: whoever asked for it asks again, unless it was the
            // restart policy.
            if run.restarts > 0 && container.restart_wanted(&life) {
                life.restarts -= 1;
                self.restart_later(container, &mut life);
            }
            return None;
        };
        life.started_ms = Some(run.started_ms);
        drop(life);
        let (container, offset) = (Arc::clone(container), run.exits_offset);
        Some(Open { container, pid, offset, ticks: start_ticks(pid) })
    }

    fn settle(self: &Arc<Self>, run: &Open, exits: &[Exit]) {
        let container = &run.container;
        let name = &container.spec.name;
        if let Ok(Some(master)) = self.holder.get(&super::console::key(name)) {
            self.console.add(name, master, &container.directory.log());
        }
        if let Some(exit) = exits.iter().find(|e| e.pid == run.pid && e.offset >= run.offset) {
            return self.ended(container, *exit);
        }
        let Some(ticks) = run.ticks else { return self.lost(container) };
        let generation = {
            let mut life = container.life();
            life.running = Some(Identity { pid: run.pid, ticks, boot: boot_id() });
            life.since = Some(Instant::now());
            life.health = container.spec.healthcheck.as_ref().map(|_| Health::Starting);
            life.generation += 1;
            life.generation
        };
        match self.exits.claim(run.pid, run.offset, container) {
            Some(exit) => self.ended(container, exit),
            None => self.begin_checks(container, generation),
        }
    }
}
