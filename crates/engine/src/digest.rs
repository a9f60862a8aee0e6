//! What a container was made from, in one number: a change makes it anew.

use crate::spec::BRIDGE_LABEL;
use netloom_image::Image;
use netloom_runtime::ContainerSpec;
use netloom_topology::{Content, Lab, NodeFiles};
use sha2::{Digest, Sha256};
use std::io::Write;

/// Variables that change with the rest of the lab, and are no reason to make a node anew.
const PASSING: [&str; 4] = ["NO_PROXY", "no_proxy", "CLAB_INTFS", "CLAB_LABEL_CLAB_OWNER"];

/// Digest of a container. Left out is what depends on other nodes or on who deploys.
pub fn of(spec: &ContainerSpec, image: &Image, files: &NodeFiles, resolvers: &[String]) -> String {
    let mut hash = Sha256::new();
    let mut spec = spec.clone();
    spec.env.retain(|(name, _)| !PASSING.contains(&name.as_str()));
    spec.labels.remove("clab-owner");
    spec.labels.remove(BRIDGE_LABEL);
    spec.ulimits.clear();
    spec.names.hosts.clear();
    // The host's own, which change with where it is.
    if spec.names.dns_servers == resolvers {
        spec.names.dns_servers.clear();
    }
    // Writing to a hasher does not fail.
    let _ = serde_json::to_writer(Sink(&mut hash), &spec);
    hash.update(format!("{:?}", image.id));
    for file in &files.files {
        if file.keep && file.path.exists() {
            continue;
        }
        hash.update(format!("{} {:o}", file.path.display(), file.mode));
        if let Some(owner) = file.owner {
            hash.update(format!("{owner:?}"));
        }
        match &file.content {
            Content::Text(text) => hash.update(text),
            Content::Copy(from) => hash.update(std::fs::read(from).unwrap_or_default()),
            Content::Link(to) => hash.update(format!("link {}", to.display())),
            Content::Directory => {}
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Digest of what all hosts and resolver files of a lab are made from.
pub fn of_names(lab: &Lab, lines: &str, resolv: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(lines);
    hash.update(resolv);
    for node in &lab.nodes {
        let parts = (&node.name, &node.hostname, &node.dns, node.managed());
        // Writing to a hasher does not fail.
        let _ = serde_json::to_writer(Sink(&mut hash), &parts);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

struct Sink<'a>(&'a mut Sha256);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
