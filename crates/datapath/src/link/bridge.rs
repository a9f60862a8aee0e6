//! Linux bridges.

use netlink_packet_route::link::{BridgeStpState, InfoBridge, InfoData, InfoKind};

use super::{Comparison, NewLink};
use crate::error::Result;
use crate::observe::{self, KindData};
use crate::socket::Socket;
use crate::{MacAddr, link};

/// Forwards LLDP (01:80:c2:00:00:0e), which a bridge drops by default.
pub const FORWARD_LLDP: u16 = 1 << 14;
/// All group addresses the kernel lets a bridge forward; it refuses bits 0-2
/// (STP, PAUSE, LACP), which only a stitch passes.
pub const FORWARD_ALL: u16 = 0xfff8;
/// A bridge holds no more ports than this.
pub const MAX_PORTS: usize = 1023;

/// A bridge; spanning tree is off.
#[derive(Debug, Clone)]
pub struct BridgeSpec {
    /// Name, at most 15 characters.
    pub name: String,
    /// MTU; none leaves it to the ports.
    pub mtu: Option<u32>,
    /// Ethernet address; none lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// Which link-local group addresses are forwarded.
    pub group_fwd_mask: u16,
    /// Group, 0 for none.
    pub group: u32,
    /// Whether it is set up; one that is up already stays so.
    pub up: bool,
}

impl BridgeSpec {
    /// A bridge that forwards LLDP, with nothing else set.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mtu: None,
            mac: None,
            group_fwd_mask: FORWARD_LLDP,
            group: 0,
            up: true,
        }
    }
}

/// Makes a bridge in the socket's namespace.
pub fn create(socket: &mut Socket, spec: &BridgeSpec) -> Result<()> {
    let data = vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::GroupFwdMask(spec.group_fwd_mask),
    ];
    let mut new = NewLink::named(&spec.name)?.mtu(spec.mtu).mac(spec.mac).group(spec.group);
    if spec.up {
        new = new.up();
    }
    let request = new.request(InfoKind::Bridge, Some(InfoData::Bridge(data)));
    link::act(socket, "create bridge", &spec.name, request)?;
    // Said once more it holds: from its creation alone the bridge would follow its ports.
    spec.mtu.map_or(Ok(()), |mtu| link::set_mtu(socket, &spec.name, mtu))
}

/// Makes the bridge unless an equal one is there; says whether it was made. One that was left down
/// is set up, and gets its MTU back.
pub fn ensure(socket: &mut Socket, spec: &BridgeSpec) -> Result<bool> {
    let Some(found) = observe::link(socket, &spec.name)? else {
        return create(socket, spec).map(|()| true);
    };
    let comparison = Comparison { subject: socket.subject(&spec.name) };
    comparison.field("kind", &"bridge", &found.kind.as_str())?;
    comparison.given("MAC", &spec.mac.map(Some), &found.mac)?;
    let wanted = KindData::Bridge { group_fwd_mask: spec.group_fwd_mask, stp: false };
    comparison.field("bridge settings", &wanted, &found.data)?;
    if let Some(mtu) = spec.mtu.filter(|mtu| *mtu != found.mtu) {
        link::set_mtu(socket, &spec.name, mtu)?;
    }
    if spec.up && !found.up {
        link::set_up(socket, &spec.name)?;
    }
    Ok(false)
}

/// The names of the ports of a bridge.
pub fn ports(socket: &mut Socket, bridge: &str) -> Result<Vec<String>> {
    let index = link::index(socket, bridge)?;
    let links = observe::links(socket)?;
    Ok(links.into_iter().filter(|l| l.master == Some(index)).map(|l| l.name).collect())
}

/// Makes the interface a port of the bridge unless it is one; says whether it
/// was added. A port of another bridge is an error.
pub fn ensure_port(socket: &mut Socket, bridge: &str, port: &str) -> Result<bool> {
    let index = link::index(socket, bridge)?;
    let Some(found) = observe::link(socket, port)? else {
        return Err(crate::Error::NotFound { subject: socket.subject(port) });
    };
    match found.master {
        None => link::set_master(socket, port, Some(bridge)).map(|()| true),
        master => {
            let comparison = Comparison { subject: socket.subject(port) };
            comparison.field("master", &Some(index), &master)?;
            Ok(false)
        }
    }
}
