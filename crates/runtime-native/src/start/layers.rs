//! The root file system: read-only layers under a private directory, as one detached overlay.

use super::plan::failed;
use crate::mountfd::{Filesystem, open_path};
use netloom_runtime::{ContainerSpec, RuntimeError};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest string fsconfig takes.
const LONGEST: usize = 255;

/// What of the host's own root must not show in a container made from it. `/proc`, `/sys` and
/// `/dev` are covered by mounts; directories that are empty there instead:
const EMPTIED: [(&str, u32); 2] = [("run", 0o755), ("tmp", 0o1777)];
/// And what is not there at all.
const HIDDEN: &str = "var/lib/netloom";

/// Whether the image is the host itself.
pub(crate) fn is_host(spec: &ContainerSpec) -> bool {
    spec.rootfs.layers.len() == 1 && spec.rootfs.layers[0] == Path::new("/")
}

/// Makes the layer below all others of every container: what mounts need to stand on, so that no
/// container has to make it in its private directory.
pub(crate) fn make_ground(ground: &Path) -> io::Result<()> {
    for directory in ["dev", "proc", "sys", "etc"] {
        DirBuilder::new().recursive(true).mode(0o755).create(ground.join(directory))?;
    }
    for file in ["etc/hosts", "etc/resolv.conf", "etc/hostname"] {
        let made =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(ground.join(file));
        match made {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Makes the private directories of a container.
pub(crate) fn prepare_private(private: &Path) -> io::Result<()> {
    for part in ["upper", "work"] {
        DirBuilder::new().recursive(true).mode(0o755).create(private.join(part))?;
    }
    Ok(())
}

/// Mounts the overlay, detached.
pub(super) fn mount(
    spec: &ContainerSpec,
    ground: &Path,
    host_upper: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, RuntimeError> {
    let failed = |step: String, e| failed(&spec.name, step, e);
    let host = is_host(spec);
    let private = match (host, host_upper) {
        // Upper inside lower is refused by overlayfs.
        (true, Some(memory)) => {
            Path::new("/proc/self/fd").join(memory.as_raw_fd().to_string()).join(&spec.name)
        }
        _ => spec.rootfs.private.clone(),
    };
    let upper = private.join("upper");
    prepare_private(&private).map_err(|e| failed(format!("make {}", private.display()), e))?;
    if host {
        hide_host(&upper).map_err(|e| failed("hide the host's private directories".into(), e))?;
    }
    // Scratch space, with the mark that says the last mount was volatile: not a reason to refuse.
    let scratch = private.join("work/work");
    match fs::remove_dir_all(&scratch) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(failed(format!("empty {}", scratch.display()), e));
        }
        _ => {}
    }
    let mut wait = Duration::from_millis(1);
    let mut layers = spec.rootfs.layers.clone();
    // Layers must not overlap, and the host has all of it.
    layers.extend((!host && ground.is_dir()).then(|| ground.to_owned()));
    loop {
        match overlay(&layers, &upper, &private.join("work")) {
            Ok(root) => return Ok(root),
            // The mount of the last run is still being taken down.
            Err((e, _)) if e.raw_os_error() == Some(libc::EBUSY) && wait.as_millis() < 600 => {
                std::thread::sleep(wait);
                wait *= 2;
            }
            Err((e, Some(said))) if !said.is_empty() => {
                return Err(failed(format!("mount the root file system ({said})"), e));
            }
            Err((e, _)) => return Err(failed("mount the root file system".into(), e)),
        }
    }
}

fn overlay(
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
) -> Result<OwnedFd, (io::Error, Option<String>)> {
    let overlay = Filesystem::new(c"overlay").map_err(|e| (e, None))?;
    let mut open = Vec::new();
    let mut configure = || -> io::Result<OwnedFd> {
        overlay.set(c"source", b"overlay")?;
        for (at, layer) in layers.iter().enumerate() {
            let path = short(layer, &mut open)?;
            match overlay.set(c"lowerdir+", path.as_os_str().as_bytes()) {
                Ok(_) => {}
                // Before Linux 6.5 all in one string.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && at == 0 => {
                    let all: Result<Vec<_>, _> =
                        layers.iter().map(|l| through_fd(l, &mut open)).collect();
                    let all: Vec<_> = all?.iter().map(|p| p.display().to_string()).collect();
                    overlay.set(c"lowerdir", all.join(":").as_bytes())?;
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        let upper = short(upper, &mut open)?;
        let work = short(work, &mut open)?;
        overlay.set(c"upperdir", upper.as_os_str().as_bytes())?;
        overlay.set(c"workdir", work.as_os_str().as_bytes())?;
        if in_user_namespace() {
            overlay.flag(c"userxattr")?;
        }
        // Taking a node down must not write the whole disk's buffers back, as an overlay does
        // otherwise. Unknown before Linux 5.10, where that is the price.
        let _ = overlay.flag(c"volatile");
        overlay.mount(0)
    };
    configure().map_err(|e| (e, overlay.complaint()))
}

/// The path itself, or a shorter one for the same directory.
fn short(path: &Path, open: &mut Vec<OwnedFd>) -> io::Result<PathBuf> {
    if path.as_os_str().len() <= LONGEST { Ok(path.to_owned()) } else { through_fd(path, open) }
}

fn through_fd(path: &Path, open: &mut Vec<OwnedFd>) -> io::Result<PathBuf> {
    let fd = open_path(path)?;
    let short = Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string());
    open.push(fd);
    Ok(short)
}

/// Whether this process lives in a user namespace other than the first.
pub(super) fn in_user_namespace() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
            let mut fields = map.split_ascii_whitespace();
            let whole = ["0", "0", "4294967295"];
            !whole.iter().all(|w| fields.next() == Some(w))
        })
    })
}

/// Prepares an upper directory that hides what the host keeps to itself.
fn hide_host(upper: &Path) -> io::Result<()> {
    for (name, mode) in EMPTIED {
        let path = upper.join(name);
        if path.exists() {
            continue;
        }
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        opaque(&path)?;
    }
    let mut host = PathBuf::from("/");
    let mut inside = upper.to_owned();
    for part in Path::new(HIDDEN) {
        host.push(part);
        inside.push(part);
        let Ok(real) = fs::symlink_metadata(&host) else { return Ok(()) };
        if fs::symlink_metadata(&inside).is_ok() {
            continue;
        }
        if host == Path::new("/").join(HIDDEN) {
            nix::sys::stat::mknod(
                &inside,
                nix::sys::stat::SFlag::S_IFCHR,
                nix::sys::stat::Mode::empty(),
                0,
            )?;
        } else {
            fs::create_dir(&inside)?;
            fs::set_permissions(&inside, fs::Permissions::from_mode(real.mode() & 0o7777))?;
            std::os::unix::fs::chown(&inside, Some(real.uid()), Some(real.gid()))?;
        }
    }
    Ok(())
}

/// Marks a directory as hiding what is below it in lower layers.
fn opaque(path: &Path) -> io::Result<()> {
    let name = if in_user_namespace() { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" };
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: two C strings and one byte, alive through the call.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), c"y".as_ptr().cast(), 1, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
