//! Linux links through netlink: network namespaces, veth, bridge, macvlan,
//! vxlan, tap, tc stitches, addresses, routes and the management network; ports
//! of Open vSwitch bridges.
//!
//! Everything is synchronous. A [`Socket`] is bound to the namespace it was
//! opened in, whichever thread uses it later; the `*_many` functions keep many
//! requests in flight and answer for each item on its own. The `ensure_*`
//! functions verify by reading back: `Ok(true)` made it, `Ok(false)` found it
//! equal, and an error names the first field that differs.

pub mod addr;
pub mod carrier;
pub mod carry;
pub mod error;
pub mod impair;
pub mod link;
pub mod mgmt;
pub mod netns;
pub mod observe;
pub mod offload;
pub mod ovs;
pub mod probe;
mod program;
mod raw;
pub mod route;
pub mod socket;
pub mod stitch;
pub mod sysctl;

pub use addr::Cidr;
pub use error::{Error, Result};
pub use netns::Netns;
pub use observe::LinkInfo;
pub use socket::Socket;

/// An Ethernet address.
pub type MacAddr = [u8; 6];
