//! The types of a kind file, version 1. `docs/kind-schema.md` explains each key.

use crate::Step;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of node.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kind {
    /// Version of the format, 1.
    pub schema: u32,
    /// The name, and other names that mean the same.
    pub names: Vec<String>,
    /// One line for people.
    pub description: String,
    /// Container, VM or neither.
    pub class: Class,
    /// What a node of this kind is in the lab.
    #[serde(default)]
    pub role: Role,
    /// Credentials the product ships with.
    #[serde(default)]
    pub credentials: Credentials,
    /// Names of interfaces.
    #[serde(default)]
    pub interfaces: Interfaces,
    /// Values where no level of the topology sets the key.
    #[serde(default)]
    pub defaults: Defaults,
    /// Values that replace what the user wrote.
    #[serde(default)]
    pub r#override: Defaults,
    /// Environment.
    #[serde(default)]
    pub env: EnvRules,
    /// Kernel parameters.
    #[serde(default)]
    pub sysctls: SysctlRules,
    /// Binds added to the user's.
    #[serde(default)]
    pub binds: Vec<String>,
    /// Whether the kind's binds come before the user's.
    #[serde(default)]
    pub binds_first: bool,
    /// Memory file systems added to the user's.
    #[serde(default)]
    pub tmpfs: BTreeMap<String, String>,
    /// Devices added to the user's.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Capabilities added to the user's.
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// Certificate forced on.
    #[serde(default)]
    pub certificate: Certificate,
    /// Signal that asks the node to end, when not SIGTERM.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// Values of `type`.
    #[serde(default)]
    pub types: Types,
    /// Files written into the node's folder before start.
    #[serde(default)]
    pub files: Vec<File>,
    /// Folders made in the node's folder before start.
    #[serde(default)]
    pub directories: Vec<String>,
    /// How MAC addresses are chosen.
    #[serde(default)]
    pub mac: MacPlan,
    /// What the machine must have.
    #[serde(default)]
    pub host: HostNeeds,
    /// Whether a licence is needed.
    #[serde(default)]
    pub license: License,
    /// How a changed link reaches a running node.
    #[serde(default)]
    pub link_apply: LinkApply,
    /// Link type used instead of a plain veth (`veth-stitch`).
    #[serde(default)]
    pub veth_type: Option<String>,
    /// Several containers or VMs in one node.
    #[serde(default)]
    pub parts: Option<Parts>,
    /// Until these pass the node is not ready.
    #[serde(default)]
    pub ready: Option<Sequence>,
    /// Run after start.
    #[serde(default)]
    pub configure: Option<Sequence>,
    /// Whether only start-up configurations that are laid over what is there (`.partial` in their
    /// names) can be given to it.
    #[serde(default)]
    pub startup_partial_only: bool,
    /// Where in its folder the node keeps its start-up configuration.
    #[serde(default)]
    pub startup_path: Option<String>,
    /// File in the node's folder where the node keeps what it saves. When it is there the node has
    /// been configured before: `.Fresh` is false then (template).
    #[serde(default)]
    pub saved: Option<String>,
    /// What inventories beside the lab say of the node.
    #[serde(default)]
    pub inventory: Inventory,
    /// Added when the node is made, not in the resolved form.
    #[serde(default)]
    pub late: Late,
    /// Run by `netloom save`.
    #[serde(default)]
    pub save: Option<Sequence>,
    /// What the VM launcher needs; its own schema is checked by the launcher.
    #[serde(default)]
    pub vm: Option<serde_json::Value>,
    /// Templates beside the kind file, by name.
    #[serde(skip)]
    pub templates: BTreeMap<String, String>,
}

/// Whether a node is a container, a VM or only a name for something that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Runs in a container.
    Container,
    /// A virtual machine (an image that starts one).
    Vm,
    /// Nothing is started.
    Pseudo,
}

/// What a node is in the lab.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A machine of its own.
    #[default]
    Node,
    /// A Linux bridge that exists, or one made in another node's namespace.
    Bridge,
    /// An Open vSwitch bridge that exists.
    OvsBridge,
    /// The host itself.
    Host,
    /// A container that the lab does not own.
    ExtContainer,
    /// A Kubernetes cluster made by `kind`.
    K8sCluster,
}

/// Name and password.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Credentials {
    /// User name.
    #[serde(default)]
    pub username: String,
    /// Password.
    #[serde(default)]
    pub password: String,
}

/// Names of interfaces.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Interfaces {
    /// Name of the management interface inside; `eth0` when absent.
    pub management: Option<String>,
    /// What the vendor calls it.
    pub management_alias: Option<String>,
    /// Names used as written.
    pub pattern: Option<String>,
    /// Vendor names and what they are called in Linux.
    #[serde(default)]
    pub aliases: Vec<Alias>,
    /// Name of the Nth data interface, with `{n}` counting from 1 or an expression of it (`{n-1}`);
    /// `eth{n}` when absent.
    pub numbered: Option<String>,
    /// Shown when a name is refused.
    pub help: Option<String>,
    /// Names refused although `pattern` allows them, unless the node has no management network.
    #[serde(default)]
    pub reserved: Vec<String>,
}

/// A vendor's way to name an interface.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Alias {
    /// Regular expression with named groups, matched against the whole name.
    pub r#match: String,
    /// Linux name with `{group}` or `{group+1}`, `{a*4+b}`.
    pub to: String,
    /// Condition on the node (template); absent: always.
    pub when: Option<String>,
}

/// Keys a kind may set.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the topology keys of the same names")]
pub struct Defaults {
    pub r#type: Option<String>,
    pub image: Option<String>,
    pub cmd: Option<String>,
    pub entrypoint: Option<String>,
    pub user: Option<String>,
    pub restart_policy: Option<String>,
    pub memory: Option<String>,
    pub shm_size: Option<String>,
    pub network_mode: Option<String>,
    pub startup_config: Option<String>,
    pub cpu: Option<f64>,
    pub healthcheck: Option<Healthcheck>,
}

/// How to tell whether a node works; times in seconds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the topology keys of the same names")]
pub struct Healthcheck {
    pub test: Vec<String>,
    #[serde(default)]
    pub interval: u64,
    #[serde(default)]
    pub timeout: u64,
    #[serde(default)]
    pub retries: u32,
    #[serde(default)]
    pub start_period: u64,
}

/// What a kind adds only when the node is made.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Late {
    /// Environment; the user's value wins.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Binds.
    #[serde(default)]
    pub binds: Vec<String>,
    /// Certificate forced on.
    #[serde(default)]
    pub certificate: Certificate,
}

/// What inventories beside the lab say of a node.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Inventory {
    /// Ansible group when not the kind's name (template).
    #[serde(default)]
    pub group: Option<String>,
    /// Variables of the Ansible group (templates).
    #[serde(default)]
    pub ansible: BTreeMap<String, String>,
    /// Platform names for Nornir.
    #[serde(default)]
    pub platforms: BTreeMap<String, String>,
}

/// Environment a kind brings.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EnvRules {
    /// The user's value wins.
    #[serde(default)]
    pub default: BTreeMap<String, String>,
    /// The kind's value wins.
    #[serde(default)]
    pub forced: BTreeMap<String, String>,
    /// More defaults as `KEY=value` lines of one template, for names that depend on the node.
    #[serde(default)]
    pub lines: Option<String>,
}

/// Kernel parameters a kind brings.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SysctlRules {
    /// The user's value wins.
    #[serde(default)]
    pub default: BTreeMap<String, String>,
    /// The kind's value wins.
    #[serde(default)]
    pub forced: BTreeMap<String, String>,
}

/// Certificate settings a kind forces.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Certificate {
    /// Issue one.
    #[serde(default)]
    pub issue: bool,
}

/// Values of `type`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Types {
    /// A type must be given.
    #[serde(default)]
    pub required: bool,
    /// The names accepted, with data for templates; empty: anything.
    #[serde(default)]
    pub names: BTreeMap<String, serde_json::Value>,
}

/// A file written into the node's folder.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    /// Relative to the node's folder.
    pub path: String,
    /// Octal mode.
    #[serde(default)]
    pub mode: Option<String>,
    /// `uid:gid`.
    #[serde(default)]
    pub owner: Option<String>,
    /// Never logged; mode 0600 unless another is given.
    #[serde(default)]
    pub secret: bool,
    /// Left out when this renders to nothing.
    #[serde(default)]
    pub when: Option<String>,
    /// The text.
    #[serde(default)]
    pub content: Option<String>,
    /// A template beside the kind file.
    #[serde(default)]
    pub template: Option<String>,
    /// A file to copy.
    #[serde(default)]
    pub copy: Option<String>,
    /// It is a symbolic link, and this is where it leads.
    #[serde(default)]
    pub link: Option<String>,
    /// It is a folder.
    #[serde(default)]
    pub directory: bool,
    /// Keep what stands there already.
    #[serde(default)]
    pub keep: bool,
}

/// How MAC addresses are chosen.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MacPlan {
    /// First three bytes.
    pub oui: Option<String>,
    /// The node's own address: `first+1` is the first interface's plus one.
    pub system: Option<String>,
}

/// What the machine must have.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostNeeds {
    /// Processors.
    pub cpus: Option<Minimum<f64>>,
    /// Memory, with unit.
    pub memory: Option<Minimum<String>>,
    /// Processor flags, one of them or all.
    #[serde(default)]
    pub cpu_flags: Vec<String>,
    /// Oldest kernel.
    pub kernel: Option<String>,
    /// Hardware virtualisation.
    #[serde(default)]
    pub kvm: bool,
}

/// A minimum, and whether less is an error or a warning.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Minimum<T> {
    /// The least.
    pub min: T,
    /// An error rather than a warning.
    #[serde(default)]
    pub error: bool,
}

/// Whether a licence is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum License {
    /// The key means nothing to this kind.
    #[default]
    None,
    /// Used when given.
    Optional,
    /// An error without.
    Required,
}

/// How a changed link reaches a running node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkApply {
    /// At once.
    Live,
    /// With a restart.
    Restart,
    /// With a new node.
    #[default]
    Recreate,
}

/// A node of several containers or VMs that share its namespace.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Parts {
    /// The topology key that lists them.
    pub from: String,
    /// Name of a part (template).
    pub name: String,
    /// Environment of a part (templates).
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Binds of a part (templates).
    #[serde(default)]
    pub binds: Vec<String>,
    /// Fewest entries that make parts; with fewer the node is one.
    #[serde(default)]
    pub least: Option<usize>,
}

/// Steps with a common deadline.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sequence {
    /// For all of them (`300s`).
    #[serde(default)]
    pub timeout: Option<String>,
    /// In order.
    pub steps: Vec<Step>,
}
