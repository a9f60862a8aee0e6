//! Ends of links: `node:interface`, or a map.

use super::NodeFacts;
use crate::lab::{AddressPair, EndpointNode, LinkEndpoint};
use crate::merge::json;
use netloom_diag::{Diagnostic, Diagnostics, Span, did_you_mean};
use netloom_kinds::{InterfaceError, Role};
use netloom_yaml::{Node, Value};
use std::collections::{HashMap, HashSet};

/// Nodes that endpoints may name.
pub struct Names<'a> {
    /// By name.
    pub nodes: &'a HashMap<String, NodeFacts>,
    /// Nodes that stand in the file but could not be resolved; that has been said.
    pub broken: &'a HashSet<&'a str>,
}

impl Names<'_> {
    /// Resolves an end on a node of the lab; vendor names of interfaces become Linux names.
    pub fn node_end(
        &self,
        node: &str,
        interface: &str,
        span: Span,
        found: &mut Diagnostics,
    ) -> Option<LinkEndpoint> {
        if self.broken.contains(node) {
            return None;
        }
        let Some(facts) = self.nodes.get(node) else {
            let near = did_you_mean(node, self.nodes.keys().map(String::as_str));
            found.push(
                Diagnostic::error("unknown-node", format!("there is no node `{node}`"))
                    .at(span)
                    .maybe_hint(near.map(|n| format!("did you mean `{n}`?"))),
            );
            return None;
        };
        if interface.is_empty() {
            found.push(
                Diagnostic::error("bad-endpoint", "this endpoint names no interface")
                    .at(span)
                    .hint("write `node:interface`"),
            );
            return None;
        }
        let mapped = match facts.kind.interface(interface, facts.managed) {
            Ok(mapped) => mapped,
            Err(e) => {
                found.push(refused(&e).at(span));
                return None;
            }
        };
        check_name(&mapped.linux, span, found);
        Some(LinkEndpoint {
            node: if facts.kind.role == Role::Host {
                EndpointNode::Host
            } else {
                EndpointNode::Node(node.to_string())
            },
            interface: mapped.linux,
            alias: mapped.alias,
            mac: None,
            addresses: AddressPair::default(),
            vars: serde_json::Value::Null,
            span: Some(span),
        })
    }

    /// An end outside the nodes.
    pub fn outside(
        &self,
        node: EndpointNode,
        interface: &str,
        span: Span,
        found: &mut Diagnostics,
    ) -> LinkEndpoint {
        check_name(interface, span, found);
        LinkEndpoint {
            node,
            interface: interface.to_string(),
            alias: None,
            mac: None,
            addresses: AddressPair::default(),
            vars: serde_json::Value::Null,
            span: Some(span),
        }
    }

    /// Reads the `endpoint` of a link with one end in the lab, or one of `endpoints`.
    pub fn extended(&self, node: &Node, found: &mut Diagnostics) -> Option<LinkEndpoint> {
        match &node.value {
            Value::Map(_) => {
                let name = node.get("node").and_then(Node::as_str).unwrap_or_default();
                let interface = node.get("interface").and_then(Node::as_str).unwrap_or_default();
                if name.is_empty() {
                    let d = Diagnostic::error("bad-endpoint", "this endpoint names no node");
                    found.push(d.at(node.span).hint("write {node: NAME, interface: NAME}"));
                    return None;
                }
                let mut end = self.node_end(name, interface, node.span, found)?;
                end.mac = node.get("mac").and_then(|n| mac(n, found));
                if let Some(n) = node.get("ipv4") {
                    end.addresses.ipv4 = parse(n, "IPv4", found);
                }
                if let Some(n) = node.get("ipv6") {
                    end.addresses.ipv6 = parse(n, "IPv6", found);
                }
                end.vars = node.get("vars").map(json).unwrap_or_default();
                Some(end)
            }
            _ => {
                let (name, interface) = split(node, found)?;
                self.node_end(&name, &interface, node.span, found)
            }
        }
    }
}

/// `node:interface` in its two parts.
pub fn split(node: &Node, found: &mut Diagnostics) -> Option<(String, String)> {
    let text = node.as_str().unwrap_or_default();
    match text.split_once(':') {
        Some((n, i)) if !n.is_empty() && !i.is_empty() => Some((n.into(), i.into())),
        _ => {
            found.push(
                Diagnostic::error("bad-endpoint", format!("`{text}` is not an endpoint"))
                    .at(node.span)
                    .hint("write `node:interface`"),
            );
            None
        }
    }
}

fn refused(e: &InterfaceError) -> Diagnostic {
    let d = Diagnostic::error("bad-interface", e.to_string());
    match e {
        InterfaceError::Refused { help: Some(help), .. } => d.hint(format!("names it has: {help}")),
        InterfaceError::Reserved(_) => {
            d.hint("it belongs to the management network; `network-mode: none` frees it")
        }
        _ => d,
    }
}

/// Names that cannot be. Long ones and ones with `/` get a short kernel name in the plan, and the
/// written one as alternative name.
fn check_name(name: &str, span: Span, found: &mut Diagnostics) {
    let impossible = name.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '%' | '\0'))
        || matches!(name, "." | ".." | "all" | "default");
    if impossible || name.len() > 127 {
        let what = format!("`{name}` cannot be the name of an interface");
        found.push(
            Diagnostic::error("bad-interface", what).at(span).hint(
                "at most 127 characters, no spaces, `:` or `%`, and none the kernel has itself",
            ),
        );
    }
}

fn mac(node: &Node, found: &mut Diagnostics) -> Option<String> {
    let text = node.as_str()?;
    let bytes: Vec<_> =
        text.split([':', '-']).map(|p| (p.len(), u8::from_str_radix(p, 16))).collect();
    let fine = bytes.len() == 6 && bytes.iter().all(|(l, b)| *l == 2 && b.is_ok());
    let first = bytes.first().and_then(|(_, b)| b.as_ref().ok().copied()).unwrap_or(0);
    if !fine {
        let d = Diagnostic::error("bad-mac", format!("`{text}` is not a MAC address"));
        found.push(d.at(node.span).hint("six bytes, like 02:00:00:00:00:01"));
        return None;
    }
    if first & 1 == 1 {
        let d = Diagnostic::error("bad-mac", format!("`{text}` is a group address"));
        found.push(d.at(node.span).hint("the first byte must be even"));
        return None;
    }
    if bytes.iter().all(|(_, b)| *b == Ok(0)) {
        let d = Diagnostic::error("bad-mac", format!("`{text}` is no address of an interface"));
        found.push(d.at(node.span).hint("leave it out for one that is made up"));
        return None;
    }
    Some(text.to_ascii_lowercase().replace('-', ":"))
}

fn parse<T: std::str::FromStr>(node: &Node, version: &str, found: &mut Diagnostics) -> Option<T> {
    let text = node.as_str()?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let (what, example) = match version {
            "IPv4" => ("an IPv4 address with prefix length", "10.0.0.1/24"),
            _ => ("an IPv6 address with prefix length", "2001:db8::1/64"),
        };
        found.push(
            Diagnostic::error("bad-address", format!("`{text}` is not {what}"))
                .at(node.span)
                .hint(format!("write it like {example}")),
        );
    }
    parsed
}

/// `ipv4: [a, b]` and `ipv6: [a, b]` of a link: one entry an end, in order; empty for none.
pub fn brief_addresses(node: &Node, ends: &mut [LinkEndpoint], found: &mut Diagnostics) {
    for (key, version) in [("ipv4", "IPv4"), ("ipv6", "IPv6")] {
        let Some(list) = node.get(key).and_then(Node::as_seq) else { continue };
        if list.len() > ends.len() {
            let what = format!("`{key}` has {} addresses for {} ends", list.len(), ends.len());
            found.push(Diagnostic::error("bad-address", what).at(list[ends.len()].span));
        }
        for (end, item) in ends.iter_mut().zip(list) {
            if item.as_str().is_none_or(str::is_empty) {
                continue;
            }
            if version == "IPv4" {
                end.addresses.ipv4 = parse(item, version, found);
            } else {
                end.addresses.ipv6 = parse(item, version, found);
            }
        }
    }
}
