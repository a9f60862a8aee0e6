//! Published ports: as written, or the same free one every time.

use crate::objects::Port;
use netloom_topology::{Lab, Node};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Ports for those that ask for any.
const FIRST: u16 = 32_768;
const COUNT: u16 = 28_000;

/// Hands out ports of the host.
pub struct Ports {
    used: BTreeSet<u16>,
}

impl Ports {
    /// Ports of a lab; those of others and those written in the file are not chosen.
    pub fn new(lab: &Lab, in_use: &BTreeSet<u16>) -> Self {
        let written = lab.nodes.iter().flat_map(|n| &n.ports).map(|p| p.host_port);
        Ports { used: in_use.iter().copied().chain(written).collect() }
    }

    /// The ports of a node that is on the management network.
    pub fn plan(&mut self, lab: &Lab, node: &Node) -> Vec<Port> {
        if !node.managed() {
            return Vec::new();
        }
        node.ports
            .iter()
            .map(|p| Port {
                host: p.host_ip.parse().ok(),
                host_port: match p.host_port {
                    0 => self
                        .choose(&format!("{}/{}/{}/{}", lab.name, node.name, p.port, p.protocol)),
                    port => port,
                },
                port: p.port,
                protocol: p.protocol.clone(),
            })
            .collect()
    }

    fn choose(&mut self, seed: &str) -> u16 {
        let hash = Sha256::digest(seed.as_bytes());
        let start = u16::from_be_bytes([hash[0], hash[1]]) % COUNT;
        let free = (0..COUNT).map(|i| FIRST + (start + i) % COUNT).find(|p| !self.used.contains(p));
        let port = free.unwrap_or(FIRST);
        self.used.insert(port);
        port
    }
}
