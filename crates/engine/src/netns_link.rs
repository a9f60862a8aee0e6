//! `/run/netns/<container>`: a symbolic link to the holder's descriptor, so that `ip netns exec`
//! and packet capture tools find a node, and no mount is needed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Makes the folder names are shown in.
pub fn folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// Shows a namespace under a name. One of that name that is not ours stays.
pub fn show(folder: &Path, name: &str, target: &Path) -> std::io::Result<()> {
    let link = folder.join(name);
    match symlink(target, &link) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && ours(&link) => {
            std::fs::remove_file(&link)?;
            symlink(target, &link)
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Takes the name away, if it is ours.
pub fn hide(folder: &Path, name: &str) {
    let link = folder.join(name);
    if ours(&link) {
        // It may be gone already, which is what is wanted.
        let _ = std::fs::remove_file(&link);
    }
}

fn ours(link: &Path) -> bool {
    let target = std::fs::read_link(link).unwrap_or_else(|_| PathBuf::new());
    target.starts_with("/proc") && target.to_string_lossy().contains("/fd/")
}
