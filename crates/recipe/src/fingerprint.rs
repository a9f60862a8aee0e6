//! One number for everything that decides what an image has.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use netloom_image::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::{Options, Recipe};

/// Changes whenever the same recipe gives something else than before.
const FORMAT: u32 = 1;

/// A file that a recipe puts into its image.
pub(crate) struct Own {
    /// Where to, inside the image.
    pub path: PathBuf,
    /// Where it is.
    pub source: PathBuf,
    /// The target of a symbolic link.
    pub link: Option<PathBuf>,
    /// Whether it can be run.
    pub program: bool,
}

/// The files of a recipe, in order.
pub(crate) fn files(recipe: &Recipe) -> Result<Vec<Own>, Error> {
    let top = recipe.directory.join("files");
    let mut out = Vec::new();
    let mut left = if top.is_dir() { vec![top.clone()] } else { Vec::new() };
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).map_err(Error::io("read", &at))? {
            let source = entry.map_err(Error::io("read", &at))?.path();
            let about = fs::symlink_metadata(&source).map_err(Error::io("read", &source))?;
            if about.is_dir() {
                left.push(source);
                continue;
            }
            let link = match about.is_symlink() {
                true => Some(fs::read_link(&source).map_err(Error::io("read", &source))?),
                false => None,
            };
            let path = source.strip_prefix(&top).unwrap_or(&source).to_owned();
            let program = about.permissions().mode() & 0o111 != 0;
            out.push(Own { path, source, link, program });
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// The fingerprint of a recipe above another one.
pub(crate) fn of(recipe: &Recipe, below: Option<&str>, options: &Options) -> Result<String, Error> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    // A mirror matters only to who asks one.
    let mirror = below.is_none().then_some(&options.mirror);
    let whole = json!([FORMAT, recipe, below, mirror, options.epoch]);
    add(whole.to_string().as_bytes());
    for own in files(recipe)? {
        add(own.path.as_os_str().as_bytes());
        match &own.link {
            Some(target) => add(target.as_os_str().as_bytes()),
            None => add(&content(&own.source)?),
        }
        add(&[u8::from(own.program), u8::from(own.link.is_some())]);
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn content(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(Digest::of(&bytes).to_string().into_bytes())
}
