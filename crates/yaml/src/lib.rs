//! YAML text to a tree that keeps the position of every value.
//!
//! Reads YAML as `gopkg.in/yaml.v2` does (YAML 1.1 words, merge keys), because that is what the
//! files were written for. Knows: YAML. Must never know: what the keys mean.

mod load;
mod node;
mod scalar;

pub use load::load;
pub use node::{Entry, Node, Value};
pub use scalar::Scalar;
