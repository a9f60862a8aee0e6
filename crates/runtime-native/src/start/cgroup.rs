//! Control groups, version 1, 2 or both: made when a limit is asked for, when the first process
//! manages groups itself, or when killing it would not end all others.

use super::plan::Plan;
use crate::child::Op;
use crate::xattr;
use netloom_runtime::{ContainerSpec, PidNs, RuntimeError};
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Parent of our groups when the specification names none: `netloom`, or what
/// `NETLOOM_CGROUP_PARENT` says.
fn default_parent() -> String {
    let set = std::env::var("NETLOOM_CGROUP_PARENT").ok();
    let plain = |p: &String| !p.is_empty() && !p.contains(['/', '.']);
    set.filter(plain).unwrap_or_else(|| "netloom".into())
}

/// One mounted hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchy {
    mount: PathBuf,
    unified: bool,
    controllers: Vec<String>,
}

impl Hierarchy {
    /// Name below `/sys/fs/cgroup`.
    pub fn directory(&self) -> String {
        self.mount.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// File system type and options that mount it again.
    pub fn mount_as(&self) -> (&'static str, String) {
        if self.unified {
            ("cgroup2", String::new())
        } else {
            ("cgroup", self.controllers.join(","))
        }
    }

    /// Links for joint hierarchies (`cpu -> cpu,cpuacct`).
    pub fn links(&self) -> Vec<(String, String)> {
        let directory = self.directory();
        if self.controllers.len() < 2 {
            return Vec::new();
        }
        self.controllers
            .iter()
            .filter(|c| **c != directory)
            .map(|c| (c.clone(), directory.clone()))
            .collect()
    }
}

/// What is mounted on this machine.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    hierarchies: Vec<Hierarchy>,
}

impl Tree {
    /// The machine's tree, read once.
    pub fn get() -> &'static Tree {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(|| {
            Tree::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
        })
    }

    fn parse(mountinfo: &str) -> Tree {
        let mut tree = Tree::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut right = right.split(' ');
            let fstype = right.next().unwrap_or_default();
            let options = right.nth(1).unwrap_or_default();
            let Some(mount) = left.split(' ').nth(4) else { continue };
            let unified = fstype == "cgroup2";
            if !unified && fstype != "cgroup" || !mount.starts_with("/sys/fs/cgroup") {
                continue;
            }
            let controllers = if unified {
                let list = Path::new(mount).join("cgroup.controllers");
                let list = fs::read_to_string(list).unwrap_or_default();
                list.split_ascii_whitespace().map(str::to_owned).collect()
            } else {
                let flags = ["rw", "ro", "xattr", "clone_children", "noprefix"];
                options
                    .split(',')
                    .filter(|o| !flags.contains(o) && !o.starts_with("release_agent"))
                    .map(str::to_owned)
                    .collect()
            };
            // Of two mounts in one place the later one is seen.
            tree.hierarchies.retain(|h| h.mount != Path::new(mount));
            tree.hierarchies.push(Hierarchy { mount: mount.into(), unified, controllers });
        }
        tree
    }

    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    pub fn unified_only(&self) -> bool {
        self.hierarchies.len() == 1 && self.hierarchies[0].unified
    }

    /// The hierarchy with a controller.
    fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// A hierarchy good for nothing but keeping track of processes.
    fn tracking(&self) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|h| h.unified)
            .or_else(|| self.with("pids"))
            .or_else(|| self.hierarchies.first())
    }
}

/// The groups of one container, one directory a hierarchy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
    /// The group they are in is the user's: what of it was there before stays when the last of them
    /// goes.
    #[serde(default)]
    parent_is_the_users: bool,
}

/// Attribute of a group of the user's that was not there before us, whichever lab made it.
const MADE: &CStr = c"trusted.netloom";

/// A file to write once the group exists.
struct Setting {
    controller: &'static str,
    v1: Vec<(&'static str, String)>,
    v2: Vec<(&'static str, String)>,
}

impl Group {
    /// Where a new container's groups will be; empty when it needs none.
    pub fn of(spec: &ContainerSpec) -> Result<Self, RuntimeError> {
        let tree = Tree::get();
        let relative = Self::relative(spec);
        let mut directories: Vec<PathBuf> = Vec::new();
        for setting in settings(spec)? {
            let Some(hierarchy) = tree.with(setting.controller) else {
                return Err(missing(setting.controller));
            };
            let directory = hierarchy.mount.join(&relative);
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        let add = |list: &mut Vec<PathBuf>, hierarchy: &Hierarchy| {
            let directory = hierarchy.mount.join(&relative);
            if !list.contains(&directory) {
                list.push(directory);
            }
        };
        if spec.cgroup_parent.is_some() && spec.privileged {
            tree.hierarchies.iter().for_each(|h| add(&mut directories, h));
        } else if manages_groups(spec)
            && let Some(h) = tree.with("name=systemd").or_else(|| tree.tracking())
        {
            add(&mut directories, h);
        }
        if directories.is_empty() && (spec.pid != PidNs::Private || spec.cgroup_parent.is_some()) {
            directories.extend(tree.tracking().map(|h| h.mount.join(&relative)));
        }
        Ok(Group { directories, parent_is_the_users: spec.cgroup_parent.is_some() })
    }

    /// The hierarchies it has a directory in, each with the directory.
    pub fn places<'t>(&'t self, tree: &'t Tree) -> Vec<(&'t Hierarchy, &'t Path)> {
        let of = |d: &'t PathBuf| {
            let hierarchy = tree.hierarchies.iter().find(|h| d.starts_with(&h.mount))?;
            Some((hierarchy, d.as_path()))
        };
        self.directories.iter().filter_map(of).collect()
    }

    fn relative(spec: &ContainerSpec) -> PathBuf {
        // Never out of the tree, whatever the file says.
        let plain = |c: &Component<'_>| matches!(c, Component::Normal(_));
        let default = default_parent();
        let parent = spec.cgroup_parent.as_deref().unwrap_or(&default).trim_matches('/');
        let parent: PathBuf = Path::new(parent).components().filter(plain).collect();
        // Two state directories may each have a container of this name.
        let place =
            fnv(spec.rootfs.private().unwrap_or(Path::new("")).as_os_str().as_encoded_bytes());
        parent.join(format!("{}-{place:08x}", spec.name))
    }

    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Makes the groups and sets the limits.
    pub fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let tree = Tree::get();
        for directory in &self.directories {
            let io = |e| RuntimeError::io(format!("make {}", directory.display()), e);
            let unified =
                tree.hierarchies.iter().find(|h| h.unified && directory.starts_with(&h.mount));
            let needed: Vec<&str> = settings(spec)?.iter().map(|s| s.controller).collect();
            let parent = directory.parent().unwrap_or(directory);
            let mut tries = 0;
            loop {
                if let Some(h) = unified {
                    let relative = directory.strip_prefix(&h.mount).unwrap_or(directory);
                    enable(&h.mount, relative, &needed);
                }
                let made = make_parent(parent).and_then(|()| fs::create_dir(directory));
                match made {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => break,
                    // Who leaves last takes the parent along, at any moment.
                    Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 100 => tries += 1,
                    other => break other.map_err(io)?,
                }
            }
            if tree.with("cpuset").is_some_and(|h| !h.unified && directory.starts_with(&h.mount)) {
                inherit_cpuset(directory);
            }
        }
        for setting in settings(spec)? {
            let Some(h) = tree.with(setting.controller) else { continue };
            let files = if h.unified { &setting.v2 } else { &setting.v1 };
            let Some(own) = self.directories.iter().find(|d| d.starts_with(&h.mount)) else {
                continue;
            };
            for (file, value) in files {
                let path = own.join(file);
                fs::write(&path, value).map_err(|e| RuntimeError::Unsupported {
                    what: format!("limit of {}", setting.controller),
                    why: format!("writing `{value}` to {} failed: {e}", path.display()),
                })?;
            }
        }
        Ok(())
    }

    /// Makes the child join.
    pub fn join(&self, plan: &mut Plan) -> Result<(), RuntimeError> {
        for directory in &self.directories {
            let path = directory.join("cgroup.procs");
            let file = OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(|e| plan.failed(format!("open {}", path.display()), e))?;
            let fd = plan.own(OwnedFd::from(file));
            plan.step(Op::WriteFd { fd, data: b"0".to_vec(), what: "join the control group" });
        }
        Ok(())
    }

    /// Makes a command join the first process, wherever in the groups that went: an init system
    /// moves itself into a group below, and nobody may be beside that then.
    pub fn join_with(&self, init: i32, plan: &mut Plan) -> Result<(), RuntimeError> {
        let tree = Tree::get();
        let text = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
        let moved = |h: &Hierarchy| {
            let line = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
            h.unified.then(|| h.mount.join(line)).filter(|place| place.is_dir())
        };
        let mut there = self.clone();
        for directory in &mut there.directories {
            let hierarchy = tree.hierarchies.iter().find(|h| directory.starts_with(&h.mount));
            if let Some(place) = hierarchy.and_then(moved).filter(|p| p.starts_with(&*directory)) {
                *directory = place;
            }
        }
        there.join(plan)
    }

    /// Kills whatever is in the groups and removes them, and our parent group when it is empty.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_own()?;
        for (hierarchy, directory) in self.places(Tree::get()) {
            for parent in directory.ancestors().skip(1).take_while(|p| **p != hierarchy.mount) {
                if !self.parent_is_the_users || xattr::has(parent, MADE) {
                    // Others may live in it.
                    let _ = fs::remove_dir(parent);
                }
            }
        }
        Ok(())
    }

    /// Kills whatever is in the groups and removes them; the group they are in stays.
    pub fn remove_own(&self) -> io::Result<()> {
        for directory in &self.directories {
            if !directory.exists() {
                continue;
            }
            let mut wait = Duration::from_millis(1);
            loop {
                kill_members(directory);
                match fs::remove_dir(directory) {
                    Ok(()) => break,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                    Err(e) if wait.as_secs() >= 2 => return Err(e),
                    Err(_) => {
                        // Groups a container made below its own.
                        for child in fs::read_dir(directory).into_iter().flatten().flatten() {
                            if child.path().is_dir() {
                                let inner =
                                    Group { directories: vec![child.path()], ..Group::default() };
                                let _ = inner.remove_own();
                            }
                        }
                        std::thread::sleep(wait);
                        wait *= 2;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the first process is, or becomes, an init system: it makes groups of its own below the one it finds
/// itself in, and two of them must not find themselves in the same one.
fn manages_groups(spec: &ContainerSpec) -> bool {
    // It may stand at the end of a line for a shell, as cEOS has it.
    let words = |arg: &str| {
        let part = |c: char| c.is_whitespace() || ";&|()'\"".contains(c);
        arg.split(part).any(|word| {
            let name = Path::new(word).file_name().unwrap_or_default();
            (name == "init" || name == "systemd") && (word.starts_with('/') || word == arg)
        })
    };
    spec.privileged && spec.argv.iter().any(|arg| words(arg))
}

/// FNV-1a, 32 bits: short names that are the same in every process.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

fn kill_members(directory: &Path) {
    if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|l| l.parse().ok()).filter(|pid| *pid > 0) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

fn missing(controller: &str) -> RuntimeError {
    RuntimeError::Unsupported {
        what: format!("limit of {controller}"),
        why: format!("no control group tree with `{controller}` is mounted below /sys/fs/cgroup"),
    }
}

/// Makes a group and those above it; each that was not there is marked.
fn make_parent(group: &Path) -> io::Result<()> {
    if group.is_dir() {
        return Ok(());
    }
    group.parent().map_or(Ok(()), make_parent)?;
    match fs::create_dir(group) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
        // Without the mark, as in a user namespace, it stays.
        Ok(()) => {
            let _ = xattr::set(group, MADE, b"1");
            Ok(())
        }
    }
}

/// Enables controllers for the groups below; what is refused shows when a limit is set.
fn enable(mount: &Path, relative: &Path, controllers: &[&str]) {
    let mut directory = mount.to_owned();
    for part in relative {
        let _ = make_parent(&directory);
        for controller in controllers {
            let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        directory.push(part);
    }
}

/// Version 1 leaves a new group without processors and memory nodes, and useless.
fn inherit_cpuset(directory: &Path) {
    let Some(parent) = directory.parent() else { return };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let empty =
            |d: &Path| fs::read_to_string(d.join(file)).is_ok_and(|text| text.trim().is_empty());
        if empty(parent) {
            inherit_cpuset(parent);
        }
        if empty(directory)
            && let Ok(value) = fs::read_to_string(parent.join(file))
        {
            let _ = fs::write(directory.join(file), value);
        }
    }
}

fn settings(spec: &ContainerSpec) -> Result<Vec<Setting>, RuntimeError> {
    const PERIOD: f64 = 100_000.0;
    let asked = &spec.resources;
    let mut all = Vec::new();
    if let Some(cpus) = asked.cpus {
        if !(cpus.is_finite() && cpus > 0.0) {
            return Err(RuntimeError::Unsupported {
                what: format!("{cpus} processors"),
                why: "give a number above zero".into(),
            });
        }
        let quota = (cpus * PERIOD).max(1000.0) as u64;
        all.push(Setting {
            controller: "cpu",
            v1: vec![
                ("cpu.cfs_period_us", "100000".into()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ],
            v2: vec![("cpu.max", format!("{quota} 100000"))],
        });
    }
    let mut one = |controller, v1, v2, value: String| {
        all.push(Setting { controller, v1: vec![(v1, value.clone())], v2: vec![(v2, value)] });
    };
    if let Some(set) = &asked.cpuset {
        one("cpuset", "cpuset.cpus", "cpuset.cpus", set.clone());
    }
    if let Some(bytes) = asked.memory {
        // The process that starts it is in the group for a moment, and must not be killed there.
        const LEAST: u64 = 6 << 20;
        if bytes < LEAST {
            return Err(RuntimeError::Unsupported {
                what: format!("a memory limit of {bytes} bytes"),
                why: "nothing starts with less than 6 MiB; leave `memory` out for no limit".into(),
            });
        }
        one("memory", "memory.limit_in_bytes", "memory.max", bytes.to_string());
    }
    if let Some(pids) = asked.pids {
        one("pids", "pids.max", "pids.max", pids.to_string());
    }
    Ok(all)
}
