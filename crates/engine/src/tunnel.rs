//! Tunnels as topology files write them, for the datapath.

use crate::EngineError;
use netloom_datapath::Netns;
use netloom_datapath::link::vxlan::VxlanSpec;
use netloom_plan::VxlanParameters;
use std::net::{IpAddr, ToSocketAddrs};

/// A tunnel interface of that name in a namespace.
pub fn tunnel<'a>(
    netns: &'a Netns,
    name: &str,
    t: &VxlanParameters,
) -> Result<VxlanSpec<'a>, EngineError> {
    let remote = remote(&t.remote).map_err(std::io::Error::other)?;
    let mut spec = VxlanSpec::new(netns, name, t.vni, remote);
    spec.port = t.dst_port;
    // The kernel takes a range, and one of a single port as none.
    let last = t.src_port.saturating_add(1);
    spec.source_ports = (t.src_port > 0).then_some((t.src_port.min(last - 1), last));
    spec.device = (!t.parent.is_empty()).then(|| t.parent.clone());
    Ok(spec)
}

/// The address of a tunnel's other end, written as one or as a name that is looked up now.
pub fn remote(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let mut found =
        (text, 0).to_socket_addrs().map_err(|e| format!("`{text}` leads to no address: {e}"))?;
    found.next().map(|a| a.ip()).ok_or_else(|| format!("`{text}` leads to no address"))
}
