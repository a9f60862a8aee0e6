//! What is there: the interfaces of a namespace, read back from the kernel.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoVxlan, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo as LinkInfoAttribute, LinkMessage, Prop,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;

use crate::MacAddr;
use crate::addr::{self, Address};
use crate::error::{Error, Result};
use crate::link::{macvlan::Mode, name_attribute};
use crate::netns::Netns;
use crate::socket::{Request, Socket};

/// Counters of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets dropped on reception.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped on sending.
    pub tx_dropped: u64,
}

/// The other end of a veth, or the parent of a macvlan or vxlan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its interface index, in its own namespace.
    pub index: u32,
    /// The id by which this namespace knows the other; none: the same one.
    pub netnsid: Option<i32>,
}

/// What only interfaces of one kind have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KindData {
    /// Nothing more is known of this kind.
    #[default]
    None,
    /// A bridge.
    Bridge {
        /// Which link-local group addresses are forwarded.
        group_fwd_mask: u16,
        /// Whether spanning tree runs.
        stp: bool,
    },
    /// A macvlan.
    Macvlan {
        /// Its mode, where it is one we know.
        mode: Option<Mode>,
    },
    /// A vxlan.
    Vxlan {
        /// VXLAN network identifier.
        id: u32,
        /// Remote (or group) address.
        remote: Option<IpAddr>,
        /// Local address.
        local: Option<IpAddr>,
        /// UDP destination port.
        port: u16,
        /// Index of the underlay interface, 0 for none.
        device: u32,
    },
}

/// One interface as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkInfo {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind ("veth", "bridge", …); empty for `lo` and hardware.
    pub kind: String,
    /// Ethernet address.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administrative state.
    pub up: bool,
    /// Whether there is carrier.
    pub carrier: bool,
    /// Index of the master.
    pub master: Option<u32>,
    /// Other end or parent.
    pub peer: Option<Peer>,
    /// Alias.
    pub alias: Option<String>,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Group, 0 by default.
    pub group: u32,
    /// Addresses; filled by [`links`], not by [`link`].
    pub addresses: Vec<Address>,
    /// Counters; filled by [`links`], not by [`link`].
    pub stats: Stats,
    /// What only this kind has.
    pub data: KindData,
}

/// One interface, by name or alternative name; none if it is not there.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<LinkInfo>> {
    match socket.request(link_request(name)) {
        Ok(messages) => Ok(first_link(messages)),
        Err(failure) if failure.errno == Errno::ENODEV => Ok(None),
        Err(failure) => Err(failure.during("read interface", socket.subject(name))),
    }
}

pub(crate) fn link_request(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(name_attribute(name));
    // Counters make up most of an answer, and nobody looks at them here.
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Request::new(RouteNetlinkMessage::GetLink(message), 0)
}

pub(crate) fn first_link(messages: Vec<RouteNetlinkMessage>) -> Option<LinkInfo> {
    messages.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewLink(message) => Some(read(message)),
        _ => None,
    })
}

/// All interfaces of the socket's namespace with their addresses, by index.
pub fn links(socket: &mut Socket) -> Result<Vec<LinkInfo>> {
    let dump = socket
        .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .map_err(|failure| failure.during("list", socket.subject("interfaces")))?;
    let mut links: Vec<LinkInfo> = dump
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(read(message)),
            _ => None,
        })
        .collect();
    links.sort_by_key(|link| link.index);
    let position: HashMap<u32, usize> =
        links.iter().enumerate().map(|(position, link)| (link.index, position)).collect();
    for (index, address) in addr::list_all(socket)? {
        if let Some(&position) = position.get(&index) {
            links[position].addresses.push(address);
        }
    }
    Ok(links)
}

/// All interfaces of a namespace with their addresses, by index.
pub fn links_in(netns: &Netns) -> Result<Vec<LinkInfo>> {
    links(&mut Socket::open_in(netns)?)
}

/// The id by which the socket's namespace knows another one, as it appears in
/// [`Peer::netnsid`]; none if it has not met it.
pub fn netnsid(socket: &mut Socket, other: &Netns) -> Result<Option<i32>> {
    let mut message = NsidMessage::default();
    let fd = u32::try_from(other.as_fd().as_raw_fd()).unwrap_or_default();
    message.attributes.push(NsidAttribute::Fd(fd));
    let action = "look up netns id of";
    let reply = socket
        .request(Request::new(RouteNetlinkMessage::GetNsId(message), 0))
        .map_err(|failure| failure.during(action, other.label()))?;
    let id = reply.iter().find_map(|message| match message {
        RouteNetlinkMessage::NewNsId(message) => {
            message.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) => Some(*id),
                _ => None,
            })
        }
        _ => None,
    });
    match id {
        Some(id) => Ok((id >= 0).then_some(id)),
        None => Err(Error::Answer {
            action: action.into(),
            subject: other.label().into(),
            reason: "no id in it".into(),
        }),
    }
}

fn read(message: LinkMessage) -> LinkInfo {
    let mut link = LinkInfo {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        ..LinkInfo::default()
    };
    let mut peer_index = None;
    let mut netnsid = None;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(master) => link.master = Some(master).filter(|m| *m != 0),
            LinkAttribute::Link(index) => peer_index = Some(index).filter(|i| *i != 0),
            LinkAttribute::LinkNetNsId(id) => netnsid = Some(id),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::Carrier(carrier) => link.carrier = carrier != 0,
            LinkAttribute::PropList(properties) => {
                link.altnames.extend(properties.into_iter().filter_map(|p| match p {
                    Prop::AltIfName(name) => Some(name),
                    _ => None,
                }));
            }
            LinkAttribute::Stats64(stats) => {
                link.stats = Stats {
                    rx_packets: stats.rx_packets,
                    rx_bytes: stats.rx_bytes,
                    rx_dropped: stats.rx_dropped,
                    tx_packets: stats.tx_packets,
                    tx_bytes: stats.tx_bytes,
                    tx_dropped: stats.tx_dropped,
                };
            }
            LinkAttribute::LinkInfo(info) => read_kind(&mut link, info),
            _ => {}
        }
    }
    link.peer = peer_index.map(|index| Peer { index, netnsid });
    link
}

fn read_kind(link: &mut LinkInfo, info: Vec<LinkInfoAttribute>) {
    for attribute in info {
        match attribute {
            LinkInfoAttribute::Kind(InfoKind::Other(kind)) => link.kind = kind,
            LinkInfoAttribute::Kind(kind) => link.kind = kind.to_string(),
            LinkInfoAttribute::Data(InfoData::Bridge(data)) => link.data = bridge(&data),
            LinkInfoAttribute::Data(InfoData::MacVlan(data)) => {
                let mode = data.iter().find_map(|attribute| match attribute {
                    InfoMacVlan::Mode(mode) => Mode::from_kernel(*mode),
                    _ => None,
                });
                link.data = KindData::Macvlan { mode };
            }
            LinkInfoAttribute::Data(InfoData::Vxlan(data)) => link.data = vxlan(&data),
            _ => {}
        }
    }
}

fn bridge(data: &[InfoBridge]) -> KindData {
    let mut mask = 0;
    let mut running = false;
    for attribute in data {
        match attribute {
            InfoBridge::GroupFwdMask(value) => mask = *value,
            InfoBridge::StpState(state) => running = u32::from(*state) != 0,
            _ => {}
        }
    }
    KindData::Bridge { group_fwd_mask: mask, stp: running }
}

fn vxlan(data: &[InfoVxlan]) -> KindData {
    let (mut id, mut remote, mut local, mut port, mut device) = (0, None, None, 0, 0);
    for attribute in data {
        match attribute {
            InfoVxlan::Id(value) => id = *value,
            InfoVxlan::Group(address) => remote = Some(IpAddr::V4(*address)),
            InfoVxlan::Group6(address) => remote = Some(IpAddr::V6(*address)),
            InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
            InfoVxlan::Port(value) => port = *value,
            InfoVxlan::Link(index) => device = *index,
            _ => {}
        }
    }
    KindData::Vxlan { id, remote, local, port, device }
}
