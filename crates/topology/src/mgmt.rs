//! The management network of the file.

use crate::expand::unset_hint;
use crate::inputs::Overrides;
use crate::lab::Mgmt;
use ipnet::{Ipv4Net, Ipv6Net};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_yaml::{Node, Scalar};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Default IPv4 subnet, as existing labs expect it.
pub const IPV4_SUBNET: &str = "172.20.20.0/24";
/// Default IPv6 subnet, as existing labs expect it.
pub const IPV6_SUBNET: &str = "3fff:172:20:20::/64";

/// Reads the section; the command line wins.
pub fn mgmt(section: Option<&Node>, over: &Overrides, found: &mut Diagnostics) -> Mgmt {
    let text = |key: &str| {
        let s = section.and_then(|n| n.get(key)).and_then(Node::as_str).unwrap_or_default();
        (!s.is_empty()).then(|| s.to_string())
    };
    let flag =
        |key: &str, default: bool| match section.and_then(|n| n.get(key)).and_then(Node::typed) {
            Some(Scalar::Bool(b)) => b,
            _ => default,
        };
    let mut m = Mgmt {
        network: over.network.clone().or(text("network")).unwrap_or_else(|| "clab".into()),
        bridge: text("bridge"),
        ipv4_subnet: over.ipv4_subnet.clone().or(text("ipv4-subnet")),
        ipv6_subnet: over.ipv6_subnet.clone().or(text("ipv6-subnet")),
        ipv4_gw: text("ipv4-gw"),
        ipv6_gw: text("ipv6-gw"),
        ipv4_range: text("ipv4-range"),
        ipv6_range: text("ipv6-range"),
        mtu: None,
        subnets_written: false,
        external_access_written: section.is_some_and(|n| n.get("external-access").is_some()),
        external_access: flag("external-access", true),
        skip_when_unused: flag("skip-when-unused", false),
        driver_opts: section
            .and_then(|n| n.get("driver-opts"))
            .and_then(Node::as_map)
            .unwrap_or_default()
            .iter()
            .map(|e| (e.key.clone(), e.value.as_str().unwrap_or_default().to_string()))
            .collect(),
        span: section.map(|n| n.get("ipv4-subnet").or(n.get("network")).unwrap_or(n).span),
    };
    m.subnets_written = m.ipv4_subnet.is_some() || m.ipv6_subnet.is_some();
    if !m.subnets_written {
        m.ipv4_subnet = Some(IPV4_SUBNET.into());
        m.ipv6_subnet = Some(IPV6_SUBNET.into());
    }
    if let Some(node) = section.and_then(|n| n.get("mtu"))
        && let Some(Scalar::Int(n)) = node.typed()
        && n != 0
    {
        match u32::try_from(n).ok().filter(|n| (68..=65535).contains(n)) {
            Some(n) => m.mtu = Some(n),
            None => found.push(
                Diagnostic::error("bad-mtu", format!("an MTU of {n} is not possible"))
                    .at(node.span)
                    .hint("68 to 65535"),
            ),
        }
    }
    check(&m, section, found);
    m
}

/// Names become those of a bridge and of an nftables table.
fn names(m: &Mgmt, section: Option<&Node>, found: &mut Diagnostics) {
    let at = |key: &str| section.map(|n| n.get(key).unwrap_or(n).span);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fine = |name: &str| name.chars().all(plain) && !name.starts_with(['.', '-']);
    if !fine(&m.network) || m.network.is_empty() || m.network.len() > 48 {
        let what = format!("`{}` cannot be the name of a management network", m.network);
        found.push(
            Diagnostic::error("bad-name", what)
                .at(at("network"))
                .hint("letters, digits, `-`, `_` and `.`, 48 at most")
                .maybe_hint(unset_hint(&m.network)),
        );
    }
    if let Some(bridge) = m.bridge.as_deref().filter(|b| !fine(b) || b.is_empty() || b.len() > 15) {
        found.push(
            Diagnostic::error("bad-name", format!("`{bridge}` cannot be the name of a bridge"))
                .at(at("bridge"))
                .hint("letters, digits, `-`, `_` and `.`, 15 at most")
                .maybe_hint(unset_hint(bridge)),
        );
    }
}

fn check(m: &Mgmt, section: Option<&Node>, found: &mut Diagnostics) {
    names(m, section, found);
    let mut bad = |key: &str, value: &str, what: &str| {
        found.push(
            Diagnostic::error("bad-address", format!("`{key}: {value}`: {what}"))
                .at(section.map(|n| n.get(key).unwrap_or(n).span))
                .maybe_hint(unset_hint(value)),
        );
    };
    let v4 = m.ipv4_subnet.as_deref().filter(|s| *s != "auto");
    let v4net = v4.and_then(|s| s.parse::<Ipv4Net>().ok());
    if let (Some(s), None) = (v4, v4net) {
        bad("ipv4-subnet", s, "not an IPv4 subnet like 172.20.20.0/24");
    }
    let v6 = m.ipv6_subnet.as_deref().filter(|s| *s != "auto");
    let v6net = v6.and_then(|s| s.parse::<Ipv6Net>().ok());
    if let (Some(s), None) = (v6, v6net) {
        bad("ipv6-subnet", s, "not an IPv6 subnet like 3fff:172:20:20::/64");
    }
    let small =
        [v4net.is_some_and(|n| n.prefix_len() > 30), v6net.is_some_and(|n| n.prefix_len() > 126)];
    for (key, text) in [("ipv4-subnet", v4, small[0]), ("ipv6-subnet", v6, small[1])]
        .into_iter()
        .filter_map(|(k, t, s)| t.filter(|_| s).map(|t| (k, t)))
    {
        bad(key, text, "too small for a bridge and a node");
    }
    if let Some(gw) = &m.ipv4_gw {
        match gw.parse::<Ipv4Addr>() {
            Err(_) => bad("ipv4-gw", gw, "not an IPv4 address"),
            Ok(a) if v4net.is_some_and(|n| !n.contains(&a)) => {
                bad("ipv4-gw", gw, "outside the subnet");
            }
            Ok(_) => {}
        }
    }
    if let Some(gw) = &m.ipv6_gw {
        match gw.parse::<Ipv6Addr>() {
            Err(_) => bad("ipv6-gw", gw, "not an IPv6 address"),
            Ok(a) if v6net.is_some_and(|n| !n.contains(&a)) => {
                bad("ipv6-gw", gw, "outside the subnet");
            }
            Ok(_) => {}
        }
    }
    if let Some(r) = &m.ipv4_range {
        match r.parse::<Ipv4Net>() {
            Err(_) => bad("ipv4-range", r, "not an IPv4 range like 172.20.20.128/25"),
            Ok(n) if v4net.is_some_and(|s| !s.contains(&n)) => {
                bad("ipv4-range", r, "outside the subnet");
            }
            Ok(_) => {}
        }
    }
    if let Some(r) = &m.ipv6_range {
        match r.parse::<Ipv6Net>() {
            Err(_) => bad("ipv6-range", r, "not an IPv6 range"),
            Ok(n) if v6net.is_some_and(|s| !s.contains(&n)) => {
                bad("ipv6-range", r, "outside the subnet");
            }
            Ok(_) => {}
        }
    }
}
