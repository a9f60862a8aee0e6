//! `netloom save`.

use crate::standin::{Level, info, message, stamp};
use crate::{Global, context, interrupt};
use anyhow::Result;
use netloom_engine::SaveOptions;
use netloom_topology::Overrides;
use std::path::PathBuf;

/// Flags of `save`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only these nodes (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',', env = "CLAB_SAVE_NODE_FILTER")]
    node_filter: Vec<String>,
    /// Also copy what is saved into this folder, with the time in the names.
    #[arg(long, value_name = "FOLDER", env = "CLAB_SAVE_COPY")]
    copy: Option<PathBuf>,
}

/// Has nodes save their configurations.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let engine = context::engine()?;
    let record = context::record(global, &engine)?;
    // The kinds, and what they say of saving, come from the file the lab was made from.
    let file = Global { topo: Some(record.topology.clone()), ..global.clone() };
    let name = Overrides { name: Some(record.name.clone()), ..Overrides::default() };
    let (lab, _) = context::sound(context::resolved_quietly(&file, name)?, global)?;
    interrupt::listen()?;
    let options = SaveOptions {
        nodes: a.node_filter,
        copy: a.copy,
        stamp: stamp(),
        home: context::home(),
        environment: context::environment().into(),
        interrupted: interrupt::wanted,
    };
    let mut code = 0;
    for saved in engine.save(&lab, &record, &options)? {
        match saved.file {
            Ok(Some(file)) => {
                let text = format!("saved configuration of node {}", saved.node);
                info(&text, &[("file", &file.display().to_string())]);
            }
            Ok(None) => info(&format!("node {} has saved its configuration", saved.node), &[]),
            Err(why) => {
                code = 1;
                message(Level::Error, &format!("node {:?} save failed: {why}", saved.node), &[]);
            }
        }
    }
    Ok(code)
}
