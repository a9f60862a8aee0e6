//! Configuration of ssh: how the nodes of a lab are logged into.

use crate::hosts::plain;
use netloom_plan::Objects;
use netloom_topology::Lab;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// A file for `/etc/ssh/ssh_config.d`. Host keys of nodes change with every deploy: they are
/// neither checked nor kept.
pub fn ssh_config(lab: &Lab, objects: &Objects, ids: &BTreeMap<String, String>) -> String {
    let mut out = format!("# ssh configuration of lab {}, made by netloom\n", lab.name);
    for (node, object) in lab.nodes.iter().zip(&objects.nodes) {
        if !object.container {
            continue;
        }
        let id = ids.get(&node.long_name).map(|id| format!(" {}", id.get(..12).unwrap_or(id)));
        // A writer to a string does not fail.
        let _ = writeln!(out, "Host {}{}", node.long_name, id.unwrap_or_default());
        // A name with a line break in it would be a line of its own, and a command perhaps.
        if plain(&node.credentials.username) {
            let _ = writeln!(out, "\tUser {}", node.credentials.username);
        }
        if !node.credentials.identity_file.is_empty()
            && !node.credentials.identity_file.contains(char::is_control)
        {
            let _ = writeln!(out, "\tIdentityFile {}", node.credentials.identity_file);
        }
        out.push_str("\tStrictHostKeyChecking=no\n\tUserKnownHostsFile=/dev/null\n\n");
    }
    out
}

/// Such a file without some hosts, by container name.
pub fn without_hosts(text: &str, names: &HashSet<&str>) -> String {
    let mut out = String::new();
    let mut skips = false;
    for line in text.split_inclusive('\n') {
        if let Some(hosts) = line.strip_prefix("Host ") {
            skips = hosts.split_whitespace().next().is_some_and(|name| names.contains(name));
        }
        if !skips {
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_go() {
        let text = "# c\nHost a 1\n\tUser x\n\nHost b 2\n\tUser y\n\n";
        assert_eq!(without_hosts(text, &HashSet::from(["a"])), "# c\nHost b 2\n\tUser y\n\n");
        assert_eq!(without_hosts(text, &HashSet::from(["1"])), text);
    }
}
