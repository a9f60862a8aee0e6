//! From a lab to a plan: every name, MAC and address decided, nothing left to execution.
//!
//! Knows: labs, and what others hold (as data). Must never know: how anything is made. No IO, no
//! clock, no randomness: the same input gives the same plan.

mod address;
mod difference;
mod link;
mod mac;
mod names;
mod network;
mod node;
mod objects;
mod order;
mod port;

pub use address::{AddressError, Pool};
pub use difference::{Difference, difference};
pub use link::{HandEnd, link_by_hand, plan_links};
pub use mac::Macs;
pub use names::{Place, kernel_name, port_name};
pub use network::{Network, NetworkError, Reserved};
pub use node::{plan_nodes, runs};
pub use objects::{
    Attachment, Elsewhere, Impl, LinkEnd, LinkObject, NamespaceOf, NodeObject, Objects, Port, Runs,
    VxlanParameters,
};
pub use order::{Order, StageTask, Task, order};
