//! IPv4 and IPv6 routes of the main table.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::errno::Errno;

use crate::addr::{Cidr, family};
use crate::error::{Error, Result};
use crate::link;
use crate::socket::{Request, Socket};

/// A unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination; [`Cidr::DEFAULT_V4`] and [`Cidr::DEFAULT_V6`] for the
    /// default route.
    pub destination: Cidr,
    /// Next hop; none for a network on the link.
    pub gateway: Option<IpAddr>,
    /// Outgoing interface; none lets the kernel find it by the gateway.
    pub interface: Option<String>,
    /// Metric, 0 for the kernel's default.
    pub metric: u32,
}

impl Route {
    /// The default route of the gateway's family.
    pub fn default_via(gateway: IpAddr) -> Self {
        let destination = if gateway.is_ipv4() { Cidr::DEFAULT_V4 } else { Cidr::DEFAULT_V6 };
        Self { destination, gateway: Some(gateway), interface: None, metric: 0 }
    }

    /// A route to a prefix through a gateway.
    pub fn via(destination: Cidr, gateway: IpAddr) -> Self {
        Self { destination, gateway: Some(gateway), interface: None, metric: 0 }
    }

    /// Fixes the outgoing interface.
    pub fn on(mut self, interface: impl Into<String>) -> Self {
        self.interface = Some(interface.into());
        self
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " dev {interface}")?;
        }
        Ok(())
    }
}

/// A route as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Destination.
    pub destination: Cidr,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Index of the outgoing interface.
    pub interface: Option<u32>,
    /// Metric.
    pub metric: u32,
    /// Made by the kernel for an address, not by us or a routing protocol.
    pub kernel: bool,
}

/// Adds a route; an equal destination that is there is an error (EEXIST).
pub fn add(socket: &mut Socket, route: &Route) -> Result<()> {
    send(socket, "add", route, NLM_F_CREATE | NLM_F_EXCL)
}

/// Adds a route or replaces the one to the same destination.
pub fn replace(socket: &mut Socket, route: &Route) -> Result<()> {
    send(socket, "replace", route, NLM_F_CREATE | NLM_F_REPLACE)
}

/// Adds a route unless it is there; says whether it was added. Another next
/// hop to the same destination and metric is an error.
pub fn ensure(socket: &mut Socket, route: &Route) -> Result<bool> {
    let index = interface_index(socket, route)?;
    let found = list(socket)?.into_iter().find(|entry| {
        entry.destination == route.destination.network()
            && (route.metric == 0 || entry.metric == route.metric)
    });
    let Some(found) = found else { return add(socket, route).map(|()| true) };
    if found.gateway != route.gateway || index.is_some_and(|i| found.interface != Some(i)) {
        return Err(Error::Differs {
            subject: socket.subject(&route.destination.to_string()),
            field: "next hop",
            wanted: format!("{:?} on {index:?}", route.gateway),
            found: format!("{:?} on {:?}", found.gateway, found.interface),
        });
    }
    Ok(false)
}

/// Deletes a route.
pub fn delete(socket: &mut Socket, route: &Route) -> Result<()> {
    let index = interface_index(socket, route)?;
    let message = RouteNetlinkMessage::DelRoute(message(route, index));
    finish(socket, "delete", route, Request::new(message, 0))
}

/// Deletes a route if it is there; says whether it was.
pub fn ensure_absent(socket: &mut Socket, route: &Route) -> Result<bool> {
    match delete(socket, route) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Some(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Name of the interface that leads to an address, by the longest match.
pub fn towards(socket: &mut Socket, address: IpAddr) -> Result<Option<String>> {
    let routes = list(socket)?;
    let leads = |e: &&Entry| {
        e.destination.address.is_ipv4() == address.is_ipv4()
            && Cidr::new(address, e.destination.prefix)
                .is_ok_and(|c| c.network().address == e.destination.network().address)
    };
    let best =
        routes.iter().filter(leads).max_by_key(|e| (e.destination.prefix, u32::MAX - e.metric));
    let Some(index) = best.and_then(|e| e.interface) else { return Ok(None) };
    let links = crate::observe::links(socket)?;
    Ok(links.into_iter().find(|l| l.index == index).map(|l| l.name))
}

/// The unicast routes of the main table.
pub fn list(socket: &mut Socket) -> Result<Vec<Entry>> {
    let dump = socket
        .dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))
        .map_err(|failure| failure.during("list", socket.subject("routes")))?;
    Ok(dump
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(message) => read(&message),
            _ => None,
        })
        .collect())
}

fn send(socket: &mut Socket, action: &str, route: &Route, flags: u16) -> Result<()> {
    let index = interface_index(socket, route)?;
    finish(socket, action, route, new_request(route, index, flags))
}

fn finish(socket: &mut Socket, action: &str, route: &Route, request: Request) -> Result<()> {
    match socket.request(request) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure.during(action, socket.subject(&route.to_string()))),
    }
}

fn interface_index(socket: &mut Socket, route: &Route) -> Result<Option<u32>> {
    route.interface.as_ref().map(|interface| link::index(socket, interface)).transpose()
}

/// A request that adds a route out of the interface of that index.
pub(crate) fn new_request(route: &Route, index: Option<u32>, flags: u16) -> Request {
    Request::new(RouteNetlinkMessage::NewRoute(message(route, index)), flags)
}

fn message(route: &Route, index: Option<u32>) -> RouteMessage {
    let destination = route.destination.network();
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination.address);
    message.header.destination_prefix_length = destination.prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope =
        if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if destination.prefix > 0 {
        message.attributes.push(RouteAttribute::Destination(destination.address.into()));
    }
    message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message.attributes.extend(index.map(RouteAttribute::Oif));
    if route.metric > 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn read(message: &RouteMessage) -> Option<Entry> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let default = match u8::from(header.address_family) {
        2 => Cidr::DEFAULT_V4,
        10 => Cidr::DEFAULT_V6,
        _ => return None,
    };
    let mut entry = Entry {
        destination: Cidr { prefix: header.destination_prefix_length, ..default },
        gateway: None,
        interface: None,
        metric: 0,
        kernel: header.protocol == RouteProtocol::Kernel,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => entry.destination.address = ip(address)?,
            RouteAttribute::Gateway(address) => entry.gateway = ip(address),
            RouteAttribute::Oif(index) => entry.interface = Some(*index),
            RouteAttribute::Priority(metric) => entry.metric = *metric,
            _ => {}
        }
    }
    Some(entry)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
