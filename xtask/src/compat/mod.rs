//! Comparisons with what the systems we replace make of the same inputs.

pub mod docker;
pub mod errors;
pub mod resolve;
mod rules;
