//! `topology-data.json`: the lab as graph viewers and configuration tools read it.

use netloom_plan::{
    Attachment, Impl, LinkEnd, LinkObject, NamespaceOf, Network, NodeObject, Objects,
};
use netloom_topology::{Lab, Link, LinkEndpoint, Node};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;

/// The document; `keys` are public keys of ssh.
pub fn topology_data(
    lab: &Lab,
    objects: &Objects,
    network: Option<&Network>,
    keys: &[String],
) -> Value {
    let mut order: Vec<usize> = (0..lab.nodes.len()).collect();
    order.sort_by(|a, b| lab.nodes[*a].name.cmp(&lab.nodes[*b].name));
    let mut nodes = Map::new();
    for (index, at) in order.into_iter().enumerate() {
        let node = &lab.nodes[at];
        nodes.insert(node.name.clone(), described(index, node, &objects.nodes[at], lab, network));
    }
    let written: HashMap<String, &Link> = lab.links.iter().map(|l| (id(l), l)).collect();
    let links: Vec<Value> =
        objects.links.iter().map(|l| link(l, written.get(&l.id).copied(), network)).collect();
    json!({
        "name": lab.name,
        "type": "clab",
        "clab": { "config": { "prefix": lab.prefix, "mgmt": mgmt(lab, network) } },
        "ssh-pub-keys": keys,
        "nodes": nodes,
        "links": links,
    })
}

fn mgmt(lab: &Lab, network: Option<&Network>) -> Value {
    let mut out = Map::new();
    out.insert("network".into(), json!(lab.mgmt.network));
    if let Some(n) = network {
        out.insert("bridge".into(), json!(n.bridge));
        let families = [
            ("ipv4", n.ipv4.map(|s| s.to_string()), n.ipv4_gw, &lab.mgmt.ipv4_range),
            ("ipv6", n.ipv6.map(|s| s.to_string()), n.ipv6_gw, &lab.mgmt.ipv6_range),
        ];
        let written = [&lab.mgmt.ipv4_subnet, &lab.mgmt.ipv6_subnet].map(|w| {
            // As the file has it: others compare it with the file.
            w.clone().filter(|w| lab.mgmt.subnets_written && w != "auto")
        });
        for ((family, subnet, gateway, range), written) in families.into_iter().zip(written) {
            let subnet = subnet.map(|s| written.unwrap_or(s));
            let fields = [
                ("subnet", subnet),
                ("gw", gateway.map(|g| g.to_string())),
                ("range", range.clone()),
            ];
            for (field, value) in fields {
                if let Some(value) = value {
                    out.insert(format!("{family}-{field}"), json!(value));
                }
            }
        }
        if lab.mgmt.mtu.is_some() {
            out.insert("mtu".into(), json!(n.mtu));
        }
    }
    out.insert("external-access".into(), json!(lab.mgmt.external_access));
    if !lab.mgmt.driver_opts.is_empty() {
        out.insert("driver-opts".into(), json!(lab.mgmt.driver_opts));
    }
    Value::Object(out)
}

fn described(
    index: usize,
    node: &Node,
    object: &NodeObject,
    lab: &Lab,
    network: Option<&Network>,
) -> Value {
    let address = |v4: bool| {
        let all = object.mgmt.iter().flat_map(|m: &Attachment| &m.addresses);
        let found = all.into_iter().find(|a| a.addr().is_ipv4() == v4);
        found.map_or((String::new(), 0), |a| (a.addr().to_string(), a.prefix_len()))
    };
    let (v4, v6) = (address(true), address(false));
    // Named where the kind wants one of its own.
    let own = object.mgmt.as_ref().filter(|_| node.kind_data.mac.oui.is_some());
    let mac = own.map(|m| mac_text(&m.mac)).unwrap_or_default();
    let mut labels = node.labels.clone();
    if let Some(network) = network {
        labels.insert("clab-mgmt-net-bridge".into(), network.bridge.clone());
    }
    json!({
        "index": index.to_string(),
        "shortname": node.name,
        "longname": node.long_name,
        "fqdn": node.fqdn,
        "group": node.group,
        "labdir": lab.dir.join(&node.name),
        "kind": node.kind,
        "image": node.image,
        "mgmt-net": "",
        "mgmt-intf": node.kind_data.interfaces.management_alias,
        "mgmt-ipv4-address": v4.0,
        "mgmt-ipv4-prefix-length": v4.1,
        "mgmt-ipv6-address": v6.0,
        "mgmt-ipv6-prefix-length": v6.1,
        "mac-address": mac,
        "labels": labels,
        "port-bindings": ports(object),
    })
}

/// A port that names no address of the host is open on all of both families.
fn ports(object: &NodeObject) -> Vec<Value> {
    let mut out = Vec::new();
    let mut ports: Vec<_> = object.ports.iter().collect();
    ports.sort_by_key(|p| (&p.protocol, p.port, p.host_port));
    for port in ports {
        let hosts = match port.host {
            Some(host) => vec![host.to_string()],
            None => vec![IpAddr::from([0u8; 4]).to_string(), IpAddr::from([0u16; 8]).to_string()],
        };
        out.extend(hosts.into_iter().map(|host| {
            json!({
                "host-ip": host,
                "host-port": port.host_port,
                "port": port.port,
                "protocol": port.protocol,
            })
        }));
    }
    out
}

/// What a link of the file is called in the plan.
fn id(link: &Link) -> String {
    let ends = link.endpoints.iter();
    let ends: Vec<String> = ends.map(|e| format!("{}:{}", e.node.word(), e.interface)).collect();
    ends.join(" ")
}

fn link(object: &LinkObject, written: Option<&Link>, network: Option<&Network>) -> Value {
    let mut ends: Vec<Value> = object
        .ends()
        .enumerate()
        .map(|(at, end)| {
            let written = written.and_then(|l| l.endpoints.get(at));
            endpoint(end, written, network)
        })
        .collect();
    // The network comes first.
    if object.ends().nth(1).is_some_and(|e| e.node == "mgmt-net") {
        ends.reverse();
    }
    // What has one end here leads to the host, or through it.
    ends.extend(match &object.how {
        Impl::Macvlan { parent, .. } => {
            Some(json!({ "node": "host", "interface": parent, "mac": "" }))
        }
        Impl::Vxlan(_) => {
            Some(json!({ "node": "host", "interface": "", "mac": mac_text(&object.a.mac) }))
        }
        Impl::VxlanStitch { device, .. } => {
            Some(json!({ "node": "host", "interface": device, "mac": mac_text(&object.a.mac) }))
        }
        _ => None,
    });
    let alone = ends.len() == 1;
    let mut endpoints = Map::new();
    for (mut end, (name, peer)) in ends.into_iter().zip([("a", "z"), ("z", "a")]) {
        end["peer"] = json!(if alone { "dummy" } else { peer });
        endpoints.insert(name.into(), end);
    }
    let mut out = Map::from_iter([("endpoints".to_owned(), Value::Object(endpoints))]);
    if let Some(vars) = written.map(|l| &l.vars).filter(|v| !v.is_null()) {
        out.insert("vars".into(), vars.clone());
    }
    Value::Object(out)
}

fn mac_text(mac: &[u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

fn endpoint(end: &LinkEnd, written: Option<&LinkEndpoint>, network: Option<&Network>) -> Value {
    let node = match (&end.namespace, end.node.as_str()) {
        (NamespaceOf::Host, "mgmt-net") => network.map_or("mgmt-net", |n| n.bridge.as_str()),
        (_, node) => node,
    };
    let mut out = Map::new();
    out.insert("node".into(), json!(node));
    // As it is written, where the kernel knows it by another name.
    let name = written.map_or(&end.interface, |w| &w.interface);
    let named = end.altnames.contains(&name.replace('/', "-"));
    out.insert("interface".into(), json!(if named { name } else { &end.interface }));
    out.insert("mac".into(), json!(mac_text(&end.mac)));
    for address in &end.addresses {
        let family = if address.addr().is_ipv4() { "ipv4" } else { "ipv6" };
        out.insert(family.into(), json!(address.to_string()));
    }
    if let Some(vars) = written.map(|w| &w.vars).filter(|v| !v.is_null()) {
        out.insert("vars".into(), vars.clone());
    }
    Value::Object(out)
}
