//! `/dev`: a small memory file system with the usual nodes, terminals of its own, shared memory
//! and message queues.

use super::console::{Console, open_peer, own};
use super::layers::in_user_namespace;
use super::plan::{Plan, c_string};
use super::system::safe;
use super::user::User;
use crate::child::{Op, Tolerate};
use crate::mountfd::{Filesystem, NO_EXEC, NO_SUID, open_in};
use netloom_runtime::{ContainerSpec, RuntimeError, Stdio};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const STANDARD: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];
/// Group `tty`, which owns terminals.
const TTY_GROUP: &[u8] = b"5";

/// Mounts `/dev` with all that belongs in it; returns the terminal when one is wanted.
pub(super) fn mount(
    spec: &ContainerSpec,
    user: &User,
    plan: &mut Plan,
) -> Result<Option<Console>, RuntimeError> {
    let nodes = build(spec).map_err(|e| plan.failed("build /dev", e))?;
    let (pts, console) = terminals(spec, user).map_err(|e| plan.failed("make a terminal", e))?;
    for (mount, target) in [(nodes, c"/dev"), (pts, c"/dev/pts")] {
        let fd = plan.own(mount);
        plan.step(Op::Attach { fd, target: target.to_owned() });
    }
    let size = format!("mode=1777,size={}", spec.shm_size);
    plan.mount("tmpfs", "/dev/shm", safe(), &size);
    plan.mount_from("mqueue", "mqueue", "/dev/mqueue", safe(), "", Tolerate::Anything);
    if in_user_namespace() {
        bind_standard(plan)?;
    }
    if console.is_some() {
        plan.step(Op::Touch { path: c"/dev/console".to_owned() });
        let bind = MsFlags::MS_BIND.bits();
        plan.mount_from("/dev/pts/0", "", "/dev/console", bind, "", Tolerate::Nothing);
    }
    // A privileged node has the host's devices already, but under the host's names.
    for device in spec.devices.iter().filter(|d| !spec.privileged || d.source != d.target) {
        one(&device.source, &device.target, plan)?;
    }
    Ok(console)
}

fn build(spec: &ContainerSpec) -> io::Result<OwnedFd> {
    let fs = Filesystem::new(c"tmpfs")?;
    fs.set(c"mode", b"755")?.set(c"size", b"64m")?;
    let dev = fs.mount(NO_SUID | NO_EXEC)?;
    let at = dev.as_fd();
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(at, name, Mode::from_bits_truncate(0o755))?;
    }
    for (name, to) in LINKS {
        nix::unistd::symlinkat(to, at, name)?;
    }
    if in_user_namespace() {
        return Ok(dev);
    }
    for (name, major, minor) in STANDARD {
        node(at, Path::new(name), SFlag::S_IFCHR, 0o666, makedev(major, minor))?;
    }
    if spec.privileged {
        for d in host_devices() {
            if let Some(parent) = d.path.parent().filter(|p| !p.as_os_str().is_empty()) {
                make_directories(at, parent)?;
            }
            match node(at, &d.path, d.kind, d.mode, d.number) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                other => other?,
            }
        }
    }
    Ok(dev)
}

fn make_directories(at: std::os::fd::BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut made = PathBuf::new();
    for part in path {
        made.push(part);
        match mkdirat(at, &made, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn node(
    at: std::os::fd::BorrowedFd<'_>,
    path: &Path,
    kind: SFlag,
    mode: u32,
    number: u64,
) -> io::Result<()> {
    mknodat(at, path, kind, Mode::from_bits_truncate(mode), number)?;
    if mode & 0o022 != 0 {
        let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
        nix::sys::stat::fchmodat(at, path, Mode::from_bits_truncate(mode), flags)?;
    }
    Ok(())
}

/// A device of the host, path below `/dev`.
struct HostDevice {
    path: PathBuf,
    kind: SFlag,
    mode: u32,
    number: u64,
}

/// The host's devices, looked up once.
fn host_devices() -> &'static [HostDevice] {
    static ALL: OnceLock<Vec<HostDevice>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut found = Vec::new();
        collect(Path::new("/dev"), &mut found);
        found
    })
}

fn collect(directory: &Path, found: &mut Vec<HostDevice>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        let Ok(inside) = path.strip_prefix("/dev") else { continue };
        let special = ["pts", "shm", "mqueue", "hugepages", "console", "ptmx"];
        if special.iter().any(|s| inside == Path::new(s)) || is_screen(inside) {
            continue;
        }
        let kind = meta.file_type();
        if kind.is_dir() {
            collect(&path, found);
        } else if kind.is_char_device() || kind.is_block_device() {
            found.push(HostDevice {
                path: inside.to_owned(),
                kind: if kind.is_char_device() { SFlag::S_IFCHR } else { SFlag::S_IFBLK },
                mode: meta.mode() & 0o777,
                number: meta.rdev(),
            });
        }
    }
}

/// Whether it is one of the host's screens (`tty1`, `vcs1`): an init system in a node would put its
/// log-in there, and on every node's.
fn is_screen(device: &Path) -> bool {
    let name = device.to_string_lossy();
    let rest = ["tty", "vcsa", "vcsu", "vcs"].iter().find_map(|p| name.strip_prefix(p));
    // `/dev/tty` itself is the caller's terminal.
    rest.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())) && name != "tty"
}

/// An own devpts, and a terminal in it when one is wanted.
fn terminals(spec: &ContainerSpec, user: &User) -> io::Result<(OwnedFd, Option<Console>)> {
    let fs = Filesystem::new(c"devpts")?;
    fs.set(c"ptmxmode", b"0666")?.set(c"mode", b"0620")?;
    if !in_user_namespace() {
        fs.set(c"gid", TTY_GROUP)?;
    }
    let pts = fs.mount(NO_SUID | NO_EXEC)?;
    if spec.stdio == Stdio::Pipes {
        return Ok((pts, None));
    }
    let master = open_in(pts.as_fd(), "ptmx", libc::O_RDWR | libc::O_NOCTTY)?;
    let console = open_peer(master, 24, 80)?;
    own(console.slave.as_fd(), user);
    Ok((pts, Some(console)))
}

/// Binds the standard nodes from the host, where none can be made.
fn bind_standard(plan: &mut Plan) -> Result<(), RuntimeError> {
    for (name, ..) in STANDARD {
        let path = PathBuf::from(format!("/dev/{name}"));
        bind(&path, &path, plan)?;
    }
    Ok(())
}

/// One device of the host, or all those below a directory.
fn one(source: &Path, target: &Path, plan: &mut Plan) -> Result<(), RuntimeError> {
    let doing = || format!("look up device {}", source.display());
    let meta = std::fs::metadata(source).map_err(|e| plan.failed(doing(), e))?;
    let kind = meta.file_type();
    if kind.is_dir() {
        let entries = std::fs::read_dir(source).map_err(|e| plan.failed(doing(), e))?;
        for entry in entries.flatten() {
            one(&entry.path(), &target.join(entry.file_name()), plan)?;
        }
        return Ok(());
    }
    let letter = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => SFlag::S_IFCHR,
        (_, true) => SFlag::S_IFBLK,
        _ => {
            return Err(RuntimeError::Unsupported {
                what: format!("device {}", source.display()),
                why: "it is not a device; to share a file use `binds`".into(),
            });
        }
    };
    if in_user_namespace() {
        return bind(source, target, plan);
    }
    plan.make_parents(target)?;
    let path = c_string(&target.to_string_lossy())?;
    let mode = letter.bits() | (meta.mode() & 0o777);
    plan.tolerant(Op::Mknod { path, mode, device: meta.rdev() }, Tolerate::Exists);
    Ok(())
}

fn bind(source: &Path, target: &Path, plan: &mut Plan) -> Result<(), RuntimeError> {
    let tree = crate::mountfd::clone_tree(source, false, false)
        .map_err(|e| plan.failed(format!("bind device {}", source.display()), e))?;
    let fd = plan.own(tree);
    plan.make_parents(target)?;
    let target = c_string(&target.to_string_lossy())?;
    plan.tolerant(Op::Touch { path: target.clone() }, Tolerate::Exists);
    plan.step(Op::Attach { fd, target });
    Ok(())
}
