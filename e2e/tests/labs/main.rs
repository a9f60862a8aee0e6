//! The labs of the repository, whole: the demo and the seed lab, on images built from Debian.

mod cumulus;
mod demo;
mod snat;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One lab at a time: they are timed.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
