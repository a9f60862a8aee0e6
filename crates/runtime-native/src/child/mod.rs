//! A child's way from clone to exec: a list of steps prepared by the parent, executed by raw
//! system calls in a child that shares the parent's memory.
//!
//! Everything that allocates, looks up or decides happens in the parent. The child only walks the
//! list, and on failure leaves the step's number and the error in memory both can see.

mod clone;
mod perform;
mod step;

pub(crate) use clone::{Failed, spawn};
pub(crate) use step::{MountArgs, Op, Program, Step, Tolerate};
