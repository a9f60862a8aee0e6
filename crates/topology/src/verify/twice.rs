//! What may stand only once: endpoints, addresses, ports.

use crate::lab::{EndpointNode, Lab, Node};
use netloom_diag::{Diagnostic, Diagnostics, Span};
use netloom_kinds::Role;
use std::collections::{HashMap, HashSet};

/// Interfaces that two links use.
pub fn endpoints(lab: &Lab, found: &mut Diagnostics) {
    // By the names of their containers too; names of nodes come first.
    let containers = lab.nodes.iter().map(|n| (n.long_name.as_str(), n));
    let nodes: HashMap<&str, &Node> =
        containers.chain(lab.nodes.iter().map(|n| (n.name.as_str(), n))).collect();
    let on_host: HashSet<&str> = lab
        .nodes
        .iter()
        .filter(|n| matches!(n.kind_data.role, Role::Bridge | Role::OvsBridge))
        .filter(|n| n.shares_namespace_of().is_none())
        .map(|n| n.name.as_str())
        .collect();
    let mut seen: HashMap<(Option<&str>, &str), Option<Span>> = HashMap::new();
    for end in lab.links.iter().flat_map(|l| &l.endpoints) {
        // Ports of the management bridge and host interfaces share the host's namespace.
        let place = match &end.node {
            EndpointNode::Macvlan => continue,
            EndpointNode::Host | EndpointNode::MgmtNet => None,
            EndpointNode::Node(n) if on_host.contains(n.as_str()) => None,
            EndpointNode::Node(n) => Some(home(lab, &nodes, n)),
        };
        if let Some(first) = seen.insert((place, &end.interface), end.span) {
            let name = &end.interface;
            let place = match place {
                None => "the host".to_string(),
                Some(n) if nodes.contains_key(n) => format!("node `{n}`"),
                Some(n) => format!("container `{n}`"),
            };
            found.push(
                Diagnostic::error(
                    "duplicate-endpoint",
                    format!("interface `{name}` of {place} is used twice"),
                )
                .at(end.span)
                .hint("give each link an interface of its own")
                .also(first, "first here"),
            );
        }
    }
}

/// MAC addresses of the file.
pub fn mac_addresses(lab: &Lab, found: &mut Diagnostics) {
    let mut seen: HashMap<&str, Option<Span>> = HashMap::new();
    for end in lab.links.iter().flat_map(|l| &l.endpoints) {
        if let Some(mac) = &end.mac
            && let Some(first) = seen.insert(mac, end.span)
        {
            found.push(
                Diagnostic::error("duplicate-mac", format!("the MAC address {mac} is used twice"))
                    .at(end.span)
                    .also(first, "first here"),
            );
        }
    }
}

/// One address twice in one node, or at both ends of one link, is always a mistake; the same
/// address in two nodes may be meant (anycast).
pub fn link_addresses(lab: &Lab, found: &mut Diagnostics) {
    let mut seen: HashMap<(&EndpointNode, String), Option<Span>> = HashMap::new();
    for link in &lab.links {
        let mut here: HashMap<String, Option<Span>> = HashMap::new();
        for end in &link.endpoints {
            let all = [
                end.addresses.ipv4.map(|a| a.addr().to_string()),
                end.addresses.ipv6.map(|a| a.addr().to_string()),
            ];
            for address in all.into_iter().flatten() {
                let first = here
                    .insert(address.clone(), end.span)
                    .or_else(|| seen.insert((&end.node, address.clone()), end.span));
                if let Some(first) = first {
                    found.push(
                        Diagnostic::error(
                            "duplicate-address",
                            format!("the address {address} is used twice"),
                        )
                        .at(end.span)
                        .also(first, "first here"),
                    );
                }
            }
        }
    }
}

/// Whose namespace a node lives in: its own, or that of the node or the container it follows.
fn home<'a>(lab: &'a Lab, nodes: &HashMap<&str, &'a Node>, name: &'a str) -> &'a str {
    let mut at = name;
    for _ in 0..lab.nodes.len() {
        let Some(next) = nodes.get(at).and_then(|n| n.shares_namespace_of()) else { break };
        match nodes.get(next) {
            Some(node) => at = &node.name,
            None => return next,
        }
    }
    at
}

/// Published ports.
pub fn ports(lab: &Lab, found: &mut Diagnostics) {
    let mut seen: HashMap<(&str, u16, &str), &Node> = HashMap::new();
    for node in &lab.nodes {
        for p in node.ports.iter().filter(|p| p.host_port != 0) {
            if let Some(first) = seen.insert((&p.host_ip, p.host_port, &p.protocol), node) {
                found.push(
                    Diagnostic::error(
                        "duplicate-port",
                        format!(
                            "port {}/{} of the host is published twice",
                            p.host_port, p.protocol
                        ),
                    )
                    .at(node.span_of("ports"))
                    .also(first.span_of("ports"), format!("first by node `{}`", first.name)),
                );
            }
        }
    }
}
