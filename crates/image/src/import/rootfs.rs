//! Root filesystems: one layer, and a configuration of our own making.

use std::path::{Path, PathBuf};

use super::{Import, Imported, SourceKind, walk};
use crate::config;
use crate::digest::Digest;
use crate::error::Error;
use crate::reference::Reference;
use crate::store::{self, Pending, Place};
use crate::unpack::{Tally, Unpacker};

/// A root filesystem unpacked in the work directory.
pub(super) struct Layer {
    pub diff_id: Digest,
    pub path: PathBuf,
}

impl Import<'_> {
    /// Copies a directory into the work directory. The digest is over all that was copied, so the
    /// same tree gives the same layer.
    pub(super) fn copy_directory(&mut self, source: &Path) -> Result<(Layer, Tally), Error> {
        let whole = |path: &Path| {
            std::fs::canonicalize(path).map_err(|error| Error::io("find", path, error))
        };
        let (source_dir, root) = (whole(source)?, whole(self.store.root())?);
        if root.starts_with(&source_dir) {
            return Err(Error::ContainsStore { source_dir, root });
        }
        let path = self.work.directory()?;
        let mut unpacker = Unpacker::new(&path, &self.input, &self.options.limits)?;
        let diff_id = walk::copy(&source_dir, &mut unpacker)?;
        let tally = unpacker.finish()?;
        if tally.members <= 1 {
            let why = "the directory is empty".into();
            return Err(Error::NotAnImage { input: self.input.clone(), why });
        }
        Ok((Layer { diff_id, path }, tally))
    }

    /// Commits a root filesystem under its name.
    pub(super) fn finish_rootfs(
        self,
        kind: SourceKind,
        reference: Reference,
        layer: Layer,
        mut tally: Tally,
    ) -> Result<Imported, Error> {
        tally.implied_directories.clear();
        let document = config::synthesise(&layer.diff_id).to_string();
        let place = Place::Staged { path: layer.path, size: tally.bytes };
        let pending = Pending {
            references: vec![reference],
            document: self.document(document.as_bytes())?,
            layers: vec![store::Layer { name: layer.diff_id.hex().to_owned(), place }],
            source: self.input.clone(),
            manifest: None,
        };
        self.finish(kind, &[pending], tally)
    }
}
