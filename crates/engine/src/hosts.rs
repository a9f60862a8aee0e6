//! Hosts and resolver files of nodes: names of the lab resolve without a name server.

use netloom_plan::Objects;
use netloom_topology::{Lab, Node};
use std::fmt::Write;

/// Lines for every node with a management address; the same for all nodes of a lab.
pub fn lab_lines(lab: &Lab, objects: &Objects) -> String {
    let mut out = String::new();
    for v4 in [true, false] {
        for (node, object) in lab.nodes.iter().zip(&objects.nodes) {
            let Some(mgmt) = &object.mgmt else { continue };
            let Some(address) = mgmt.addresses.iter().find(|a| a.addr().is_ipv4() == v4) else {
                continue;
            };
            let mut names = vec![node.long_name.as_str(), node.name.as_str(), node.fqdn.as_str()];
            names.extend(node.aliases.iter().map(String::as_str));
            names.dedup();
            let _ = writeln!(out, "{}\t{}", address.addr(), names.join(" "));
        }
    }
    out
}

/// What a daemon's own name server cannot know: nodes whose addresses are written in the file, as
/// existing labs have them, and those it does not run itself; `name:address`.
pub fn extra(lab: &Lab, objects: &Objects) -> Vec<String> {
    let mut out = Vec::new();
    for (node, object) in lab.nodes.iter().zip(&objects.nodes) {
        for net in object.mgmt.iter().flat_map(|m| &m.addresses) {
            let address = net.addr();
            let fixed = match address.is_ipv4() {
                true => node.mgmt_ipv4.is_some(),
                false => node.mgmt_ipv6.is_some(),
            };
            let stranger = !object.runs.hands_out_legs();
            if fixed || stranger {
                out.push(format!("{}:{address}", node.name));
            }
            if stranger {
                let names = std::iter::once(&node.long_name).chain(&node.aliases);
                out.extend(names.map(|name| format!("{name}:{address}")));
            }
        }
    }
    out
}

/// Name servers of the host that a container can reach; three are as many as resolvers use.
pub fn resolvers(resolv: &str) -> Vec<String> {
    let servers = resolv.lines().filter_map(|l| l.strip_prefix("nameserver")).map(str::trim);
    let away = servers.filter(|s| !(s.starts_with("127.") || *s == "::1"));
    away.take(3).map(str::to_owned).collect()
}

/// `/etc/hosts`: of a node with its host name, or of all nodes that have lines of their own among
/// those of the lab.
pub fn hosts(of: Option<(&Node, &str)>, lines: &str) -> String {
    let own = match of {
        Some((node, hostname)) if !node.managed() => {
            format!("127.0.1.1\t{hostname} {}\n", node.name)
        }
        _ => String::new(),
    };
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}{lines}")
}

/// `/etc/resolv.conf` of a node: its own servers, or the host's that are not local to the host.
pub fn resolv(node: &Node, host: &str) -> String {
    let dns = node.dns.clone().unwrap_or_default();
    let mut out = String::new();
    if dns.servers.is_empty() {
        let usable = host.lines().filter(|l| {
            let server = l.strip_prefix("nameserver").map(str::trim);
            server.is_none_or(|s| !(s.starts_with("127.") || s == "::1"))
        });
        for line in usable {
            let replaced = (line.starts_with("search") && !dns.search.is_empty())
                || (line.starts_with("options") && !dns.options.is_empty());
            if !line.starts_with('#') && !replaced {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    for server in &dns.servers {
        let _ = writeln!(out, "nameserver {server}");
    }
    for (word, list) in [("search", &dns.search), ("options", &dns.options)] {
        if !list.is_empty() {
            let _ = writeln!(out, "{word} {}", list.join(" "));
        }
    }
    out
}
