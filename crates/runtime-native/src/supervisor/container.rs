//! One container as the supervisor knows it.

use super::lock;
use crate::process::Identity;
use crate::record::{Directory, Record};
use crate::start::cgroup::Group;
use netloom_runtime::{ContainerSpec, ContainerState, Health, RestartPolicy, Status};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A run this long makes the next delay the first one again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// A container.
pub(super) struct Container {
    pub id: String,
    pub spec: ContainerSpec,
    pub directory: Directory,
    pub group: Group,
    /// Held while it is started, stopped or removed.
    pub operation: Mutex<()>,
    life: Mutex<Life>,
    changed: Condvar,
}

/// What changes.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub running: Option<Identity>,
    pub health: Option<Health>,
    pub exit_code: Option<i32>,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    pub restarts: u32,
    /// The next restart is one that was counted already and came to nothing with its supervisor.
    pub counted: bool,
    /// Started, and not stopped since.
    pub wanted: bool,
    /// Waiting for the restart delay.
    pub restarting: bool,
    pub removed: bool,
    /// Counts runs, so that a timer set for one does not act on another.
    pub generation: u64,
    pub since: Option<Instant>,
    delay: Duration,
}

impl Container {
    pub fn new(record: Record, directory: Directory) -> Self {
        Container {
            group: record.group,
            id: record.id,
            spec: record.spec,
            directory,
            operation: Mutex::default(),
            life: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub fn life(&self) -> MutexGuard<'_, Life> {
        lock(&self.life)
    }

    pub fn running(&self) -> Option<Identity> {
        self.life().running.clone()
    }

    pub fn changed(&self) {
        self.changed.notify_all();
    }

    /// Waits until the first process has ended; false when it has not after `limit`.
    pub fn wait_ended(&self, limit: Duration) -> bool {
        let guard = self.life();
        let waited = self.changed.wait_timeout_while(guard, limit, |life| life.running.is_some());
        waited
            .map_or_else(|e| e.into_inner().0.running.is_none(), |(life, _)| life.running.is_none())
    }

    pub fn state(&self) -> ContainerState {
        let life = self.life();
        let status = match (&life.running, life.restarting, life.exit_code) {
            (Some(_), ..) => Status::Running,
            (None, true, _) => Status::Restarting,
            (None, false, Some(_)) => Status::Exited,
            (None, false, None) => Status::Created,
        };
        ContainerState {
            name: self.spec.name.clone(),
            id: self.id.clone(),
            status,
            health: life.health,
            pid: life.running.as_ref().map(|i| i.pid as u32),
            exit_code: life.exit_code,
            started_at: life.started_ms.map(|ms| ms / 1000),
            finished_at: life.finished_ms.map(|ms| ms / 1000),
            restarts: life.restarts,
            labels: self.spec.labels.clone(),
            image: String::new(),
            addresses: Vec::new(),
            mounts: self.spec.binds.iter().map(|b| (text(&b.source), text(&b.target))).collect(),
        }
    }

    /// Whether the policy wants another run after this exit.
    pub fn restart_wanted(&self, life: &Life) -> bool {
        life.wanted
            && !life.removed
            && match self.spec.restart {
                RestartPolicy::No => false,
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
                RestartPolicy::OnFailure(most) => {
                    life.exit_code != Some(0)
                        && most.is_none_or(|most| life.counted || life.restarts < most)
                }
            }
    }
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

impl Life {
    /// How long to wait before the next run.
    pub fn next_delay(&mut self) -> Duration {
        let long = self.since.take().is_some_and(|since| since.elapsed() >= LONG_RUN);
        self.delay = if long {
            FIRST_DELAY
        } else if self.delay.is_zero() {
            // After the death of a supervisor the delay is what it would have been.
            FIRST_DELAY.saturating_mul(1 << self.restarts.min(9)).min(LONGEST_DELAY)
        } else {
            (self.delay * 2).min(LONGEST_DELAY)
        };
        self.delay
    }

    /// A user's own start forgets earlier failures.
    pub fn forget_failures(&mut self) {
        self.delay = Duration::ZERO;
        self.restarts = 0;
        self.counted = false;
    }
}
