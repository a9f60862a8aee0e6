//! IPv4 and IPv6 addresses of interfaces.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::netns::{Answers, Netns, work_in_each};
use crate::socket::{Request, Socket};
use crate::{link, observe, sysctl};

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    /// Address, host bits included.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

impl Cidr {
    /// `0.0.0.0/0`.
    pub const DEFAULT_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// `::/0`.
    pub const DEFAULT_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// Checks the prefix length.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self> {
        if prefix <= bits(address) {
            return Ok(Self { address, prefix });
        }
        Err(Error::Invalid {
            what: "prefix length",
            value: format!("{address}/{prefix}"),
            reason: format!("at most {}", bits(address)),
        })
    }

    /// The address with its host bits cleared.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(v4.to_bits() & mask_v4(self.prefix))),
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(v6.to_bits() & mask))
            }
        };
        Self { address, prefix: self.prefix }
    }

    fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(v4) if self.prefix < 31 => {
                Some(Ipv4Addr::from(v4.to_bits() | !mask_v4(self.prefix)))
            }
            _ => None,
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::Invalid {
            what: "address",
            value: text.into(),
            reason: reason.into(),
        };
        let (address, prefix) = text.split_once('/').ok_or_else(|| invalid("no `/prefix`"))?;
        let address = address.parse().map_err(|_| invalid("not an IP address"))?;
        let prefix = prefix.parse().map_err(|_| invalid("the prefix is not a number"))?;
        Self::new(address, prefix)
    }
}

/// An address of an interface as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Address and prefix.
    pub cidr: Cidr,
    /// Duplicate address detection has not finished.
    pub tentative: bool,
    /// Set by us or the user, not by router advertisements.
    pub permanent: bool,
}

/// An address to be added somewhere.
#[derive(Debug, Clone)]
pub struct AddrSpec<'a> {
    /// Namespace of the interface.
    pub netns: &'a Netns,
    /// Interface.
    pub interface: String,
    /// Address and prefix.
    pub cidr: Cidr,
    /// IPv6: no duplicate address detection, so that it can be bound at once.
    /// Neighbours find it when the kernel's worker has joined its solicited-node
    /// group, which takes a moment under load.
    pub nodad: bool,
}

/// Adds an address; an equal one that is there is an error (EEXIST).
pub fn add(socket: &mut Socket, interface: &str, cidr: Cidr, nodad: bool) -> Result<()> {
    send_new(socket, interface, cidr, nodad, NLM_F_CREATE | NLM_F_EXCL)
}

/// Adds an address or renews it.
pub fn replace(socket: &mut Socket, interface: &str, cidr: Cidr, nodad: bool) -> Result<()> {
    send_new(socket, interface, cidr, nodad, NLM_F_CREATE | NLM_F_REPLACE)
}

/// Adds an IPv6 address to an interface of a namespace whose owner has switched IPv6 off (Docker
/// does): who is given such an address is to have it.
pub(crate) fn switched_on(netns: &Netns, interface: &str, cidr: Cidr) -> Result<()> {
    sysctl::write(netns, &format!("ipv6/conf/{interface}/disable_ipv6"), "0")?;
    ensure(&mut Socket::open_in(netns)?, interface, cidr, true).map(drop)
}

/// Adds an address unless it is there; says whether it was added.
pub fn ensure(socket: &mut Socket, interface: &str, cidr: Cidr, nodad: bool) -> Result<bool> {
    let present = list(socket, interface)?;
    if present.iter().any(|address| address.cidr == cidr) {
        return Ok(false);
    }
    if let Some(other) = present.iter().find(|address| address.cidr.address == cidr.address) {
        return Err(Error::Differs {
            subject: format!("address {} of {}", cidr.address, socket.subject(interface)),
            field: "prefix",
            wanted: cidr.prefix.to_string(),
            found: other.cidr.prefix.to_string(),
        });
    }
    add(socket, interface, cidr, nodad)?;
    Ok(true)
}

fn send_new(
    socket: &mut Socket,
    interface: &str,
    cidr: Cidr,
    nodad: bool,
    flags: u16,
) -> Result<()> {
    let index = link::index(socket, interface)?;
    let request = new_request(index, cidr, nodad, flags);
    finish(socket, &format!("add address {cidr} to"), interface, request)
}

/// Deletes an address.
pub fn delete(socket: &mut Socket, interface: &str, cidr: Cidr) -> Result<()> {
    let index = link::index(socket, interface)?;
    let request = Request::new(RouteNetlinkMessage::DelAddress(message(index, cidr)), 0);
    finish(socket, &format!("delete address {cidr} of"), interface, request)
}

/// Deletes an address if it is there; says whether it was.
pub fn ensure_absent(socket: &mut Socket, interface: &str, cidr: Cidr) -> Result<bool> {
    match delete(socket, interface, cidr) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::EADDRNOTAVAIL) => Ok(false),
        Err(error) => Err(error),
    }
}

fn finish(socket: &mut Socket, action: &str, interface: &str, request: Request) -> Result<()> {
    match socket.request(request) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.during(action, socket.subject(interface))),
    }
}

/// The addresses of an interface.
pub fn list(socket: &mut Socket, interface: &str) -> Result<Vec<Address>> {
    let index = link::index(socket, interface)?;
    let all = list_all(socket)?;
    Ok(all.into_iter().filter(|(i, _)| *i == index).map(|(_, address)| address).collect())
}

/// All addresses of the socket's namespace with their interface indices.
pub fn list_all(socket: &mut Socket) -> Result<Vec<(u32, Address)>> {
    let dump = socket
        .dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .map_err(|failure| failure.during("list", socket.subject("addresses")))?;
    Ok(dump
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => read(&message),
            _ => None,
        })
        .collect())
}

/// Adds many addresses, one batch per namespace; answers for each. An equal
/// address that is there counts as done.
pub fn add_many(specs: &[AddrSpec<'_>]) -> Result<Vec<Result<()>>> {
    work_in_each(specs.iter().map(|spec| (spec.netns, spec)), |socket, _, items| {
        add_group(socket, items)
    })
}

fn add_group(socket: &mut Socket, items: Vec<(usize, &AddrSpec<'_>)>) -> Answers<()> {
    let lookups = items.iter().map(|(_, spec)| observe::link_request(&spec.interface)).collect();
    let mut results = Vec::with_capacity(items.len());
    let mut sent = Vec::with_capacity(items.len());
    let mut requests = Vec::with_capacity(items.len());
    for ((position, spec), reply) in items.into_iter().zip(socket.batch(lookups)) {
        match reply.map(observe::first_link) {
            Ok(Some(link)) => {
                let flags = NLM_F_CREATE | NLM_F_REPLACE;
                requests.push(new_request(link.index, spec.cidr, spec.nodad, flags));
                sent.push((position, spec));
            }
            Ok(None) => results.push((
                position,
                Err(Error::NotFound { subject: socket.subject(&spec.interface) }),
            )),
            Err(failure) => results.push((
                position,
                Err(failure.during("read interface", socket.subject(&spec.interface))),
            )),
        }
    }
    for ((position, spec), reply) in sent.into_iter().zip(socket.batch(requests)) {
        results.push((
            position,
            reply.map(drop).map_err(|failure| {
                let action = format!("add address {} to", spec.cidr);
                failure.during(action, socket.subject(&spec.interface))
            }),
        ));
    }
    results
}

fn message(index: u32, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(cidr.address);
    message.header.prefix_len = cidr.prefix;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(cidr.address));
    message.attributes.push(AddressAttribute::Address(cidr.address));
    message
}

/// A request that adds an address to the interface of that index.
pub(crate) fn new_request(index: u32, cidr: Cidr, nodad: bool, flags: u16) -> Request {
    let mut message = message(index, cidr);
    message.attributes.extend(cidr.broadcast().map(AddressAttribute::Broadcast));
    if nodad && cidr.address.is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    Request::new(RouteNetlinkMessage::NewAddress(message), flags)
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn read(message: &AddressMessage) -> Option<(u32, Address)> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            _ => {}
        }
    }
    let cidr = Cidr { address: local.or(address)?, prefix: message.header.prefix_len };
    let flags = message.header.flags;
    Some((
        message.header.index,
        Address {
            cidr,
            tentative: flags.contains(AddressHeaderFlags::Tentative),
            permanent: flags.contains(AddressHeaderFlags::Permanent),
        },
    ))
}
