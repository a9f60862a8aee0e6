//! What a kind writes into a node's folder before it starts, and what it adds only then.

use crate::expand::expand;
use crate::lab::{EndpointNode, Lab, Node};
use crate::render;
use crate::template_data::{self, Place};
use gotmpl::Value as Data;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is known only when a node is made.
#[derive(Debug, Clone, Default)]
pub struct FileContext {
    /// Text of the start-up configuration, as it stands in its file.
    pub startup_text: String,
    /// Variables that it may refer to.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Text of the licence file.
    pub license_text: String,
    /// The node's folder had no configuration yet.
    pub fresh: bool,
    /// Management addresses with prefix length.
    pub mgmt: Vec<ipnet::IpNet>,
    /// Gateways.
    pub gateways: Vec<IpAddr>,
    /// MAC address of the management interface plus one.
    pub system_mac: String,
    /// Its certificate.
    pub certificate: Option<Certificate>,
    /// Public SSH keys.
    pub ssh_keys: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// The user's home.
    pub home: PathBuf,
    /// MAC addresses of the links' ends, by interface.
    pub macs: BTreeMap<String, String>,
    /// Positions in the lab of the links that end at the node.
    pub links: Vec<usize>,
}

/// A certificate as templates see it: PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// Certificate of who signed it.
    pub authority: String,
}

/// The text between the lines that say what it is, on one line.
fn body(pem: &str) -> String {
    pem.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect()
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Mode.
    pub mode: u32,
    /// Keep what stands there already.
    pub keep: bool,
    /// User and group it belongs to, if not who deploys.
    pub owner: Option<(u32, u32)>,
    /// What is there.
    pub content: Content,
}

/// What is at a place that a kind fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file with this text.
    Text(String),
    /// A copy of this file.
    Copy(PathBuf),
    /// A symbolic link.
    Link(PathBuf),
    /// A folder.
    Directory,
}

/// Everything a kind adds when a node is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFiles {
    /// Folders to make.
    pub directories: Vec<PathBuf>,
    /// Files to write.
    pub files: Vec<GeneratedFile>,
    /// Environment; the user's value wins.
    pub env: BTreeMap<String, String>,
    /// Binds.
    pub binds: Vec<String>,
}

/// Renders what a node's kind adds. The error names the template.
pub fn node_files(lab: &Lab, node: &Node, context: &FileContext) -> Result<NodeFiles, String> {
    let kind = &node.kind_data;
    let needs = !(kind.directories.is_empty()
        && kind.files.is_empty()
        && kind.late.env.is_empty()
        && kind.late.binds.is_empty());
    if !needs {
        return Ok(NodeFiles::default());
    }
    let data = startup_data(node, context, full_data(lab, node, context))?;
    let fill = |text: &str| match text.contains("{{") {
        false => Ok(text.to_string()),
        true => template_data::fill(text, &data)
            .map_err(|e| format!("kind `{}`: {e} in {text}", node.kind)),
    };
    let mut out = NodeFiles::default();
    for directory in &kind.directories {
        let path = fill(directory)?;
        if !path.is_empty() {
            out.directories.push(at(&node.dir, &path));
        }
    }
    for file in &kind.files {
        let startup = is_startup(node, file);
        if startup && node.suppress_startup_config {
            continue;
        }
        if file.when.as_deref().map(&fill).transpose()?.is_some_and(|w| w.trim().is_empty()) {
            continue;
        }
        let default = match (file.directory, file.secret) {
            (true, _) => 0o755,
            (false, true) => 0o600,
            (false, false) => 0o644,
        };
        let mode = file.mode.as_deref().and_then(|m| u32::from_str_radix(m, 8).ok());
        let content = match (&file.content, &file.template, &file.copy) {
            (Some(text), _, _) => Content::Text(fill(text)?),
            (None, Some(name), _) => {
                let text = kind.templates.get(name).ok_or_else(|| {
                    format!("kind `{}`: there is no template `{name}` beside kind.yml", node.kind)
                })?;
                Content::Text(fill(text)?)
            }
            (None, None, Some(from)) => Content::Copy(PathBuf::from(fill(from)?)),
            (None, None, None) => match &file.link {
                Some(to) => Content::Link(PathBuf::from(fill(to)?)),
                None if file.directory => Content::Directory,
                None => continue,
            },
        };
        out.files.push(GeneratedFile {
            path: at(&node.dir, &fill(&file.path)?),
            mode: mode.unwrap_or(default),
            // Only the start-up configuration is enforced; other files stay as users left them.
            keep: file.keep && !(startup && node.enforce_startup_config),
            owner: file.owner.as_deref().and_then(netloom_kinds::owner_ids),
            content,
        });
    }
    for (key, value) in &kind.late.env {
        let value = fill(value)?;
        if !value.is_empty() {
            out.env.insert(key.clone(), value);
        }
    }
    for bind in &kind.late.binds {
        let bind = fill(bind)?;
        if !bind.is_empty() {
            out.binds.push(bind);
        }
    }
    Ok(out)
}

/// A place in a node's folder; `.` is the folder.
fn at(folder: &Path, path: &str) -> PathBuf {
    if path == "." { folder.to_path_buf() } else { folder.join(path) }
}

/// What steps of a node's kind are filled in with. It may hold secrets, and is never shown.
#[derive(Clone)]
pub struct StepData {
    kind: String,
    data: Data,
}

impl StepData {
    /// Of a node, with everything known when it is made.
    pub fn of(lab: &Lab, node: &Node, context: &FileContext) -> Result<StepData, String> {
        let data = startup_data(node, context, full_data(lab, node, context))?;
        Ok(StepData { kind: node.kind.clone(), data })
    }

    /// Fills a template in; `captured` is what earlier steps have left.
    pub fn fill(&self, text: &str, captured: &BTreeMap<String, String>) -> Result<String, String> {
        let value =
            |(k, v): (&String, &String)| (Arc::from(k.as_str()), Data::String(v.as_str().into()));
        let captured = Data::Map(Arc::new(captured.iter().map(value).collect()));
        let more = Data::Map(Arc::new(BTreeMap::from([(Arc::from("Captured"), captured)])));
        let data = render::merge(self.data.clone(), more);
        template_data::fill(text, &data).map_err(|e| format!("kind `{}`: {e}", self.kind))
    }
}

/// Fills the start-up configuration in: variables first, then it is a template like a kind's own, with
/// the names configurations for containerlab use besides (section 2.7 of its documentation).
fn startup_data(node: &Node, context: &FileContext, data: Data) -> Result<Data, String> {
    if context.startup_text.is_empty() {
        return Ok(data);
    }
    let expanded = expand(&context.startup_text, &context.environment).text;
    let also = |name: &str, value: &str| (Arc::from(name), Data::String(value.into()));
    let more = BTreeMap::from([
        also("ShortName", &node.name),
        also("NodeType", &node.r#type),
        also("Group", &node.group),
        also("StartupText", ""),
    ]);
    let names = render::merge(data.clone(), Data::Map(Arc::new(more)));
    let text = match expanded.contains("{{") {
        false => expanded,
        true => render::render(&expanded, &[], &names)
            .map_err(|e| format!("the start-up configuration of node `{}`: {e}", node.name))?,
    };
    let filled = BTreeMap::from([also("StartupText", &text)]);
    Ok(render::merge(data, Data::Map(Arc::new(filled))))
}

/// Whether a file is, or holds, the start-up configuration.
fn is_startup(node: &Node, file: &netloom_kinds::File) -> bool {
    let beside = file.template.as_ref().and_then(|name| node.kind_data.templates.get(name));
    let texts = [file.when.as_ref(), file.content.as_ref(), file.copy.as_ref(), beside];
    texts.into_iter().flatten().any(|text| text.contains(".Startup"))
}

fn full_data(lab: &Lab, node: &Node, context: &FileContext) -> Data {
    let ends: Vec<_> = context
        .links
        .iter()
        .filter_map(|at| lab.links.get(*at))
        .flat_map(|l| l.endpoints.iter().map(move |e| (l, e)))
        .filter(|(_, e)| matches!(&e.node, EndpointNode::Node(n) if *n == node.name))
        .collect();
    let place = Place {
        lab: &lab.name,
        prefix: &lab.prefix,
        dir: &lab.dir,
        topo_dir: lab.topology_file.parent().unwrap_or(Path::new("/")),
        home: &context.home,
        mgmt: &lab.mgmt,
    };
    let base = template_data::data(node, place, &ends.iter().map(|(_, e)| *e).collect::<Vec<_>>());
    let text = |s: &str| Data::String(s.into());
    let list = |l: &[String]| Data::List(l.iter().map(|s| text(s)).collect());
    let certificate = context.certificate.clone().unwrap_or_default();
    let interfaces: Vec<Data> = ends
        .iter()
        .map(|(link, end)| {
            let v4 = end.addresses.ipv4;
            let v6 = end.addresses.ipv6;
            let mac = end.mac.clone().or_else(|| context.macs.get(&end.interface).cloned());
            template_data::object(vec![
                ("Name", text(&end.interface)),
                ("Alias", text(end.alias.as_deref().unwrap_or_default())),
                ("MTU", Data::Int(link.mtu.into())),
                ("MAC", text(&mac.unwrap_or_default())),
                ("IPv4", text(&v4.map(|a| a.to_string()).unwrap_or_default())),
                ("IPv6", text(&v6.map(|a| a.to_string()).unwrap_or_default())),
                ("IPv4Address", text(&v4.map(|a| a.addr().to_string()).unwrap_or_default())),
                ("IPv4Netmask", text(&v4.map(|a| a.netmask().to_string()).unwrap_or_default())),
                ("IPv6Address", text(&v6.map(|a| a.addr().to_string()).unwrap_or_default())),
            ])
        })
        .collect();
    let v4 = context.mgmt.iter().find(|n| n.addr().is_ipv4());
    let v6 = context.mgmt.iter().find(|n| n.addr().is_ipv6());
    let gateway = |v4: bool| {
        let hit = context.gateways.iter().find(|g| g.is_ipv4() == v4);
        text(&hit.map(|g| g.to_string()).unwrap_or_default())
    };
    let prefix =
        |n: Option<&ipnet::IpNet>| n.map_or_else(|| text(""), |n| Data::Int(n.prefix_len().into()));
    let more = vec![
        ("StartupText", text(&context.startup_text)),
        ("LicenseText", text(&context.license_text)),
        ("Fresh", Data::Bool(context.fresh)),
        ("Interfaces", Data::List(interfaces.into())),
        ("MgmtIPv4Address", text(&v4.map(|n| n.addr().to_string()).unwrap_or_default())),
        ("MgmtIPv4PrefixLength", prefix(v4)),
        ("MgmtIPv4Netmask", text(&v4.map(|n| n.netmask().to_string()).unwrap_or_default())),
        ("MgmtIPv4Gateway", gateway(true)),
        ("MgmtIPv6Address", text(&v6.map(|n| n.addr().to_string()).unwrap_or_default())),
        ("MgmtIPv6PrefixLength", prefix(v6)),
        ("MgmtIPv6Gateway", gateway(false)),
        ("SystemMAC", text(&context.system_mac)),
        ("SSHKeys", list(&context.ssh_keys)),
        ("DNSServers", list(&context.dns)),
        ("CertPEM", text(&certificate.certificate)),
        ("KeyPEM", text(&certificate.key)),
        ("CAPEM", text(&certificate.authority)),
        ("CertBody", text(&body(&certificate.certificate))),
        ("KeyBody", text(&body(&certificate.key))),
        ("CABody", text(&body(&certificate.authority))),
        ("Captured", Data::Map(Default::default())),
    ];
    match base {
        Data::Map(map) => {
            let mut map = (*map).clone();
            map.extend(more.into_iter().map(|(k, v)| (Arc::from(k), v)));
            Data::Map(Arc::new(map))
        }
        other => other,
    }
}
