//! What the host must have, and what of it must be free.

use super::Situation;
use crate::Ledger;
use netloom_datapath::probe::{self, Support};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_topology::{Lab, LinkKind, Node, PortBinding};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Processors and kernel parameters this machine has.
pub(super) fn limits(node: &Node, found: &mut Diagnostics) {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let online = online.trim();
    if !node.cpu_set.is_empty()
        && let (Some(have), wanted) = (processors(online), processors(&node.cpu_set))
        && wanted.as_ref().is_none_or(|w| !w.is_subset(&have))
    {
        found.push(
            Diagnostic::error(
                "bad-cpu-set",
                format!("`cpu-set: {}` names processors that are not here", node.cpu_set),
            )
            .at(node.span_of("cpu-set"))
            .hint(format!("this machine has {online}")),
        );
    }
    for key in node.sysctls.keys() {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        // Parameters of interfaces exist only once the interface does.
        let of_interface =
            key.matches('.').count() >= 4 && (key.contains(".conf.") || key.contains(".neigh."));
        if !of_interface && !std::path::Path::new(&path).exists() {
            found.push(
                Diagnostic::error(
                    "unknown-sysctl",
                    format!("this kernel has no parameter `{key}`"),
                )
                .at(node.span_of("sysctls"))
                .hint("`sysctl -a` lists those it has"),
            );
        }
    }
}

/// Processors of this machine.
pub(super) fn online() -> Option<std::collections::BTreeSet<u32>> {
    processors(std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?.trim())
}

/// Numbers of a list like `0-3,5`.
fn processors(text: &str) -> Option<std::collections::BTreeSet<u32>> {
    let mut out = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        out.extend(a.trim().parse::<u32>().ok()?..=b.trim().parse::<u32>().ok()?);
    }
    Some(out)
}

/// Kinds of devices the lab is made of, each tried once in a namespace of its own.
pub(super) fn devices(lab: &Lab, found: &mut Diagnostics) {
    let first = lab.nodes.first().and_then(|n| n.span);
    let managed = lab.nodes.iter().any(|n| n.managed());
    let link = |wanted: fn(&LinkKind) -> bool| {
        lab.links.iter().find(|l| wanted(&l.kind)).map(|l| l.span.or(first))
    };
    let pair = |k: &LinkKind| {
        !matches!(k, LinkKind::Macvlan { .. } | LinkKind::Vxlan { .. } | LinkKind::Dummy)
    };
    let kinds = [
        ("veth", link(pair).or(managed.then_some(first))),
        ("bridge", managed.then_some(lab.mgmt.span.or(first))),
        ("macvlan", link(|k| matches!(k, LinkKind::Macvlan { .. }))),
        ("vxlan", link(|k| matches!(k, LinkKind::Vxlan { .. } | LinkKind::VxlanStitch { .. }))),
    ];
    for (kind, at) in kinds {
        if let Some(at) = at
            && let Some(missing) = missing_device(kind)
        {
            found.push(missing.at(at));
        }
    }
}

fn missing_device(kind: &str) -> Option<Diagnostic> {
    let why = match probe::link_kind(kind) {
        Ok(support @ Support::No(_)) => support.to_string(),
        // The trial itself stands on a pair.
        Err(e) if kind == "veth" && e.errno() == Some(nix::errno::Errno::EOPNOTSUPP) => {
            e.to_string()
        }
        _ => return None,
    };
    let what = format!("this kernel makes no `{kind}` devices: {why}");
    let hint = format!("load the module (modprobe {kind}); `netloom doctor` shows what there is");
    Some(Diagnostic::error("missing-device-kind", what).hint(hint))
}

/// What the management network needs of the host besides its bridge.
pub(super) fn host_programs(lab: &Lab, found: &mut Diagnostics) {
    let managed = lab.nodes.iter().any(|n| n.managed());
    let published = lab.nodes.iter().find(|n| n.managed() && !n.ports.is_empty());
    let wanted = managed && lab.mgmt.external_access || published.is_some();
    if wanted && netloom_datapath::mgmt::nft::program().is_none() {
        let at = published.and_then(|n| n.span_of("ports")).or(lab.mgmt.span);
        found.push(
            Diagnostic::error("missing-program", "there is no program `nft` on this machine")
                .at(at.or(lab.nodes.first().and_then(|n| n.span)))
                .hint(
                    "install the package `nftables`, or write `external-access: false` under \
                     `mgmt` and publish no ports",
                ),
        );
    }
    let v6 = lab.mgmt.ipv6_subnet.is_some() && managed;
    if v6 && !std::path::Path::new("/proc/sys/net/ipv6").is_dir() {
        let d = match lab.mgmt.subnets_written {
            true => Diagnostic::error("no-ipv6", "this kernel has no IPv6"),
            false => Diagnostic::error(
                "no-ipv6",
                "this kernel has no IPv6, and the usual management network has",
            ),
        };
        found.push(
            d.at(lab.mgmt.span.or(lab.nodes.first().and_then(|n| n.span)))
                .hint("name only an IPv4 subnet: `mgmt: {ipv4-subnet: 172.20.20.0/24}`"),
        );
    }
}

/// A bridge named in the file may be there already, but then it must be a bridge.
pub(super) fn management_bridge(lab: &Lab, situation: &Situation<'_>, found: &mut Diagnostics) {
    let Some(name) = &lab.mgmt.bridge else { return };
    if let Some(link) = situation.machine.link(name).filter(|l| l.kind != "bridge") {
        let kind = if link.kind.is_empty() { "device" } else { &link.kind };
        found.push(
            Diagnostic::error("name-taken", format!("`{name}` is no bridge but a {kind}"))
                .at(lab.mgmt.span)
                .hint("name a bridge, or one that is not there yet, as `mgmt.bridge`"),
        );
    }
}

pub(super) fn ports(lab: &Lab, node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    for port in node.ports.iter().filter(|p| p.host_port != 0) {
        let user = match situation.ledger.ports.get(&Ledger::port(port.host_port, &port.protocol)) {
            Some(other) if *other != lab.name => Some(format!("lab `{other}`")),
            Some(_) => None,
            None => listening(port).then(|| "a program on this machine".to_string()),
        };
        if let Some(user) = user {
            found.push(
                Diagnostic::error(
                    "port-taken",
                    format!(
                        "port {}/{} of this machine is in use by {user}",
                        port.host_port, port.protocol
                    ),
                )
                .at(node.span_of("ports"))
                .hint("publish another port"),
            );
        }
    }
}

/// Whether a program of the host has the port: nobody else can then.
fn listening(port: &PortBinding) -> bool {
    let address = port.host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let at = SocketAddr::new(address, port.host_port);
    let refused = |e: std::io::Error| e.kind() == std::io::ErrorKind::AddrInUse;
    match port.protocol.as_str() {
        "tcp" => TcpListener::bind(at).err().is_some_and(refused),
        "udp" => UdpSocket::bind(at).err().is_some_and(refused),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_said() {
        assert!(missing_device("veth").is_none());
        let missing = missing_device("nosuchkind").expect("no kernel makes these");
        let wanted = "this kernel makes no `nosuchkind` devices: missing in this kernel";
        assert_eq!(missing.message, wanted);
    }
}
