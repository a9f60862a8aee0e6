//! The lab that is measured: a ring plus chords, two links a node.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A node and the number of its interface.
pub type End = (usize, u8);

/// The lab.
#[derive(Debug, Clone, Copy)]
pub struct Lab {
    /// How many nodes; twice as many links.
    pub nodes: usize,
    /// Whether nodes have a leg in the management network.
    pub mgmt: bool,
}

impl Lab {
    /// Interfaces by number; the first is the management's.
    pub const INTERFACES: [&str; 5] = ["eth0", "eth1", "eth2", "eth3", "eth4"];
    /// Gateways of the management network.
    pub const GATEWAYS: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(172, 31, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0x3fff, 0x172, 0x31, 0, 0, 0, 0, 1)),
    ];

    /// A lab of that many nodes.
    pub fn new(nodes: usize, mgmt: bool) -> Self {
        Lab { nodes, mgmt }
    }

    /// Name of the lab: one for each size and row.
    pub fn name(&self) -> String {
        format!("bench{}{}", self.nodes, if self.mgmt { "b" } else { "a" })
    }

    /// Addresses of a node in the management network.
    pub fn addresses(node: usize) -> [IpAddr; 2] {
        let host = node as u32 + 2;
        let low = (host & 0xffff) as u16;
        [
            IpAddr::V4(Ipv4Addr::from(0xac1f_0000 | host)),
            IpAddr::V6(Ipv6Addr::new(0x3fff, 0x172, 0x31, 0, 0, 0, 0, low)),
        ]
    }

    /// The links: each node to the next one, and to one a third of the ring away.
    pub fn links(&self) -> impl Iterator<Item = (End, End)> {
        let (n, chord) = (self.nodes, (self.nodes / 3) | 1);
        let ring = (0..n).map(move |at| ((at, 1), ((at + 1) % n, 2)));
        ring.chain((0..n).map(move |at| ((at, 3), ((at + chord) % n, 4))))
    }

    /// The topology file.
    pub fn file(&self, image: &str) -> String {
        let mut out = format!("name: {}\n", self.name());
        if self.mgmt {
            out += "mgmt:\n  network: nlbench\n  bridge: nlbench\n  ipv4-subnet: 172.31.0.0/16\n  \
                    ipv6-subnet: 3fff:172:31::/64\n";
        }
        out += "topology:\n  defaults:\n    kind: linux\n";
        let _ = writeln!(out, "    image: {image}");
        if !self.mgmt {
            out += "    network-mode: none\n";
        }
        out += "  nodes:\n";
        for at in 0..self.nodes {
            let _ = writeln!(out, "    n{at}:");
        }
        out += "  links:\n";
        for ((a, i), (b, j)) in self.links() {
            let _ = writeln!(out, "    - endpoints: [\"n{a}:eth{i}\", \"n{b}:eth{j}\"]");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn two_links_a_node_and_no_interface_twice() {
        for nodes in [4, 306, 1000] {
            let lab = Lab::new(nodes, true);
            let ends: Vec<End> = lab.links().flat_map(|(a, b)| [a, b]).collect();
            assert_eq!(ends.len(), 4 * nodes);
            assert_eq!(ends.iter().collect::<HashSet<_>>().len(), 4 * nodes);
            assert!(lab.links().all(|(a, b)| a.0 != b.0), "{nodes}");
        }
    }
}
