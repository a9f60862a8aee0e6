//! A node of the topology as a container: every key honoured, or named in a warning.

use crate::Directories;
use crate::names::{SharedNames, hostname};
use crate::outside::foreign_key;
use netloom_image::Image;
use netloom_plan::{NamespaceOf, NodeObject, Runs};
use netloom_runtime::{
    Bind, CgroupNs, ContainerSpec, Device, Healthcheck, Leg, Names, NetworkNs, PidNs,
    PublishedPort, Resources, RestartPolicy, Rootfs, Stdio, Tmpfs, Ulimit,
};
use netloom_topology::{Lab, Node, NodeFiles, absolute, bytes};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where relative paths of a node's keys start.
pub struct Paths<'a> {
    /// Folder of the topology file.
    pub topology: &'a Path,
    /// The user's home.
    pub home: &'a Path,
    /// State.
    pub directories: &'a Directories,
}

impl Paths<'_> {
    /// A path of the topology file made absolute.
    pub fn absolute(&self, text: &str) -> PathBuf {
        absolute(self.home, self.topology, text)
    }
}

/// A bind of the topology file in its parts.
pub fn bind(lab: &Lab, node: &Node, text: &str, paths: &Paths<'_>) -> Option<Bind> {
    let text = lab.magic(node, text);
    let mut parts = text.split(':');
    let (source, target) = (parts.next()?, parts.next()?);
    let options = parts.next().unwrap_or_default();
    Some(Bind::with(paths.absolute(source), PathBuf::from(target), options))
}

/// Name of a volume that has none.
fn own_volume(container: &str, target: &str) -> String {
    let path = target.trim_matches('/').replace('/', "-");
    format!("{container}.{path}")
}

/// Everything a container is made from.
pub struct Parts<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// The node.
    pub node: &'a Node,
    /// Its place in the network.
    pub object: &'a NodeObject,
    /// Its image.
    pub image: &'a Image,
    /// What its kind adds.
    pub files: &'a NodeFiles,
    /// Paths.
    pub paths: &'a Paths<'a>,
    /// Path of a namespace that is not ours.
    pub netns: Option<PathBuf>,
    /// The bridge of the management network.
    pub bridge: Option<&'a str>,
    /// Name servers of the host that others can reach.
    pub resolvers: &'a [String],
    /// Names a daemon's own name server does not know, `name:address`.
    pub hosts: &'a [String],
    /// Number of its links' ends.
    pub interfaces: usize,
}

/// The container of a node; [`crate::honour`] names the keys that have no part in it.
pub fn container(parts: &Parts<'_>) -> ContainerSpec {
    let Parts { lab, node, image, paths, .. } = parts;
    let mut binds: Vec<Bind> = node
        .binds
        .iter()
        .chain(&parts.files.binds)
        .filter_map(|b| bind(lab, node, b, paths))
        .collect();
    let runs = parts.object.runs;
    for volume in &node.volumes {
        let volume = lab.magic(node, volume);
        let parts: Vec<&str> = volume.split(':').collect();
        let (name, target, options) = match parts[..] {
            // One without a name is this node's alone.
            [target] if runs == Runs::Native => (own_volume(&node.long_name, target), target, ""),
            [target] => (String::new(), target, ""),
            [name, target] => (name.to_string(), target, ""),
            [name, target, options] => (name.to_string(), target, options),
            _ => continue,
        };
        let source = match runs {
            Runs::Native => paths.directories.volume(&name),
            Runs::Docker | Runs::Podman | Runs::Rootless => PathBuf::from(&name),
        };
        binds.push(Bind::with(source, target.into(), options));
    }
    let folder = paths.directories.node(&lab.name, &node.name);
    let mut layers = image.layers.clone();
    let shared = SharedNames::of(paths.directories, lab, node, image);
    layers.splice(0..0, shared.iter().map(|s| s.layer.clone()));
    // Docker writes these itself.
    let own = if runs.own_namespaces() { &[][..] } else { SharedNames::own(shared.as_ref()) };
    for name in own {
        let target = Path::new("/etc").join(name);
        if !binds.iter().any(|b| b.target == target) {
            binds.push(Bind {
                source: folder.join(name),
                target,
                read_only: false,
                options: String::new(),
                recursive: false,
            });
        }
    }
    let network = network(parts);
    ContainerSpec {
        name: node.long_name.clone(),
        rootfs: match runs {
            Runs::Native => Rootfs::Layers { layers, private: folder.join("root") },
            Runs::Docker | Runs::Podman | Runs::Rootless => Rootfs::Image {
                reference: node.image.clone(),
                entrypoint: (!node.entrypoint.is_empty()).then(|| words(&node.entrypoint)),
            },
        },
        names: names(parts, &network),
        network,
        pid: match node.pid_mode.as_str() {
            "host" => PidNs::Host,
            mode => match mode.strip_prefix("container:") {
                Some(n) => {
                    let other = lab.node(n).map_or(n, |o| o.long_name.as_str());
                    PidNs::Container(other.to_string())
                }
                None => PidNs::Private,
            },
        },
        cgroupns: match node.cgroupns_mode.as_str() {
            "host" => Some(CgroupNs::Host),
            "private" => Some(CgroupNs::Private),
            _ => None,
        },
        cgroup_parent: (!node.cgroup_parent.is_empty()).then(|| node.cgroup_parent.clone()),
        hostname: hostname(node).to_string(),
        argv: match runs {
            Runs::Native => argv(node, image),
            Runs::Docker | Runs::Podman | Runs::Rootless => words(&node.cmd),
        },
        env: environment(parts),
        cwd: match image.config.working_dir.as_str() {
            "" if runs == Runs::Native => "/".into(),
            dir => dir.into(),
        },
        user: if node.user.is_empty() { image.config.user.clone() } else { node.user.clone() },
        stdio: Stdio::Tty,
        binds,
        tmpfs: node
            .tmpfs
            .iter()
            .map(|(t, o)| Tmpfs { target: t.into(), options: o.clone() })
            .collect(),
        devices: node.devices.iter().map(|d| device(d)).collect(),
        shm_size: bytes(&node.shm_size).unwrap_or(64 << 20),
        sysctls: match node.network_mode.as_str() {
            "host" => {
                node.sysctls.iter().filter(|(k, _)| !k.starts_with("net.")).map(owned).collect()
            }
            _ => node.sysctls.clone(),
        },
        ulimits: open_files().into_iter().collect(),
        privileged: node.privileged,
        cap_add: node.cap_add.clone(),
        cap_drop: Vec::new(),
        security_opts: node.security_opts.clone(),
        resources: Resources {
            cpus: node.cpu,
            cpuset: (!node.cpu_set.is_empty()).then(|| node.cpu_set.clone()),
            memory: bytes(&node.memory),
            pids: None,
        },
        stop_signal: stop_signal(node, image, if runs == Runs::Native { 15 } else { 0 }),
        stop_grace: Duration::from_secs(10),
        restart: restart(&node.restart_policy),
        healthcheck: healthcheck(node, image, runs),
        labels: labels(parts),
        auto_remove: node.auto_remove,
    }
}

/// Labels of the file, and of the network the lab is in.
fn labels(parts: &Parts<'_>) -> BTreeMap<String, String> {
    let mut labels = parts.node.labels.clone();
    if let Some(bridge) = parts.bridge {
        labels.insert(BRIDGE_LABEL.into(), bridge.into());
    }
    labels
}

/// Label that names the bridge of the management network.
pub const BRIDGE_LABEL: &str = "clab-mgmt-net-bridge";

/// As many open files as this machine grants, up to what existing labs get.
fn open_files() -> Option<Ulimit> {
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok()?;
    let most = hard.min(1_048_576);
    Some(Ulimit { name: "nofile".into(), soft: most, hard: most })
}

fn owned((k, v): (&String, &String)) -> (String, String) {
    (k.clone(), v.clone())
}

fn network(parts: &Parts<'_>) -> NetworkNs {
    let Parts { lab, node, object, .. } = parts;
    if object.runs.own_namespaces() {
        return match &object.namespace {
            NamespaceOf::Host => NetworkNs::Host,
            NamespaceOf::Node(owner) if *owner != node.name => {
                let other = lab.node(owner).map_or(owner, |o| &o.long_name);
                NetworkNs::Container(other.clone())
            }
            NamespaceOf::Foreign { container, .. } => NetworkNs::Container(container.clone()),
            _ if object.mgmt.is_some() && object.runs.hands_out_legs() => {
                NetworkNs::Leg(Box::new(leg(parts)))
            }
            _ => NetworkNs::Bare,
        };
    }
    match (&parts.object.namespace, &parts.netns) {
        (NamespaceOf::Host, _) => NetworkNs::Host,
        (NamespaceOf::Node(owner), _) => NetworkNs::Kept(format!("netns:{owner}")),
        (NamespaceOf::Other { .. }, Some(path)) => NetworkNs::Path(path.clone()),
        (of @ NamespaceOf::Foreign { .. }, _) => {
            NetworkNs::Kept(foreign_key(of).unwrap_or_default())
        }
        (NamespaceOf::Other { lab, node }, None) => NetworkNs::Kept(format!("{lab}:{node}")),
    }
}

/// The leg of a node in a network its runtime keeps.
fn leg(parts: &Parts<'_>) -> Leg {
    let Parts { lab, node, object, .. } = parts;
    let addresses = object.mgmt.iter().flat_map(|m| &m.addresses).map(|a| a.addr());
    let mut aliases = vec![node.name.clone()];
    aliases.extend(node.aliases.iter().filter(|a| **a != node.name).cloned());
    if object.mgmt.as_ref().is_some_and(|m| m.self_willed) {
        // Names are no affair of such a network either.
        aliases.clear();
    }
    let addresses = addresses.filter(|_| !aliases.is_empty());
    Leg {
        network: lab.mgmt.network.clone(),
        ipv4: addresses.clone().find(IpAddr::is_ipv4),
        ipv6: addresses.clone().find(IpAddr::is_ipv6),
        aliases,
        ports: object
            .ports
            .iter()
            .map(|p| PublishedPort {
                host: p.host,
                host_port: p.host_port,
                port: p.port,
                protocol: p.protocol.clone(),
            })
            .collect(),
    }
}

/// Names for a node whose runtime writes them; who shares a namespace shares its owner's.
fn names(parts: &Parts<'_>, network: &NetworkNs) -> Names {
    let writes = matches!(network, NetworkNs::Leg(_) | NetworkNs::Host | NetworkNs::Bare);
    if !(parts.object.runs.own_namespaces() && writes) {
        return Names::default();
    }
    let dns = parts.node.dns.clone().unwrap_or_default();
    Names {
        dns_servers: match dns.servers.is_empty() {
            true => parts.resolvers.to_vec(),
            false => dns.servers,
        },
        dns_search: dns.search,
        dns_options: dns.options,
        hosts: parts.hosts.to_vec(),
    }
}

fn words(text: &str) -> Vec<String> {
    shlex::split(text).unwrap_or_default()
}

/// Entry point and command: the node's entry point drops the image's command too, as with Docker.
fn argv(node: &Node, image: &Image) -> Vec<String> {
    let entry = match node.entrypoint.as_str() {
        "" => image.config.entrypoint.clone(),
        text => words(text),
    };
    let cmd = match (node.cmd.as_str(), node.entrypoint.as_str()) {
        ("", "") => image.config.cmd.clone(),
        ("", _) => Vec::new(),
        (text, _) => words(text),
    };
    let argv: Vec<String> = entry.into_iter().chain(cmd).collect();
    if argv.is_empty() { vec!["/bin/sh".into()] } else { argv }
}

fn environment(parts: &Parts<'_>) -> Vec<(String, String)> {
    let Parts { node, image, .. } = parts;
    let mut env: BTreeMap<String, String> = match parts.object.runs {
        Runs::Native => BTreeMap::from([
            ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("TERM".into(), "xterm".into()),
            ("HOSTNAME".into(), hostname(node).to_string()),
        ]),
        // These know such things themselves.
        Runs::Docker | Runs::Podman | Runs::Rootless => BTreeMap::new(),
    };
    for line in &image.config.env {
        if let Some((k, v)) = line.split_once('=') {
            env.insert(k.into(), v.into());
        }
    }
    env.extend(parts.files.env.clone());
    env.extend(node.environment(parts.interfaces));
    env.into_iter().collect()
}

fn device(text: &str) -> Device {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or(source);
    Device {
        source: source.into(),
        target: target.into(),
        permissions: parts.next().unwrap_or("rwm").into(),
    }
}

fn stop_signal(node: &Node, image: &Image, usual: i32) -> i32 {
    let name = node.kind_data.stop_signal.as_deref().or(image.config.stop_signal.as_deref());
    name.and_then(signal).unwrap_or(usual)
}

/// A signal by name (`SIGTERM`, `TERM`, `SIGRTMIN+3`) or number.
pub fn signal(name: &str) -> Option<i32> {
    if let Ok(n) = name.parse::<i32>() {
        return (1..=64).contains(&n).then_some(n);
    }
    let name = name.to_ascii_uppercase();
    let bare = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(plus) = bare.strip_prefix("RTMIN") {
        let n: i32 = plus.trim_start_matches('+').parse().unwrap_or(0);
        return Some(34 + n);
    }
    format!("SIG{bare}").parse::<nix::sys::signal::Signal>().ok().map(|s| s as i32)
}

fn restart(text: &str) -> RestartPolicy {
    let (word, count) = text.split_once(':').unwrap_or((text, ""));
    match word {
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure(count.parse().ok()),
        _ => RestartPolicy::No,
    }
}

fn healthcheck(node: &Node, image: &Image, runs: Runs) -> Option<Healthcheck> {
    let seconds = |n: u64, default: u64| Duration::from_secs(if n == 0 { default } else { n });
    if let Some(h) = &node.healthcheck {
        // An image of a daemon may have one that is not wanted.
        let none = || (runs != Runs::Native && h.test == ["NONE"]).then(Vec::new);
        return test(&h.test).or_else(none).map(|argv| Healthcheck {
            argv,
            interval: seconds(h.interval, 30),
            timeout: seconds(h.timeout, 30),
            retries: if h.retries == 0 { 3 } else { h.retries },
            start_period: seconds(h.start_period, 0),
        });
    }
    let h = image.config.healthcheck.as_ref()?;
    test(&h.test).map(|argv| Healthcheck {
        argv,
        interval: h.interval.unwrap_or(Duration::from_secs(30)),
        timeout: h.timeout.unwrap_or(Duration::from_secs(30)),
        retries: h.retries.unwrap_or(3),
        start_period: h.start_period.unwrap_or_default(),
    })
}

fn test(list: &[String]) -> Option<Vec<String>> {
    match list.split_first() {
        Some((word, rest)) if word == "CMD" => Some(rest.to_vec()),
        Some((word, [line, ..])) if word == "CMD-SHELL" => {
            Some(vec!["/bin/sh".into(), "-c".into(), line.clone()])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        assert_eq!(signal("SIGTERM"), Some(15));
        assert_eq!(signal("kill"), Some(9));
        assert_eq!(signal("SIGRTMIN+3"), Some(37));
        assert_eq!(signal("9"), Some(9));
        assert_eq!(signal("SIGNONE"), None);
    }

    #[test]
    fn restart_policies() {
        assert_eq!(restart("on-failure:3"), RestartPolicy::OnFailure(Some(3)));
        assert_eq!(restart(""), RestartPolicy::No);
    }
}
