//! Files of a node on disk: what its kind generates, hosts and resolver.

use crate::deploy::DeployOptions;
use crate::{Directories, EngineError, hosts};
use fs_err as fs;
use netloom_plan::NodeObject;
use netloom_topology::{
    FileContext, GeneratedFile, Lab, Node, NodeFiles, StartupConfig, node_files,
};
use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What the kind of a node adds, with everything known now; `links` are those that end at it.
pub fn render(
    lab: &Lab,
    node: &Node,
    object: &NodeObject,
    links: &[usize],
    options: &DeployOptions,
) -> Result<NodeFiles, String> {
    let read = |p: &Path| std::fs::read_to_string(p).map_err(|e| format!("{}: {e}", p.display()));
    let startup_text = match &node.startup_config {
        Some(StartupConfig::File(p)) => read(p)?,
        Some(StartupConfig::Text(t)) => t.clone(),
        _ => String::new(),
    };
    let license_text = match &node.license {
        Some(p) => std::fs::read_to_string(p).unwrap_or_default(),
        None => String::new(),
    };
    let mac = object.mgmt.as_ref().map(|m| {
        let mut mac = m.mac;
        mac[5] = mac[5].wrapping_add(1);
        netloom_datapath::link::mac_text(&mac)
    });
    let context = FileContext {
        startup_text: if node.suppress_startup_config { String::new() } else { startup_text },
        license_text,
        fresh: true,
        mgmt: object.mgmt.as_ref().map(|m| m.addresses.clone()).unwrap_or_default(),
        gateways: object.mgmt.as_ref().map(|m| m.gateways.clone()).unwrap_or_default(),
        system_mac: mac.unwrap_or_default(),
        ssh_keys: Vec::new(),
        dns: node.dns.as_ref().map(|d| d.servers.clone()).unwrap_or_default(),
        home: options.home.clone(),
        environment: options.environment.clone(),
        macs: Default::default(),
        links: links.to_vec(),
    };
    node_files(lab, node, &context)
}

/// Writes what the kind generates.
pub fn write(files: &NodeFiles) -> Result<(), EngineError> {
    for directory in &files.directories {
        fs::create_dir_all(directory)?;
    }
    for file in &files.files {
        write_one(file)?;
    }
    Ok(())
}

fn write_one(file: &GeneratedFile) -> Result<(), EngineError> {
    if file.keep && file.path.exists() {
        return Ok(());
    }
    if let Some(parent) = file.path.parent() {
        fs::create_dir_all(parent)?;
    }
    let text = match &file.content {
        Ok(text) => text.clone().into_bytes(),
        Err(from) => fs::read(from)?,
    };
    // Beside it and renamed: a kill half-way leaves nothing that would be kept.
    let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = file.path.with_file_name(format!(".{name}.new"));
    let wrong = |e: std::io::Error| {
        std::io::Error::new(e.kind(), format!("write {}: {e}", file.path.display()))
    };
    let write = || -> std::io::Result<()> {
        // Others may write in the folder: nothing that stands there is followed.
        match std::fs::remove_file(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut out =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&new)?;
        out.set_permissions(std::fs::Permissions::from_mode(file.mode))?;
        out.write_all(&text)?;
        std::fs::rename(&new, &file.path)
    };
    write().map_err(wrong)?;
    Ok(())
}

/// Whether a node gets the lab's names from a layer over its image, which all nodes share: thousands
/// of files with thousands of lines are too much for a disk. What a node changes stays its own. Nodes
/// off the management network have a line of their own, and the host itself is no image.
pub fn shares_names(node: &Node) -> bool {
    node.managed() && node.image != "host"
}

/// Files in `/etc` that are bound into this node alone.
pub fn own_names(node: &Node) -> &'static [&'static str] {
    if shares_names(node) { &["hostname"] } else { &["hosts", "resolv.conf", "hostname"] }
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
    pub fn write(&mut self, node: &Node) -> Result<(), EngineError> {
        let folder = self.directories.node(&self.lab.name, &node.name);
        fs::create_dir_all(&folder)?;
        let hostname = hostname(node);
        for name in own_names(node) {
            let text = match *name {
                "hosts" => hosts::hosts(Some((node, hostname)), self.lines),
                "resolv.conf" => hosts::resolv(node, self.resolv),
                _ => format!("{hostname}\n"),
            };
            self.put(&folder.join(name), &text)?;
        }
        if shares_names(node) {
            self.share(node, &folder.join("root"))?;
        }
        Ok(())
    }

    fn share(&mut self, node: &Node, private: &Path) -> Result<(), EngineError> {
        let layer = self.directories.names(&self.lab.name, node);
        let fresh = self.layers.insert(layer.clone());
        let etc = layer.join("etc");
        if fresh {
            readable(&layer)?;
            readable(&etc)?;
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

/// Makes a folder that everybody in a container may look into, whatever the mask of who deploys.
fn readable(folder: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Host name of a node.
pub fn hostname(node: &Node) -> &str {
    if node.hostname.is_empty() { &node.name } else { &node.hostname }
}
