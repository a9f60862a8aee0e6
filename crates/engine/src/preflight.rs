//! What can be known to go wrong before anything is made.

use crate::image::Images;
use crate::machine::Machine;
use crate::record::LabRecord;
use crate::spec::{Paths, bind};
use crate::{EngineError, Ledger};
use netloom_datapath::probe::{self, Support};
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};
use netloom_image::Image;
use netloom_kinds::{Class, Role};
use netloom_topology::{EndpointNode, Lab, LinkKind, Node, PortBinding, PullPolicy, StartupConfig};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

/// What preflight needs to see.
pub struct Situation<'a> {
    /// The host.
    pub machine: &'a Machine,
    /// What labs share.
    pub ledger: &'a Ledger,
    /// This lab as it is deployed, if it is.
    pub record: Option<&'a LabRecord>,
    /// Containers of other labs: lab and node by container name.
    pub others: &'a BTreeMap<String, (String, String)>,
    /// Paths.
    pub paths: &'a Paths<'a>,
}

/// Checks everything; returns the image of each node that runs.
pub fn check(
    lab: &Lab,
    situation: &Situation<'_>,
    images: &mut Images,
    found: &mut Diagnostics,
) -> Result<HashMap<String, Arc<Image>>, EngineError> {
    let mut out = HashMap::new();
    for node in &lab.nodes {
        if node.kind_data.class != Class::Pseudo {
            if let Some(image) = image(node, images, found)? {
                out.insert(node.name.clone(), image);
            }
            files(lab, node, situation.paths, found);
        }
        role(node, situation, found);
        network_mode(lab, node, situation, found);
        names(node, situation, found);
        limits(node, found);
        ports(lab, node, situation, found);
    }
    links(lab, situation, found);
    management_bridge(lab, situation, found);
    host_programs(lab, found);
    devices(lab, found);
    Ok(out)
}

fn image(
    node: &Node,
    images: &mut Images,
    found: &mut Diagnostics,
) -> Result<Option<Arc<Image>>, EngineError> {
    if node.kind_data.class == Class::Vm && node.image != "host" {
        found.push(
            Diagnostic::error(
                "needs-vm-launcher",
                format!("kind `{}` needs the VM launcher, which is not there yet", node.kind),
            )
            .at(node.span),
        );
        return Ok(None);
    }
    if node.image.is_empty() {
        found.push(
            Diagnostic::error("missing-image", format!("node `{}` has no image", node.name))
                .at(node.span)
                .hint("write `image: NAME`; `image: host` is this machine's own root file system"),
        );
        return Ok(None);
    }
    match images.find(&node.image)? {
        Ok(Some(image)) => return Ok(Some(image)),
        Ok(None) => {
            let names = images.names();
            let near = did_you_mean(&node.image, names.iter().map(String::as_str));
            let fetch = match node.image_pull_policy {
                PullPolicy::Never => "`image-pull-policy: Never` forbids to fetch it".to_string(),
                _ => "images are not fetched from registries yet".to_string(),
            };
            let hint = match near {
                Some(near) => format!("did you mean `{near}`? {fetch}"),
                None => format!(
                    "{fetch}: bring it in with `netloom image import FILE --ref {}`",
                    node.image
                ),
            };
            found.push(
                Diagnostic::error(
                    "missing-image",
                    format!("there is no image `{}` here", node.image),
                )
                .at(node.span_of("image"))
                .hint(hint),
            );
        }
        Err(why) => found.push(Diagnostic::error("bad-image", why).at(node.span_of("image"))),
    }
    Ok(None)
}

fn files(lab: &Lab, node: &Node, paths: &Paths<'_>, found: &mut Diagnostics) {
    for text in &node.binds {
        let Some(bind) = bind(lab, node, text, paths) else { continue };
        // What stands in the lab directory may be made by the deploy itself.
        if !bind.source.exists() && !bind.source.starts_with(&lab.dir) {
            found.push(
                Diagnostic::error(
                    "missing-bind",
                    format!(
                        "there is no `{}` to bind into node `{}`",
                        bind.source.display(),
                        node.name
                    ),
                )
                .at(node.span_of("binds"))
                .hint(format!("the bind is `{text}`; relative paths start at the topology file")),
            );
        }
        if !bind.target.is_absolute() {
            found.push(
                Diagnostic::error(
                    "bad-bind",
                    format!("the target of `{text}` is not an absolute path"),
                )
                .at(node.span_of("binds")),
            );
        }
    }
    if let Some(StartupConfig::File(path)) = &node.startup_config
        && !path.is_file()
    {
        found.push(
            Diagnostic::error(
                "missing-startup-config",
                format!("there is no start-up configuration `{}`", path.display()),
            )
            .at(node.span_of("startup-config"))
            .hint("relative paths start at the topology file"),
        );
    }
    if let Some(path) = node.license.as_ref().filter(|p| !p.is_file()) {
        found.push(
            Diagnostic::error(
                "missing-license",
                format!("there is no licence file `{}`", path.display()),
            )
            .at(node.span_of("license"))
            .hint("relative paths start at the topology file"),
        );
    }
    for device in &node.devices {
        let source = device.split(':').next().unwrap_or_default();
        if !std::path::Path::new(source).exists() {
            found.push(
                Diagnostic::error(
                    "missing-device",
                    format!("there is no device `{source}` on this machine"),
                )
                .at(node.span_of("devices"))
                .hint("`ls /dev` lists them; a module may have to be loaded first"),
            );
        }
    }
}

fn role(node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    match node.kind_data.role {
        Role::Bridge if node.shares_namespace_of().is_none() => {
            let link = situation.machine.link(&node.name);
            if link.is_none_or(|l| l.kind != "bridge") {
                let what = match link {
                    None => format!("there is no bridge `{}` on this machine", node.name),
                    Some(l) => format!("`{}` is not a bridge but a {}", node.name, l.kind),
                };
                found.push(
                    Diagnostic::error("missing-bridge", what)
                        .at(node.span)
                        .hint(format!("make it first: ip link add {} type bridge", node.name)),
                );
            }
        }
        Role::OvsBridge => found.push(
            Diagnostic::error("unsupported", "Open vSwitch bridges are not supported yet")
                .at(node.span)
                .hint("use `kind: bridge`"),
        ),
        Role::K8sCluster => found.push(
            Diagnostic::error(
                "unsupported",
                "Kubernetes clusters are not made by the native runtime yet",
            )
            .at(node.span),
        ),
        Role::ExtContainer if !situation.others.contains_key(&node.name) => found.push(
            Diagnostic::error(
                "missing-container",
                format!("there is no container `{}`", node.name),
            )
            .at(node.span)
            .hint("it must be running before this lab is deployed"),
        ),
        _ => {}
    }
}

fn network_mode(lab: &Lab, node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    let Some(other) = node.shares_namespace_of() else { return };
    let inside = lab.nodes.iter().any(|n| n.name == other || n.long_name == other);
    if inside || situation.others.contains_key(other) {
        return;
    }
    let names = lab.nodes.iter().map(|n| n.name.as_str());
    let near = did_you_mean(other, names.chain(situation.others.keys().map(String::as_str)));
    found.push(
        Diagnostic::error(
            "missing-container",
            format!(
                "there is no container `{other}` whose network node `{}` could share",
                node.name
            ),
        )
        .at(node.span_of("network-mode"))
        .hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a node of this file, or a container that runs already".into(),
        }),
    );
}

fn names(node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    if node.kind_data.role == Role::ExtContainer {
        return;
    }
    if let Some((lab, other)) = situation.others.get(&node.long_name) {
        found.push(
            Diagnostic::error(
                "name-taken",
                format!(
                    "`{}` is the name of node `{other}` of lab `{lab}` already",
                    node.long_name
                ),
            )
            .at(node.span)
            .hint("give one of them another name or prefix"),
        );
    }
}

/// Processors and kernel parameters this machine has.
fn limits(node: &Node, found: &mut Diagnostics) {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let online = online.trim();
    if !node.cpu_set.is_empty()
        && let (Some(have), wanted) = (processors(online), processors(&node.cpu_set))
        && wanted.as_ref().is_none_or(|w| !w.is_subset(&have))
    {
        found.push(
            Diagnostic::error(
                "bad-cpu-set",
                format!("`cpu-set: {}` names processors that are not here", node.cpu_set),
            )
            .at(node.span_of("cpu-set"))
            .hint(format!("this machine has {online}")),
        );
    }
    for key in node.sysctls.keys() {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        // Parameters of interfaces exist only once the interface does.
        let of_interface =
            key.matches('.').count() >= 4 && (key.contains(".conf.") || key.contains(".neigh."));
        if !of_interface && !std::path::Path::new(&path).exists() {
            found.push(
                Diagnostic::error(
                    "unknown-sysctl",
                    format!("this kernel has no parameter `{key}`"),
                )
                .at(node.span_of("sysctls"))
                .hint("`sysctl -a` lists those it has"),
            );
        }
    }
}

/// Numbers of a list like `0-3,5`.
fn processors(text: &str) -> Option<std::collections::BTreeSet<u32>> {
    let mut out = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        out.extend(a.trim().parse::<u32>().ok()?..=b.trim().parse::<u32>().ok()?);
    }
    Some(out)
}

/// Whether the kernel knows a way: connecting a datagram socket asks it, and sends nothing.
fn reachable(remote: IpAddr) -> bool {
    let any: IpAddr = if remote.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    UdpSocket::bind((any, 0)).and_then(|s| s.connect((remote, 9))).is_ok()
}

/// Kinds of devices the lab is made of, each tried once in a namespace of its own.
fn devices(lab: &Lab, found: &mut Diagnostics) {
    let first = lab.nodes.first().and_then(|n| n.span);
    let managed = lab.nodes.iter().any(|n| n.managed());
    let link = |wanted: fn(&LinkKind) -> bool| {
        lab.links.iter().find(|l| wanted(&l.kind)).map(|l| l.span.or(first))
    };
    let pair = |k: &LinkKind| {
        !matches!(k, LinkKind::Macvlan { .. } | LinkKind::Vxlan { .. } | LinkKind::Dummy)
    };
    let kinds = [
        ("veth", link(pair).or(managed.then_some(first))),
        ("bridge", managed.then_some(lab.mgmt.span.or(first))),
        ("macvlan", link(|k| matches!(k, LinkKind::Macvlan { .. }))),
        ("vxlan", link(|k| matches!(k, LinkKind::Vxlan { .. } | LinkKind::VxlanStitch { .. }))),
    ];
    for (kind, at) in kinds {
        if let Some(at) = at
            && let Some(missing) = missing_device(kind)
        {
            found.push(missing.at(at));
        }
    }
}

fn missing_device(kind: &str) -> Option<Diagnostic> {
    let why = match probe::link_kind(kind) {
        Ok(support @ Support::No(_)) => support.to_string(),
        // The trial itself stands on a pair.
        Err(e) if kind == "veth" && e.errno() == Some(nix::errno::Errno::EOPNOTSUPP) => {
            e.to_string()
        }
        _ => return None,
    };
    let what = format!("this kernel makes no `{kind}` devices: {why}");
    let hint = format!("load the module (modprobe {kind}); `netloom doctor` shows what there is");
    Some(Diagnostic::error("missing-device-kind", what).hint(hint))
}

/// What the management network needs of the host besides its bridge.
fn host_programs(lab: &Lab, found: &mut Diagnostics) {
    let managed = lab.nodes.iter().any(|n| n.managed());
    let published = lab.nodes.iter().find(|n| n.managed() && !n.ports.is_empty());
    let wanted = managed && lab.mgmt.external_access || published.is_some();
    if wanted && netloom_datapath::mgmt::nft::program().is_none() {
        let at = published.and_then(|n| n.span_of("ports")).or(lab.mgmt.span);
        found.push(
            Diagnostic::error("missing-program", "there is no program `nft` on this machine")
                .at(at.or(lab.nodes.first().and_then(|n| n.span)))
                .hint(
                    "install the package `nftables`, or write `external-access: false` under \
                     `mgmt` and publish no ports",
                ),
        );
    }
    let v6 = lab.mgmt.ipv6_subnet.is_some() && managed;
    if v6 && !std::path::Path::new("/proc/sys/net/ipv6").is_dir() {
        let d = match lab.mgmt.subnets_written {
            true => Diagnostic::error("no-ipv6", "this kernel has no IPv6"),
            false => Diagnostic::error(
                "no-ipv6",
                "this kernel has no IPv6, and the usual management network has",
            ),
        };
        found.push(
            d.at(lab.mgmt.span.or(lab.nodes.first().and_then(|n| n.span)))
                .hint("name only an IPv4 subnet: `mgmt: {ipv4-subnet: 172.20.20.0/24}`"),
        );
    }
}

/// A bridge named in the file may be there already, but then it must be a bridge.
fn management_bridge(lab: &Lab, situation: &Situation<'_>, found: &mut Diagnostics) {
    let Some(name) = &lab.mgmt.bridge else { return };
    if let Some(link) = situation.machine.link(name).filter(|l| l.kind != "bridge") {
        let kind = if link.kind.is_empty() { "device" } else { &link.kind };
        found.push(
            Diagnostic::error("name-taken", format!("`{name}` is no bridge but a {kind}"))
                .at(lab.mgmt.span)
                .hint("name a bridge, or one that is not there yet, as `mgmt.bridge`"),
        );
    }
}

fn ports(lab: &Lab, node: &Node, situation: &Situation<'_>, found: &mut Diagnostics) {
    for port in node.ports.iter().filter(|p| p.host_port != 0) {
        let user = match situation.ledger.ports.get(&Ledger::port(port.host_port, &port.protocol)) {
            Some(other) if *other != lab.name => Some(format!("lab `{other}`")),
            Some(_) => None,
            None => listening(port).then(|| "a program on this machine".to_string()),
        };
        if let Some(user) = user {
            found.push(
                Diagnostic::error(
                    "port-taken",
                    format!(
                        "port {}/{} of this machine is in use by {user}",
                        port.host_port, port.protocol
                    ),
                )
                .at(node.span_of("ports"))
                .hint("publish another port"),
            );
        }
    }
}

/// Whether a program of the host has the port: nobody else can then.
fn listening(port: &PortBinding) -> bool {
    let address = port.host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let at = SocketAddr::new(address, port.host_port);
    let refused = |e: std::io::Error| e.kind() == std::io::ErrorKind::AddrInUse;
    match port.protocol.as_str() {
        "tcp" => TcpListener::bind(at).err().is_some_and(refused),
        "udp" => UdpSocket::bind(at).err().is_some_and(refused),
        _ => false,
    }
}

fn links(lab: &Lab, situation: &Situation<'_>, found: &mut Diagnostics) {
    let mine =
        |name: &str| {
            situation.ledger.interfaces.get(name) == Some(&lab.name)
                || situation.record.is_some_and(|r| {
                    r.everything().links.iter().flat_map(|l| l.ends()).any(|e| {
                        e.namespace == netloom_plan::NamespaceOf::Host && e.interface == name
                    })
                })
        };
    let bridges: HashSet<&str> = lab
        .nodes
        .iter()
        .filter(|n| n.kind_data.role == Role::Bridge && n.shares_namespace_of().is_none())
        .map(|n| n.name.as_str())
        .collect();
    for link in &lab.links {
        for end in &link.endpoints {
            let on_host = match &end.node {
                EndpointNode::Host | EndpointNode::MgmtNet => true,
                EndpointNode::Node(n) => bridges.contains(n.as_str()),
                EndpointNode::Macvlan => {
                    if situation.machine.link(&end.interface).is_none() {
                        found.push(
                            Diagnostic::error(
                                "missing-interface",
                                format!(
                                    "there is no interface `{}` on this machine",
                                    end.interface
                                ),
                            )
                            .at(end.span)
                            .hint(format!(
                                "interfaces here: {}",
                                situation
                                    .machine
                                    .links
                                    .iter()
                                    .map(|l| l.name.as_str())
                                    .collect::<Vec<_>>()
                                    .join(", ")
                            )),
                        );
                    }
                    false
                }
            };
            let kernel = netloom_plan::kernel_name(&end.interface).0;
            let other = situation.ledger.interfaces.get(&kernel).filter(|l| **l != lab.name);
            if let Some(other) = other.filter(|_| on_host) {
                found.push(
                    Diagnostic::error(
                        "name-taken",
                        format!(
                            "interface `{}` of this machine belongs to lab `{other}`",
                            end.interface
                        ),
                    )
                    .at(end.span)
                    .hint("choose another name"),
                );
            } else if on_host && situation.machine.link(&kernel).is_some() && !mine(&kernel) {
                found.push(
                    Diagnostic::error(
                        "name-taken",
                        format!("interface `{}` exists on this machine already", end.interface),
                    )
                    .at(end.span)
                    .hint("choose another name, or remove it first"),
                );
            }
        }
        let (LinkKind::Vxlan { tunnel } | LinkKind::VxlanStitch { tunnel }) = &link.kind else {
            continue;
        };
        if !tunnel.parent.is_empty() && situation.machine.link(&tunnel.parent).is_none() {
            found.push(
                Diagnostic::error(
                    "missing-interface",
                    format!("there is no interface `{}` on this machine", tunnel.parent),
                )
                .at(link.span)
                .hint("`parent-interface` is what the tunnel's packets leave by; `ip link` lists them"),
            );
        }
        if let Ok(remote) = tunnel.remote.parse::<IpAddr>() {
            if tunnel.parent.is_empty() && !reachable(remote) {
                found.push(
                    Diagnostic::error(
                        "no-route",
                        format!("this machine has no route to {remote}, the tunnel's other end"),
                    )
                    .at(link.span)
                    .hint(format!("add one first: ip route add {remote} via GATEWAY")),
                );
            }
        } else {
            found.push(
                Diagnostic::error(
                    "bad-address",
                    format!("`{}` is not an address; names are not looked up yet", tunnel.remote),
                )
                .at(link.span),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_said() {
        assert!(missing_device("veth").is_none());
        let missing = missing_device("nosuchkind").expect("no kernel makes these");
        let wanted = "this kernel makes no `nosuchkind` devices: missing in this kernel";
        assert_eq!(missing.message, wanted);
    }
}
