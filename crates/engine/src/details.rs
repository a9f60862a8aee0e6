//! All that is known of a node, in the shape tools for containerlab read.

use crate::inspect::{NodeRow, age};
use crate::{LabRecord, NodeRecord};
use netloom_plan::{NamespaceOf, NodeObject};
use netloom_runtime::ContainerState;
use serde_json::{Value as Json, json};

/// A node in that shape; under `Netloom` what those tools do not know.
pub fn of(
    record: &LabRecord,
    row: &NodeRow,
    node: &NodeRecord,
    place: Option<&NodeObject>,
    state: Option<&ContainerState>,
    now: u64,
) -> Json {
    let leg = place.and_then(|p| p.mgmt.as_ref());
    let gateway = |v4: bool| {
        leg.and_then(|l| l.gateways.iter().find(|g| g.is_ipv4() == v4))
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let address = |text: &Option<String>| {
        let (address, length) = text.as_deref().and_then(|t| t.split_once('/')).unwrap_or_default();
        (address.to_owned(), length.parse::<u8>().unwrap_or(0))
    };
    let ((ipv4, length4), (ipv6, length6)) = (address(&row.ipv4), address(&row.ipv6));
    let network = match place.map(|p| &p.namespace) {
        Some(NamespaceOf::Host) => "host".to_owned(),
        _ if leg.is_some() => record.networks.iter().next().cloned().unwrap_or_default(),
        _ => "none".into(),
    };
    let mut ports: Vec<_> = place.iter().flat_map(|p| &p.ports).collect();
    ports.sort_by_key(|p| (&p.protocol, p.port, p.host_port));
    let ports = ports.into_iter().flat_map(|port| {
        let hosts = match port.host {
            Some(host) => vec![host.to_string()],
            None => vec!["0.0.0.0".into(), "::".into()],
        };
        hosts.into_iter().map(|host| {
            json!({
                "host_ip": host,
                "host_port": port.host_port,
                "port": port.port,
                "protocol": port.protocol,
            })
        })
    });
    // With the health beside the time, as `docker ps` has it.
    let status = match state.and_then(|s| s.started_at.zip(s.health)) {
        Some((start, health)) if row.state == "running" => {
            format!("Up {} ({})", age(now.saturating_sub(start)), health.word())
        }
        _ => row.status.clone(),
    };
    let mounts = state.map(|s| s.mounts.as_slice()).unwrap_or_default();
    let mount =
        |(source, target): &(String, String)| json!({ "Source": source, "Destination": target });
    json!({
        "Names": [row.name],
        "ID": row.id,
        "ShortID": row.id.chars().take(12).collect::<String>(),
        "Image": row.image,
        "State": row.state,
        "Status": status,
        "Labels": state.map_or(&node.labels, |s| &s.labels),
        "Pid": row.pid.unwrap_or(0),
        "NetworkName": network,
        "NetworkSettings": {
            "IPv4addr": ipv4, "IPv4pLen": length4, "IPv4Gw": gateway(true),
            "IPv6addr": ipv6, "IPv6pLen": length6, "IPv6Gw": gateway(false),
        },
        "Mounts": mounts.iter().map(mount).collect::<Vec<_>>(),
        "Ports": ports.collect::<Vec<_>>(),
        "Netloom": {
            "node": row.node,
            "runtime": node.runs.word(),
            "restarts": row.restarts,
            "namespace": place.map(|p| &p.namespace),
            "links": record.objects.links.iter()
                .filter(|l| l.ends().any(|e| e.node == row.node))
                .map(|l| &l.id)
                .collect::<Vec<_>>(),
        },
    })
}
