//! Waiting with a deadline, and saying what was seen when it passes.

use std::time::{Duration, Instant};

/// Asks again and again until the answer is `Ok`; after the deadline panics with the last `Err`.
pub fn until<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {seconds} s for this: {what}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Asks until it is so.
pub fn eventually(what: &str, seconds: u64, mut look: impl FnMut() -> bool) {
    until(what, seconds, || if look() { Ok(()) } else { Err("not so".into()) });
}
