//! Health checks: a command in the container, again and again.

use super::container::Container;
use super::timers::Job;
use super::{Supervisor, lock};
use crate::exec;
use netloom_runtime::{ExecSpec, Health};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is kept of a check's output: nobody reads it.
const SAID: usize = 4 << 10;
/// No clock goes much further.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Supervisor {
    /// Plans the first check of a run.
    pub(super) fn begin_checks(&self, container: &Container, generation: u64) {
        if let Some(check) = &container.spec.healthcheck {
            let name = container.spec.name.clone();
            let when = Instant::now() + check.interval.min(Duration::from_secs(1));
            self.timers.at(when, Job::Check { name, generation, failures: 0 });
        }
    }

    /// Runs checks for ever.
    pub(super) fn run_checks(self: &Arc<Self>) {
        loop {
            if let Job::Check { name, generation, failures } = self.timers.next_check() {
                self.check(&name, generation, failures);
            }
        }
    }

    fn check(&self, name: &str, generation: u64, failures: u32) {
        let Some(container) = lock(&self.containers).get(name).cloned() else { return };
        let Some(check) = &container.spec.healthcheck else { return };
        let (init, since) = {
            let life = container.life();
            match &life.running {
                Some(init) if life.generation == generation => (init.clone(), life.since),
                _ => return,
            }
        };
        let command = ExecSpec {
            argv: check.argv.clone(),
            timeout: Some(check.timeout),
            ..ExecSpec::default()
        };
        let result = exec::run(&container.spec, &container.group, &init, &command, SAID);
        let fine = result.is_ok_and(|output| output.code == 0);
        let starting = since.is_some_and(|since| since.elapsed() < check.start_period);
        let failures = match (fine, starting) {
            (true, _) => 0,
            (false, true) => failures,
            (false, false) => failures + 1,
        };
        {
            let mut life = container.life();
            if life.generation != generation || life.running.is_none() {
                return;
            }
            if fine {
                life.health = Some(Health::Healthy);
            } else if failures >= check.retries.max(1) {
                life.health = Some(Health::Unhealthy);
            }
        }
        container.changed();
        let name = name.to_owned();
        let interval = check.interval.min(LONGEST);
        self.timers.at(Instant::now() + interval, Job::Check { name, generation, failures });
    }
}
