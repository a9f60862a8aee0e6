//! Many starts at once, from many threads, while memory is short. `NETLOOM_FULL=1` makes them
//! five thousand.

mod lab;

use lab::Lab;
use netloom_runtime::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const THREADS: usize = 8;

/// Bytes the kernel says could be had without swapping.
fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|l| l.starts_with("MemAvailable:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Takes memory until little is left, and gives some back when it gets too little.
fn squeeze(until: &AtomicBool) {
    const CHUNK: usize = 64 << 20;
    const LOW: u64 = 1 << 30;
    const HIGH: u64 = 2 << 30;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while !until.load(Ordering::Relaxed) {
        match available() {
            left if left > HIGH => taken.push(vec![1; CHUNK]),
            left if left < LOW => drop(taken.pop()),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn starts_from_eight_threads() {
    let full = std::env::var("NETLOOM_FULL").is_ok();
    let each = if full { 625 } else { 16 };
    let lab = Lab::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if full {
            scope.spawn(|| squeeze(&done));
        }
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let lab = &lab;
                scope.spawn(move || {
                    for i in 0..each {
                        let name = format!("t{thread}-{i}");
                        let state = lab.up(&lab.spec(&name, "exec sleep 100000"));
                        assert_eq!(state.status, Status::Running, "{name}");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.into_iter().all(|t| t.is_ok()));
    });
    let states = lab.runtime.list().unwrap();
    assert_eq!(states.len(), THREADS * each);
    let wrong: Vec<_> = states.iter().filter(|s| s.status != Status::Running).collect();
    assert!(wrong.is_empty(), "{} do not run: {:?}", wrong.len(), wrong.first());
    // Each exactly once, and reachable.
    assert_eq!(lab::children(lab.runtime.holder_pid()).len() - 1, THREADS * each);
    for thread in 0..THREADS {
        assert_eq!(lab.out(&format!("t{thread}-{}", each - 1), "echo here"), "here");
    }
}
