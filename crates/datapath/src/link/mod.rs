//! Interfaces: what all kinds share (state, MTU, MAC, master, names, removal);
//! one submodule per link kind.

pub mod bridge;
pub mod dummy;
pub mod macvlan;
pub mod tap;
pub mod veth;
pub mod vxlan;

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, Prop,
};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::socket::{Request, Socket};
use crate::{MacAddr, observe};

/// Longest interface name; longer names can only be alternative names.
pub const MAX_NAME: usize = 15;
const IFLA_ALT_IFNAME: u16 = 53;
const LOOPBACK_INDEX: u32 = 1;

/// A set of changes to one interface, sent as one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Administrative state.
    pub up: Option<bool>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Ethernet address.
    pub mac: Option<MacAddr>,
    /// Interface alias (`ifalias`).
    pub alias: Option<String>,
    /// Interface group.
    pub group: Option<u32>,
    /// Index of the master; 0 detaches.
    pub master: Option<u32>,
    /// Whether the interface gives itself an IPv6 link-local address.
    pub link_local: Option<bool>,
    /// Whether it takes frames for any address.
    pub promiscuous: Option<bool>,
}

impl Change {
    /// Whether nothing would be sent.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn request(self, name: &str) -> Request {
        let mut message = LinkMessage::default();
        message.attributes.push(name_attribute(name));
        if let Some(up) = self.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        if let Some(any) = self.promiscuous {
            message.header.change_mask |= LinkFlags::Promisc;
            message.header.flags |= if any { LinkFlags::Promisc } else { LinkFlags::empty() };
        }
        message.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        message.attributes.extend(self.alias.map(LinkAttribute::IfAlias));
        message.attributes.extend(self.group.map(LinkAttribute::Group));
        message.attributes.extend(self.master.map(LinkAttribute::Controller));
        message.attributes.extend(self.link_local.map(link_local_attribute));
        Request::new(RouteNetlinkMessage::SetLink(message), 0)
    }
}

/// Puts the carrier of interfaces in force. The kernel does that in a worker
/// that takes about 100 interfaces a second; until then an interface drops what
/// it sends, and a bridge does not forward to its port. A kernel of 6.8 or
/// later does it at once for each interface that is asked for by name.
pub fn settle<'a>(socket: &mut Socket, names: impl IntoIterator<Item = &'a str>) {
    // Only the side effect matters: who misses an interface will see it later.
    drop(socket.batch(names.into_iter().map(observe::link_request).collect()));
}

/// Applies changes to an interface in one request.
pub fn change(socket: &mut Socket, name: &str, change: Change) -> Result<()> {
    let up = change.up == Some(true);
    act(socket, "change", name, change.request(name))?;
    if up {
        settle(socket, [name]);
    }
    Ok(())
}

fn link_local_attribute(on: bool) -> LinkAttribute {
    let mode = if on { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None };
    let inet6 = vec![AfSpecInet6::AddrGenMode(mode)];
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(inet6)])
}

/// Sets an interface up.
pub fn set_up(socket: &mut Socket, name: &str) -> Result<()> {
    act(socket, "set up", name, Change { up: Some(true), ..Change::default() }.request(name))?;
    settle(socket, [name]);
    Ok(())
}

/// Sets an interface down.
pub fn set_down(socket: &mut Socket, name: &str) -> Result<()> {
    act(socket, "set down", name, Change { up: Some(false), ..Change::default() }.request(name))
}

/// Sets the MTU.
pub fn set_mtu(socket: &mut Socket, name: &str, mtu: u32) -> Result<()> {
    let request = Change { mtu: Some(mtu), ..Change::default() }.request(name);
    act(socket, &format!("set MTU {mtu} of"), name, request)
}

/// Sets the Ethernet address.
pub fn set_mac(socket: &mut Socket, name: &str, mac: MacAddr) -> Result<()> {
    let request = Change { mac: Some(mac), ..Change::default() }.request(name);
    act(socket, &format!("set MAC {} of", mac_text(&mac)), name, request)
}

/// Sets the alias (`ip link set … alias`).
pub fn set_alias(socket: &mut Socket, name: &str, alias: &str) -> Result<()> {
    let request = Change { alias: Some(alias.to_owned()), ..Change::default() }.request(name);
    act(socket, "set alias of", name, request)
}

/// Sets the group by which [`delete_group`] removes many at once.
pub fn set_group(socket: &mut Socket, name: &str, group: u32) -> Result<()> {
    act(
        socket,
        "set group of",
        name,
        Change { group: Some(group), ..Change::default() }.request(name),
    )
}

/// Makes an interface a port of a master (bridge), or detaches it.
pub fn set_master(socket: &mut Socket, name: &str, master: Option<&str>) -> Result<()> {
    let index = match master {
        Some(master) => index(socket, master)?,
        None => 0,
    };
    let request = Change { master: Some(index), ..Change::default() }.request(name);
    match master {
        Some(master) => {
            act(socket, &format!("add to bridge {master} the port"), name, request)?;
            settle(socket, [name]);
            Ok(())
        }
        None => act(socket, "detach from its bridge the port", name, request),
    }
}

/// Gives an interface alternative names, which may have up to 127 characters.
pub fn add_altnames(socket: &mut Socket, name: &str, altnames: &[String]) -> Result<()> {
    match altnames_request(name, altnames) {
        Some(request) => act(socket, "add alternative names to", name, request),
        None => Ok(()),
    }
}

pub(crate) fn altnames_request(name: &str, altnames: &[String]) -> Option<Request> {
    if altnames.is_empty() {
        return None;
    }
    let mut message = LinkMessage::default();
    message.attributes.push(name_attribute(name));
    message
        .attributes
        .push(LinkAttribute::PropList(altnames.iter().cloned().map(Prop::AltIfName).collect()));
    let flags = NLM_F_CREATE | NLM_F_EXCL | netlink_packet_core::NLM_F_APPEND;
    Some(Request::new(RouteNetlinkMessage::NewLinkProp(message), flags))
}

/// Deletes an interface.
pub fn delete(socket: &mut Socket, name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(name_attribute(name));
    act(socket, "delete", name, Request::new(RouteNetlinkMessage::DelLink(message), 0))
}

/// Deletes an interface if it is there; says whether it was.
pub fn ensure_absent(socket: &mut Socket, name: &str) -> Result<bool> {
    match delete(socket, name) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Group interfaces are gathered in so that they can be deleted together. Groups of labs have bit
/// 30 set.
const CONDEMNED: u32 = 0x3e70_0000;

/// Deletes interfaces that may be there, together: a bridge's ports deleted one by one each wait
/// for the kernel.
pub fn delete_many<'a>(
    socket: &mut Socket,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mark = Change { group: Some(CONDEMNED), ..Change::default() };
    let names: Vec<&str> = names.into_iter().collect();
    let requests = names.iter().map(|name| mark.clone().request(name)).collect();
    for (name, reply) in names.iter().zip(socket.batch(requests)) {
        match reply {
            Err(failure) if failure.errno != Errno::ENODEV => {
                return Err(failure.during("set group of", socket.subject(name)));
            }
            _ => {}
        }
    }
    delete_group(socket, CONDEMNED).map(drop)
}

/// Deletes all interfaces of a group in one message; says whether there were
/// any. Group 0 is everybody's default and is refused.
pub fn delete_group(socket: &mut Socket, group: u32) -> Result<bool> {
    if group == 0 {
        return Err(Error::Invalid {
            what: "group",
            value: "0".into(),
            reason: "every interface is in group 0 by default".into(),
        });
    }
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    match socket.request(Request::new(RouteNetlinkMessage::DelLink(message), 0)) {
        Ok(_) => Ok(true),
        Err(failure) if failure.errno == Errno::ENODEV => Ok(false),
        Err(failure) => {
            Err(failure.during("delete", socket.subject(&format!("interface group {group}"))))
        }
    }
}

/// The index of an interface, by name or alternative name.
pub fn index(socket: &mut Socket, name: &str) -> Result<u32> {
    match observe::link(socket, name)? {
        Some(link) => Ok(link.index),
        None => Err(Error::NotFound { subject: socket.subject(name) }),
    }
}

pub(crate) fn set_loopback_up(socket: &mut Socket) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = LOOPBACK_INDEX;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    act(socket, "set up", "lo", Request::new(RouteNetlinkMessage::SetLink(message), 0))
}

fn act(socket: &mut Socket, action: &str, name: &str, request: Request) -> Result<()> {
    match socket.request(request) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.during(action, socket.subject(name))),
    }
}

/// The attribute by which the kernel finds an interface: long names can only
/// be alternative ones.
pub(crate) fn name_attribute(name: &str) -> LinkAttribute {
    if name.len() <= MAX_NAME {
        return LinkAttribute::IfName(name.to_owned());
    }
    let mut value = name.as_bytes().to_vec();
    value.push(0);
    LinkAttribute::Other(DefaultNla::new(IFLA_ALT_IFNAME, value))
}

/// Refuses names the kernel would refuse, with the reason.
pub fn check_name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "longer than 15 characters: use a short name and an alternative name"
    } else if name == "." || name == ".." {
        "reserved"
    } else if name.contains(['/', ':', '%']) || name.contains(char::is_whitespace) {
        "must not contain `/`, `:`, `%` or white space"
    } else if name.contains('\0') {
        "must not contain a zero byte"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { what: "interface name", value: name.into(), reason: reason.into() })
}

/// `02:00:00:00:00:01`.
pub fn mac_text(mac: &MacAddr) -> String {
    let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

/// What the creation of any kind starts from.
struct NewLink {
    message: LinkMessage,
}

impl NewLink {
    fn named(name: &str) -> Result<Self> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        Ok(Self { message })
    }

    fn with(mut self, attributes: impl IntoIterator<Item = LinkAttribute>) -> Self {
        self.message.attributes.extend(attributes);
        self
    }

    fn mtu(self, mtu: Option<u32>) -> Self {
        self.with(mtu.map(LinkAttribute::Mtu))
    }

    fn mac(self, mac: Option<MacAddr>) -> Self {
        self.with(mac.map(|mac| LinkAttribute::Address(mac.to_vec())))
    }

    fn group(self, group: u32) -> Self {
        self.with((group != 0).then_some(LinkAttribute::Group(group)))
    }

    fn one_queue(self) -> Self {
        self.with([LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)])
    }

    fn netns(self, netns: &Netns) -> Self {
        self.with([LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())])
    }

    fn up(mut self) -> Self {
        self.message.header.flags |= LinkFlags::Up;
        self.message.header.change_mask |= LinkFlags::Up;
        self
    }

    fn request(self, kind: InfoKind, data: Option<InfoData>) -> Request {
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        let message = self.with([LinkAttribute::LinkInfo(info)]).message;
        Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }
}

/// Fails on the first field where what is there is not what was asked for.
struct Comparison {
    subject: String,
}

impl Comparison {
    fn field<T: PartialEq + std::fmt::Debug>(
        &self,
        field: &'static str,
        wanted: &T,
        found: &T,
    ) -> Result<()> {
        if wanted == found {
            return Ok(());
        }
        Err(Error::Differs {
            subject: self.subject.clone(),
            field,
            wanted: format!("{wanted:?}"),
            found: format!("{found:?}"),
        })
    }

    fn given<T: PartialEq + std::fmt::Debug>(
        &self,
        field: &'static str,
        wanted: &Option<T>,
        found: &T,
    ) -> Result<()> {
        wanted.as_ref().map_or(Ok(()), |wanted| self.field(field, wanted, found))
    }
}
