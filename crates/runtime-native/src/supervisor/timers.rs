//! What is to be done later, and the threads that do it.

use super::lock;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Threads that restart and remove.
pub(super) const RESTARTERS: usize = 2;
/// Threads that run health checks; each is busy as long as its check is.
pub(super) const CHECKERS: usize = 16;

/// Something to do.
#[derive(Debug, Clone)]
pub(super) enum Job {
    Restart { name: String, generation: u64 },
    Remove { name: String, generation: u64 },
    Check { name: String, generation: u64, failures: u32 },
}

/// Jobs by time, and jobs that are due.
#[derive(Default)]
pub(super) struct Timers {
    waiting: Mutex<Waiting>,
    earlier: Condvar,
    restarts: Queue,
    checks: Queue,
}

#[derive(Default)]
struct Waiting {
    /// The number keeps two jobs of the same instant apart.
    jobs: BTreeMap<(Instant, u64), Job>,
    count: u64,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<std::collections::VecDeque<Job>>,
    more: Condvar,
}

impl Queue {
    fn push(&self, job: Job) {
        lock(&self.jobs).push_back(job);
        self.more.notify_one();
    }

    fn pop(&self) -> Job {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.pop_front() {
                return job;
            }
            jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Timers {
    pub fn at(&self, when: Instant, job: Job) {
        let mut waiting = lock(&self.waiting);
        waiting.count += 1;
        let key = (when, waiting.count);
        waiting.jobs.insert(key, job);
        drop(waiting);
        self.earlier.notify_one();
    }

    /// Moves jobs that are due to the threads that do them.
    pub fn run(&self) {
        let mut waiting = lock(&self.waiting);
        loop {
            let now = Instant::now();
            let next = waiting.jobs.first_key_value().map(|(key, _)| key.0);
            if next.is_some_and(|at| at <= now) {
                match waiting.jobs.pop_first() {
                    Some((_, job @ Job::Check { .. })) => self.checks.push(job),
                    Some((_, job)) => self.restarts.push(job),
                    None => {}
                }
                continue;
            }
            let pause = next.map_or(Duration::from_secs(3600), |at| at - now);
            waiting = match self.earlier.wait_timeout(waiting, pause) {
                Ok((guard, _)) => guard,
                Err(e) => e.into_inner().0,
            };
        }
    }

    pub fn next_restart(&self) -> Job {
        self.restarts.pop()
    }

    pub fn next_check(&self) -> Job {
        self.checks.pop()
    }
}
