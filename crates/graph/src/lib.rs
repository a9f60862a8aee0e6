//! Drawings of a lab, from its topology alone.
//!
//! ```text
//! Lab ─► Picture (nodes, lines between them) ─► dot.rs | mermaid.rs | drawio.rs
//! ```

mod dot;
mod drawio;
mod layout;
mod mermaid;
mod picture;

pub use dot::dot;
pub use drawio::drawio;
pub use mermaid::{Direction, mermaid};
pub use picture::{End, Line, Picture, Point};
