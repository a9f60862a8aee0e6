//! Links of a plan, made and unmade through the datapath.

use crate::EngineError;
use crate::error::Failure;
use crate::machine::Machine;
use crate::tunnel::{room, tunnel};
use ipnet::IpNet;
use netloom_datapath::addr;
use netloom_datapath::link::bridge::{self, BridgeSpec};
use netloom_datapath::link::dummy::{self, DummySpec, Parking};
use netloom_datapath::link::macvlan::{self, MacvlanSpec, Mode};
use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::link::vxlan;
use netloom_datapath::link::{self as links};
use netloom_datapath::mgmt::{self, Further, MgmtNode, MgmtSpec, Published};
use netloom_datapath::{Cidr, LinkInfo, Netns, Socket, observe, ovs, stitch, sysctl};
use netloom_plan::{Impl, LinkEnd, LinkObject, NamespaceOf, Network, NodeObject, port_name};
use netloom_runtime_native::NativeRuntime;
use nix::errno::Errno;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Namespaces of a lab, opened.
pub struct Wires<'a> {
    /// The host.
    pub machine: &'a Machine,
    /// By whose they are.
    pub namespaces: &'a HashMap<NamespaceOf, Netns>,
    /// Namespaces that are no node's.
    pub backstage: &'a Backstage,
    /// Group of the lab's interfaces on the host.
    pub group: u32,
    /// Name of the lab.
    pub lab: &'a str,
}

/// Namespaces of a lab that are no node's.
pub struct Backstage {
    /// Where the other ends of stand-ins for dummy interfaces are parked.
    pub parking: Netns,
    /// Where the halves of links are joined whose ends come and go.
    pub wiring: Netns,
}

impl Backstage {
    /// Those the holder keeps; ones that are needed for these links and not there are made.
    pub fn of(native: &NativeRuntime, links: &[LinkObject]) -> Result<Backstage, EngineError> {
        let place = |name: &str, needed: bool| -> Result<Netns, EngineError> {
            if let Some(fd) = native.kept(name)? {
                return Ok(Netns::from_fd(fd)?.with_label(name));
            }
            if !needed {
                return Ok(Netns::current()?);
            }
            let netns = Netns::create()?.with_label(name);
            // Nothing there is spoken to.
            if let Err(e) = sysctl::write(&netns, "ipv6/conf/default/disable_ipv6", "1")
                && e.errno() != Some(Errno::ENOENT)
            {
                return Err(e.into());
            }
            native.keep_fd(name, netns.try_clone()?.into())?;
            Ok(netns)
        };
        let stitched = |l: &LinkObject| matches!(l.how, Impl::Stitch { .. });
        Ok(Backstage {
            parking: place("parking", links.iter().any(|l| l.how == Impl::Dummy))?,
            wiring: place(WIRING, links.iter().any(stitched))?,
        })
    }

    /// For links that have nothing there.
    pub fn none() -> Result<Backstage, EngineError> {
        Ok(Backstage { parking: Netns::current()?, wiring: Netns::current()? })
    }
}

/// The name under which the holder keeps the namespace where halves of links are joined.
pub const WIRING: &str = "wiring";

fn cidr(net: &IpNet) -> Result<Cidr, netloom_datapath::Error> {
    Cidr::new(net.addr(), net.prefix_len())
}

impl Wires<'_> {
    fn netns(&self, of: &NamespaceOf) -> Result<&Netns, EngineError> {
        match of {
            NamespaceOf::Host => Ok(&self.machine.netns),
            other => self.namespaces.get(other).ok_or_else(|| {
                let what = format!("the network namespace of {other} is not there");
                EngineError::Io(std::io::Error::other(what))
            }),
        }
    }

    /// Makes links; what failed is in the answer.
    pub fn make(&self, list: &[&LinkObject]) -> Result<Vec<Failure>, EngineError> {
        let mut failures = Vec::new();
        let (pairs, others): (Vec<&LinkObject>, Vec<&LinkObject>) =
            list.iter().partition(|l| matches!(l.how, Impl::Veth | Impl::Stitch { .. }));
        self.make_pairs(&pairs, &mut failures)?;
        for link in others {
            if let Err(e) = self.make_other(link).and_then(|()| self.address(link)) {
                failures.push(failure(link, &e));
            }
        }
        if failures.is_empty() {
            self.join_switches(list, &mut failures);
        }
        Ok(failures)
    }

    fn make_pairs(
        &self,
        list: &[&LinkObject],
        failures: &mut Vec<Failure>,
    ) -> Result<(), EngineError> {
        let mut specs = Vec::with_capacity(list.len());
        let mut made = Vec::with_capacity(list.len());
        for link in list {
            match self.pairs(link) {
                Ok(pairs) => {
                    made.extend(pairs.iter().map(|_| *link));
                    specs.extend(pairs);
                }
                Err(e) => failures.push(failure(link, &e)),
            }
        }
        let results = veth::create_many(&specs)?;
        for ((link, spec), result) in made.iter().zip(&specs).zip(results) {
            // It may stand there from a deploy that was ended half-way.
            if result.is_err()
                && let Err(e) = veth::ensure(spec)
            {
                failures.push(failure(link, &EngineError::Datapath(e)));
            }
        }
        let stitched = list.iter().filter_map(|l| match &l.how {
            Impl::Stitch { ports } => Some((l, ports)),
            _ => None,
        });
        let mut wiring = None;
        for (link, [a, b]) in stitched {
            let socket = match &mut wiring {
                Some(socket) => socket,
                None => wiring.insert(Socket::open_in(&self.backstage.wiring)?),
            };
            if let Err(e) = stitch::ensure(socket, a, b) {
                failures.push(failure(link, &EngineError::Datapath(e)));
            }
        }
        Ok(())
    }

    /// The pairs a link is made of: one, or two that are joined.
    fn pairs<'s>(&'s self, link: &'s LinkObject) -> Result<Vec<VethSpec<'s>>, EngineError> {
        let Impl::Stitch { ports } = &link.how else { return Ok(vec![self.pair(link)?]) };
        let half = |(end, port): (&LinkEnd, &String)| {
            let mut b = VethEnd::new(&self.backstage.wiring, port.clone());
            b.link_local = false;
            b.tx_checksum = true;
            Ok(VethSpec { a: self.end(end)?, b, mtu: link.mtu })
        };
        link.ends().zip(ports).map(half).collect()
    }

    /// Ends on Open vSwitch bridges become ports of them, all at once.
    fn join_switches(&self, list: &[&LinkObject], failures: &mut Vec<Failure>) {
        let mut of = Vec::new();
        let mut ports = Vec::new();
        for link in list {
            for end in link.ends() {
                let Some(bridge) = &end.switch else { continue };
                of.push(*link);
                ports.push(ovs::Port { bridge, interface: &end.interface });
            }
        }
        let host = &self.machine.netns;
        match ovs::ensure(host, &ports, self.lab) {
            Ok(()) => {}
            Err(e) if ovs::away(&e) => {
                failures.push(Failure::new("ports of Open vSwitch", e.to_string()));
            }
            // One by one shows which of them it was.
            Err(_) => failures.extend(of.into_iter().zip(ports).filter_map(|(link, port)| {
                let e = ovs::ensure(host, &[port], self.lab).err()?;
                Some(failure(link, &e.into()))
            })),
        }
    }

    /// A pair with the end on the host first: only that one takes a bridge and a group at birth.
    fn pair<'s>(&'s self, link: &LinkObject) -> Result<VethSpec<'s>, EngineError> {
        let Some(b) = &link.b else {
            let what = "a pair needs two ends".to_string();
            return Err(EngineError::Io(std::io::Error::other(what)));
        };
        let (a, b) = match b.namespace {
            NamespaceOf::Host => (b, &link.a),
            _ => (&link.a, b),
        };
        Ok(VethSpec { a: self.end(a)?, b: self.end(b)?, mtu: link.mtu })
    }

    fn end<'s>(&'s self, end: &LinkEnd) -> Result<VethEnd<'s>, EngineError> {
        let netns = self.netns(&end.namespace)?;
        let mut out = VethEnd::new(netns, end.interface.clone()).mac(end.mac);
        out.alias = end.alias.clone();
        out.altnames = end.altnames.clone();
        out.addresses = end.addresses.iter().map(cidr).collect::<Result<_, _>>()?;
        out.tx_checksum = end.namespace == NamespaceOf::Host;
        if end.namespace == NamespaceOf::Host {
            out.group = self.group;
        }
        if let Some(name) = &end.master {
            let mut socket = Socket::open_in(netns)?;
            out.master = Some(links::index(&mut socket, name)?);
        }
        out.link_local = end.master.is_none() && end.switch.is_none();
        Ok(out)
    }

    fn make_other(&self, link: &LinkObject) -> Result<(), EngineError> {
        let netns = self.netns(&link.a.namespace)?;
        let mut host = Socket::open_in(&self.machine.netns)?;
        let mtu = (link.mtu > 0).then_some(link.mtu);
        match &link.how {
            Impl::Veth | Impl::Stitch { .. } => return Ok(()),
            Impl::Macvlan { parent, mode } => {
                let spec = MacvlanSpec {
                    netns,
                    name: link.a.interface.clone(),
                    parent: parent.clone(),
                    mode: macvlan_mode(mode),
                    mac: Some(link.a.mac),
                    mtu,
                };
                macvlan::ensure(&mut host, &spec)?;
            }
            Impl::Vxlan(t) => {
                let mut spec = tunnel(netns, &link.a.interface, t)?;
                spec.mac = Some(link.a.mac);
                spec.mtu = match (mtu, &spec.device) {
                    (Some(mtu), _) => Some(mtu),
                    // The kernel knows what fits through a parent it is told.
                    (None, Some(_)) => None,
                    (None, None) => room(&mut host, spec.remote)?,
                };
                vxlan::ensure(&mut host, &spec)?;
            }
            Impl::VxlanStitch { tunnel: t, device, port } => {
                let mut spec = tunnel(&self.machine.netns, device, t)?;
                spec.group = self.group;
                vxlan::ensure(&mut host, &spec)?;
                let mut a = VethEnd::new(&self.machine.netns, port.clone());
                a.group = self.group;
                a.link_local = false;
                let b = self.end(&link.a)?;
                veth::ensure(&VethSpec { a, b, mtu: link.mtu })?;
                stitch::ensure(&mut host, device, port)?;
                return Ok(());
            }
            Impl::Dummy => {
                let name = port_name("nld", &[&link.id]);
                let spec =
                    DummySpec { netns, name: link.a.interface.clone(), mtu, mac: Some(link.a.mac) };
                dummy::ensure(&spec, Parking { netns: &self.backstage.parking, name: &name })?;
            }
        }
        let mut socket = Socket::open_in(netns)?;
        let name = &link.a.interface;
        let found = observe::link(&mut socket, name)?.unwrap_or_default();
        let absent: Vec<String> =
            link.a.altnames.iter().filter(|n| !found.altnames.contains(n)).cloned().collect();
        links::add_altnames(&mut socket, name, &absent)?;
        if let Some(alias) = link.a.alias.as_ref().filter(|a| found.alias.as_ref() != Some(a)) {
            links::set_alias(&mut socket, name, alias)?;
        }
        if let Some(bridge) = &link.a.master {
            links::set_master(&mut socket, name, Some(bridge))?;
        }
        links::set_up(&mut socket, &link.a.interface)?;
        Ok(())
    }

    /// Addresses of the ends of a link that is no pair.
    fn address(&self, link: &LinkObject) -> Result<(), EngineError> {
        for end in link.ends().filter(|e| !e.addresses.is_empty()) {
            let mut socket = Socket::open_in(self.netns(&end.namespace)?)?;
            for net in &end.addresses {
                addr::ensure(&mut socket, &end.interface, cidr(net)?, true)?;
            }
        }
        Ok(())
    }

    /// Removes links whose namespaces stay; those in namespaces that go away go with them.
    pub fn remove(&self, list: &[&LinkObject]) -> Result<Vec<Failure>, EngineError> {
        let mut failures = Vec::new();
        for link in list {
            if let Err(e) = self.remove_one(link) {
                failures.push(failure(link, &e));
            }
        }
        Ok(failures)
    }

    fn remove_one(&self, link: &LinkObject) -> Result<(), EngineError> {
        let switched = link.ends().filter(|e| e.switch.is_some());
        let switched: Vec<&str> = switched.map(|e| e.interface.as_str()).collect();
        if !switched.is_empty() {
            ovs::ensure_absent(&self.machine.netns, &switched, self.lab)?;
        }
        if let Impl::VxlanStitch { device, port, .. } = &link.how {
            let mut host = Socket::open_in(&self.machine.netns)?;
            links::ensure_absent(&mut host, device)?;
            links::ensure_absent(&mut host, port)?;
            return Ok(());
        }
        if let Impl::Stitch { ports } = &link.how {
            let mut wiring = Socket::open_in(&self.backstage.wiring)?;
            for port in ports {
                links::ensure_absent(&mut wiring, port)?;
            }
        }
        // The host's end first: names are our own there. The other end goes with it.
        let mut ends: Vec<&LinkEnd> = link.ends().collect();
        if matches!(link.how, Impl::Stitch { .. }) {
            // Those of the lab's own nodes went with the ports.
            ends.retain(|e| e.namespace.is_anothers());
        }
        ends.sort_by_key(|e| e.namespace != NamespaceOf::Host);
        for end in ends {
            // A namespace that is gone took its end along.
            let Ok(netns) = self.netns(&end.namespace) else { continue };
            let mut socket = Socket::open_in(netns)?;
            // One of that name that is not ours stays: the link may never have been made, or the
            // node has put something else there. Nodes change addresses of what is theirs (bonding
            // does).
            let ours = |l: &LinkInfo| match end.namespace {
                _ if !kinds(&link.how).contains(&l.kind.as_str()) => false,
                NamespaceOf::Node(_) => true,
                NamespaceOf::Host => l.mac == Some(end.mac) || l.group == self.group,
                NamespaceOf::Other { .. } | NamespaceOf::Foreign { .. } => l.mac == Some(end.mac),
            };
            if observe::link(&mut socket, &end.interface)?.is_some_and(|l| ours(&l)) {
                links::ensure_absent(&mut socket, &end.interface)?;
            }
        }
        Ok(())
    }

    /// Takes broken management legs away, so that they can be made anew.
    pub fn detach<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n NodeObject>,
    ) -> Result<(), EngineError> {
        let ours = nodes.into_iter().filter(|n| !n.runs.hands_out_legs());
        let ports: Vec<&str> =
            ours.filter_map(|n| n.mgmt.as_ref()).map(|m| m.port.as_str()).collect();
        if ports.is_empty() {
            return Ok(());
        }
        let mut socket = Socket::open_in(&self.machine.netns)?;
        Ok(links::delete_many(&mut socket, ports)?)
    }

    /// Removes bridges that live inside nodes.
    pub fn remove_bridges<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n NodeObject>,
    ) -> Result<(), EngineError> {
        for node in nodes {
            if let (Some(name), Ok(netns)) = (&node.bridge, self.netns(&node.namespace)) {
                links::ensure_absent(&mut Socket::open_in(netns)?, name)?;
            }
        }
        Ok(())
    }

    /// Bridges that live inside nodes.
    pub fn make_bridges(&self, nodes: &[&NodeObject]) -> Result<(), EngineError> {
        for node in nodes {
            if let Some(name) = &node.bridge {
                let mut socket = Socket::open_in(self.netns(&node.namespace)?)?;
                bridge::ensure(&mut socket, &BridgeSpec::new(name.clone()))?;
                links::set_up(&mut socket, name)?;
            }
        }
        Ok(())
    }

    /// Legs in the management network.
    pub fn attach(
        &self,
        network: &Network,
        nodes: &[&NodeObject],
    ) -> Result<Vec<Failure>, EngineError> {
        let mut list = Vec::new();
        let mut of = Vec::new();
        for node in nodes.iter().filter(|n| !n.runs.hands_out_legs()) {
            let Some(at) = &node.mgmt else { continue };
            list.push(MgmtNode {
                netns: self.netns(&node.namespace)?,
                host_interface: at.port.clone(),
                host_group: self.group,
                bridge: at.bridge,
                interface: at.interface.clone(),
                mac: at.mac,
                addresses: at.addresses.iter().map(cidr).collect::<Result<_, _>>()?,
                gateways: at.gateways.clone(),
            });
            of.push(*node);
        }
        let results = mgmt::attach_many(&self.machine.netns, &mgmt_spec(network)?, &list)?;
        Ok(of
            .iter()
            .zip(results)
            .filter_map(|(node, r)| {
                let what = format!("management interface of node {}", node.name);
                r.err().map(|e| Failure::new(what, e.to_string()))
            })
            .collect())
    }
}

impl Wires<'_> {
    /// Ports of the host that lead to nodes of the lab: all of them, in one go.
    pub fn publish(
        &self,
        lab: &str,
        network: &Network,
        nodes: &[NodeObject],
    ) -> Result<(), EngineError> {
        let mut list = Vec::new();
        for node in nodes.iter().filter(|n| !n.runs.hands_out_legs()) {
            for port in &node.ports {
                let addresses = node.mgmt.iter().flat_map(|m| &m.addresses).map(|a| a.addr());
                let fits = |a: &IpAddr| port.host.is_none_or(|h| h.is_ipv4() == a.is_ipv4());
                list.extend(addresses.filter(fits).map(|address| Published {
                    host: port.host.filter(|h| !h.is_unspecified()),
                    port: port.host_port,
                    protocol: port.protocol.clone(),
                    to: SocketAddr::new(address, port.port),
                }));
            }
        }
        Ok(mgmt::publish(&self.machine.netns, lab, &network.bridge, &list)?)
    }
}

/// A management network for the datapath.
pub fn mgmt_spec(network: &Network) -> Result<MgmtSpec, EngineError> {
    let mut gateways = Vec::new();
    let families: [(Option<IpAddr>, Option<u8>); 2] = [
        (network.ipv4_gw, network.ipv4.map(|n| n.prefix_len())),
        (network.ipv6_gw, network.ipv6.map(|n| n.prefix_len())),
    ];
    for (gateway, prefix) in families {
        if let (Some(g), Some(p)) = (gateway, prefix) {
            gateways.push(Cidr::new(g, p)?);
        }
    }
    Ok(MgmtSpec {
        name: network.name.clone(),
        bridge: network.bridge.clone(),
        mtu: network.mtu,
        gateways,
        external_access: network.external_access,
        group: 0,
        foreign: network.foreign_bridge,
        more: network
            .further()
            .into_iter()
            .map(|(bridge, up, down)| Further { bridge, up, down })
            .collect(),
        quiet: false,
    })
}

fn failure(link: &LinkObject, e: &EngineError) -> Failure {
    Failure::new(format!("link {}", link.id), e.to_string())
}

/// Kinds of interfaces a link's ends are.
fn kinds(how: &Impl) -> &'static [&'static str] {
    match how {
        Impl::Veth | Impl::Stitch { .. } | Impl::VxlanStitch { .. } => &["veth"],
        Impl::Macvlan { .. } => &["macvlan"],
        Impl::Vxlan(_) => &["vxlan"],
        // A pair stands in where the kernel has none.
        Impl::Dummy => &["dummy", "veth"],
    }
}

fn macvlan_mode(mode: &str) -> Mode {
    match mode {
        "vepa" => Mode::Vepa,
        "passthru" => Mode::Passthru,
        "private" => Mode::Private,
        "source" => Mode::Source,
        _ => Mode::Bridge,
    }
}
