//! `type: vxlan` and `vxlan-stitch`: a tunnel in the node, or on the host and joined to the node.

use super::{endpoint::Names, host, required};
use crate::lab::{LinkEndpoint, LinkKind, Tunnel};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_yaml::{Node, Scalar};

/// UDP port when the file names none.
const DST_PORT: i64 = 14789;

/// The end in the lab, and the tunnel.
pub fn extended(
    node: &Node,
    names: &Names<'_>,
    stitch: bool,
    found: &mut Diagnostics,
) -> Option<(LinkKind, Vec<LinkEndpoint>)> {
    let end = host::single(node, names, found);
    let remote = required(node, "remote", found);
    if node.get("vni").is_none_or(Node::is_null) {
        let d = Diagnostic::error("missing-key", "a tunnel needs `vni`").at(node.span);
        found.push(d.hint("a number from 1 to 16777215, the same at both ends"));
        return None;
    }
    let vni = number(node, "vni", 0, 1..=16_777_215, found)?;
    let dst_port = number(node, "dst-port", DST_PORT, 1..=65_535, found)?;
    let src_port = number(node, "src-port", 0, 0..=65_535, found)?;
    let tunnel = Tunnel {
        remote: remote?.to_string(),
        vni: vni as u32,
        dst_port: dst_port as u16,
        src_port: src_port as u16,
        parent: node.get("parent-interface").and_then(Node::as_str).unwrap_or_default().to_string(),
    };
    let kind = if stitch { LinkKind::VxlanStitch { tunnel } } else { LinkKind::Vxlan { tunnel } };
    Some((kind, vec![end?]))
}

fn number(
    node: &Node,
    key: &str,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
    found: &mut Diagnostics,
) -> Option<i64> {
    let Some(value) = node.get(key).filter(|v| !v.is_null()) else { return Some(default) };
    match value.typed() {
        Some(Scalar::Int(n)) if range.contains(&n) => Some(n),
        Some(Scalar::Int(n)) => {
            let hint = format!("{} to {}", range.start(), range.end());
            let d = Diagnostic::error("bad-number", format!("`{key}: {n}` is out of range"));
            found.push(d.at(value.span).hint(hint));
            None
        }
        _ => None,
    }
}
