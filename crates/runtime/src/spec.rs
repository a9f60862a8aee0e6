//! What a container is made of: everything decided, nothing left to default.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A container, completely described. Two equal specifications make equal containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Name, unique on the host (`clab-<lab>-<node>`).
    pub name: String,
    /// Root file system.
    pub rootfs: Rootfs,
    /// Network namespace to run in.
    pub network: NetworkNs,
    /// Names it is told; those that are laid into its file system are not here.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub names: Names,
    /// Process id namespace.
    pub pid: PidNs,
    /// Control group namespace; the runtime's own choice when `None`.
    pub cgroupns: Option<CgroupNs>,
    /// Parent control group; the runtime's own when `None`.
    pub cgroup_parent: Option<String>,
    /// Host name inside the container.
    pub hostname: String,
    /// Program and arguments (entry point and command already joined); from [`Rootfs::Image`] the
    /// arguments of the entry point, empty for the image's own.
    pub argv: Vec<String>,
    /// Environment, in order; later entries win. On top of the image's with [`Rootfs::Image`].
    pub env: Vec<(String, String)>,
    /// Working directory; made when it does not exist. Empty for that of [`Rootfs::Image`].
    pub cwd: String,
    /// `user[:group]`, names or numbers, looked up in the container's own files; empty for root, or
    /// for that of [`Rootfs::Image`].
    pub user: String,
    /// Standard streams of the first process.
    pub stdio: Stdio,
    /// Host files and directories visible inside, in order.
    pub binds: Vec<Bind>,
    /// Memory file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Device nodes; ignored when `privileged` (all of them are visible then).
    pub devices: Vec<Device>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Kernel parameters of the container's namespaces, `net.ipv4.ip_forward` style keys.
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits of the first process.
    pub ulimits: Vec<Ulimit>,
    /// Every capability, every device, writable `/sys` and `/proc/sys`.
    pub privileged: bool,
    /// Capabilities on top of the default set, `NET_ADMIN` or `CAP_NET_ADMIN`.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default set.
    pub cap_drop: Vec<String>,
    /// Docker-style security options.
    pub security_opts: Vec<String>,
    /// Limits of processor, memory and processes.
    pub resources: Resources,
    /// Signal number that asks the first process to end; 0 for that of [`Rootfs::Image`].
    pub stop_signal: i32,
    /// How long it may take over ending before it is killed.
    pub stop_grace: Duration,
    /// What happens when the first process ends by itself.
    pub restart: RestartPolicy,
    /// How to tell whether the container works.
    pub healthcheck: Option<Healthcheck>,
    /// Free-form labels.
    pub labels: BTreeMap<String, String>,
    /// Remove the container when its first process ends.
    pub auto_remove: bool,
}

/// Root file system of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// Read-only layers under a private writable one; what the embedded runtime takes.
    Layers {
        /// Directories of the image's layers, **topmost first**, with ownership as the container
        /// sees it. `/` alone is the host's own root file system (`image: host`).
        layers: Vec<PathBuf>,
        /// Where private changes go; the runtime makes `upper` and `work` below it.
        private: PathBuf,
    },
    /// An image the runtime has itself; what Docker and Podman take.
    Image {
        /// Its name.
        reference: String,
        /// Entry point in place of the image's.
        entrypoint: Option<Vec<String>>,
    },
}

impl Rootfs {
    /// The layers, topmost first; none of an image the runtime has itself.
    pub fn layers(&self) -> &[PathBuf] {
        match self {
            Rootfs::Layers { layers, .. } => layers,
            Rootfs::Image { .. } => &[],
        }
    }

    /// Where private changes go, unless that is the runtime's affair.
    pub fn private(&self) -> Option<&Path> {
        match self {
            Rootfs::Layers { private, .. } => Some(private),
            Rootfs::Image { .. } => None,
        }
    }
}

/// Network namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkNs {
    /// A namespace that exists already, by a path that can be opened (`/run/netns/x`,
    /// `/proc/<pid>/fd/<n>`).
    Path(PathBuf),
    /// The namespace the holder keeps under this name.
    Kept(String),
    /// The host's own.
    Host,
    /// One the runtime makes at every start, with a leg in a network of its own.
    Leg(Box<Leg>),
    /// One the runtime makes at every start, with nothing but the loopback interface.
    Bare,
    /// That of another container of the same runtime, by name.
    Container(String),
}

/// A container's interface in a network that its runtime keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The network.
    pub network: String,
    /// Its IPv4 address.
    pub ipv4: Option<IpAddr>,
    /// Its IPv6 address.
    pub ipv6: Option<IpAddr>,
    /// Names in the network beside the container's.
    pub aliases: Vec<String>,
    /// Ports of the host that lead to it.
    pub ports: Vec<PublishedPort>,
}

/// What a runtime that writes the files of names itself writes there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Name servers.
    pub dns_servers: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Lines of the hosts file, `name:address`.
    pub hosts: Vec<String>,
}

impl Names {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        *self == Names::default()
    }
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Address of the host; none for all.
    pub host: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the container.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Process id namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNs {
    /// Its own.
    Private,
    /// The host's.
    Host,
    /// That of another container of the same runtime.
    Container(String),
}

/// Control group namespace of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupNs {
    /// Its own: `/proc/self/cgroup` reads `/`.
    Private,
    /// The host's.
    Host,
}

/// Standard streams of a container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// A pseudo terminal that stays open, so that `cmd: bash` does not end at once.
    Tty,
    /// Standard input empty, output and errors to the log.
    Pipes,
}

/// A host path visible in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host; a name alone is a volume the runtime keeps, nothing at all one that
    /// goes with the container.
    pub source: PathBuf,
    /// Absolute path in the container; made when it does not exist.
    pub target: PathBuf,
    /// Not writable inside.
    pub read_only: bool,
    /// Options as users write them, with commas between (`rw,z`), where they say more than that;
    /// those a runtime does not know it ignores.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub options: String,
    /// Sub-mounts of the source come along.
    pub recursive: bool,
}

impl Bind {
    /// One with options as users write them.
    pub fn with(source: PathBuf, target: PathBuf, options: &str) -> Bind {
        let read_only = options.split(',').any(|option| option == "ro");
        let options = if options == "ro" { "" } else { options };
        Bind { source, target, read_only, options: options.into(), recursive: true }
    }

    /// Its options in full, empty without any.
    pub fn mode(&self) -> &str {
        match (self.options.as_str(), self.read_only) {
            ("", true) => "ro",
            (options, _) => options,
        }
    }
}

/// A memory file system in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Mount options (`rw,nosuid,size=64m`), empty for the defaults.
    pub options: String,
}

/// A device node of the host, visible in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// A resource limit (`nofile`, `nproc`, ...).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit; lowered to the host's own with a warning when that is lower.
    pub hard: u64,
}

/// Limits enforced by control groups; `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors, 0.5 is half of one.
    pub cpus: Option<f64>,
    /// Processor numbers (`0-1,3`).
    pub cpuset: Option<String>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

/// What happens when the first process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Nothing.
    No,
    /// It is started again, with growing delay.
    Always,
    /// As `Always`, but not after a stop and a reboot.
    UnlessStopped,
    /// Started again when the exit code is not zero, at most so often (`None`: for ever).
    OnFailure(Option<u32>),
}

/// How to tell whether a container works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// Program and arguments, run in the container; exit code 0 is healthy. Empty: none, whatever
    /// [`Rootfs::Image`] says.
    pub argv: Vec<String>,
    /// Time between two checks.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
}
