//! The format as a table: which keys there are, what they hold, how levels combine.
//!
//! One table serves the checks, the merge, the JSON schema and the reference page, so that none of
//! them can drift from the others.

use serde_json::{Map, Value as Json, json};
use std::fmt::Write;

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Any scalar, taken as text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// A list of texts.
    TextList,
    /// Texts by name.
    TextMap,
    /// Anything.
    Any,
    /// A map with these keys.
    Object(&'static Shape),
    /// A list of such maps.
    ObjectList(&'static Shape),
    /// Such maps by name; a null entry is an empty one.
    ObjectMap(&'static Shape),
    /// The endpoints of a link: texts or maps.
    Endpoints,
    /// One endpoint of a link.
    Endpoint,
}

/// How the levels `defaults`, `kinds`, `groups` and the node combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The most specific level that sets it.
    First,
    /// Key by key, the more specific wins.
    Map,
    /// All levels one after the other, general first, doubles dropped.
    List,
    /// As `List`, but a later entry replaces one with the same target path.
    Targets,
    /// The most specific level's, whole.
    Whole,
    /// Maps are merged at every depth.
    Deep,
    /// Field by field of the object.
    Fields,
    /// Only on the node itself.
    Node,
}

impl Merge {
    fn words(self) -> &'static str {
        match self {
            Merge::First => "the most specific level wins",
            Merge::Map => "merged key by key",
            Merge::List => "all levels, general first",
            Merge::Targets => "all levels, one entry a target",
            Merge::Whole => "the most specific level's, whole",
            Merge::Deep => "merged at every depth",
            Merge::Fields => "merged field by field",
            Merge::Node => "only on the node",
        }
    }
}

/// A key of the format.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What it holds.
    pub ty: Type,
    /// How levels combine (node keys).
    pub merge: Merge,
    /// For the reference page.
    pub doc: &'static str,
}

/// A map of known keys.
#[derive(Debug)]
pub struct Shape {
    /// What it is, for messages ("a node").
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Old spellings: the old name, and the key it means now (empty: it means nothing any more).
    pub old: &'static [(&'static str, &'static str)],
}

impl Shape {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }
}

const fn k(name: &'static str, ty: Type, merge: Merge, doc: &'static str) -> Key {
    Key { name, ty, merge, doc }
}

use Merge::*;
use Type::*;

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

static AUTHORITY: Shape = Shape {
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
        k("shm-size", Text, First, "size of /dev/shm (`64mb`)"),
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

static EXTRAS: Shape = Shape {
    name: "`extras`",
    keys: &[
        k("srl-agents", TextList, Whole, "agent files for SR Linux"),
        k("mysocket-proxy", Text, Whole, "proxy for mysocket"),
        k("ceos-copy-to-flash", TextList, Whole, "files to copy to cEOS's flash"),
        k("k8s_kind", Any, Whole, "settings of a kind cluster"),
    ],
    old: &[],
};

static CONFIG: Shape =
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

static STAGE: Shape = Shape {
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

static WAIT_FOR: Shape = Shape {
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

static STAGE_EXEC: Shape = Shape {
    name: "a stage command",
    keys: &[
        k("command", Text, Whole, "the command"),
        k("target", Word(&["container", "host"]), Whole, "where it runs (default `container`)"),
        k("phase", Word(&["on-enter", "on-exit"]), Whole, "when (default `on-enter`)"),
    ],
    old: &[],
};

static DNS: Shape = Shape {
    name: "`dns`",
    keys: &[
        k("servers", TextList, Whole, "addresses"),
        k("options", TextList, Whole, "resolver options"),
        k("search", TextList, Whole, "search domains"),
    ],
    old: &[],
};

static CERTIFICATE: Shape = Shape {
    name: "`certificate`",
    keys: &[
        k("issue", Bool, First, "issue one"),
        k("key-size", Int, First, "bits of the key"),
        k("validity-duration", Text, First, "how long it is valid"),
        k("sans", TextList, First, "further names in it"),
    ],
    old: &[],
};

static HEALTHCHECK: Shape = Shape {
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

static CREDENTIALS: Shape = Shape {
    name: "`credentials`",
    keys: &[
        k("username", Text, First, "user name"),
        k("password", Text, First, "password"),
        k("identity-file", Text, First, "SSH key file"),
    ],
    old: &[],
};

static COMPONENT: Shape = Shape {
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

static XIOM: Shape = Shape {
    name: "an `xiom`",
    keys: &[
        k("slot", Int, Whole, "slot number"),
        k("type", Text, Whole, "type"),
        k("mda", ObjectList(&MDA), Whole, "media adapters"),
    ],
    old: &[],
};

static MDA: Shape = Shape {
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

/// The JSON schema (draft 2020-12) of the format, for editors.
pub fn json_schema() -> Json {
    let mut defs = Map::new();
    let root = object_schema(&TOPOLOGY_FILE, &mut defs);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Netloom topology",
    });
    if let (Some(out), Json::Object(root)) = (schema.as_object_mut(), root) {
        out.extend(root);
        out.insert("required".into(), json!(["name", "topology"]));
        out.insert("$defs".into(), Json::Object(defs));
    }
    schema
}

fn def_name(shape: &Shape) -> String {
    shape.name.replace('`', "").replace(' ', "-")
}

fn reference(shape: &'static Shape, defs: &mut Map<String, Json>) -> Json {
    let name = def_name(shape);
    if !defs.contains_key(&name) {
        defs.insert(name.clone(), Json::Null);
        let schema = object_schema(shape, defs);
        defs.insert(name.clone(), schema);
    }
    json!({"$ref": format!("#/$defs/{name}")})
}

fn object_schema(shape: &'static Shape, defs: &mut Map<String, Json>) -> Json {
    let mut properties = Map::new();
    for key in shape.keys {
        let mut schema = type_schema(key.ty, defs);
        if let Some(o) = schema.as_object_mut() {
            o.insert("description".into(), json!(key.doc));
        }
        properties.insert(key.name.into(), schema);
    }
    for (old, new) in shape.old {
        properties.insert(
            (*old).into(),
            json!({"deprecated": true, "description": if new.is_empty() {
                "means nothing any more".to_string()
            } else {
                format!("old spelling of `{new}`")
            }}),
        );
    }
    json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false})
}

fn type_schema(ty: Type, defs: &mut Map<String, Json>) -> Json {
    let text = json!(["string", "number", "boolean", "null"]);
    match ty {
        Text => json!({"type": text}),
        Word(words) => json!({"enum": words}),
        Bool => json!({"type": ["boolean", "null"]}),
        Int => json!({"type": ["integer", "null"]}),
        Number => json!({"type": ["number", "null"]}),
        TextList => json!({"type": ["array", "null"], "items": {"type": text}}),
        TextMap => json!({"type": ["object", "null"], "additionalProperties": {"type": text}}),
        Any => json!({}),
        Object(s) => reference(s, defs),
        ObjectList(s) => {
            json!({"type": ["array", "null"], "items": reference(s, defs)})
        }
        ObjectMap(s) => {
            json!({"type": ["object", "null"], "additionalProperties": reference(s, defs)})
        }
        Endpoints => {
            let endpoint = type_schema(Endpoint, defs);
            json!({"type": "array", "minItems": 2, "maxItems": 2, "items": endpoint})
        }
        Endpoint => json!({"anyOf": [{"type": "string"}, reference(&ENDPOINT, defs)]}),
    }
}

/// The reference page of the format, generated from the table.
pub fn topology_reference() -> String {
    let mut out = String::new();
    for (title, shape) in [
        ("The file", &TOPOLOGY_FILE),
        ("`mgmt`", &MGMT),
        ("`settings`", &SETTINGS),
        ("`settings.certificate-authority`", &AUTHORITY),
        ("`topology`", &TOPOLOGY),
        ("A node", &NODE),
        ("`stages`", &STAGES),
        ("A stage", &STAGE),
        ("`wait-for`", &WAIT_FOR),
        ("A stage's `exec`", &STAGE_EXEC),
        ("`dns`", &DNS),
        ("`certificate`", &CERTIFICATE),
        ("`healthcheck`", &HEALTHCHECK),
        ("`credentials`", &CREDENTIALS),
        ("`extras`", &EXTRAS),
        ("`components`", &COMPONENT),
        ("A link", &LINK),
        ("An endpoint", &ENDPOINT),
    ] {
        let node = std::ptr::eq(shape, &NODE);
        let _ = writeln!(out, "### {title}\n");
        out.push_str(if node {
            "| key | holds | levels | meaning |\n|---|---|---|---|\n"
        } else {
            "| key | holds | meaning |\n|---|---|---|\n"
        });
        for key in shape.keys {
            let levels = if node { format!("{} | ", key.merge.words()) } else { String::new() };
            let _ = writeln!(out, "| `{}` | {} | {levels}{} |", key.name, holds(key.ty), key.doc);
        }
        for (old, new) in shape.old {
            let what = if new.is_empty() {
                "ignored, with a warning".into()
            } else {
                format!("old spelling of `{new}`, with a warning")
            };
            let levels = if node { " | " } else { "" };
            let _ = writeln!(out, "| `{old}` | | {levels}{what} |");
        }
        out.push('\n');
    }
    out
}

fn holds(ty: Type) -> String {
    match ty {
        Text => "text".into(),
        Word(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "),
        Bool => "boolean".into(),
        Int => "whole number".into(),
        Number => "number".into(),
        TextList => "list of texts".into(),
        TextMap => "texts by name".into(),
        Any => "anything".into(),
        Object(s) => format!("map ({})", s.name),
        ObjectList(s) => format!("list of {}", s.name),
        ObjectMap(s) => format!("{} by name", s.name),
        Endpoints => "two endpoints".into(),
        Endpoint => "`node:interface`, or a map".into(),
    }
}
