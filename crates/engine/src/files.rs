//! Files of a node on disk that its kind generates.

use crate::EngineError;
use fs_err as fs;
use netloom_plan::NodeObject;
use netloom_topology::{
    Certificate, Content, FileContext, GeneratedFile, Node, NodeFiles, StartupConfig,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// Everything known of a node now, for the templates of its kind; `links` are those that end at it.
pub fn context(
    node: &Node,
    object: &NodeObject,
    links: &[usize],
    certificate: Option<Certificate>,
    keys: &[String],
    (home, environment): (&Path, &Arc<BTreeMap<String, String>>),
) -> Result<FileContext, String> {
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
    Ok(FileContext {
        startup_text: if node.suppress_startup_config { String::new() } else { startup_text },
        license_text,
        fresh: true,
        mgmt: object.mgmt.as_ref().map(|m| m.addresses.clone()).unwrap_or_default(),
        gateways: object.mgmt.as_ref().map(|m| m.gateways.clone()).unwrap_or_default(),
        system_mac: mac.unwrap_or_default(),
        certificate,
        ssh_keys: keys.to_vec(),
        dns: node.dns.as_ref().map(|d| d.servers.clone()).unwrap_or_default(),
        home: home.to_path_buf(),
        environment: environment.clone(),
        macs: Default::default(),
        links: links.to_vec(),
    })
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
    if file.content == Content::Directory {
        fs::create_dir_all(&file.path)?;
        return of_directory(file).map_err(|e| {
            let what = format!("folder {}: {e}", file.path.display());
            EngineError::Io(std::io::Error::new(e.kind(), what))
        });
    }
    if let Some(parent) = file.path.parent() {
        fs::create_dir_all(parent)?;
    }
    let text = match &file.content {
        Content::Text(text) => text.clone().into_bytes(),
        Content::Copy(from) => fs::read(from)?,
        Content::Link(to) => {
            if std::fs::read_link(&file.path).is_ok_and(|now| now == *to) {
                return Ok(());
            }
            // Earlier versions made folders of some; what they hold was generated too.
            match fs::symlink_metadata(&file.path) {
                Ok(there) if there.is_dir() => fs::remove_dir_all(&file.path)?,
                Ok(_) => fs::remove_file(&file.path)?,
                Err(_) => {}
            }
            return Ok(fs_err::os::unix::fs::symlink(to, &file.path)?);
        }
        Content::Directory => return Ok(()),
    };
    replace_as(&file.path, &text, file.mode, file.owner)
}

/// Mode and owner of a folder; a link that a node has put in its place is not followed.
fn of_directory(file: &GeneratedFile) -> std::io::Result<()> {
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
    let folder = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&file.path)?;
    if let Some((user, group)) = file.owner {
        std::os::unix::fs::fchown(&folder, Some(user), Some(group))?;
    }
    folder.set_permissions(std::fs::Permissions::from_mode(file.mode))
}

/// Writes a file beside its place and renames it: a kill half-way leaves nothing that would be kept.
/// `owner` is whose file or folder says who it belongs to.
pub fn replace(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: Option<&std::fs::Metadata>,
) -> Result<(), EngineError> {
    replace_as(path, text, mode, owner.map(|owner| (owner.uid(), owner.gid())))
}

fn replace_as(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), EngineError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = path.with_file_name(format!(".{name}.new"));
    let wrong =
        |e: std::io::Error| std::io::Error::new(e.kind(), format!("write {}: {e}", path.display()));
    let write = || -> std::io::Result<()> {
        // Others may write in the folder: nothing that stands there is followed.
        match std::fs::remove_file(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut out =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        // Who it belongs to comes first: a change of that takes bits of the mode away.
        if let Some((user, group)) = owner {
            std::os::unix::fs::fchown(&out, Some(user), Some(group))?;
        }
        out.set_permissions(std::fs::Permissions::from_mode(mode))?;
        out.write_all(text)?;
        std::fs::rename(&new, path).inspect_err(|_| drop(std::fs::remove_file(&new)))
    };
    write().map_err(wrong)?;
    Ok(())
}
