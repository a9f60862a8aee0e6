//! Telling image archives from root filesystems by the names at their top.

use std::path::Path;

use super::SourceKind;
use crate::unpack::member_path;

/// What the names seen so far allow.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// A name no image archive has.
    foreign: bool,
    oci_layout: bool,
    index: bool,
    manifest: bool,
}

impl Shape {
    /// Looks at a directory's marker files.
    pub fn of_directory(path: &Path) -> Self {
        let is_file = |name| path.join(name).is_file();
        Self {
            foreign: false,
            oci_layout: is_file("oci-layout"),
            index: is_file("index.json"),
            // Any program may keep a manifest.json; `docker save`'s stands among no directories
            // of a root filesystem.
            manifest: is_file("manifest.json") && !path.join("etc").exists(),
        }
    }

    /// Takes note of one member.
    pub fn see(&mut self, path: &[u8]) {
        let Ok(path) = member_path::normalise(path) else {
            self.foreign = true;
            return;
        };
        match path.as_slice() {
            b"oci-layout" => self.oci_layout = true,
            b"index.json" => self.index = true,
            b"manifest.json" => self.manifest = true,
            b"" | b"repositories" | b"config.json" => {}
            path => {
                let top = path.split(|&byte| byte == b'/').next().unwrap_or_default();
                // crane, kaniko and Jib write `sha256:<hex>` and `<hex>.tar.gz`.
                let ends: [&[u8]; 3] = [b".json", b".tar", b".tar.gz"];
                let stem = ends.iter().find_map(|end| top.strip_suffix(*end)).unwrap_or(top);
                let stem = stem.strip_prefix(b"sha256:").unwrap_or(stem);
                let hex = stem.len() == 64 && stem.iter().all(u8::is_ascii_hexdigit);
                self.foreign |= !hex && top != b"blobs";
            }
        }
    }

    /// Whether it cannot be an image archive any more.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// The kind of image archive, if it is one. Newer `docker save` output is both; the OCI half
    /// has the stronger digests.
    pub fn archive(&self) -> Option<SourceKind> {
        match self {
            Self { foreign: true, .. } => None,
            Self { oci_layout: true, index: true, .. } => Some(SourceKind::OciLayout),
            Self { manifest: true, .. } => Some(SourceKind::DockerArchive),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(names: &[&str]) -> Option<SourceKind> {
        let mut shape = Shape::default();
        names.iter().for_each(|name| shape.see(name.as_bytes()));
        shape.archive()
    }

    #[test]
    fn kinds() {
        let hex = "ab".repeat(32);
        let config = format!("{hex}.json");
        let layer = format!("{hex}/layer.tar");
        assert_eq!(
            archive(&["./", "./oci-layout", "./index.json", "./blobs/sha256/x"]),
            Some(SourceKind::OciLayout)
        );
        assert_eq!(
            archive(&[&config, &layer, "manifest.json", "repositories"]),
            Some(SourceKind::DockerArchive)
        );
        let (config, layer) = (format!("sha256:{hex}"), format!("{hex}.tar.gz"));
        assert_eq!(archive(&[&config, &layer, "manifest.json"]), Some(SourceKind::DockerArchive));
        assert_eq!(archive(&["manifest.json", "index.json", "bin/sh"]), None);
        assert_eq!(archive(&["./", "./bin/", "./bin/sh"]), None);
        assert_eq!(archive(&[]), None);
    }
}
