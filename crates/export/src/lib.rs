//! What other programs read of a lab: `topology-data.json`, lines of the host's hosts file, ssh
//! configuration. Text from a lab and its plan, nothing else.
//!
//! Knows: the forms existing tools rely on. Must never know: where the text goes.

mod hosts;
mod ssh;
mod topology_data;

pub use hosts::{host_block, with_block, without_block, without_nodes};
pub use ssh::{ssh_config, without_hosts};
pub use topology_data::topology_data;
