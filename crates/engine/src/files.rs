//! Files of a node on disk: what its kind generates, hosts and resolver.

use crate::{Directories, EngineError, hosts};
use fs_err as fs;
use netloom_plan::NodeObject;
use netloom_topology::{
    FileContext, GeneratedFile, Lab, Node, NodeFiles, StartupConfig, node_files,
};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What the kind of a node adds, with everything known now; `links` are those that end at it.
pub fn render(
    lab: &Lab,
    node: &Node,
    object: &NodeObject,
    links: &[usize],
    home: &Path,
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
        home: home.to_path_buf(),
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

/// Writes hosts, resolver and host name files of a node and returns their paths.
pub fn write_names(
    directories: &Directories,
    lab: &Lab,
    node: &Node,
    managed: bool,
    lines: &str,
    host_resolv: &str,
    unchanged: bool,
) -> Result<[(PathBuf, &'static str); 3], EngineError> {
    let folder = directories.node(&lab.name, &node.name);
    fs::create_dir_all(&folder)?;
    let hostname = hostname(node);
    let texts = [
        ("hosts", "/etc/hosts", hosts::hosts(node, hostname, lines, managed)),
        ("resolv.conf", "/etc/resolv.conf", hosts::resolv(node, host_resolv)),
        ("hostname", "/etc/hostname", format!("{hostname}\n")),
    ];
    let mut out = Vec::new();
    for (name, target, text) in texts {
        let path = folder.join(name);
        // In place, so that a running node sees it too.
        if !(unchanged && path.exists()) {
            fs::write(&path, text)?;
        }
        out.push((path, target));
    }
    out.try_into().map_err(|_| EngineError::Io(std::io::Error::other("three files were written")))
}

/// Host name of a node.
pub fn hostname(node: &Node) -> &str {
    if node.hostname.is_empty() { &node.name } else { &node.hostname }
}
