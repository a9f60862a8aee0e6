//! A layer and its configuration as an OCI layout, which the store imports as any other.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use chrono::DateTime;
use netloom_image::{Digest, Image, ImportOptions, Reference, Store, host_architecture};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::tree::Tree;
use crate::{LABEL, Options, Recipe};

/// What an image is made of.
pub(crate) struct Parts<'a> {
    pub recipe: &'a Recipe,
    pub name: &'a Reference,
    pub mark: &'a str,
    pub below: Option<&'a Image>,
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes the layout, and brings it into the store.
pub(crate) fn import(
    store: &Store,
    parts: &Parts<'_>,
    tree: &Tree,
    options: &Options,
    folder: &Path,
) -> Result<Image, Error> {
    let layout = folder.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(Error::io("make", &blobs))?;
    let mut document = match parts.below {
        Some(base) => store.document_of(base)?,
        None => json!({ "rootfs": { "type": "layers", "diff_ids": [] } }),
    };
    // What is below is in the store, and is not looked for in the layout.
    let ids = document["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    let mut layers: Vec<Value> = ids.iter().map(|id| descriptor(LAYER, id, 0)).collect();
    let mut ids = ids;
    if !tree.is_empty() {
        let (digest, size) = layer(tree, options.epoch, &blobs)?;
        ids.push(json!(digest));
        layers.push(descriptor(LAYER, &json!(digest), size));
    }
    document["rootfs"]["diff_ids"] = json!(ids);
    configure(&mut document, parts, options);
    let blob = |text: String| -> Result<(Digest, usize), Error> {
        let digest = Digest::of(text.as_bytes());
        let path = blobs.join(digest.hex());
        fs::write(&path, &text).map_err(Error::io("write", &path))?;
        Ok((digest, text.len()))
    };
    let (config, size) = blob(document.to_string())?;
    let (manifest, length) = blob(
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &json!(config), size as u64),
            "layers": layers,
        })
        .to_string(),
    )?;
    let mut entry = descriptor(MANIFEST, &json!(manifest), length as u64);
    entry["annotations"] = json!({ "io.containerd.image.name": parts.name.to_string() });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    for (name, text) in
        [("index.json", &*index), ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)]
    {
        let path = layout.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
    }
    let wanted = ImportOptions { reference: Some(parts.name.clone()), ..ImportOptions::default() };
    let source = parts.recipe.directory.display().to_string();
    let done = store.import_as(&layout, &source, &wanted)?;
    let image = done.images.into_iter().next();
    image.ok_or_else(|| Error::none(&parts.recipe.directory))
}

fn descriptor(kind: &str, digest: &Value, size: u64) -> Value {
    json!({ "mediaType": kind, "digest": digest, "size": size })
}

/// Writes the layer under its digest.
fn layer(tree: &Tree, epoch: u32, blobs: &Path) -> Result<(Digest, u64), Error> {
    let path = blobs.join("layer");
    let write = || -> io::Result<(Digest, u64)> {
        let mut out =
            Counted { out: BufWriter::new(File::create(&path)?), hash: Sha256::new(), size: 0 };
        tree.write(&mut out, epoch)?;
        out.out.flush()?;
        let hex: String = out.hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let digest = format!("sha256:{hex}").parse().map_err(io::Error::other)?;
        Ok((digest, out.size))
    };
    let (digest, size) = write().map_err(Error::io("write", &path))?;
    let named = blobs.join(digest.hex());
    fs::rename(&path, &named).map_err(Error::io("write", &named))?;
    Ok((digest, size))
}

struct Counted {
    out: BufWriter<File>,
    hash: Sha256,
    size: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says how to run it: as the base, but for what the recipe says.
fn configure(document: &mut Value, parts: &Parts<'_>, options: &Options) {
    let recipe = parts.recipe;
    document["architecture"] = json!(host_architecture());
    document["os"] = json!("linux");
    let when = DateTime::from_timestamp(options.epoch.into(), 0).unwrap_or_default();
    document["created"] = json!(when.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    if !document["config"].is_object() {
        document["config"] = json!({});
    }
    let run = &mut document["config"];
    if let Some(entrypoint) = &recipe.entrypoint {
        run["Entrypoint"] = json!(entrypoint);
        run["Cmd"] = Value::Null;
    }
    let texts = [
        ("WorkingDir", &recipe.workdir),
        ("User", &recipe.user),
        ("StopSignal", &recipe.stop_signal),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            run[key] = json!(value);
        }
    }
    if let Some(cmd) = &recipe.cmd {
        run["Cmd"] = json!(cmd);
    }
    let mut env = run["Env"].as_array().cloned().unwrap_or_default();
    for (name, value) in &recipe.env {
        let same = |e: &Value| e.as_str().is_some_and(|e| e.split('=').next() == Some(name));
        env.retain(|e| !same(e));
        env.push(json!(format!("{name}={value}")));
    }
    if !env.is_empty() {
        run["Env"] = json!(env);
    }
    if !run["Labels"].is_object() {
        run["Labels"] = json!({});
    }
    for (name, value) in &recipe.labels {
        run["Labels"][name] = json!(value);
    }
    run["Labels"][LABEL] = json!(parts.mark);
}
