//! Going on after the last supervisor was killed.

use super::container::Container;
use super::exits::Exit;
use super::{Supervisor, lock};
use crate::process::{Identity, boot_id, boot_ms, start_ticks};
use crate::record::{self, History};
use crate::say::say;
use netloom_runtime::{Health, RuntimeError};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a child may take from its creation to the execution of its program.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

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
        // What a journal says holds once nobody is on his way between clone and exec any more.
        if !self.all_arrived() {
            say!("supervisor: a start of the last supervisor has not come to its end");
        }
        let mut open = Vec::new();
        for (name, directory) in record::all(&path) {
            let alone = |e: std::io::Error| say!("supervisor: {name} is left alone: {e}");
            let record = match directory.load() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    // Killed while it was being created or removed: nothing refers to it.
                    let _ = fs::remove_dir_all(&directory.0);
                    continue;
                }
                Err(e) => {
                    alone(e);
                    continue;
                }
            };
            let container = Arc::new(Container::new(record, directory));
            match container.directory.replay() {
                Ok(history) => open.extend(self.resume(&container, history)),
                Err(e) => {
                    alone(e);
                    continue;
                }
            }
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

    /// Waits until every child of the holder's has executed its program or ended: one that has not
    /// shows this program's own command line.
    fn all_arrived(&self) -> bool {
        let me = std::process::id();
        let holder = self.holder.identity.pid;
        let until = Instant::now() + ON_ITS_WAY;
        let on_its_way = || {
            let tasks =
                fs::read_dir(format!("/proc/{holder}/task")).into_iter().flatten().flatten();
            let children = tasks.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
            let pids: Vec<u32> = children
                .flat_map(|c| c.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .filter_map(|p| p.parse().ok())
                .collect();
            pids.into_iter().filter(|pid| *pid != me).any(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|b| *b == 0).any(|word| word == b"__supervisor")
            })
        };
        while on_its_way() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Takes over what the journal says; the run that may still be going on.
    fn resume(self: &Arc<Self>, container: &Arc<Container>, history: History) -> Option<Open> {
        let run = history.run?;
        let mut life = container.life();
        life.wanted = history.wanted;
        life.restarts = run.restarts;
        if let Some(ended) = history.ended {
            life.exit_code = Some(ended.code);
            life.started_ms = Some(ended.started_ms);
            life.finished_ms = Some(ended.finished_ms);
        }
        if run.exit.is_some() {
            if container.restart_wanted(&life) {
                self.restart_later(container, &mut life);
            } else if container.spec.auto_remove && life.wanted {
                self.remove_soon(container, &life);
            }
            return None;
        }
        let Some(pid) = run.pid.filter(|_| !run.failed) else {
            // A start that came to nothing: whoever asked for it asks again, unless it was the
            // restart policy. One that failed by itself counts; one cut short is done again.
            life.counted = !run.failed;
            if run.restarts > 0 && container.restart_wanted(&life) {
                self.restart_later(container, &mut life);
            } else {
                life.counted = false;
            }
            return None;
        };
        life.started_ms = Some(run.started_ms);
        let lived = Duration::from_millis(boot_ms().saturating_sub(run.boot_ms));
        life.since = Instant::now().checked_sub(lived);
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
