//! A case sees control groups of its own: in its mounts, each hierarchy is a fresh group of the
//! machine's, so that two cases, or another netloom, never meet.

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where control group file systems are mounted.
pub fn hierarchies() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mut out: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let point = left.split(' ').nth(4)?;
            let groups = right.starts_with("cgroup ") || right.starts_with("cgroup2 ");
            (groups && point.starts_with("/sys/fs/cgroup")).then(|| PathBuf::from(point))
        })
        .collect();
    out.dedup();
    Ok(out)
}

/// Puts a fresh group in the place of each hierarchy's root.
pub fn enter(name: &str, scratch: &Path) -> Result<()> {
    let aside = scratch.join("cgroup");
    fs::create_dir_all(&aside)?;
    for point in hierarchies()? {
        let group = point.join(name);
        delegate(&point);
        fs::create_dir_all(&group).with_context(|| group.display().to_string())?;
        for file in ["cpuset.mems", "cpuset.cpus"] {
            if let Ok(value) = fs::read_to_string(point.join(file)) {
                let _ = fs::write(group.join(file), value); // version 2 inherits by itself
            }
        }
        bind(&group, &aside)?;
        umount2(&point, MntFlags::MNT_DETACH).with_context(|| point.display().to_string())?;
        bind(&aside, &point)?;
        umount2(&aside, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Version 2: what the root has, its groups may use.
fn delegate(point: &Path) {
    let controllers = fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(point.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}

/// Removes the groups of a case once its processes are gone; seen from outside.
pub fn remove(name: &str) -> Result<()> {
    for point in hierarchies()? {
        prune(&point.join(name));
    }
    Ok(())
}

fn prune(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            prune(&entry.path());
        }
    }
    // The last process of the case may be a moment behind.
    for _ in 0..100 {
        match fs::remove_dir(group) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            _ => return,
        }
    }
}
