//! What must hold in a lab as a whole.

use crate::lab::{EndpointNode, Lab, Node};
use ipnet::{Ipv4Net, Ipv6Net};
use netloom_diag::{Diagnostic, Diagnostics, Span, did_you_mean};
use netloom_kinds::{License, Role};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Finds what contradicts itself; each finding names both places where there are two.
pub fn verify(lab: &Lab, found: &mut Diagnostics) {
    endpoints(lab, found);
    mac_addresses(lab, found);
    link_addresses(lab, found);
    management(lab, found);
    for node in &lab.nodes {
        one(lab, node, found);
    }
    stages(lab, found);
    ports(lab, found);
}

fn endpoints(lab: &Lab, found: &mut Diagnostics) {
    let nodes: HashMap<&str, &Node> = lab.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
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
            let place = place.map_or_else(|| "the host".to_string(), |n| format!("node `{n}`"));
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

fn mac_addresses(lab: &Lab, found: &mut Diagnostics) {
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
fn link_addresses(lab: &Lab, found: &mut Diagnostics) {
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

fn management(lab: &Lab, found: &mut Diagnostics) {
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

fn one(lab: &Lab, node: &Node, found: &mut Diagnostics) {
    let at = |key: &str| node.span_of(key);
    let kind = &node.kind_data;
    for text in &node.binds {
        if !text.contains(':') {
            found.push(
                Diagnostic::error("bad-bind", format!("`{text}` is not a bind"))
                    .at(at("binds"))
                    .hint("write SOURCE:TARGET[:ro]; a volume without a source stands under `volumes`"),
            );
        }
    }
    for (key, text) in [("cmd", &node.cmd), ("entrypoint", &node.entrypoint)] {
        if shlex::split(text).is_none() && !text.trim().is_empty() {
            found.push(unclosed_quote(text).at(at(key)));
        }
    }
    for text in &node.exec {
        if shlex::split(text).is_none() {
            found.push(unclosed_quote(text).at(at("exec")));
        }
    }
    for (key, text) in [("memory", &node.memory), ("shm-size", &node.shm_size)] {
        if !text.is_empty() && crate::bytes(text).is_none() {
            found.push(
                Diagnostic::error("bad-size", format!("`{key}: {text}` is not a size"))
                    .at(at(key))
                    .hint("a number and a unit: 512MB, 2GiB, 64k"),
            );
        }
    }
    if node.enforce_startup_config && node.suppress_startup_config {
        found.push(
            Diagnostic::error(
                "contradiction",
                "`enforce-startup-config` and `suppress-startup-config` exclude each other",
            )
            .at(at("suppress-startup-config"))
            .also(at("enforce-startup-config"), "and here"),
        );
    } else if node.enforce_startup_config && node.startup_config.is_none() {
        found.push(
            Diagnostic::error("contradiction", "there is no `startup-config` to enforce")
                .at(at("enforce-startup-config")),
        );
    }
    if kind.license == License::Required && node.license.is_none() {
        found.push(
            Diagnostic::error("missing-license", format!("kind `{}` needs a licence", node.kind))
                .at(node.span)
                .hint("write `license: FILE`"),
        );
    }
    let types = &kind.types;
    if types.required && node.r#type.is_empty() {
        let names: Vec<_> = types.names.keys().map(String::as_str).collect();
        found.push(
            Diagnostic::error("missing-type", format!("kind `{}` needs a `type`", node.kind))
                .at(node.span)
                .hint(format!("one of {}", names.join(", "))),
        );
    } else if !types.names.is_empty()
        && !node.r#type.is_empty()
        && !types.names.keys().any(|n| n.eq_ignore_ascii_case(&node.r#type))
    {
        let near = did_you_mean(&node.r#type, types.names.keys().map(String::as_str));
        let hint = match near {
            Some(n) => format!("did you mean `{n}`?"),
            None => {
                format!("one of {}", types.names.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        found.push(
            Diagnostic::error(
                "unknown-type",
                format!("kind `{}` has no type `{}`", node.kind, node.r#type),
            )
            .at(at("type"))
            .hint(hint),
        );
    }
    if node.hostname.len() > 64
        || !node.hostname.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        found.push(
            Diagnostic::error("bad-hostname", format!("`{}` cannot be a host name", node.hostname))
                .at(at("hostname"))
                .hint("letters, digits, `-`, `_` and `.`, at most 64"),
        );
    } else if node.hostname.is_empty() && node.name.len() > 64 {
        found.push(
            Diagnostic::error(
                "bad-hostname",
                format!("`{}` is too long for a host name", node.name),
            )
            .at(node.span)
            .hint("set a `hostname` of at most 64 characters"),
        );
    }
    capabilities(node, found);
    network_mode(lab, node, found);
    restart_policy(node, found);
    if let Some(h) = &node.healthcheck
        && !matches!(h.test.first().map(String::as_str), Some("CMD" | "CMD-SHELL" | "NONE"))
    {
        found.push(
            Diagnostic::error("bad-healthcheck", "`healthcheck.test` begins with CMD or CMD-SHELL")
                .at(at("healthcheck"))
                .hint("write test: [CMD-SHELL, \"command\"]"),
        );
    }
}

fn unclosed_quote(text: &str) -> Diagnostic {
    let quote = if text.matches('"').count() % 2 == 1 { '"' } else { '\'' };
    Diagnostic::error("bad-quote", format!("a quote is not closed in `{text}`"))
        .hint(format!("close the {quote}, or write \\{quote} for the sign itself"))
}

/// The kernel's capabilities, without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn capabilities(node: &Node, found: &mut Diagnostics) {
    for text in &node.cap_add {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if name != "ALL" && !CAPABILITIES.contains(&name) {
            let near = did_you_mean(name, CAPABILITIES);
            found.push(
                Diagnostic::error("unknown-capability", format!("there is no capability `{text}`"))
                    .at(node.span_of("cap-add"))
                    .hint("`man 7 capabilities` lists them")
                    .maybe_hint(near.map(|n| format!("did you mean `{n}`?"))),
            );
        }
    }
}

/// Whose namespace a node lives in: its own, or that of the node it follows.
fn home<'a>(lab: &'a Lab, nodes: &HashMap<&str, &'a Node>, name: &'a str) -> &'a str {
    let mut at = name;
    for _ in 0..lab.nodes.len() {
        match nodes.get(at).and_then(|n| n.shares_namespace_of()).and_then(|n| nodes.get(n)) {
            Some(next) => at = &next.name,
            None => break,
        }
    }
    at
}

fn network_mode(lab: &Lab, node: &Node, found: &mut Diagnostics) {
    let mode = node.network_mode.as_str();
    let known = matches!(mode, "" | "bridge" | "none" | "host");
    if !known && node.shares_namespace_of().is_none_or(str::is_empty) {
        found.push(
            Diagnostic::error("unknown-word", format!("`{mode}` is not a value of `network-mode`"))
                .at(node.span_of("network-mode"))
                .hint("it may be bridge, none, host or container:NODE"),
        );
    }
    let mut seen = vec![node.name.as_str()];
    let mut at = node;
    while let Some(next) = at.shares_namespace_of().and_then(|n| lab.node(n)) {
        if seen.contains(&next.name.as_str()) {
            found.push(
                Diagnostic::error(
                    "cycle",
                    format!(
                        "`network-mode` goes round in a circle: {} -> {}",
                        seen.join(" -> "),
                        next.name
                    ),
                )
                .at(node.span_of("network-mode")),
            );
            break;
        }
        seen.push(&next.name);
        at = next;
    }
    if mode == "host" {
        let linked = lab.links.iter().flat_map(|l| &l.endpoints);
        for end in linked.filter(|e| e.node == EndpointNode::Node(node.name.clone())) {
            found.push(
                Diagnostic::error(
                    "bad-endpoint",
                    format!("node `{}` is in the host's own namespace and has no links", node.name),
                )
                .at(end.span)
                .hint("write `host:INTERFACE` as the endpoint"),
            );
        }
    }
}

fn restart_policy(node: &Node, found: &mut Diagnostics) {
    let (word, count) = node.restart_policy.split_once(':').unwrap_or((&node.restart_policy, ""));
    let fine = match word {
        "" | "no" | "always" | "unless-stopped" => count.is_empty(),
        "on-failure" => count.is_empty() || count.parse::<u32>().is_ok(),
        _ => false,
    };
    if !fine {
        found.push(
            Diagnostic::error(
                "unknown-word",
                format!("`{}` is not a value of `restart-policy`", node.restart_policy),
            )
            .at(node.span_of("restart-policy"))
            .hint("it may be no, always, unless-stopped or on-failure[:N]"),
        );
    }
}

/// Every stage a node can wait for exists, and nobody waits for itself in the end.
fn stages(lab: &Lab, found: &mut Diagnostics) {
    let index: HashMap<&str, usize> =
        lab.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); lab.nodes.len() * 5];
    let number = |stage: &str| {
        ["create", "create-links", "configure", "healthy", "exit"].iter().position(|s| *s == stage)
    };
    for (i, node) in lab.nodes.iter().enumerate() {
        for s in 1..5 {
            edges[i * 5 + s].push(i * 5 + s - 1);
        }
        for (s, (_, stage)) in node.stages.named().into_iter().enumerate() {
            for wait in &stage.wait_for {
                let Some(&other) = index.get(wait.node.as_str()) else {
                    let near = did_you_mean(&wait.node, index.keys().copied());
                    found.push(
                        Diagnostic::error(
                            "unknown-node",
                            format!("there is no node `{}` to wait for", wait.node),
                        )
                        .at(wait.span)
                        .hint("name a node of this file")
                        .maybe_hint(near.map(|n| format!("did you mean `{n}`?"))),
                    );
                    continue;
                };
                let Some(theirs) = number(&wait.stage) else {
                    // A stage that does not exist has been reported as an unknown word.
                    if !wait.stage.is_empty() {
                        continue;
                    }
                    found.push(
                        Diagnostic::error("missing-key", "`wait-for` names no stage")
                            .at(wait.span)
                            .hint("one of create, create-links, configure, healthy, exit"),
                    );
                    continue;
                };
                edges[i * 5 + s].push(other * 5 + theirs);
                if wait.stage == "healthy" && lab.nodes[other].healthcheck.is_none() {
                    found.push(
                        Diagnostic::warning(
                            "no-healthcheck",
                            format!("node `{}` has no `healthcheck` in this file", wait.node),
                        )
                        .at(wait.span)
                        .hint("unless its image or kind has one, it counts as healthy once it is configured"),
                    );
                }
            }
        }
        if let Some(&owner) = node.shares_namespace_of().and_then(|o| index.get(o)) {
            edges[i * 5].push(owner * 5);
        }
    }
    if let Some(path) = cycle(&edges) {
        let mut names: Vec<&str> = path.iter().map(|v| lab.nodes[v / 5].name.as_str()).collect();
        names.dedup();
        let first = &lab.nodes[path[0] / 5];
        let at = first.stages.named().iter().flat_map(|(_, s)| &s.wait_for).find_map(|w| w.span);
        found.push(
            Diagnostic::error(
                "cycle",
                format!("nodes wait for each other: {}", names.join(" -> ")),
            )
            .at(at.or(first.span))
            .hint("take one `wait-for` of the circle away"),
        );
    }
}

/// A cycle of a graph, as the list of its vertices; iterative, so that long chains are no danger.
fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut colour = vec![0u8; edges.len()];
    for start in 0..edges.len() {
        if colour[start] != 0 {
            continue;
        }
        let mut stack = vec![(start, 0)];
        colour[start] = 1;
        while let Some((v, next)) = stack.last_mut() {
            let v = *v;
            match edges[v].get(*next) {
                Some(&w) => {
                    *next += 1;
                    match colour[w] {
                        0 => {
                            colour[w] = 1;
                            stack.push((w, 0));
                        }
                        1 => {
                            let from = stack.iter().position(|(s, _)| *s == w).unwrap_or(0);
                            let mut path: Vec<usize> =
                                stack[from..].iter().map(|(s, _)| *s).collect();
                            path.push(w);
                            return Some(path);
                        }
                        _ => {}
                    }
                }
                None => {
                    colour[v] = 2;
                    stack.pop();
                }
            }
        }
    }
    None
}

fn ports(lab: &Lab, found: &mut Diagnostics) {
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
