//! What is drawn: nodes and the lines between them.

use netloom_topology::{EndpointNode, Lab, LinkEndpoint};

/// A lab as a drawing has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Name of the lab.
    pub name: String,
    /// Nodes of the file, then what else lines end at (`host`, `mgmt-net`).
    pub points: Vec<Point>,
    /// Links with two ends, in file order.
    pub lines: Vec<Line>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Point {
    /// Short name.
    pub name: String,
    /// Kind; empty for what is no node of the file.
    pub kind: String,
    /// Row, from the label `graph-level`.
    pub level: Option<i64>,
    /// Place, from the labels `graph-posX` and `graph-posY`.
    pub place: Option<(i64, i64)>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// First end.
    pub a: End,
    /// Second end.
    pub b: End,
}

/// An end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Position of its node.
    pub point: usize,
    /// Name of the node.
    pub node: String,
    /// Interface.
    pub interface: String,
}

impl Picture {
    /// The nodes of a lab that are named, and the links between them; all where none is.
    pub fn of(lab: &Lab, only: &[String]) -> Picture {
        let meant = |name: &str| only.is_empty() || only.iter().any(|n| n == name);
        let mut out = Picture { name: lab.name.clone(), ..Picture::default() };
        for node in lab.nodes.iter().filter(|n| meant(&n.name)) {
            let label = |key: &str| node.labels.get(key)?.trim().parse().ok();
            out.points.push(Point {
                name: node.name.clone(),
                kind: node.kind.clone(),
                level: label("graph-level"),
                place: label("graph-posX").zip(label("graph-posY")),
            });
        }
        for link in &lab.links {
            let [a, b] = &link.endpoints[..] else { continue };
            let drawn = |end: &LinkEndpoint| match &end.node {
                EndpointNode::Node(name) => meant(name),
                _ => only.is_empty(),
            };
            if drawn(a) && drawn(b) {
                let line = Line { a: out.end(a), b: out.end(b) };
                out.lines.push(line);
            }
        }
        out
    }

    fn end(&mut self, end: &LinkEndpoint) -> End {
        let node = end.node.word();
        let known = self.points.iter().position(|p| p.name == node);
        let point = known.unwrap_or_else(|| {
            self.points.push(Point { name: node.to_string(), ..Point::default() });
            self.points.len() - 1
        });
        End { point, node: node.to_string(), interface: end.interface.clone() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two leaves under a spine, and one end at the host; names that have to be quoted.
    pub fn picture() -> Picture {
        let point = |name: &str, kind: &str| Point {
            name: name.into(),
            kind: kind.into(),
            ..Point::default()
        };
        let end = |point: usize, node: &str, interface: &str| End {
            point,
            node: node.into(),
            interface: interface.into(),
        };
        Picture {
            name: "net".into(),
            points: vec![
                point("leaf1", "linux"),
                point("spine", "nokia_srlinux"),
                point("br|x&y", "bridge"),
                point("host", ""),
            ],
            lines: vec![
                Line { a: end(0, "leaf1", "eth1"), b: end(1, "spine", "e1-1") },
                Line { a: end(1, "spine", "e1-2"), b: end(2, "br|x&y", "p1") },
                Line { a: end(1, "spine", "e1-3"), b: end(3, "host", "h\"1") },
            ],
        }
    }
}
