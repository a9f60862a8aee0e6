//! Links: which interfaces, where, with which names and addresses.

use crate::mac::{Macs, parse};
use crate::names::{kernel_name, port_name};
use crate::network::Network;
use crate::node::{bridge_name, namespace, runs};
use crate::objects::{Elsewhere, Impl, LinkEnd, LinkObject, NamespaceOf, Objects, VxlanParameters};
use ipnet::IpNet;
use netloom_kinds::Role;
use netloom_topology::{EndpointNode, Lab, Link, LinkEndpoint, LinkKind};
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the links of a lab.
pub fn plan_links(
    lab: &Lab,
    network: Option<&Network>,
    others: &BTreeMap<String, Elsewhere>,
    macs: &mut Macs,
) -> Vec<LinkObject> {
    for end in lab.links.iter().flat_map(|l| &l.endpoints) {
        if let Some(mac) = end.mac.as_deref().and_then(parse) {
            macs.take(mac);
        }
    }
    let nodes: BTreeMap<&str, (NamespaceOf, Role)> = lab
        .nodes
        .iter()
        .map(|n| (n.name.as_str(), (namespace(lab, n, others), n.kind_data.role)))
        .collect();
    let fleeting =
        lab.nodes.iter().filter(|n| runs(n).own_namespaces()).map(|n| n.name.as_str()).collect();
    let context = Context { lab, network, nodes, fleeting };
    lab.links.iter().filter_map(|l| context.link(l, macs)).collect()
}

/// The name by which containerlab knows an interface for its own: a lab of ours that Docker runs can
/// be handed over to it.
fn mark(node: &str, interface: &str) -> String {
    let sum = Sha1::digest(format!("{node}\0{interface}"));
    let digits: String = sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("clab-o-{digits}")
}

struct Context<'a> {
    lab: &'a Lab,
    network: Option<&'a Network>,
    nodes: BTreeMap<&'a str, (NamespaceOf, Role)>,
    /// Nodes whose namespace goes with their container.
    fleeting: BTreeSet<&'a str>,
}

impl Context<'_> {
    fn link(&self, link: &Link, macs: &mut Macs) -> Option<LinkObject> {
        let first = link.endpoints.first()?;
        let mut ends: Vec<&LinkEndpoint> = link.endpoints.iter().collect();
        let how = match &link.kind {
            // The namespaces are ours and outlive the processes: one pair does what two did.
            LinkKind::Veth | LinkKind::VethStitch | LinkKind::Host | LinkKind::MgmtNet => {
                Impl::Veth
            }
            LinkKind::Macvlan { mode } => {
                let parent =
                    ends.iter().find(|e| e.node == EndpointNode::Macvlan)?.interface.clone();
                ends.retain(|e| e.node != EndpointNode::Macvlan);
                Impl::Macvlan { parent, mode: mode.clone() }
            }
            LinkKind::Vxlan { tunnel } => Impl::Vxlan(parameters(tunnel)),
            LinkKind::VxlanStitch { tunnel } => {
                let parts = [self.lab.name.as_str(), first.node.word(), first.interface.as_str()];
                Impl::VxlanStitch {
                    tunnel: parameters(tunnel),
                    device: port_name("vx-", &parts),
                    port: port_name("ve-", &parts),
                }
            }
            LinkKind::Dummy => Impl::Dummy,
        };
        let id: Vec<String> =
            link.endpoints.iter().map(|e| format!("{}:{}", e.node.word(), e.interface)).collect();
        let id = id.join(" ");
        let mut ends = ends.into_iter().map(|e| self.end(e, macs));
        let (a, b) = (ends.next()?, ends.next());
        let fleeting = |e: &LinkEnd| match &e.namespace {
            NamespaceOf::Node(owner) => self.fleeting.contains(owner.as_str()),
            NamespaceOf::Foreign { .. } => true,
            NamespaceOf::Other { .. } | NamespaceOf::Host => false,
        };
        let how = match how {
            Impl::Veth if fleeting(&a) || b.as_ref().is_some_and(fleeting) => {
                stitch(&self.lab.name, &id)
            }
            how => how,
        };
        Some(LinkObject { id, how, a, b, mtu: link.mtu, by_hand: false })
    }

    fn end(&self, end: &LinkEndpoint, macs: &mut Macs) -> LinkEnd {
        let word = end.node.word();
        let (namespace, bridge) = match &end.node {
            EndpointNode::Node(n) => {
                let known = self.nodes.get(n.as_str()).cloned();
                let (namespace, role) = known.unwrap_or((NamespaceOf::Host, Role::Host));
                let name = bridge_name(n).to_string();
                let bridge = match role {
                    Role::Bridge => (Some(name), None),
                    Role::OvsBridge => (None, Some(name)),
                    _ => (None, None),
                };
                (namespace, bridge)
            }
            EndpointNode::MgmtNet => {
                (NamespaceOf::Host, (self.network.map(|n| n.bridge.clone()), None))
            }
            EndpointNode::Host | EndpointNode::Macvlan => (NamespaceOf::Host, (None, None)),
        };
        let (master, switch) = bridge;
        let (interface, altnames) = kernel_name(&end.interface);
        let mac = end
            .mac
            .as_deref()
            .and_then(parse)
            .unwrap_or_else(|| macs.derive(&self.lab.name, word, &end.interface, None, false));
        let mut addresses: Vec<IpNet> = Vec::new();
        addresses.extend(end.addresses.ipv4.map(IpNet::V4));
        addresses.extend(end.addresses.ipv6.map(IpNet::V6));
        let mut altnames = altnames;
        if let Some(alias) = &end.alias {
            let safe = alias.replace('/', "-");
            if safe != interface && !altnames.contains(&safe) {
                altnames.push(safe);
            }
        }
        let foreign = matches!(namespace, NamespaceOf::Foreign { .. });
        if foreign || self.fleeting.contains(word) {
            altnames.push(mark(word, &interface));
        }
        LinkEnd {
            namespace,
            node: word.to_string(),
            interface,
            altnames,
            alias: end.alias.clone(),
            mac,
            addresses,
            master,
            switch,
        }
    }
}

/// Two pairs, joined.
fn stitch(lab: &str, id: &str) -> Impl {
    let port = |end: &str| port_name("nls", &[lab, id, end]);
    Impl::Stitch { ports: [port("a"), port("b")] }
}

/// Where an end of a link is to be that no file knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandEnd {
    /// Whose namespace.
    pub namespace: NamespaceOf,
    /// The node's name, `host`, or the bridge's.
    pub node: String,
    /// Name as the user wrote it.
    pub interface: String,
    /// Bridge it becomes a port of.
    pub master: Option<String>,
    /// Open vSwitch bridge it becomes a port of.
    pub switch: Option<String>,
}

/// A link between nodes of a lab, or from one to somewhere else, that no file knows.
pub fn link_by_hand(lab: &str, objects: &Objects, ends: [HandEnd; 2], mtu: u32) -> LinkObject {
    let mut macs = Macs::default();
    let used = objects.links.iter().flat_map(|l| l.ends()).map(|e| e.mac);
    let legs = objects.nodes.iter().filter_map(|n| n.mgmt.as_ref()).map(|m| m.mac);
    used.chain(legs).for_each(|mac| macs.take(mac));
    let fleeting = |of: &NamespaceOf| match of {
        NamespaceOf::Foreign { .. } => true,
        NamespaceOf::Node(owner) => {
            objects.nodes.iter().any(|n| n.name == *owner && n.runs.own_namespaces())
        }
        NamespaceOf::Other { .. } | NamespaceOf::Host => false,
    };
    let id = ends.each_ref().map(|e| format!("{}:{}", e.node, e.interface)).join(" ");
    let how = match ends.iter().any(|e| fleeting(&e.namespace)) {
        true => stitch(lab, &id),
        false => Impl::Veth,
    };
    let [a, b] = ends.map(|end| {
        let (interface, altnames) = kernel_name(&end.interface);
        LinkEnd {
            mac: macs.derive(lab, &end.node, &end.interface, None, false),
            namespace: end.namespace,
            node: end.node,
            interface,
            altnames,
            alias: None,
            addresses: Vec::new(),
            master: end.master,
            switch: end.switch,
        }
    });
    LinkObject { id, how, a, b: Some(b), mtu, by_hand: true }
}

fn parameters(t: &netloom_topology::Tunnel) -> VxlanParameters {
    VxlanParameters {
        remote: t.remote.clone(),
        vni: t.vni,
        dst_port: t.dst_port,
        src_port: t.src_port,
        parent: t.parent.clone(),
    }
}
