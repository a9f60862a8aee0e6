//! Nodes on the management network, spread over as many bridges as they need.

use std::collections::HashMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::errno::Errno;

use super::MgmtSpec;
use crate::MacAddr;
use crate::addr::{self, Cidr};
use crate::error::{Error, Result};
use crate::link::veth::{self, VethEnd, VethSpec};
use crate::link::{self, Change};
use crate::netns::{Netns, work_in_each};
use crate::observe::{self, LinkInfo};
use crate::route::{self, Route};
use crate::socket::{Request, Socket};

/// How long an interface waits, at most, with telling which multicast groups it is in.
const GROUP_REPORTS_MS: &str = "3600000";

/// One node on the management network.
#[derive(Debug, Clone)]
pub struct MgmtNode<'a> {
    /// Namespace of the node.
    pub netns: &'a Netns,
    /// Name of the end on the bridge.
    pub host_interface: String,
    /// Group of that end, by which many are deleted at once.
    pub host_group: u32,
    /// Which bridge it is a port of: 0 is the first, others count [`MgmtSpec::more`].
    pub bridge: usize,
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
/// addresses and default routes; a default route that is there stays. Sets bridges that waited for
/// this up. Answers for each node with whether its interface was made; an equal one that is there
/// is completed.
pub fn attach_many(
    host: &Netns,
    spec: &MgmtSpec,
    nodes: &[MgmtNode<'_>],
) -> Result<Vec<Result<bool>>> {
    spec.check()?;
    let mut socket = Socket::open_in(host)?;
    let links = observe::links(&mut socket)?;
    let present: HashMap<&str, &LinkInfo> = links.iter().map(|l| (l.name.as_str(), l)).collect();
    let bridges = bridges(host, spec, &present)?;

    let mut results: Vec<Result<bool>> = Vec::with_capacity(nodes.len());
    let mut pairs = Vec::new();
    let mut positions = Vec::new();
    for (position, node) in nodes.iter().enumerate() {
        let Some(&master) = bridges.get(node.bridge) else {
            let subject = format!("bridge {} of network {}", node.bridge, spec.name);
            results.push(Err(Error::NotFound { subject }));
            continue;
        };
        let mut pair = pair(host, spec, node, master);
        if let Some(found) = present.get(node.host_interface.as_str()) {
            // One that stands is up already, or was left half-way.
            pair.b.up = true;
            match veth::ensure(&pair) {
                Ok(done) => {
                    results.push(Ok(done));
                    continue;
                }
                // The node has made something of it; that it may, as long as it leads here.
                Err(Error::Differs { field, .. }) if field != "peer" && field != "kind" => {
                    results.push(adapt(&mut socket, &pair, found));
                    continue;
                }
                Err(_) => {
                    link::ensure_absent(&mut socket, &node.host_interface)?;
                }
            }
            pair.b.up = false;
        }
        pairs.push(pair);
        positions.push(position);
        results.push(Ok(true));
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
    for (&position, addressed) in wired.iter().zip(addressed) {
        if let Err(error) = addressed {
            results[position] = Err(error);
        }
    }
    super::open(host, spec)?;
    link::settle(&mut socket, wired.iter().map(|&i| nodes[i].host_interface.as_str()));
    Ok(results)
}

/// Brings a leg that stands to where its network is, and to the network's MTU when that has changed;
/// says whether anything was done.
fn adapt(host: &mut Socket, pair: &VethSpec<'_>, found: &LinkInfo) -> Result<bool> {
    let size = (found.mtu != pair.mtu).then_some(pair.mtu);
    let master = pair.a.master.filter(|master| found.master != Some(*master));
    link::change(host, &pair.a.name, Change { mtu: size, master, ..Change::default() })?;
    if size.is_some() {
        let mut inside = Socket::open_in(pair.b.netns)?;
        link::change(&mut inside, &pair.b.name, Change { mtu: size, ..Change::default() })?;
    }
    Ok(size.is_some() || master.is_some())
}

/// The indices of the bridges of a network.
fn bridges(host: &Netns, spec: &MgmtSpec, present: &HashMap<&str, &LinkInfo>) -> Result<Vec<u32>> {
    let more = spec.more.iter().map(|further| &further.bridge);
    let missing = |name: &str| Error::NotFound { subject: format!("{name} in {}", host.label()) };
    std::iter::once(&spec.bridge)
        .chain(more)
        .map(|name| present.get(name.as_str()).map(|l| l.index).ok_or_else(|| missing(name)))
        .collect()
}

fn pair<'a>(host: &'a Netns, spec: &MgmtSpec, node: &MgmtNode<'a>, master: u32) -> VethSpec<'a> {
    let mut at_host = VethEnd::new(host, &node.host_interface);
    at_host.group = node.host_group;
    at_host.master = Some(master);
    at_host.link_local = false;
    let mut at_node = VethEnd::new(node.netns, &node.interface).mac(node.mac);
    // It comes up when it has been told to keep quiet.
    at_node.up = false;
    VethSpec { a: at_host, b: at_node, mtu: spec.mtu }
}

/// Gives the node's end its addresses and default routes.
fn address(socket: &mut Socket, node: &MgmtNode<'_>) -> Result<()> {
    keep_quiet(&node.interface);
    let subject = |socket: &Socket| socket.subject(&node.interface);
    let up = Change { up: Some(true), ..Change::default() };
    let mut first = socket
        .batch(vec![up.request(&node.interface), observe::link_request(&node.interface)])
        .into_iter();
    let mut next = || first.next().unwrap_or(Err(Errno::EPROTO.into()));
    next().map_err(|failure| failure.during("set up", subject(socket)))?;
    let found = next().map_err(|failure| failure.during("read interface", subject(socket)))?;
    let Some(found) = observe::first_link(found) else {
        return Err(Error::NotFound { subject: subject(socket) });
    };
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let mut actions = Vec::new();
    let mut requests: Vec<Request> = Vec::new();
    for cidr in &node.addresses {
        actions.push(format!("add address {cidr} to"));
        requests.push(addr::new_request(found.index, *cidr, true, flags));
    }
    for gateway in &node.gateways {
        actions.push(format!("add default route via {gateway} to"));
        requests.push(route::new_request(&Route::default_via(*gateway), Some(found.index), flags));
    }
    for (action, reply) in actions.into_iter().zip(socket.batch(requests)) {
        match reply {
            Err(failure) if failure.errno != Errno::EEXIST => {
                return Err(failure.during(action, subject(socket)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Nobody advertises routers here, every address is planned, and the bridges ask nobody for groups:
/// without solicitations, probes and reports a bridge of a thousand ports is not flooded with them,
/// each copied to every port. The caller's thread is in the node's namespace. Where there is no
/// IPv6 there is nothing to keep quiet.
fn keep_quiet(interface: &str) {
    let settings = [
        ("accept_ra", "0"),
        ("accept_dad", "0"),
        ("dad_transmits", "0"),
        ("mldv2_unsolicited_report_interval", GROUP_REPORTS_MS),
    ];
    for (key, value) in settings {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{key}"), value);
    }
}
