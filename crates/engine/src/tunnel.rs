//! Tunnels as topology files write them, for the datapath.

use crate::EngineError;
use netloom_datapath::link::vxlan::VxlanSpec;
use netloom_datapath::{Netns, Socket, observe, route};
use netloom_plan::VxlanParameters;
use netloom_topology::{Lab, LinkKind, Tunnel};
use std::borrow::Cow;
use std::collections::BTreeMap;
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

/// The lab with addresses for the names tunnels lead to, as they are now; names that lead nowhere
/// stay. All are asked for at once, and before anything is locked: a name server may be slow.
pub fn looked_up(lab: &Lab) -> Cow<'_, Lab> {
    let mut found: BTreeMap<String, Option<IpAddr>> = BTreeMap::new();
    for tunnel in lab.links.iter().filter_map(|l| tunnel_of(&l.kind)) {
        if tunnel.remote.parse::<IpAddr>().is_err() {
            found.insert(tunnel.remote.clone(), None);
        }
    }
    if found.is_empty() {
        return Cow::Borrowed(lab);
    }
    std::thread::scope(|scope| {
        for (name, address) in &mut found {
            scope.spawn(|| {
                let first = (name.as_str(), 0).to_socket_addrs().ok().and_then(|mut a| a.next());
                *address = first.map(|a| a.ip());
            });
        }
    });
    let mut lab = lab.clone();
    for link in &mut lab.links {
        if let LinkKind::Vxlan { tunnel } | LinkKind::VxlanStitch { tunnel } = &mut link.kind
            && let Some(Some(address)) = found.get(&tunnel.remote)
        {
            tunnel.remote = address.to_string();
        }
    }
    Cow::Owned(lab)
}

/// The tunnel of a link that is one.
pub fn tunnel_of(kind: &LinkKind) -> Option<&Tunnel> {
    match kind {
        LinkKind::Vxlan { tunnel } | LinkKind::VxlanStitch { tunnel } => Some(tunnel),
        _ => None,
    }
}

/// What fits into a tunnel on the way to its other end, as long as there is one: the MTU of the
/// interface on that way without the outer headers (Ethernet 14, UDP 8, VXLAN 8, IP 20 or 40).
pub fn room(host: &mut Socket, remote: IpAddr) -> Result<Option<u32>, EngineError> {
    let Some(device) = route::towards(host, remote)? else { return Ok(None) };
    let headers = if remote.is_ipv4() { 50 } else { 70 };
    Ok(observe::link(host, &device)?.and_then(|link| link.mtu.checked_sub(headers)))
}

/// The address of a tunnel's other end.
pub fn remote(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` leads to no address"))
}
