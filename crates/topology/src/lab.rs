//! The resolved lab: complete, no defaults left, every value with its origin.

use netloom_diag::{Sources, Span};
use netloom_kinds::{Kind, LinkApply};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

/// A lab as its file describes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lab {
    /// Its name.
    pub name: String,
    /// First part of container names, as written.
    pub prefix: String,
    /// Absolute path of the topology file.
    pub topology_file: PathBuf,
    /// Lab directory.
    pub dir: PathBuf,
    /// Owner.
    pub owner: String,
    /// Management network.
    pub mgmt: Mgmt,
    /// The lab's certificate authority, as written.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub certificate_authority: Json,
    /// Nodes in file order.
    pub nodes: Vec<Node>,
    /// Links in file order.
    pub links: Vec<Link>,
}

impl Lab {
    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node of a name, or of the container that is called so.
    pub fn container(&self, name: &str) -> Option<&Node> {
        self.node(name).or_else(|| self.nodes.iter().find(|n| n.long_name == name))
    }

    /// Fills in `file:line:column` of every origin, for those who show them: a large lab has many.
    pub fn locate_origins(&mut self, sources: &Sources) {
        for origin in self.nodes.iter_mut().flat_map(|n| n.origins.values_mut()) {
            origin.place = origin.span.map(|s| sources.locate(s));
        }
    }

    /// Name of the lab directory: `clab-<lab>`, whatever the prefix.
    pub fn dir_name(&self) -> String {
        format!("clab-{}", self.name)
    }
}

/// The management network, as wished for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mgmt {
    /// Its name.
    pub network: String,
    /// Name of its bridge, when the file names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// `auto`, or a subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_subnet: Option<String>,
    /// `auto`, or a subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_subnet: Option<String>,
    /// Address of the bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_gw: Option<String>,
    /// Address of the bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_gw: Option<String>,
    /// Pool of automatic addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_range: Option<String>,
    /// Pool of automatic addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_range: Option<String>,
    /// MTU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether the subnets are the file's own words, and not the usual ones.
    #[serde(skip)]
    pub subnets_written: bool,
    /// Whether `external-access` stands in the file.
    #[serde(skip)]
    pub external_access_written: bool,
    /// Whether nodes reach the world.
    pub external_access: bool,
    /// Not made when no node uses it.
    pub skip_when_unused: bool,
    /// Options for Docker's driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: BTreeMap<String, String>,
    /// Where its subnet, or else the section, is written.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// Where a value came from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// `node`, `group NAME`, `kind NAME`, `defaults`, `kind data`, `environment`, `default`.
    pub level: String,
    /// Where in the file.
    #[serde(skip)]
    pub span: Option<Span>,
    /// `file:line:column`, filled by [`Lab::locate_origins`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// Configuration a node boots with.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartupConfig {
    /// A file.
    File(PathBuf),
    /// Something to fetch.
    Url(String),
    /// The text itself.
    Text(String),
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum PullPolicy {
    /// When it is not here.
    IfNotPresent,
    /// Every time.
    Always,
    /// Never.
    Never,
}

/// A node, complete.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the topology keys of the same names")]
pub struct Node {
    pub name: String,
    /// Container name.
    pub long_name: String,
    pub fqdn: String,
    /// Position in the file.
    pub index: usize,
    /// As written.
    pub kind: String,
    #[serde(serialize_with = "kind_name")]
    pub kind_data: Arc<Kind>,
    /// The node's folder in the lab directory.
    pub dir: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    pub image_pull_policy: PullPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_config: Option<StartupConfig>,
    pub enforce_startup_config: bool,
    pub suppress_startup_config: bool,
    pub startup_delay: u64,
    pub auto_remove: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restart_policy: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub entrypoint: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cmd: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    pub privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroupns_mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup_parent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pid_mode: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shm_size: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortBinding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mgmt_ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mgmt_ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpu_set: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub memory: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Json::is_null")]
    pub extras: Json,
    #[serde(skip_serializing_if = "Json::is_null")]
    pub config: Json,
    #[serde(skip_serializing_if = "Stages::is_empty")]
    pub stages: Stages,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    #[serde(skip_serializing_if = "Json::is_null")]
    pub certificate: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    pub credentials: Credentials,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(skip_serializing_if = "Json::is_null")]
    pub components: Json,
    /// Of one of several parts of a node: the components of all of them.
    #[serde(skip)]
    pub whole: Json,
    pub link_apply_mode: LinkApply,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub position: String,
    /// Where each key came from.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The node's key in the file.
    #[serde(skip)]
    pub span: Option<Span>,
}

impl Node {
    /// Where a key was set, or else the node itself.
    pub fn span_of(&self, key: &str) -> Option<Span> {
        self.origins.get(key).and_then(|o| o.span).or(self.span)
    }

    /// Whether the node has a leg in the management network.
    pub fn managed(&self) -> bool {
        self.kind_data.class != netloom_kinds::Class::Pseudo
            && !matches!(self.network_mode.as_str(), "none" | "host")
            && !self.network_mode.starts_with("container:")
    }

    /// The name after `container:` in `network-mode`.
    pub fn shares_namespace_of(&self) -> Option<&str> {
        self.network_mode.strip_prefix("container:")
    }
}

fn kind_name<S: Serializer>(kind: &Arc<Kind>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&kind.names[0])
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortBinding {
    /// Address on the host; empty for all.
    pub host_ip: String,
    /// Port on the host; 0 for any.
    pub host_port: u16,
    /// Port of the node.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// What a node waits for, and what is run, per stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the stages of the same names")]
pub struct Stages {
    #[serde(skip_serializing_if = "Stage::is_empty")]
    pub create: Stage,
    #[serde(skip_serializing_if = "Stage::is_empty")]
    pub create_links: Stage,
    #[serde(skip_serializing_if = "Stage::is_empty")]
    pub configure: Stage,
    #[serde(skip_serializing_if = "Stage::is_empty")]
    pub healthy: Stage,
    #[serde(skip_serializing_if = "Stage::is_empty")]
    pub exit: Stage,
}

impl Stages {
    /// The stages in order, by name.
    pub fn named(&self) -> [(&'static str, &Stage); 5] {
        [
            ("create", &self.create),
            ("create-links", &self.create_links),
            ("configure", &self.configure),
            ("healthy", &self.healthy),
            ("exit", &self.exit),
        ]
    }

    /// Everything its stages wait for.
    pub fn waits_mut(&mut self) -> impl Iterator<Item = &mut WaitFor> {
        let Stages { create, create_links, configure, healthy, exit } = self;
        [create, create_links, configure, healthy, exit].into_iter().flat_map(|s| &mut s.wait_for)
    }

    fn is_empty(&self) -> bool {
        self.named().iter().all(|(_, s)| s.is_empty())
    }
}

/// One stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stage {
    /// What must be over before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wait_for: Vec<WaitFor>,
    /// Commands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<StageExec>,
}

impl Stage {
    fn is_empty(&self) -> bool {
        self.wait_for.is_empty() && self.exec.is_empty()
    }
}

/// A stage of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitFor {
    /// The node.
    pub node: String,
    /// The stage it must have finished.
    pub stage: String,
    /// Where it is written.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// A command of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageExec {
    /// The command.
    pub command: String,
    /// `container` or `host`.
    pub target: String,
    /// `on-enter` or `on-exit`.
    pub phase: String,
}

/// Name servers of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the topology keys of the same names")]
pub struct Dns {
    pub servers: Vec<String>,
    pub options: Vec<String>,
    pub search: Vec<String>,
}

/// How to tell whether a node works. Times in seconds, 0 is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the topology keys of the same names")]
pub struct Healthcheck {
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub retries: u32,
    pub start_period: u64,
}

/// Name and password. The password is never shown.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credentials {
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Password.
    #[serde(skip)]
    pub password: String,
    /// SSH key file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identity_file: String,
}

/// A link.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// What is built.
    #[serde(flatten)]
    pub kind: LinkKind,
    /// Its ends, one or two.
    pub endpoints: Vec<LinkEndpoint>,
    /// MTU; 0 leaves it to the kernel.
    pub mtu: u32,
    /// Free-form labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free data.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub vars: Json,
    /// Where it is written.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "type")]
pub enum LinkKind {
    /// A pair of interfaces.
    Veth,
    /// Two pairs joined in a namespace of ours.
    VethStitch,
    /// The other end is on the host.
    Host,
    /// The other end is a port of the management bridge.
    MgmtNet,
    /// A macvlan over an interface of the host.
    Macvlan {
        /// Mode.
        mode: String,
    },
    /// A VXLAN tunnel inside the node.
    Vxlan {
        /// The tunnel.
        #[serde(flatten)]
        tunnel: Tunnel,
    },
    /// A VXLAN tunnel on the host, joined to an interface of the node.
    VxlanStitch {
        /// The tunnel.
        #[serde(flatten)]
        tunnel: Tunnel,
    },
    /// An interface that leads nowhere.
    Dummy,
}

impl LinkKind {
    /// As written in `type`.
    pub fn word(&self) -> &'static str {
        match self {
            LinkKind::Veth => "veth",
            LinkKind::VethStitch => "veth-stitch",
            LinkKind::Host => "host",
            LinkKind::MgmtNet => "mgmt-net",
            LinkKind::Macvlan { .. } => "macvlan",
            LinkKind::Vxlan { .. } => "vxlan",
            LinkKind::VxlanStitch { .. } => "vxlan-stitch",
            LinkKind::Dummy => "dummy",
        }
    }
}

/// A VXLAN tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tunnel {
    /// Address or name of the other end.
    pub remote: String,
    /// Tunnel number.
    pub vni: u32,
    /// UDP port.
    pub dst_port: u16,
    /// UDP source port; 0 lets the kernel choose.
    pub src_port: u16,
    /// Interface it goes out of; found by route when empty.
    pub parent: String,
}

/// What an endpoint hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointNode {
    /// A node of the lab.
    Node(String),
    /// The host's own namespace.
    Host,
    /// The management bridge.
    MgmtNet,
    /// An interface of the host that a macvlan sits on.
    Macvlan,
}

impl EndpointNode {
    /// The name as written in the file.
    pub fn word(&self) -> &str {
        match self {
            EndpointNode::Node(n) => n,
            EndpointNode::Host => "host",
            EndpointNode::MgmtNet => "mgmt-net",
            EndpointNode::Macvlan => "macvlan",
        }
    }
}

/// One end of a link.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LinkEndpoint {
    /// What it hangs on.
    pub node: EndpointNode,
    /// Interface name in Linux.
    pub interface: String,
    /// The vendor's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// MAC address, when the file says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Addresses.
    #[serde(flatten)]
    pub addresses: AddressPair,
    /// Free data.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub vars: Json,
    /// Where it is written.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// Addresses of an endpoint, with prefix length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AddressPair {
    /// IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<ipnet::Ipv4Net>,
    /// IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<ipnet::Ipv6Net>,
}
