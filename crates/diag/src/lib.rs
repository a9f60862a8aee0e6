//! Diagnostics for the person at the keyboard: what failed, where, why, what to do.
//!
//! Knows: text files and positions in them. Must never know: topologies, kinds, networks.

mod diagnostic;
mod render;
mod source;
mod suggest;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use render::{render, render_json};
pub use source::{Position, SourceFile, SourceId, Sources, Span};
pub use suggest::did_you_mean;
