//! The user's wish to stop (Ctrl-C), which what is done asks for between two steps.

use crate::say::say;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether the user wants to stop.
pub fn wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// From now on the first signal is a wish, which is told, and a second one ends the program at once,
/// as it would without this.
pub fn listen() -> Result<()> {
    on_signal(|| say!("interrupted; once more ends at once"))
}

/// As [`listen`], where the wish is how it is meant to end.
pub fn listen_quietly() -> Result<()> {
    on_signal(|| ())
}

fn on_signal(told: fn()) -> Result<()> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    std::thread::spawn(move || {
        while !flag.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        WANTED.store(true, Ordering::Relaxed);
        told();
    });
    Ok(())
}
