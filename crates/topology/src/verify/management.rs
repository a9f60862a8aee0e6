//! Addresses on the management network.

use crate::lab::{Lab, Node};
use ipnet::{Ipv4Net, Ipv6Net};
use netloom_diag::{Diagnostic, Diagnostics};
use std::collections::BTreeMap;

/// Static addresses are inside, free and only once; there is room for all.
pub fn management(lab: &Lab, found: &mut Diagnostics) {
    let v4: Option<Ipv4Net> = lab.mgmt.ipv4_subnet.as_deref().and_then(|s| s.parse().ok());
    let v6: Option<Ipv6Net> = lab.mgmt.ipv6_subnet.as_deref().and_then(|s| s.parse().ok());
    let mut seen: BTreeMap<String, &Node> = BTreeMap::new();
    for node in lab.nodes.iter().filter(|n| n.managed()) {
        let all = [
            ("mgmt-ipv4", node.mgmt_ipv4.map(|a| (a.to_string(), outside_v4(v4, a)))),
            ("mgmt-ipv6", node.mgmt_ipv6.map(|a| (a.to_string(), outside_v6(v6, a)))),
        ];
        for (key, address) in all {
            let Some((address, problem)) = address else { continue };
            let gateways = [&lab.mgmt.ipv4_gw, &lab.mgmt.ipv6_gw];
            let gateway = gateways.into_iter().flatten().any(|g| *g == address);
            let problem = problem.or(gateway.then(|| "is the gateway's".to_string()));
            if let Some(problem) = problem {
                found.push(
                    Diagnostic::error("bad-address", format!("`{key}: {address}` {problem}"))
                        .at(node.span_of(key))
                        .hint("choose a free address inside the subnet, or change `mgmt`"),
                );
            }
            if let Some(first) = seen.insert(address.clone(), node) {
                found.push(
                    Diagnostic::error(
                        "duplicate-address",
                        format!("the management address {address} is used twice"),
                    )
                    .at(node.span_of(key))
                    .also(first.span_of(key), format!("first by node `{}`", first.name))
                    .hint("leave it out and the node gets a free one"),
                );
            }
        }
    }
    let managed = lab.nodes.iter().filter(|n| n.managed()).count() as u128;
    if let Some(net) = v4 {
        let pool: Ipv4Net =
            lab.mgmt.ipv4_range.as_deref().and_then(|r| r.parse().ok()).unwrap_or(net);
        let room =
            (1u128 << (32 - pool.prefix_len())).saturating_sub(if pool == net { 3 } else { 0 });
        let automatic =
            lab.nodes.iter().filter(|n| n.managed() && n.mgmt_ipv4.is_none()).count() as u128;
        if automatic > room || managed > (1u128 << (32 - net.prefix_len())).saturating_sub(3) {
            found.push(
                Diagnostic::error(
                    "network-too-small",
                    format!("{managed} nodes need more addresses than {pool} has"),
                )
                .at(lab.mgmt.span.or(lab.nodes.first().and_then(|n| n.span)))
                .hint("set a larger `mgmt.ipv4-subnet`, like 172.20.0.0/16"),
            );
        }
    }
}

fn outside_v4(net: Option<Ipv4Net>, a: std::net::Ipv4Addr) -> Option<String> {
    let net = net?;
    if !net.contains(&a) {
        return Some(format!("is outside the management subnet {net}"));
    }
    if net.prefix_len() < 31 && (a == net.network() || a == net.broadcast()) {
        return Some(format!("is the network's own address in {net}"));
    }
    None
}

fn outside_v6(net: Option<Ipv6Net>, a: std::net::Ipv6Addr) -> Option<String> {
    let net = net?;
    if !net.contains(&a) {
        return Some(format!("is outside the management subnet {net}"));
    }
    (net.prefix_len() < 127 && a == net.network())
        .then(|| format!("is the network's own address in {net}"))
}
