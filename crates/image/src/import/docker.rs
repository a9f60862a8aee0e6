//! The output of `docker save`: manifest.json, configurations, layer tars.

use serde::Deserialize;

use super::{Found, FoundLayer, ImportOptions, Parts, bad_document, choose};
use crate::config;
use crate::digest::Digest;
use crate::error::Error;
use crate::platform;
use crate::reference::Reference;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images of the archive that fit the options.
pub(super) fn read(
    parts: &Parts,
    input: &str,
    options: &ImportOptions,
) -> Result<Vec<Found>, Error> {
    let text = parts.document("manifest.json", input)?;
    let entries: Vec<Entry> = serde_json::from_slice(&text)
        .map_err(|error| bad_document(input, "manifest.json", &error))?;
    if entries.is_empty() {
        let why = "its manifest.json is empty".into();
        return Err(Error::NotAnImage { input: input.to_owned(), why });
    }
    let mut named = Vec::new();
    for entry in entries {
        let tags = entry.repo_tags.iter().flatten();
        let names = tags.map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>, _>>()?;
        named.push((names, entry));
    }
    let chosen = choose(input, options.reference.as_ref(), named, |(names, _)| names)?;
    chosen.into_iter().map(|(names, entry)| image(parts, input, names, entry)).collect()
}

fn image(parts: &Parts, input: &str, names: Vec<Reference>, entry: Entry) -> Result<Found, Error> {
    let document = parts.document(&entry.config, input)?;
    verify_name(input, &entry.config, &document)?;
    let file = config::parse(&document)
        .map_err(|error| bad_document(input, "image configuration", &error))?;
    let wanted = platform::host_architecture();
    let foreign = !file.architecture.is_empty() && file.architecture != wanted;
    if foreign || !(file.os.is_empty() || file.os == "linux") {
        let available = vec![format!("{}/{}", file.os, file.architecture)];
        let (input, wanted) = (input.to_owned(), wanted.to_owned());
        return Err(Error::NoPlatform { input, wanted, available });
    }
    if file.diff_ids.len() != entry.layers.len() {
        let why = format!(
            "it lists {} layers, the configuration {}",
            entry.layers.len(),
            file.diff_ids.len()
        );
        return Err(bad_document(input, "manifest.json", &why));
    }
    let layers = entry.layers.into_iter().zip(file.diff_ids);
    let layers = layers.map(|(part, diff_id)| FoundLayer { part, diff_id, packed: None });
    Ok(Found { names, document, layers: layers.collect(), manifest: None })
}

/// A configuration named by a digest must have it.
fn verify_name(input: &str, path: &str, document: &[u8]) -> Result<(), Error> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".json").unwrap_or(name);
    let name = name.strip_prefix("sha256:").unwrap_or(name);
    let Ok(expected) = format!("sha256:{name}").parse::<Digest>() else { return Ok(()) };
    let actual = Digest::of(document);
    if actual == expected {
        return Ok(());
    }
    let what = format!("the document {path}");
    Err(Error::DigestMismatch { input: input.to_owned(), what, expected, actual })
}
