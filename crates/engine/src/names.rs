//! Host name, hosts and resolver files of nodes.

use crate::{Directories, EngineError, hosts};
use fs_err as fs;
use netloom_image::Image;
use netloom_topology::{Lab, Node};
use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files in `/etc` that every node has of its own, as mount points.
const OWN: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// Where a node gets the lab's names from: a layer over its image that nodes share, as thousands of
/// files with thousands of lines are too much for a disk. What a node changes stays its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedNames {
    /// The layer.
    pub layer: PathBuf,
    /// Mode, user and group of the image's `/etc`, which the layer's stands in for.
    etc: (u32, u32, u32),
}

impl SharedNames {
    /// None for nodes off the management network, which have a line of their own; for the host itself,
    /// which is no image; and where something else lies over `/etc`.
    pub fn of<'n>(
        directories: &Directories,
        lab: &Lab,
        node: &'n Node,
        image: &Image,
    ) -> Option<Self> {
        let covered =
            |target: &str| Path::new("/etc").starts_with(target) && target.starts_with('/');
        let target = |text: &'n String| {
            let mut parts = text.split(':');
            let first = parts.next().unwrap_or_default();
            parts.next().unwrap_or(first)
        };
        let mounts = node.binds.iter().chain(&node.volumes).map(target);
        let mut mounts = mounts.chain(node.tmpfs.keys().map(String::as_str));
        if !node.managed()
            || image.layers.is_empty()
            || image.layers == [Path::new("/")]
            || mounts.any(covered)
        {
            return None;
        }
        let mut layers = image.layers.iter().map(|layer| layer.join("etc"));
        let etc = match layers.find_map(|etc| std::fs::symlink_metadata(etc).ok()) {
            Some(found) if found.is_dir() => (found.mode() & 0o7777, found.uid(), found.gid()),
            Some(_) => return None,
            None => (0o755, 0, 0),
        };
        Some(SharedNames { layer: directories.names(&lab.name, node, etc), etc })
    }

    /// Files in `/etc` that are bound into a node alone.
    pub fn own(shared: Option<&Self>) -> &'static [&'static str] {
        if shared.is_some() { &OWN[..1] } else { &OWN }
    }
}

/// Writes hosts, resolver and host name files of a lab's nodes. What is there stays when nothing
/// has changed.
pub struct NameWriter<'a> {
    /// Where.
    pub directories: &'a Directories,
    /// Whose.
    pub lab: &'a Lab,
    /// Lines of all nodes.
    pub lines: &'a str,
    /// The host's resolver file.
    pub resolv: &'a str,
    /// Whether all that is written comes from what was written before.
    pub unchanged: bool,
    /// Layers that are written already.
    pub layers: HashSet<PathBuf>,
}

impl NameWriter<'_> {
    /// Writes the files of a node.
    pub fn write(&mut self, node: &Node, image: &Image) -> Result<(), EngineError> {
        let folder = self.directories.node(&self.lab.name, &node.name);
        fs::create_dir_all(&folder)?;
        let hostname = hostname(node);
        let shared = SharedNames::of(self.directories, self.lab, node, image);
        for name in SharedNames::own(shared.as_ref()) {
            let text = match *name {
                "hosts" => hosts::hosts(Some((node, hostname)), self.lines),
                "resolv.conf" => hosts::resolv(node, self.resolv),
                _ => format!("{hostname}\n"),
            };
            self.put(&folder.join(name), &text)?;
        }
        match shared {
            Some(shared) => self.share(node, &shared, &folder.join("root")),
            None => Ok(()),
        }
    }

    fn share(
        &mut self,
        node: &Node,
        shared: &SharedNames,
        private: &Path,
    ) -> Result<(), EngineError> {
        let fresh = self.layers.insert(shared.layer.clone());
        let etc = shared.layer.join("etc");
        if fresh {
            let (mode, user, group) = shared.etc;
            folder(&shared.layer, 0o755)?;
            folder(&etc, mode)?;
            std::os::unix::fs::chown(&etc, Some(user), Some(group))?;
        }
        for name in ["hosts", "resolv.conf"] {
            let text = || match name {
                "hosts" => hosts::hosts(None, self.lines),
                _ => hosts::resolv(node, self.resolv),
            };
            if fresh {
                self.put(&etc.join(name), &text())?;
                fs::set_permissions(etc.join(name), std::fs::Permissions::from_mode(0o644))?;
            }
            // One that the node has changed is its own, and hides the shared one.
            let own = || netloom_runtime_native::changed(private, &format!("etc/{name}"));
            if let Some(mut own) = (!self.unchanged).then(own).flatten() {
                own.set_len(0)?;
                own.write_all(text().as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes in place, so that a running node sees it too.
    fn put(&self, path: &Path, text: &str) -> Result<(), EngineError> {
        if !(self.unchanged && path.exists()) {
            fs::write(path, text)?;
        }
        Ok(())
    }
}

/// Makes a folder of a mode, whatever the mask of who deploys.
fn folder(folder: &Path, mode: u32) -> Result<(), EngineError> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Host name of a node.
pub fn hostname(node: &Node) -> &str {
    if node.hostname.is_empty() { &node.name } else { &node.hostname }
}
