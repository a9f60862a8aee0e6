//! The root file system: read-only layers under a private directory, as one detached overlay.

use super::plan::failed;
use crate::mountfd::{Filesystem, open_in, open_path};
use crate::xattr;
use netloom_runtime::{ContainerSpec, RuntimeError};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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
    spec.rootfs.layers() == [Path::new("/")]
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

/// A regular file that a container has made or changed, open for writing. `private` is the private
/// directory of its root file system, where links lead nowhere else: they are the container's.
pub fn changed(private: &Path, inside: &str) -> Option<fs::File> {
    let upper = open_path(&private.join("upper")).ok()?;
    let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::File::from(open_in(upper.as_fd(), inside, flags).ok()?);
    file.metadata().is_ok_and(|m| m.is_file()).then_some(file)
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
        _ => spec.rootfs.private().unwrap_or(Path::new("")).to_owned(),
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
    let mut layers = spec.rootfs.layers().to_vec();
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

/// How layers are named to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// One by one.
    Single,
    /// All in one string, as kernels before 6.8 want it. They take each for an unknown option
    /// otherwise, and say so only when the file system is made.
    Joined,
}

fn overlay(
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
) -> Result<OwnedFd, (io::Error, Option<String>)> {
    static JOINED: AtomicBool = AtomicBool::new(false);
    if !JOINED.load(Ordering::Relaxed) {
        match overlay_with(Naming::Single, layers, upper, work) {
            Err((e, _)) if e.raw_os_error() == Some(libc::EINVAL) => {}
            other => return other,
        }
    }
    let made = overlay_with(Naming::Joined, layers, upper, work);
    JOINED.store(made.is_ok(), Ordering::Relaxed);
    made
}

fn overlay_with(
    naming: Naming,
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
) -> Result<OwnedFd, (io::Error, Option<String>)> {
    let overlay = Filesystem::new(c"overlay").map_err(|e| (e, None))?;
    let mut open = Vec::new();
    let mut configure = || -> io::Result<OwnedFd> {
        overlay.set(c"source", b"overlay")?;
        match naming {
            Naming::Single => {
                for layer in layers {
                    let path = short(layer, &mut open)?;
                    overlay.set(c"lowerdir+", path.as_os_str().as_bytes())?;
                }
            }
            Naming::Joined => set_joined(&overlay, layers, &mut open)?,
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
        match naming {
            Naming::Single => overlay.mount(0),
            Naming::Joined => beside_descriptors(|| overlay.mount(0)),
        }
    };
    configure().map_err(|e| (e, overlay.complaint()))
}

/// All layers in one string of at most 255 bytes: as numbers of descriptors, which are names in
/// the folder the mount is made from.
fn set_joined(overlay: &Filesystem, layers: &[PathBuf], open: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut names = Vec::with_capacity(layers.len());
    for layer in layers {
        let fd = open_path(layer)?;
        names.push(fd.as_raw_fd().to_string());
        open.push(fd);
    }
    let all = names.join(":");
    if all.len() > LONGEST {
        let what = format!(
            "{} layers; this kernel takes some sixty, from 6.8 on any number",
            layers.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    beside_descriptors(|| overlay.set(c"lowerdir", all.as_bytes()).map(|_| ()))
}

/// Runs `f` on a thread whose working directory is the folder of this process's descriptors.
fn beside_descriptors<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let there = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
        nix::unistd::chdir("/proc/self/fd")?;
        f()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
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
    xattr::set(path, name, b"y")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What older kernels get works on this one too.
    #[test]
    fn layers_in_one_string() {
        let base = std::env::temp_dir().join(format!("netloom-layers-{}", std::process::id()));
        let layers: Vec<PathBuf> = (0..40).map(|n| base.join(format!("with:colon-{n}"))).collect();
        for (n, layer) in layers.iter().enumerate() {
            fs::create_dir_all(layer).unwrap();
            fs::write(layer.join(format!("file-{n}")), "x").unwrap();
            fs::write(layer.join("same"), n.to_string()).unwrap();
        }
        prepare_private(&base).unwrap();
        for naming in [Naming::Joined, Naming::Single] {
            let (upper, work) = (base.join("upper"), base.join("work"));
            let made = overlay_with(naming, &layers, &upper, &work);
            let root = made.unwrap_or_else(|(e, said)| panic!("{naming:?}: {e} {said:?}"));
            let text = |name: &str| {
                let fd = crate::mountfd::open_in(root.as_fd(), name, libc::O_RDONLY).unwrap();
                io::read_to_string(fs::File::from(fd)).unwrap()
            };
            assert_eq!((text("same"), text("file-39")), ("0".into(), "x".into()), "{naming:?}");
            drop(root);
            let _ = fs::remove_dir_all(base.join("work/work"));
        }
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn links_of_a_container_lead_nowhere_else() {
        let base = std::env::temp_dir().join(format!("netloom-changed-{}", std::process::id()));
        fs::create_dir_all(base.join("upper/etc")).unwrap();
        fs::create_dir_all(base.join("elsewhere")).unwrap();
        fs::write(base.join("elsewhere/hosts"), "the host's").unwrap();
        assert!(changed(&base, "etc/hosts").is_none(), "nothing was changed");
        fs::write(base.join("upper/etc/hosts"), "own").unwrap();
        assert!(changed(&base, "etc/hosts").is_some());
        fs::remove_file(base.join("upper/etc/hosts")).unwrap();
        let outside = base.join("elsewhere");
        std::os::unix::fs::symlink(outside.join("hosts"), base.join("upper/etc/hosts")).unwrap();
        assert!(changed(&base, "etc/hosts").is_none(), "a link for the file");
        fs::remove_dir_all(base.join("upper/etc")).unwrap();
        std::os::unix::fs::symlink(&outside, base.join("upper/etc")).unwrap();
        assert!(changed(&base, "etc/hosts").is_none(), "a link for the folder");
        fs::remove_dir_all(&base).unwrap();
    }
}
