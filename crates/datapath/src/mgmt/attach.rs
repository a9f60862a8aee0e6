//! Nodes on the management network, spread over as many bridges as they need.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use super::{MgmtSpec, PORTS_PER_BRIDGE, missing};
use crate::MacAddr;
use crate::addr::{self, Cidr};
use crate::error::{Error, Result};
use crate::link::bridge;
use crate::link::veth::{self, VethEnd, VethSpec};
use crate::netns::{Netns, work_in_each};
use crate::observe;
use crate::route::{self, Route};
use crate::socket::{Request, Socket};

/// One node on the management network.
#[derive(Debug, Clone)]
pub struct MgmtNode<'a> {
    /// Namespace of the node.
    pub netns: &'a Netns,
    /// Name of the end on the bridge.
    pub host_interface: String,
    /// Group of that end, by which many are deleted at once.
    pub host_group: u32,
    /// Name of the node's end, usually `eth0`.
    pub interface: String,
    /// Ethernet address of the node's end.
    pub mac: MacAddr,
    /// Addresses of the node's end.
    pub addresses: Vec<Cidr>,
    /// Next hops of the node's default routes, one per family at most.
    pub gateways: Vec<IpAddr>,
}

/// Attaches nodes: a veth each, the host's end in a bridge, the node's end with
/// addresses and default routes. Answers for each node with whether its
/// interface was made; an equal one that is there is completed.
pub fn attach_many(
    host: &Netns,
    spec: &MgmtSpec,
    nodes: &[MgmtNode<'_>],
) -> Result<Vec<Result<bool>>> {
    spec.check()?;
    let mut socket = Socket::open_in(host)?;
    let links = observe::links(&mut socket)?;
    let mut bridges = Bridges::observed(host, spec, &links)?;
    let masters: HashMap<&str, Option<u32>> =
        links.iter().map(|link| (link.name.as_str(), link.master)).collect();

    let mut results: Vec<Result<bool>> = Vec::with_capacity(nodes.len());
    let mut pairs = Vec::new();
    let mut positions = Vec::new();
    for (position, node) in nodes.iter().enumerate() {
        if let Some(&master) = masters.get(node.host_interface.as_str()) {
            let master = master.filter(|master| bridges.indices.contains(master));
            let master = master.or(bridges.indices.first().copied());
            let mut pair = pair(host, spec, node, master);
            // One that stands is up already, or was left half-way.
            pair.b.up = true;
            results.push(veth::ensure(&pair));
        } else {
            let master = bridges.next_port(host, &mut socket, spec)?;
            pairs.push(pair(host, spec, node, Some(master)));
            positions.push(position);
            results.push(Ok(true));
        }
    }
    for (position, made) in positions.into_iter().zip(veth::create_many(&pairs)?) {
        if let Err(error) = made {
            results[position] = Err(error);
        }
    }
    let wired: Vec<usize> = (0..nodes.len()).filter(|&i| results[i].is_ok()).collect();
    let visits = wired.iter().map(|&i| (nodes[i].netns, &nodes[i]));
    let addressed = work_in_each(visits, |socket, _, items| {
        items.into_iter().map(|(i, node)| (i, address(socket, node))).collect()
    })?;
    for (position, addressed) in wired.into_iter().zip(addressed) {
        if let Err(error) = addressed {
            results[position] = Err(error);
        }
    }
    Ok(results)
}

fn pair<'a>(
    host: &'a Netns,
    spec: &MgmtSpec,
    node: &MgmtNode<'a>,
    master: Option<u32>,
) -> VethSpec<'a> {
    let mut at_host = VethEnd::new(host, &node.host_interface);
    at_host.group = node.host_group;
    at_host.master = master;
    at_host.link_local = false;
    let mut at_node = VethEnd::new(node.netns, &node.interface).mac(node.mac);
    // It comes up when it has been told to keep quiet.
    at_node.up = false;
    VethSpec { a: at_host, b: at_node, mtu: spec.mtu }
}

/// Gives the node's end its addresses and default routes.
fn address(socket: &mut Socket, node: &MgmtNode<'_>) -> Result<()> {
    keep_quiet(&node.interface);
    crate::link::set_up(socket, &node.interface)?;
    let index = crate::link::index(socket, &node.interface)?;
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let mut actions = Vec::new();
    let mut requests: Vec<Request> = Vec::new();
    for cidr in &node.addresses {
        actions.push(format!("add address {cidr} to"));
        requests.push(addr::new_request(index, *cidr, true, flags));
    }
    for gateway in &node.gateways {
        actions.push(format!("add default route via {gateway} to"));
        requests.push(route::new_request(&Route::default_via(*gateway), Some(index), flags));
    }
    for (action, reply) in actions.into_iter().zip(socket.batch(requests)) {
        reply.map_err(|failure| failure.during(action, socket.subject(&node.interface)))?;
    }
    Ok(())
}

/// Nobody advertises routers here and every address is planned: without solicitations and probes a
/// bridge of a thousand ports is not flooded with them, each copied to every port. The caller's
/// thread is in the node's namespace. Where there is no IPv6 there is nothing to keep quiet.
fn keep_quiet(interface: &str) {
    for key in ["accept_ra", "dad_transmits"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{key}"), "0");
    }
}

/// The bridges of a network and how full they are.
struct Bridges {
    indices: Vec<u32>,
    ports: Vec<usize>,
}

impl Bridges {
    fn observed(host: &Netns, spec: &MgmtSpec, links: &[observe::LinkInfo]) -> Result<Self> {
        let indices = spec.bridges(links);
        if indices.is_empty() {
            return Err(missing(host, spec));
        }
        let count = |index| links.iter().filter(|link| link.master == Some(index)).count();
        let ports = indices.iter().map(|&index| count(index)).collect();
        Ok(Self { indices, ports })
    }

    /// A bridge with a free port; makes one more if all are full.
    fn next_port(&mut self, host: &Netns, socket: &mut Socket, spec: &MgmtSpec) -> Result<u32> {
        let free = self.ports.iter().position(|&ports| ports < PORTS_PER_BRIDGE);
        let number = match free {
            Some(number) => number,
            None => self.grow(host, socket, spec)?,
        };
        self.ports[number] += 1;
        Ok(self.indices[number])
    }

    fn grow(&mut self, host: &Netns, socket: &mut Socket, spec: &MgmtSpec) -> Result<usize> {
        let number = self.indices.len();
        if number > bridge::MAX_PORTS - PORTS_PER_BRIDGE {
            return Err(Error::Invalid {
                what: "management network",
                value: spec.name.clone(),
                reason: format!("it is full: {number} bridges of {PORTS_PER_BRIDGE} ports"),
            });
        }
        let name = spec.bridge_name(number);
        bridge::ensure(socket, &spec.bridge_spec(name.clone()))?;
        let index = crate::link::index(socket, &name)?;
        let (up, down) = uplink_names(&name);
        let mut at_first = VethEnd::new(host, up);
        at_first.master = Some(self.indices[0]);
        let mut at_this = VethEnd::new(host, down);
        at_this.master = Some(index);
        veth::ensure(&VethSpec { a: at_first, b: at_this, mtu: spec.mtu })?;
        self.indices.push(index);
        self.ports.push(1);
        Ok(number)
    }
}

/// The ends of the veth between the first bridge and a further one.
pub(super) fn uplink_names(bridge: &str) -> (String, String) {
    (format!("{bridge}u"), format!("{bridge}d"))
}
