//! `netloom image`.

use crate::{context, output};
use anyhow::{Result, anyhow};
use netloom_image::{ConfigOverrides, Image, ImportOptions, Reference, Store};
use std::path::{Path, PathBuf};

/// What is done with images.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Bring in an OCI layout, a docker archive, or a root file system (tar or directory).
    Import(Import),
    /// List images.
    #[command(visible_alias = "ls")]
    List {
        /// Form of the output.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Remove an image.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name.
        reference: String,
    },
}

/// Flags of `image import`.
#[derive(clap::Args, Debug)]
pub struct Import {
    /// The file or directory; `-` is standard input.
    source: PathBuf,
    /// Name of the image.
    #[arg(long, value_name = "NAME")]
    r#ref: Option<String>,
    /// Environment, `NAME=value` (repeatable).
    #[arg(long)]
    env: Vec<String>,
    /// Entry point, one flag an argument.
    #[arg(long, allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// Command, one flag an argument.
    #[arg(long, allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// User.
    #[arg(long)]
    user: Option<String>,
    /// Working directory.
    #[arg(long)]
    workdir: Option<String>,
    /// Label, `name=value` (repeatable).
    #[arg(long)]
    label: Vec<String>,
    /// Signal that asks it to end.
    #[arg(long)]
    stop_signal: Option<String>,
}

fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|e| anyhow!("{e}; {}", e.hint()))
}

/// Adds the hint of an error.
fn hinted(e: netloom_image::Error) -> anyhow::Error {
    match e.hint() {
        Some(hint) => anyhow!("{e}; {hint}"),
        None => e.into(),
    }
}

/// Works on images.
pub fn run(verb: Verb) -> Result<u8> {
    let engine = context::engine()?;
    let store = Store::open(engine.directories.images()).map_err(hinted)?;
    match verb {
        Verb::Import(a) => import(&store, a)?,
        Verb::List { format } => list(&store, &format)?,
        Verb::Remove { reference: name } => {
            let name = reference(&name)?;
            let labs = netloom_engine::LabRecord::all(&engine.directories)?;
            let used = |layer: &Path| users(&store, &labs, layer);
            let removed = store.remove(&name, used).map_err(hinted)?;
            eprintln!(
                "removed {}: {} layers, {} MB",
                name.short(),
                removed.layers,
                removed.bytes >> 20
            );
        }
    }
    Ok(0)
}

/// Nodes whose image has the layer.
fn users(store: &Store, labs: &[netloom_engine::LabRecord], layer: &Path) -> Vec<String> {
    let has = |name: &str| {
        let reference = Reference::parse(name).ok();
        let image = reference.and_then(|r| store.resolve(&r).ok().flatten());
        image.is_some_and(|i: Image| i.layers.iter().any(|l| l == layer))
    };
    labs.iter()
        .flat_map(|l| l.nodes.iter().map(move |(name, n)| (l, name, n)))
        .filter(|(_, _, n)| has(&n.image))
        .map(|(l, name, _)| format!("node {name} of lab {}", l.name))
        .collect()
}

fn import(store: &Store, a: Import) -> Result<()> {
    let pairs = |list: Vec<String>| {
        list.into_iter()
            .map(|l| {
                let (k, v) = l.split_once('=').unwrap_or((&l, ""));
                (k.to_string(), v.to_string())
            })
            .collect()
    };
    let options = ImportOptions {
        reference: a.r#ref.as_deref().map(reference).transpose()?,
        overrides: ConfigOverrides {
            env: a.env,
            entrypoint: (!a.entrypoint.is_empty()).then_some(a.entrypoint),
            cmd: (!a.cmd.is_empty()).then_some(a.cmd),
            user: a.user,
            working_dir: a.workdir,
            labels: pairs(a.label),
            stop_signal: a.stop_signal,
        },
        ..ImportOptions::default()
    };
    let done = store.import(&a.source, &options).map_err(hinted)?;
    for image in &done.images {
        let name = image.reference.as_ref().map_or("(no name)".into(), Reference::short);
        println!("{name}: {} MB in {} layers", image.size >> 20, image.layers.len());
    }
    Ok(())
}

fn list(store: &Store, format: &str) -> Result<()> {
    let images = store.list().map_err(hinted)?;
    if format == "json" {
        return output::json(&images);
    }
    for image in images {
        let name = image.reference.as_ref().map_or("(no name)".into(), Reference::short);
        let id = image.id.as_ref().map_or(String::new(), |d| d.hex().chars().take(12).collect());
        println!("{name}\t{id}\t{} MB\t{}", image.size >> 20, image.source);
    }
    Ok(())
}
