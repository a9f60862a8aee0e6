//! Runs a graph of tasks with bounded concurrency, each as soon as what it waits for is over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// What came of one try of a task.
pub enum Outcome<E> {
    /// It is over; those that wait for it may go on.
    Done,
    /// Not yet; try again after this time.
    Later(Duration),
    /// It failed; nothing that waits for it is started.
    Failed(E),
}

struct State<E> {
    waiting: Vec<usize>,
    ready: BinaryHeap<Reverse<(Instant, usize)>>,
    running: usize,
    left: usize,
    failures: Vec<(usize, E)>,
    stop: bool,
    keep_going: bool,
}

/// What is run, and how.
pub struct Graph<'a> {
    /// For each task the tasks that must be over before.
    pub before: &'a [Vec<usize>],
    /// Most tasks at once.
    pub workers: usize,
    /// Whether what does not wait for a failed task is done all the same.
    pub keep_going: bool,
}

/// Runs all tasks. `stop` is asked before each task. Returns the failures by task, and how many
/// tasks were never started.
pub fn run<E: Send>(
    graph: &Graph<'_>,
    stop: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn(usize) -> Outcome<E> + Sync),
) -> (Vec<(usize, E)>, usize) {
    let Graph { before, workers, keep_going } = *graph;
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); before.len()];
    for (task, deps) in before.iter().enumerate() {
        for &dep in deps {
            after[dep].push(task);
        }
    }
    let now = Instant::now();
    let waiting: Vec<usize> = before.iter().map(Vec::len).collect();
    let ready = waiting
        .iter()
        .enumerate()
        .filter(|(_, n)| **n == 0)
        .map(|(t, _)| Reverse((now, t)))
        .collect();
    let state = Mutex::new(State {
        waiting,
        ready,
        running: 0,
        left: before.len(),
        failures: Vec::new(),
        stop: false,
        keep_going,
    });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, before.len().max(1)) {
            scope.spawn(|| worker(&state, &changed, &after, stop, work));
        }
    });
    let state = state.into_inner().unwrap_or_else(|e| e.into_inner());
    (state.failures, state.left)
}

fn worker<E: Send>(
    state: &Mutex<State<E>>,
    changed: &Condvar,
    after: &[Vec<usize>],
    stop: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn(usize) -> Outcome<E> + Sync),
) {
    let mut guard = state.lock().unwrap_or_else(|e| e.into_inner());
    loop {
        if guard.stop || stop() || (guard.ready.is_empty() && guard.running == 0) {
            guard.stop = true;
            changed.notify_all();
            return;
        }
        let now = Instant::now();
        let next = guard.ready.peek().map(|Reverse((at, _))| *at);
        let wait = match next {
            Some(at) if at <= now => None,
            Some(at) => Some(at - now),
            None => Some(Duration::from_secs(1)),
        };
        if let Some(wait) = wait {
            let wait = wait.min(Duration::from_millis(200));
            guard = changed.wait_timeout(guard, wait).unwrap_or_else(|e| e.into_inner()).0;
            continue;
        }
        let Some(Reverse((_, task))) = guard.ready.pop() else { continue };
        guard.running += 1;
        drop(guard);
        let outcome = work(task);
        guard = state.lock().unwrap_or_else(|e| e.into_inner());
        guard.running -= 1;
        // This worker takes one of the tasks that became ready; the others need somebody.
        let mut others = 0;
        match outcome {
            Outcome::Done => {
                guard.left -= 1;
                let now = Instant::now();
                for &next in &after[task] {
                    guard.waiting[next] -= 1;
                    if guard.waiting[next] == 0 {
                        guard.ready.push(Reverse((now, next)));
                        others += 1;
                    }
                }
            }
            Outcome::Later(wait) => guard.ready.push(Reverse((Instant::now() + wait, task))),
            Outcome::Failed(e) => {
                guard.left -= 1;
                guard.failures.push((task, e));
                guard.stop |= !guard.keep_going;
            }
        }
        if guard.ready.is_empty() && guard.running == 0 {
            changed.notify_all();
        }
        for _ in 1..others {
            changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_failure_ends_it_unless_the_rest_is_wanted() {
        let before = vec![vec![]; 100];
        let fails = |t: usize| if t == 3 { Outcome::Failed("no") } else { Outcome::Done };
        let graph = Graph { before: &before, workers: 1, keep_going: false };
        assert_eq!(run(&graph, &|| false, &fails), (vec![(3, "no")], 96));
        let graph = Graph { keep_going: true, ..graph };
        assert_eq!(run(&graph, &|| false, &fails), (vec![(3, "no")], 0));
    }

    #[test]
    fn order_holds_and_failures_stop_what_waits() {
        let before = vec![vec![], vec![0], vec![0], vec![1, 2], vec![], vec![4]];
        let log = Mutex::new(Vec::new());
        let graph = Graph { before: &before, workers: 3, keep_going: true };
        let (failures, left) = run(&graph, &|| false, &|t| {
            log.lock().unwrap().push(t);
            if t == 4 { Outcome::Failed("no") } else { Outcome::Done }
        });
        assert_eq!(failures, [(4, "no")]);
        assert_eq!(left, 1, "task 5 waits for 4 and never starts");
        let log = log.into_inner().unwrap();
        let at = |t: usize| log.iter().position(|x| *x == t).unwrap();
        assert!(at(0) < at(1) && at(1) < at(3) && at(2) < at(3));
    }

    #[test]
    fn later_is_tried_again() {
        let tries = AtomicUsize::new(0);
        let graph = Graph { before: &[vec![]], workers: 2, keep_going: false };
        let (failures, left) =
            run::<()>(&graph, &|| false, &|_| match tries.fetch_add(1, Ordering::SeqCst) {
                0..3 => Outcome::Later(Duration::from_millis(1)),
                _ => Outcome::Done,
            });
        assert!(failures.is_empty());
        assert_eq!((tries.load(Ordering::SeqCst), left), (4, 0));
    }

    #[test]
    fn stops_when_asked() {
        let graph = Graph { before: &[vec![], vec![]], workers: 1, keep_going: false };
        let (_, left) = run::<()>(&graph, &|| true, &|_| Outcome::Done);
        assert_eq!(left, 2);
    }
}
