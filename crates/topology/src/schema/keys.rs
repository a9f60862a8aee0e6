//! The keys of a topology file, each with its type, its merge rule and a word about it.

use super::Merge::*;
use super::Type::*;
use super::{Key, Merge, Shape, Type};

const fn k(name: &'static str, ty: Type, merge: Merge, doc: &'static str) -> Key {
    Key { name, ty, merge, doc }
}

/// The whole file.
pub static TOPOLOGY_FILE: Shape = Shape {
    name: "the topology file",
    keys: &[
        k("name", Text, Whole, "name of the lab; letters, digits, `-`, `_`, `.`"),
        k(
            "prefix",
            Text,
            Whole,
            "first part of container names: `clab` when absent, `\"\"` for none, `__lab-name` for the lab's name",
        ),
        k("mgmt", Object(&MGMT), Whole, "the management network"),
        k("settings", Object(&SETTINGS), Whole, "settings of the lab"),
        k("topology", Object(&TOPOLOGY), Whole, "nodes and links"),
        k("debug", Bool, Whole, "accepted, means nothing here"),
    ],
    old: &[],
};

/// `mgmt`.
pub static MGMT: Shape = Shape {
    name: "the management network",
    keys: &[
        k(
            "network",
            Text,
            Whole,
            "its name; labs that name the same one share it (default `clab`)",
        ),
        k("bridge", Text, Whole, "name of the Linux bridge"),
        k(
            "ipv4-subnet",
            Text,
            Whole,
            "IPv4 subnet, or `auto` (default 172.20.20.0/24 when neither is set)",
        ),
        k(
            "ipv6-subnet",
            Text,
            Whole,
            "IPv6 subnet, or `auto` (default 3fff:172:20:20::/64 when neither is set)",
        ),
        k("ipv4-gw", Text, Whole, "IPv4 address of the bridge"),
        k("ipv6-gw", Text, Whole, "IPv6 address of the bridge"),
        k("ipv4-range", Text, Whole, "part of the subnet automatic addresses come from"),
        k("ipv6-range", Text, Whole, "part of the subnet automatic addresses come from"),
        k("mtu", Int, Whole, "MTU of the network"),
        k(
            "external-access",
            Bool,
            Whole,
            "whether nodes reach the world through it (default true)",
        ),
        k("skip-when-unused", Bool, Whole, "do not make it when no node uses it"),
        k("driver-opts", TextMap, Whole, "options for Docker's network driver"),
    ],
    old: &[("ipv4_subnet", "ipv4-subnet"), ("ipv6_subnet", "ipv6-subnet")],
};

/// `settings`.
pub static SETTINGS: Shape = Shape {
    name: "the settings",
    keys: &[k(
        "certificate-authority",
        Object(&AUTHORITY),
        Whole,
        "the lab's certificate authority",
    )],
    old: &[],
};

pub(super) static AUTHORITY: Shape = Shape {
    name: "the certificate authority",
    keys: &[
        k("cert", Text, Whole, "file of an existing certificate"),
        k("key", Text, Whole, "file of its key"),
        k("key-size", Int, Whole, "bits of a generated key (default 2048)"),
        k("validity-duration", Text, Whole, "how long a generated certificate is valid (`8760h`)"),
    ],
    old: &[],
};

/// `topology`.
pub static TOPOLOGY: Shape = Shape {
    name: "the topology",
    keys: &[
        k("defaults", Object(&NODE), Whole, "keys of every node"),
        k("kinds", ObjectMap(&NODE), Whole, "keys of every node of a kind"),
        k("groups", ObjectMap(&NODE), Whole, "keys of every node of a group"),
        k("nodes", ObjectMap(&NODE), Whole, "the nodes by name"),
        k("links", ObjectList(&LINK), Whole, "the links"),
    ],
    old: &[],
};

/// A node, and a level of defaults for nodes.
pub static NODE: Shape = Shape {
    name: "a node",
    keys: &[
        k("kind", Text, First, "what it is: `linux`, `nokia_srlinux`, ..."),
        k("group", Text, First, "the group it belongs to"),
        k("type", Text, First, "variant of the kind"),
        k("image", Text, First, "container image"),
        k("image-pull-policy", Text, First, "`IfNotPresent`, `Always` or `Never`"),
        k("license", Text, First, "licence file"),
        k("startup-config", Text, First, "configuration to boot with: a file, or the text itself"),
        k("enforce-startup-config", Bool, First, "use it even if the node saved one of its own"),
        k("suppress-startup-config", Bool, First, "boot without any"),
        k("startup-delay", Int, First, "seconds to wait before the start"),
        k("auto-remove", Bool, First, "remove the node when it ends"),
        k("restart-policy", Text, First, "`no`, `always`, `unless-stopped`, `on-failure[:N]`"),
        k("hostname", Text, First, "host name inside (default: the node's name)"),
        k("entrypoint", Text, First, "program instead of the image's"),
        k("cmd", Text, First, "arguments instead of the image's"),
        k("exec", TextList, List, "commands run in the node when it is up"),
        k("binds", TextList, Targets, "host files visible inside, `source:target[:ro]`"),
        k("volumes", TextList, Targets, "named volumes, `name:target[:ro]`"),
        k("devices", TextList, List, "host devices visible inside"),
        k("cap-add", TextList, List, "capabilities"),
        k("security-opts", TextList, List, "Docker-style security options"),
        k("env-files", TextList, List, "files of `NAME=value` lines"),
        k("privileged", Bool, First, "everything allowed (default true)"),
        k("cgroupns-mode", Text, First, "`private` or `host`"),
        k("cgroup-parent", Text, First, "parent control group"),
        k("pid-mode", Text, First, "`host` or `container:NODE`"),
        k("tmpfs", TextMap, Map, "memory file systems: path and options"),
        k("shm-size", Text, First, "size of /dev/shm (`64MiB`)"),
        k("ports", TextList, Whole, "published ports, `[ip:][host:]container[/proto]`"),
        k("mgmt-ipv4", Text, Node, "management IPv4 address"),
        k("mgmt-ipv6", Text, Node, "management IPv6 address"),
        k("env", TextMap, Map, "environment"),
        k("user", Text, First, "user the node's program runs as"),
        k("labels", TextMap, Map, "free-form labels"),
        k("network-mode", Text, First, "`bridge`, `none`, `host`, `container:NODE`"),
        k("runtime", Text, First, "what runs it"),
        k("cpu", Number, First, "processors (0.5 is half of one)"),
        k("cpu-set", Text, First, "processor numbers (`0-1,3`)"),
        k("memory", Text, First, "memory (`1GB`)"),
        k("sysctls", TextMap, Map, "kernel parameters of its namespaces"),
        k("extras", Object(&EXTRAS), Whole, "what only some kinds know"),
        k("config", Object(&CONFIG), Deep, "free data for templates"),
        k("stages", Object(&STAGES), Fields, "what it waits for, and commands per stage"),
        k("dns", Object(&DNS), Whole, "name servers"),
        k("certificate", Object(&CERTIFICATE), Fields, "TLS certificate"),
        k("healthcheck", Object(&HEALTHCHECK), Whole, "how to tell whether it works"),
        k("credentials", Object(&CREDENTIALS), Fields, "name and password"),
        k("username", Text, First, "old form of `credentials.username`"),
        k("password", Text, First, "old form of `credentials.password`"),
        k("aliases", TextList, Node, "further names on the management network"),
        k("components", ObjectList(&COMPONENT), Whole, "cards of a modular router"),
        k(
            "link-apply-mode",
            Word(&["live", "restart", "recreate"]),
            First,
            "how a changed link reaches a running node",
        ),
        k("position", Text, First, "hint for drawings"),
    ],
    old: &[
        ("mgmt_ipv4", "mgmt-ipv4"),
        ("mgmt_ipv6", "mgmt-ipv6"),
        ("startup_config", "startup-config"),
        ("startup_delay", "startup-delay"),
        ("network_mode", "network-mode"),
        ("cpu_set", "cpu-set"),
        ("env_files", "env-files"),
        ("cap_add", "cap-add"),
        ("publish", ""),
    ],
};

pub(super) static EXTRAS: Shape = Shape {
    name: "`extras`",
    keys: &[
        k("srl-agents", TextList, Whole, "agent files for SR Linux"),
        k("mysocket-proxy", Text, Whole, "proxy for mysocket"),
        k("ceos-copy-to-flash", TextList, Whole, "files to copy to cEOS's flash"),
        k("k8s_kind", Any, Whole, "settings of a kind cluster"),
    ],
    old: &[],
};

pub(super) static CONFIG: Shape =
    Shape { name: "`config`", keys: &[k("vars", Any, Deep, "variables")], old: &[] };

/// `stages` of a node.
pub static STAGES: Shape = Shape {
    name: "`stages`",
    keys: &[
        k("create", Object(&STAGE), Fields, "made and started"),
        k("create-links", Object(&STAGE), Fields, "links made"),
        k("configure", Object(&STAGE), Fields, "configured"),
        k("healthy", Object(&STAGE), Fields, "health check passed"),
        k("exit", Object(&STAGE), Fields, "ended"),
    ],
    old: &[],
};

pub(super) static STAGE: Shape = Shape {
    name: "a stage",
    keys: &[
        k(
            "wait-for",
            ObjectList(&WAIT_FOR),
            List,
            "what must be over before the node enters the stage",
        ),
        k("exec", ObjectList(&STAGE_EXEC), List, "commands"),
    ],
    old: &[],
};

pub(super) static WAIT_FOR: Shape = Shape {
    name: "`wait-for`",
    keys: &[
        k("node", Text, Whole, "another node"),
        k(
            "stage",
            Word(&["create", "create-links", "configure", "healthy", "exit"]),
            Whole,
            "the stage it must have finished",
        ),
    ],
    old: &[],
};

pub(super) static STAGE_EXEC: Shape = Shape {
    name: "a stage command",
    keys: &[
        k("command", Text, Whole, "the command"),
        k("target", Word(&["container", "host"]), Whole, "where it runs (default `container`)"),
        k("phase", Word(&["on-enter", "on-exit"]), Whole, "when (default `on-enter`)"),
    ],
    old: &[],
};

pub(super) static DNS: Shape = Shape {
    name: "`dns`",
    keys: &[
        k("servers", TextList, Whole, "addresses"),
        k("options", TextList, Whole, "resolver options"),
        k("search", TextList, Whole, "search domains"),
    ],
    old: &[],
};

pub(super) static CERTIFICATE: Shape = Shape {
    name: "`certificate`",
    keys: &[
        k("issue", Bool, First, "issue one"),
        k("key-size", Int, First, "bits of the key"),
        k("validity-duration", Text, First, "how long it is valid"),
        k("sans", TextList, First, "further names in it"),
    ],
    old: &[],
};

pub(super) static HEALTHCHECK: Shape = Shape {
    name: "`healthcheck`",
    keys: &[
        k("test", TextList, Whole, "`[CMD, prog, arg]` or `[CMD-SHELL, command]`"),
        k("interval", Int, Whole, "seconds between two checks"),
        k("timeout", Int, Whole, "seconds a check may take"),
        k("retries", Int, Whole, "failures in a row that make it unhealthy"),
        k("start-period", Int, Whole, "seconds in which failures do not count"),
    ],
    old: &[],
};

pub(super) static CREDENTIALS: Shape = Shape {
    name: "`credentials`",
    keys: &[
        k("username", Text, First, "user name"),
        k("password", Text, First, "password"),
        k("identity-file", Text, First, "SSH key file"),
    ],
    old: &[],
};

pub(super) static COMPONENT: Shape = Shape {
    name: "a component",
    keys: &[
        k("slot", Text, Whole, "slot: `A`, `B`, `1`, ..."),
        k("type", Text, Whole, "card type"),
        k("env", TextMap, Whole, "environment of its container"),
        k("sfm", Text, Whole, "switch fabric"),
        k("xiom", ObjectList(&XIOM), Whole, "extension modules"),
        k("mda", ObjectList(&MDA), Whole, "media adapters"),
    ],
    old: &[],
};

pub(super) static XIOM: Shape = Shape {
    name: "an `xiom`",
    keys: &[
        k("slot", Int, Whole, "slot number"),
        k("type", Text, Whole, "type"),
        k("mda", ObjectList(&MDA), Whole, "media adapters"),
    ],
    old: &[],
};

pub(super) static MDA: Shape = Shape {
    name: "an `mda`",
    keys: &[k("slot", Int, Whole, "slot number"), k("type", Text, Whole, "type")],
    old: &[],
};

/// Types of links, as written in `type`.
pub static LINK_TYPES: &[&str] =
    &["veth", "veth-stitch", "host", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "dummy"];

/// A link.
pub static LINK: Shape = Shape {
    name: "a link",
    keys: &[
        k("type", Word(LINK_TYPES), Whole, "what it is; absent: the brief form"),
        k("endpoints", Endpoints, Whole, "its two ends"),
        k("endpoint", Endpoint, Whole, "its only end in the lab"),
        k("mtu", Int, Whole, "MTU (default 9500 for veth)"),
        k("labels", TextMap, Whole, "free-form labels"),
        k("vars", Any, Whole, "free data for templates"),
        k("ipv4", TextList, Whole, "addresses of the two ends"),
        k("ipv6", TextList, Whole, "addresses of the two ends"),
        k("host-interface", Text, Whole, "interface on the host (host, mgmt-net, macvlan)"),
        k(
            "mode",
            Word(&["bridge", "vepa", "passthru", "private", "source"]),
            Whole,
            "macvlan mode",
        ),
        k("remote", Text, Whole, "other end of the tunnel (vxlan)"),
        k("vni", Int, Whole, "tunnel number (vxlan)"),
        k("dst-port", Int, Whole, "UDP port (vxlan, default 14789)"),
        k("src-port", Int, Whole, "UDP source port (vxlan)"),
        k("parent-interface", Text, Whole, "interface the tunnel goes out of (vxlan)"),
    ],
    old: &[("udp-port", "dst-port")],
};

/// An endpoint in the extended form.
pub static ENDPOINT: Shape = Shape {
    name: "an endpoint",
    keys: &[
        k("node", Text, Whole, "the node"),
        k("interface", Text, Whole, "its interface"),
        k("mac", Text, Whole, "MAC address"),
        k("ipv4", Text, Whole, "IPv4 address with prefix length"),
        k("ipv6", Text, Whole, "IPv6 address with prefix length"),
        k("vars", Any, Whole, "free data for templates"),
    ],
    old: &[],
};
