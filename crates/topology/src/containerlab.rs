//! The comparison format: what containerlab itself makes of a file, with its keys and shapes.

use crate::lab::{EndpointNode, Lab, LinkKind, Node, StartupConfig};
use netloom_kinds::Role;
use serde_json::{Map, Value as Json, json};

/// `name`, `prefix`, `mgmt`, `nodes` and `links` as containerlab 0.79 resolves them. Empty values
/// are left out.
pub fn to_containerlab(lab: &Lab) -> Json {
    let nodes: Map<String, Json> =
        lab.nodes.iter().map(|n| (n.name.clone(), node(lab, n))).collect();
    let links: Vec<Json> = lab
        .links
        .iter()
        .map(|l| {
            // That tool puts the management bridge first, whatever the file's order.
            let mut ends: Vec<_> = l.endpoints.iter().collect();
            ends.sort_by_key(|e| e.node != EndpointNode::MgmtNet);
            let endpoints: Vec<Json> = ends
                .into_iter()
                .map(|e| {
                    prune(json!({
                        "node": e.node.word(), "interface": e.interface, "alias": e.alias,
                    }))
                })
                .collect();
            let word = match l.kind {
                LinkKind::Host | LinkKind::MgmtNet => "veth",
                ref k => k.word(),
            };
            json!({"type": word, "mtu": l.mtu, "endpoints": endpoints})
        })
        .collect();
    json!({
        "name": lab.name,
        "prefix": lab.prefix,
        "mgmt": prune(json!({
            "network": lab.mgmt.network,
            "bridge": lab.mgmt.bridge,
            "ipv4-subnet": lab.mgmt.ipv4_subnet,
            "ipv6-subnet": lab.mgmt.ipv6_subnet,
            "ipv4-gw": lab.mgmt.ipv4_gw,
            "ipv6-gw": lab.mgmt.ipv6_gw,
            "ipv4-range": lab.mgmt.ipv4_range,
            "ipv6-range": lab.mgmt.ipv6_range,
            "mtu": lab.mgmt.mtu,
            "external-access": lab.mgmt.external_access,
        })),
        "nodes": nodes,
        "links": links,
    })
}

fn node(lab: &Lab, n: &Node) -> Json {
    let role = n.kind_data.role;
    let labels: Map<String, Json> = n
        .labels
        .iter()
        .filter(|(k, v)| !(v.is_empty() || k.as_str() == "clab-owner"))
        .map(|(k, v)| (k.clone(), json!(v)))
        .collect();
    let mut ports: Map<String, Json> = Map::new();
    for p in &n.ports {
        let port = if p.host_port == 0 { String::new() } else { p.host_port.to_string() };
        let binding = prune(json!({"HostIp": p.host_ip, "HostPort": port}));
        let list = ports.entry(format!("{}/{}", p.port, p.protocol)).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(binding);
        }
    }
    let mut out = identity(lab, n);
    let rest = prune(json!({
        "binds": n.binds,
        "volumes": n.volumes,
        "devices": n.devices,
        "cap-add": n.cap_add,
        "security-opts": n.security_opts,
        "privileged": n.privileged,
        "cgroupns-mode": n.cgroupns_mode,
        "cgroup-parent": n.cgroup_parent,
        "pid-mode": n.pid_mode,
        "tmpfs": n.tmpfs,
        "shm-size": n.shm_size,
        "portbindings": ports,
        "mgmt-ipv4-address": n.mgmt_ipv4,
        "mgmt-ipv6-address": n.mgmt_ipv6,
        "env": n.env,
        "user": n.user,
        "labels": labels,
        "networkmode": n.network_mode,
        "runtime": n.runtime,
        "cpu": n.cpu,
        "cpu-set": n.cpu_set,
        "memory": n.memory,
        "sysctls": n.sysctls,
        "extras": extras(&n.extras),
        "config": if n.config.is_null() { Json::Null } else { json!({"Vars": n.config["vars"]}) },
        "stages": stages(n),
        "dns": n.dns.as_ref().map(|d| prune(json!({
            "Servers": d.servers, "Options": d.options, "Search": d.search,
        }))),
        "Certificate": renamed(&n.certificate, &[
            ("issue", "Issue"), ("key-size", "KeySize"),
            ("validity-duration", "ValidityDuration"), ("sans", "SANs"),
        ]),
        "Healthcheck": n.healthcheck.as_ref().map(|h| prune(json!({
            "Test": h.test, "Interval": h.interval, "Timeout": h.timeout,
            "Retries": h.retries, "StartPeriod": h.start_period,
        }))),
        "credentials": prune(json!({"username": n.credentials.username})),
        "aliases": n.aliases,
        "Components": renamed(&n.components, &[
            ("slot", "Slot"), ("type", "Type"), ("env", "Env"), ("sfm", "SFM"),
            ("xiom", "XIOM"), ("mda", "MDA"),
        ]),
        "SkipUniquenessCheck": role == Role::ExtContainer,
        "IsRootNamespaceBased": matches!(role, Role::Bridge | Role::OvsBridge | Role::Host),
    }));
    if let (Some(out), Json::Object(rest)) = (out.as_object_mut(), rest) {
        out.extend(rest);
    }
    out
}

/// What a node is and how it starts.
fn identity(lab: &Lab, n: &Node) -> Json {
    prune(json!({
        "shortname": n.name,
        "longname": n.long_name,
        "fqdn": n.fqdn,
        "kind": n.kind,
        "group": n.group,
        "type": n.r#type,
        "image": n.image,
        "image-pull-policy": format!("{:?}", n.image_pull_policy),
        "license": n.license,
        "startup-config": startup(lab, n),
        "startup-config-abs-path": n.kind_data.startup_path.as_ref().map(|p| n.dir.join(p)),
        "enforce-startup-config": n.enforce_startup_config,
        "suppress-startup-config": n.suppress_startup_config,
        "startup-delay": n.startup_delay,
        "auto-remove": n.auto_remove,
        "restart-policy": n.restart_policy,
        "hostname": n.hostname,
        "entrypoint": n.entrypoint,
        "cmd": n.cmd,
        "exec": n.exec,
    }))
}

fn startup(lab: &Lab, n: &Node) -> Option<String> {
    match n.startup_config.as_ref()? {
        StartupConfig::File(p) => Some(p.to_string_lossy().into_owned()),
        StartupConfig::Url(u) => Some(u.clone()),
        StartupConfig::Text(_) => {
            Some(format!("/tmp/.clab/{}-{}-embedded.partial.cfg", lab.name, n.name))
        }
    }
}

fn stages(n: &Node) -> Json {
    let go = ["Create", "CreateLinks", "Configure", "Healthy", "Exit"];
    let map: Map<String, Json> = go
        .iter()
        .zip(n.stages.named())
        .map(|(name, (_, s))| {
            let waits: Vec<Json> =
                s.wait_for.iter().map(|w| json!({"node": w.node, "stage": w.stage})).collect();
            let execs: Vec<Json> = s
                .exec
                .iter()
                .map(|e| json!({"Command": e.command, "Target": e.target, "Phase": e.phase}))
                .collect();
            ((*name).to_string(), prune(json!({"WaitFor": waits, "Execs": execs})))
        })
        .collect();
    prune(Json::Object(map))
}

fn extras(extras: &Json) -> Json {
    let kind = renamed(
        &extras["k8s_kind"],
        &[("deploy", "Deploy"), ("wait", "Wait"), ("kubeconfig", "Kubeconfig")],
    );
    prune(json!({
        "SRLAgents": extras["srl-agents"],
        "MysocketProxy": extras["mysocket-proxy"],
        "CeosCopyToFlash": extras["ceos-copy-to-flash"],
        "K8sKind": kind,
    }))
}

/// Keys renamed at every depth, empties left out.
fn renamed(value: &Json, names: &[(&str, &str)]) -> Json {
    match value {
        Json::Object(map) => prune(Json::Object(
            map.iter()
                .map(|(k, v)| {
                    let name =
                        names.iter().find(|(old, _)| old == k).map_or(k.as_str(), |(_, n)| n);
                    (name.to_string(), renamed(v, names))
                })
                .collect(),
        )),
        Json::Array(list) => list.iter().map(|v| renamed(v, names)).collect(),
        other => other.clone(),
    }
}

/// Leaves out empty values of a map.
fn prune(value: Json) -> Json {
    match value {
        Json::Object(map) => Json::Object(map.into_iter().filter(|(_, v)| !empty(v)).collect()),
        other => other,
    }
}

fn empty(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::String(s) => s.is_empty(),
        Json::Number(n) => n.as_f64() == Some(0.0),
        Json::Array(a) => a.is_empty(),
        Json::Object(o) => o.is_empty(),
        Json::Bool(true) => false,
    }
}
