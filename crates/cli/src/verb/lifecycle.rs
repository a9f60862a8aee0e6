//! `netloom start`, `stop` and `restart`.

use crate::progress::Progress;
use crate::{Global, context};
use anyhow::Result;
use netloom_engine::{Engine, EngineError, Reporter};

/// Flags of the three.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only these nodes (repeatable, or separated by commas).
    #[arg(short, long, value_delimiter = ',')]
    node: Vec<String>,
    /// Only these nodes.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
}

type Act = fn(&Engine, &str, &[String], &dyn Reporter) -> Result<(), EngineError>;

fn run(global: &Global, a: Arguments, act: Act) -> Result<u8> {
    let engine = context::engine()?;
    let record = context::record(global, &engine)?;
    let nodes = [a.node, a.nodes].concat();
    act(&engine, &record.name, &nodes, &Progress::new(global.plain))?;
    Ok(0)
}

/// Starts nodes.
pub fn start(global: &Global, a: Arguments) -> Result<u8> {
    run(global, a, |e, lab, nodes, r| e.start(lab, nodes, r))
}

/// Stops nodes.
pub fn stop(global: &Global, a: Arguments) -> Result<u8> {
    run(global, a, |e, lab, nodes, r| e.stop(lab, nodes, r))
}

/// Restarts nodes.
pub fn restart(global: &Global, a: Arguments) -> Result<u8> {
    run(global, a, |e, lab, nodes, r| e.restart(lab, nodes, r))
}
