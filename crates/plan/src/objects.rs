//! What a plan makes: nodes and links as data, complete, the unit of record and undo.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Everything of a lab that is made on the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Objects {
    /// Nodes in file order.
    pub nodes: Vec<NodeObject>,
    /// Links in file order.
    pub links: Vec<LinkObject>,
}

/// A node's place in the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeObject {
    /// Short name.
    pub name: String,
    /// Container name.
    pub long_name: String,
    /// Whose network namespace it lives in.
    pub namespace: NamespaceOf,
    /// Leg in the management network.
    pub mgmt: Option<Attachment>,
    /// Whether a container runs in it.
    pub container: bool,
    /// What runs the container.
    #[serde(default)]
    pub runs: Runs,
    /// Ports of the host that lead to it.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Whether it only stands for a container that somebody else runs.
    #[serde(default)]
    pub outside: bool,
    /// A bridge to make inside the namespace (bridge nodes that live in another node).
    pub bridge: Option<String>,
    /// Node of the lab among whose processes it lives.
    #[serde(default)]
    pub lives_in: Option<String>,
}

/// What runs a node's container.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// The embedded runtime.
    #[default]
    Native,
    /// Docker, in namespaces it makes anew at every start.
    Docker,
    /// Podman, in namespaces of ours.
    Podman,
    /// The Podman of an ordinary user, in namespaces that are that user's.
    #[serde(rename = "podman-rootless")]
    Rootless,
}

impl Runs {
    /// By the name users write; the embedded runtime without one.
    pub fn named(name: &str) -> Option<Runs> {
        match name {
            "" => Some(Runs::Native),
            _ => [Runs::Native, Runs::Docker, Runs::Podman, Runs::Rootless]
                .into_iter()
                .find(|r| r.word() == name),
        }
    }

    /// What it is called. Users write `podman` for both kinds of it.
    pub fn word(self) -> &'static str {
        match self {
            Runs::Native => "native",
            Runs::Docker => "docker",
            Runs::Podman => "podman",
            Runs::Rootless => "podman-rootless",
        }
    }

    /// The program that is spoken to.
    pub fn program(self) -> &'static str {
        match self {
            Runs::Rootless => Runs::Podman.word(),
            other => other.word(),
        }
    }

    /// Whether it makes network namespaces itself, anew at every start.
    pub fn own_namespaces(self) -> bool {
        matches!(self, Runs::Docker | Runs::Rootless)
    }

    /// Whether legs in the management network are its doing.
    pub fn hands_out_legs(self) -> bool {
        self == Runs::Docker
    }
}

/// A port of the host that leads to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Address of the host; none for all.
    pub host: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the node.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Whose network namespace something lives in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NamespaceOf {
    /// The one kept for this node of the lab.
    Node(String),
    /// The one kept for a container of another lab.
    Other {
        /// The lab.
        lab: String,
        /// The node of that lab.
        node: String,
    },
    /// The one of a container that is no node of any lab.
    Foreign {
        /// What runs it.
        runs: Runs,
        /// Its name there.
        container: String,
    },
    /// The host's.
    Host,
}

/// Where a container outside of the lab is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// In another lab.
    Lab {
        /// The lab.
        lab: String,
        /// The node of that lab.
        node: String,
    },
    /// With a daemon, in no lab.
    Daemon(Runs),
}

impl Elsewhere {
    /// The network namespace of a container of that name there.
    pub fn namespace(&self, container: &str) -> NamespaceOf {
        match self {
            Elsewhere::Lab { lab, node } => {
                NamespaceOf::Other { lab: lab.clone(), node: node.clone() }
            }
            Elsewhere::Daemon(runs) => {
                NamespaceOf::Foreign { runs: *runs, container: container.into() }
            }
        }
    }
}

impl std::fmt::Display for NamespaceOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NamespaceOf::Node(node) => write!(f, "node `{node}`"),
            NamespaceOf::Other { lab, node } => write!(f, "node `{node}` of lab `{lab}`"),
            NamespaceOf::Foreign { runs, container } => {
                write!(f, "container `{container}` ({})", runs.word())
            }
            NamespaceOf::Host => f.write_str("the host"),
        }
    }
}

impl NamespaceOf {
    /// Whether it belongs to somebody who is not of this lab, and stays when the lab goes.
    pub fn is_anothers(&self) -> bool {
        matches!(self, NamespaceOf::Other { .. } | NamespaceOf::Foreign { .. })
    }
}

/// A leg in the management network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Interface in the node.
    pub interface: String,
    /// Interface on the bridge.
    pub port: String,
    /// Number of the bridge.
    #[serde(default)]
    pub bridge: usize,
    /// MAC address of the node's end.
    pub mac: [u8; 6],
    /// MTU of both ends.
    #[serde(default)]
    pub mtu: u32,
    /// Addresses with the subnet's prefix length.
    pub addresses: Vec<IpNet>,
    /// Next hops of the default routes.
    pub gateways: Vec<IpAddr>,
    /// The runtime chooses addresses at every start; those here are what it chose last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_willed: bool,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkObject {
    /// Stable name: its ends as written.
    pub id: String,
    /// How it is made.
    pub how: Impl,
    /// The first end.
    pub a: LinkEnd,
    /// The second, where there is one.
    pub b: Option<LinkEnd>,
    /// MTU; 0 leaves it to the kernel.
    pub mtu: u32,
    /// Made by a command of its own: no file knows it, and deploys leave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

impl Objects {
    /// Names of the nodes that have a container.
    pub fn containers(&self) -> HashSet<&str> {
        self.nodes.iter().filter(|n| n.container).map(|n| n.name.as_str()).collect()
    }

    /// Namespaces that nodes live in or links end in.
    pub fn places(&self) -> HashSet<&NamespaceOf> {
        let ends = self.links.iter().flat_map(|l| l.ends());
        self.nodes.iter().map(|n| &n.namespace).chain(ends.map(|e| &e.namespace)).collect()
    }

    /// Other labs in whose namespaces something of this one is.
    pub fn uses(&self) -> BTreeSet<String> {
        let of = |place: &NamespaceOf| match place {
            NamespaceOf::Other { lab, .. } => Some(lab.clone()),
            _ => None,
        };
        self.places().into_iter().filter_map(of).collect()
    }

    /// Names of the nodes in which commands can be run.
    pub fn executing(&self) -> HashSet<&str> {
        let runs = |n: &&NodeObject| n.container || n.outside;
        self.nodes.iter().filter(runs).map(|n| n.name.as_str()).collect()
    }

    /// Adds what is not there yet: links that differ in anything, nodes of other container names.
    pub fn add(&mut self, other: Objects) {
        let have: HashSet<String> = self.nodes.iter().map(|n| n.long_name.clone()).collect();
        self.nodes.extend(other.nodes.into_iter().filter(|n| !have.contains(&n.long_name)));
        let links: HashMap<&str, &LinkObject> =
            self.links.iter().map(|l| (l.id.as_str(), l)).collect();
        let new = |l: &LinkObject| links.get(l.id.as_str()).is_none_or(|have| *have != l);
        let new: Vec<LinkObject> = other.links.into_iter().filter(new).collect();
        self.links.extend(new);
    }
}

impl LinkObject {
    /// Its ends: two, or one where the other is not an interface of ours.
    pub fn ends(&self) -> impl Iterator<Item = &LinkEnd> {
        std::iter::once(&self.a).chain(&self.b)
    }
}

/// How a link is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Impl {
    /// One pair of interfaces, straight into both namespaces.
    Veth,
    /// Two pairs, joined in a namespace of ours: one end may be in a namespace that comes and goes
    /// with its container, and the other must not notice.
    Stitch {
        /// Names of the pairs' ends in that namespace.
        ports: [String; 2],
    },
    /// A macvlan over a host interface.
    Macvlan {
        /// The host's interface.
        parent: String,
        /// Mode.
        mode: String,
    },
    /// A tunnel interface inside the node.
    Vxlan(VxlanParameters),
    /// A tunnel on the host, joined to a pair that leads into the node.
    VxlanStitch {
        /// The tunnel.
        tunnel: VxlanParameters,
        /// Name of the tunnel interface.
        device: String,
        /// Name of the pair's end on the host.
        port: String,
    },
    /// An interface that leads nowhere.
    Dummy,
}

/// A tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the topology keys of the same names")]
pub struct VxlanParameters {
    pub remote: String,
    pub vni: u32,
    pub dst_port: u16,
    pub src_port: u16,
    pub parent: String,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEnd {
    /// Whose namespace.
    pub namespace: NamespaceOf,
    /// The node as written, `host` or `mgmt-net`.
    pub node: String,
    /// Kernel name.
    pub interface: String,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Alias: the vendor's name.
    pub alias: Option<String>,
    /// MAC address.
    pub mac: [u8; 6],
    /// Addresses.
    pub addresses: Vec<IpNet>,
    /// Bridge it is a port of.
    pub master: Option<String>,
    /// Open vSwitch bridge it is a port of.
    #[serde(default)]
    pub switch: Option<String>,
}
