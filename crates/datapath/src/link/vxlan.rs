//! VXLAN tunnels to one remote.

use std::net::IpAddr;

use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan};

use super::{Comparison, NewLink};
use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::observe::{self, KindData};
use crate::socket::Socket;
use crate::{MacAddr, link};

/// The port IANA gave VXLAN.
pub const DEFAULT_PORT: u16 = 4789;

/// A VXLAN tunnel; it is set up.
#[derive(Debug, Clone)]
pub struct VxlanSpec<'a> {
    /// Namespace the interface goes to; the underlay stays that of the socket.
    pub netns: &'a Netns,
    /// Name, at most 15 characters.
    pub name: String,
    /// VXLAN network identifier, 24 bits.
    pub id: u32,
    /// Address of the other end, or a multicast group.
    pub remote: IpAddr,
    /// Source address; none lets the route decide.
    pub local: Option<IpAddr>,
    /// Underlay interface, in the namespace of the socket.
    pub device: Option<String>,
    /// UDP destination port.
    pub port: u16,
    /// Range of UDP source ports.
    pub source_ports: Option<(u16, u16)>,
    /// MTU; none lets the kernel take it from the underlay interface.
    pub mtu: Option<u32>,
    /// Ethernet address; none lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// Group, 0 for none.
    pub group: u32,
}

impl<'a> VxlanSpec<'a> {
    /// A tunnel on the default port, with nothing else set.
    pub fn new(netns: &'a Netns, name: impl Into<String>, id: u32, remote: IpAddr) -> Self {
        Self {
            netns,
            name: name.into(),
            id,
            remote,
            local: None,
            device: None,
            port: DEFAULT_PORT,
            source_ports: None,
            mtu: None,
            mac: None,
            group: 0,
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |what, value: String, reason: &str| {
            Err(Error::Invalid { what, value, reason: reason.into() })
        };
        if self.id >= 1 << 24 {
            return invalid("VXLAN id", self.id.to_string(), "it has 24 bits");
        }
        if let Some(local) = self.local.filter(|local| local.is_ipv4() != self.remote.is_ipv4()) {
            return invalid("local address", local.to_string(), "not the family of the remote");
        }
        if self.remote.is_multicast() && self.device.is_none() {
            let remote = self.remote.to_string();
            return invalid("remote", remote, "a multicast group needs an underlay interface");
        }
        Ok(())
    }

    fn data(&self, device: u32) -> Vec<InfoVxlan> {
        let mut data = vec![
            InfoVxlan::Id(self.id),
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(true),
            match self.remote {
                IpAddr::V4(v4) => InfoVxlan::Group(v4),
                IpAddr::V6(v6) => InfoVxlan::Group6(v6),
            },
        ];
        data.extend(self.local.map(|local| match local {
            IpAddr::V4(v4) => InfoVxlan::Local(v4),
            IpAddr::V6(v6) => InfoVxlan::Local6(v6),
        }));
        if device != 0 {
            data.push(InfoVxlan::Link(device));
        }
        data.extend(self.source_ports.map(InfoVxlan::PortRange));
        data
    }
}

fn device(socket: &mut Socket, spec: &VxlanSpec<'_>) -> Result<u32> {
    spec.device.as_ref().map_or(Ok(0), |device| link::index(socket, device))
}

/// Makes a tunnel whose underlay is the socket's namespace.
pub fn create(socket: &mut Socket, spec: &VxlanSpec<'_>) -> Result<()> {
    spec.check()?;
    let device = device(socket, spec)?;
    let request = NewLink::named(&spec.name)?
        .mtu(spec.mtu)
        .mac(spec.mac)
        .group(spec.group)
        .netns(spec.netns)
        .up()
        .request(InfoKind::Vxlan, Some(InfoData::Vxlan(spec.data(device))));
    match socket.request(request) {
        Ok(_) => {
            link::settle(&mut Socket::open_in(spec.netns)?, [spec.name.as_str()]);
            Ok(())
        }
        Err(failure) => {
            let subject = format!("{} in {}", spec.name, spec.netns.label());
            Err(failure.during("create vxlan", subject))
        }
    }
}

/// Makes the tunnel unless an equal one is there; says whether it was made.
pub fn ensure(socket: &mut Socket, spec: &VxlanSpec<'_>) -> Result<bool> {
    spec.check()?;
    let mut inside = Socket::open_in(spec.netns)?;
    let Some(found) = observe::link(&mut inside, &spec.name)? else {
        return create(socket, spec).map(|()| true);
    };
    let comparison = Comparison { subject: inside.subject(&spec.name) };
    comparison.field("kind", &"vxlan", &found.kind.as_str())?;
    let wanted = KindData::Vxlan {
        id: spec.id,
        remote: Some(spec.remote),
        local: spec.local,
        port: spec.port,
        device: device(socket, spec)?,
    };
    comparison.field("tunnel", &wanted, &found.data)?;
    comparison.given("MTU", &spec.mtu, &found.mtu)?;
    comparison.given("MAC", &spec.mac.map(Some), &found.mac)?;
    comparison.field("group", &spec.group, &found.group)?;
    comparison.field("state up", &true, &found.up)?;
    Ok(false)
}
