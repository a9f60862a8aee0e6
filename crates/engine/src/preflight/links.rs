//! Interfaces links need on the host, and names they take there.

use super::Situation;
use crate::tunnel;
use netloom_datapath::ovs::{self, Switch};
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};
use netloom_kinds::Role;
use netloom_plan::{NamespaceOf, kernel_name};
use netloom_topology::{EndpointNode, Lab, Link, LinkEndpoint, Node, Tunnel};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

pub(super) fn links(lab: &Lab, situation: &Situation<'_>, found: &mut Diagnostics) {
    let on_host = |n: &&Node| n.shares_namespace_of().is_none();
    let bridges: HashMap<&str, Role> = lab
        .nodes
        .iter()
        .filter(|n| matches!(n.kind_data.role, Role::Bridge | Role::OvsBridge))
        .filter(on_host)
        .map(|n| (n.name.as_str(), n.kind_data.role))
        .collect();
    let switch = switch(lab, situation, found);
    for link in &lab.links {
        for end in &link.endpoints {
            let role = match &end.node {
                EndpointNode::Macvlan => {
                    parent(end, situation, found);
                    continue;
                }
                EndpointNode::Host | EndpointNode::MgmtNet => Role::Host,
                EndpointNode::Node(n) => match bridges.get(n.as_str()) {
                    Some(role) => *role,
                    None => continue,
                },
            };
            let name = kernel_name(&end.interface).0;
            if let Some((what, hint)) = taken(&name, end, lab, situation) {
                found.push(Diagnostic::error("name-taken", what).at(end.span).hint(hint));
            } else if let Some(switch) = switch.as_ref().filter(|_| role == Role::OvsBridge)
                && let Some(owner) = switch.ports.get(&name)
                && owner.as_ref() != Some(&lab.name)
            {
                let what = format!("Open vSwitch has a port `{name}` already");
                found.push(Diagnostic::error("name-taken", what).at(end.span).hint(format!(
                    "choose another name, or remove it first: ovs-vsctl del-port {name}"
                )));
            }
        }
        if let Some(t) = tunnel::tunnel_of(&link.kind) {
            far_end(link, t, situation, found);
        }
    }
}

/// Whose a name on the host is already, and what to do about it.
fn taken(
    name: &str,
    end: &LinkEndpoint,
    lab: &Lab,
    situation: &Situation<'_>,
) -> Option<(String, &'static str)> {
    let mine = || {
        situation.record.is_some_and(|r| {
            let [old, new] = [&r.objects, &r.pending];
            let mut ends = old.links.iter().chain(&new.links).flat_map(|l| l.ends());
            ends.any(|e| e.namespace == NamespaceOf::Host && e.interface == name)
        })
    };
    match situation.ledger.interfaces.get(name) {
        Some(owner) if *owner == lab.name => None,
        Some(other) => {
            let what =
                format!("interface `{}` of this machine belongs to lab `{other}`", end.interface);
            Some((what, "choose another name"))
        }
        None if situation.machine.link(name).is_some() && !mine() => {
            let what = format!("interface `{}` exists on this machine already", end.interface);
            Some((what, "choose another name, or remove it first"))
        }
        None => None,
    }
}

/// Looks for the Open vSwitch bridges of a lab; what the switch has, if it was asked and answered.
fn switch(lab: &Lab, situation: &Situation<'_>, found: &mut Diagnostics) -> Option<Switch> {
    let nodes: Vec<&Node> =
        lab.nodes.iter().filter(|n| n.kind_data.role == Role::OvsBridge).collect();
    let first = nodes.first()?;
    if ovs::program().is_none() {
        let what = "there is no program `ovs-vsctl` on this machine";
        found.push(
            Diagnostic::error("missing-program", what)
                .at(first.span)
                .hint("install the package `openvswitch-switch`, or use `kind: bridge`"),
        );
        return None;
    }
    let switch = match ovs::observe(&situation.machine.netns) {
        Ok(switch) => switch,
        Err(e) => {
            found.push(
                Diagnostic::error("no-open-vswitch", e.to_string())
                    .at(first.span)
                    .hint("start it, or use `kind: bridge`"),
            );
            return None;
        }
    };
    for node in nodes {
        if node.shares_namespace_of().is_some() {
            found.push(
                Diagnostic::error(
                    "unsupported",
                    "Open vSwitch runs on the host, not inside a node",
                )
                .at(node.span_of("network-mode"))
                .hint("`kind: bridge` makes a bridge inside a node"),
            );
        } else if !switch.bridges.contains(&node.name) {
            let what = format!("there is no Open vSwitch bridge `{}` on this machine", node.name);
            let near = did_you_mean(&node.name, switch.bridges.iter().map(String::as_str));
            found.push(Diagnostic::error("missing-bridge", what).at(node.span).hint(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("make it first: ovs-vsctl add-br {}", node.name),
            }));
        }
    }
    Some(switch)
}

/// The interface a macvlan hangs on.
fn parent(end: &LinkEndpoint, situation: &Situation<'_>, found: &mut Diagnostics) {
    if situation.machine.link(&end.interface).is_some() {
        return;
    }
    let here: Vec<&str> = situation.machine.links.iter().map(|l| l.name.as_str()).collect();
    let what = format!("there is no interface `{}` on this machine", end.interface);
    found.push(
        Diagnostic::error("missing-interface", what)
            .at(end.span)
            .hint(format!("interfaces here: {}", here.join(", "))),
    );
}

/// What a tunnel leaves by, and where it leads.
fn far_end(link: &Link, t: &Tunnel, situation: &Situation<'_>, found: &mut Diagnostics) {
    let by_route = t.parent.is_empty();
    if !by_route && situation.machine.link(&t.parent).is_none() {
        let what = format!("there is no interface `{}` on this machine", t.parent);
        found.push(Diagnostic::error("missing-interface", what).at(link.span).hint(
            "`parent-interface` is what the tunnel's packets leave by; `ip link` lists them",
        ));
    }
    match tunnel::remote(&t.remote) {
        Ok(remote) if by_route && !reachable(remote) => {
            let what = format!("this machine has no route to {remote}, the tunnel's other end");
            found.push(
                Diagnostic::error("no-route", what)
                    .at(link.span)
                    .hint(format!("add one first: ip route add {remote} via GATEWAY")),
            );
        }
        Ok(_) => {}
        Err(why) => {
            found.push(Diagnostic::error("unknown-host", why).at(link.span).hint(
                "`remote` is the address of the tunnel's other end, or a name that leads to it",
            ))
        }
    }
}

/// Whether the kernel knows a way: connecting a datagram socket asks it, and sends nothing.
fn reachable(remote: IpAddr) -> bool {
    let any: IpAddr = if remote.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    UdpSocket::bind((any, 0)).and_then(|s| s.connect((remote, 9))).is_ok()
}
