//! Nodes: whose namespace, which leg in the management network.

use crate::mac::{Macs, parse_oui};
use crate::names::port_name;
use crate::network::Network;
use crate::objects::{Attachment, Elsewhere, NamespaceOf, NodeObject, Runs};
use crate::port::Ports;
use ipnet::IpNet;
use netloom_kinds::{Class, Role};
use netloom_topology::{Lab, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Plans the nodes of a lab. `others` says where containers outside of this lab are; `ports_in_use` are ports of the host that cannot be chosen.
pub fn plan_nodes(
    lab: &Lab,
    network: Option<&Network>,
    others: &BTreeMap<String, Elsewhere>,
    ports_in_use: &BTreeSet<u16>,
    macs: &mut Macs,
) -> Vec<NodeObject> {
    let mut ports = Ports::new(lab, ports_in_use);
    // What nodes have they keep, whoever came onto the network since or stands before them now.
    let reserved = |n: &Node| network?.users.get(&lab.name)?.get(&n.name)?.mac;
    for node in lab.nodes.iter().filter(|n| n.managed()) {
        if let Some(mac) = reserved(node).filter(|mac| fits(node, *mac)) {
            macs.keep(mac, node.kind_data.mac.system.is_some());
        }
    }
    lab.nodes
        .iter()
        .map(|n| NodeObject {
            name: n.name.clone(),
            long_name: n.long_name.clone(),
            namespace: namespace(lab, n, others),
            mgmt: network.filter(|_| n.managed()).and_then(|net| attachment(lab, n, net, macs)),
            container: n.kind_data.class != Class::Pseudo,
            runs: runs(n),
            ports: ports.plan(lab, n),
            outside: n.kind_data.role == Role::ExtContainer,
            bridge: (n.kind_data.role == Role::Bridge && n.shares_namespace_of().is_some())
                .then(|| bridge_name(&n.name).to_string()),
            lives_in: n.pid_mode.strip_prefix("container:").and_then(|other| {
                let by_name = |o: &&Node| o.name == other || o.long_name == other;
                lab.nodes.iter().find(by_name).map(|o| o.name.clone())
            }),
        })
        .collect()
}

/// What runs a node; a name that is not known has been refused before.
pub fn runs(node: &Node) -> Runs {
    match node.kind_data.class {
        Class::Pseudo => Runs::Native,
        _ => Runs::named(&node.runtime).unwrap_or_default(),
    }
}

/// Name of the bridge of a bridge node: what stands before `|`.
pub fn bridge_name(node: &str) -> &str {
    node.split('|').next().unwrap_or(node)
}

/// Whose namespace a node lives in.
pub fn namespace(lab: &Lab, node: &Node, others: &BTreeMap<String, Elsewhere>) -> NamespaceOf {
    let mut at = node;
    // The resolver refuses circles; the bound is for labs that were not verified.
    for _ in 0..lab.nodes.len() + 1 {
        if let Some(next) = at.shares_namespace_of() {
            let inside = lab.nodes.iter().find(|n| n.name == next || n.long_name == next);
            match (inside, others.get(next)) {
                (Some(n), _) => at = n,
                (None, Some(there)) => return there.namespace(next),
                (None, None) => break,
            }
            continue;
        }
        if at.network_mode == "host" {
            return NamespaceOf::Host;
        }
        return match at.kind_data.role {
            Role::Bridge | Role::OvsBridge | Role::Host => NamespaceOf::Host,
            Role::ExtContainer => match others.get(&at.name) {
                Some(there) => there.namespace(&at.name),
                None => NamespaceOf::Node(at.name.clone()),
            },
            _ => NamespaceOf::Node(at.name.clone()),
        };
    }
    NamespaceOf::Node(node.name.clone())
}

/// Whether a MAC address is one a node of this kind may have.
fn fits(node: &Node, mac: [u8; 6]) -> bool {
    let kind = &node.kind_data.mac;
    let oui = kind.oui.as_deref().and_then(parse_oui).unwrap_or(crate::mac::OUI);
    mac[..3] == oui && !(kind.system.is_some() && mac[5] & 1 == 1)
}

fn attachment(lab: &Lab, node: &Node, net: &Network, macs: &mut Macs) -> Option<Attachment> {
    let reserved = net.users.get(&lab.name)?.get(&node.name)?;
    let mut addresses = Vec::new();
    let mut gateways = Vec::new();
    let families = [
        (reserved.ipv4, net.ipv4.map(|n| n.prefix_len()), net.ipv4_gw),
        (reserved.ipv6, net.ipv6.map(|n| n.prefix_len()), net.ipv6_gw),
    ];
    for (address, prefix, gateway) in families {
        if let (Some(a), Some(p)) = (address, prefix) {
            addresses.extend(IpNet::new(a, p).ok());
            gateways.extend(gateway);
        }
    }
    let kind = &node.kind_data;
    let interface = kind.interfaces.management.clone().unwrap_or_else(|| "eth0".into());
    let oui = kind.mac.oui.as_deref().and_then(parse_oui);
    let pair = kind.mac.system.is_some();
    let had = reserved.mac.filter(|mac| fits(node, *mac));
    // What Docker would give it, unless the kind wants another.
    let dockers = match reserved.ipv4 {
        Some(IpAddr::V4(address)) if runs(node).hands_out_legs() && oui.is_none() => {
            let [a, b, c, d] = address.octets();
            Some([0x02, 0x42, a, b, c, d])
        }
        _ => None,
    };
    let had = dockers.or(had);
    let mac = had.unwrap_or_else(|| macs.derive(&lab.name, &node.name, &interface, oui, pair));
    Some(Attachment {
        mac,
        port: port_name("nlm", &[&lab.name, &node.name]),
        interface,
        bridge: reserved.bridge,
        mtu: net.mtu,
        addresses,
        gateways,
        self_willed: net.self_willed,
    })
}
