//! What a lab leaves for people and other programs: inventories, `topology-data.json` and keys in
//! the lab directory; names and ssh configuration on the host.

use crate::decide::Decision;
use crate::deploy::DeployOptions;
use crate::record::lock_file;
use crate::{Engine, EngineError, files, inventory, labdir};
use netloom_export::{
    host_block, ssh_config, topology_data, with_block, without_block, without_hosts, without_nodes,
};
use netloom_topology::Lab;
use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Public keys of the user: those in `~/.ssh`, and those that may log in as the user.
pub fn public_keys(home: &Path) -> Vec<String> {
    let folder = home.join(".ssh");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "pub"))
        .collect();
    files.sort();
    files.push(folder.join("authorized_keys"));
    let mut out: Vec<String> = Vec::new();
    for text in files.iter().filter_map(|f| std::fs::read_to_string(f).ok()) {
        for line in text.lines().map(str::trim) {
            let key = !line.is_empty() && !line.starts_with('#');
            if key && !out.iter().any(|k| k == line) {
                out.push(line.to_owned());
            }
        }
    }
    out
}

impl Engine {
    /// Writes everything; says what could not be written on the host, which is no reason to fail.
    pub(crate) fn write_outputs(
        &self,
        lab: &Lab,
        decision: &Decision,
        options: &DeployOptions,
        ids: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, EngineError> {
        let planned = &decision.planned;
        inventory::write(lab, &planned.objects, options)?;
        labdir::make(&lab.dir)?;
        let keys = public_keys(&options.home);
        let data = topology_data(lab, &planned.objects, planned.network.as_ref(), &keys);
        let data = serde_json::to_string_pretty(&data).map_err(std::io::Error::other)? + "\n";
        let keys: String = keys.into_iter().map(|k| k + "\n").collect();
        let owner = lab.topology_file.parent().and_then(|folder| std::fs::metadata(folder).ok());
        for (name, text) in [("topology-data.json", &data), ("authorized_keys", &keys)] {
            let path = lab.dir.join(name);
            if !std::fs::read_to_string(&path).is_ok_and(|have| have == *text) {
                files::replace(&path, text.as_bytes(), 0o644, owner.as_ref())?;
            }
        }
        let block = host_block(lab, &planned.objects, ids);
        let config = ssh_config(lab, &planned.objects, ids);
        let mut complaints = Vec::new();
        let mut tried = |what: &Path, done: Result<(), EngineError>| {
            if let Err(e) = done {
                complaints.push(format!("{} is left as it is: {e}", what.display()));
            }
        };
        let hosts = self.directories.etc.join("hosts");
        tried(&hosts, self.change_hosts(|text| with_block(text, &lab.name, &block)));
        let ssh = self.ssh_file(&lab.name);
        if ssh.parent().is_some_and(Path::is_dir) {
            tried(&ssh, files::replace(&ssh, config.as_bytes(), 0o644, None));
        }
        Ok(complaints)
    }

    /// Takes a lab's names and ssh configuration from the host.
    pub(crate) fn remove_outputs(&self, lab: &str) -> Result<(), EngineError> {
        self.change_hosts(|text| without_block(text, lab))?;
        match std::fs::remove_file(self.ssh_file(lab)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Takes nodes of a lab from the host's names and ssh configuration, by container name.
    pub(crate) fn forget_nodes(&self, lab: &str, names: &HashSet<&str>) -> Result<(), EngineError> {
        self.change_hosts(|text| without_nodes(text, lab, names))?;
        let path = self.ssh_file(lab);
        match std::fs::read_to_string(&path) {
            Ok(text) => files::replace(&path, without_hosts(&text, names).as_bytes(), 0o644, None),
            Err(_) => Ok(()),
        }
    }

    fn ssh_file(&self, lab: &str) -> PathBuf {
        self.directories.etc.join("ssh/ssh_config.d").join(format!("clab-{lab}.conf"))
    }

    /// Changes the hosts file, one command at a time. What is in it need not be text of our kind.
    fn change_hosts(&self, change: impl Fn(&str) -> String) -> Result<(), EngineError> {
        let named = self.directories.etc.join("hosts");
        let _lock = lock_file(&self.directories.state.join("locks").join("hosts"), None)?;
        // Where a link leads is what everybody reads.
        let path = std::fs::canonicalize(&named).unwrap_or(named);
        let before = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => {
                let what = format!("read {}: {e}", path.display());
                return Err(std::io::Error::new(e.kind(), what).into());
            }
        };
        // A character for each byte: our own lines have no others.
        let text: String = before.iter().map(|b| char::from(*b)).collect();
        let after: Vec<u8> = change(&text).chars().map(|c| c as u8).collect();
        if after == before {
            return Ok(());
        }
        let metadata = std::fs::metadata(&path).ok();
        let mode = metadata.as_ref().map_or(0o644, |m| m.permissions().mode() & 0o7777);
        match files::replace(&path, &after, mode, metadata.as_ref()) {
            // A file that something is mounted on cannot be replaced, only written.
            Err(EngineError::Io(e)) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                Ok(std::fs::write(&path, after)?)
            }
            done => done,
        }
    }
}
