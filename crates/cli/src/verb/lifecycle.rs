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

fn run(global: &Global, mut a: Arguments, variable: &str, act: Act) -> Result<u8> {
    if a.node.is_empty() && a.nodes.is_empty() {
        let given = std::env::var(variable).unwrap_or_default();
        a.node = given.split(',').filter(|n| !n.is_empty()).map(str::to_string).collect();
    }
    let engine = context::engine()?;
    let record = context::record(global, &engine)?;
    let nodes = [a.node, a.nodes].concat();
    act(&engine, &record.name, &nodes, &Progress::new(global.plain))?;
    Ok(0)
}

/// Starts nodes.
pub fn start(global: &Global, a: Arguments) -> Result<u8> {
    run(global, a, "CLAB_START_NODE", |e, lab, nodes, r| e.start(lab, nodes, r))
}

/// Stops nodes.
pub fn stop(global: &Global, a: Arguments) -> Result<u8> {
    run(global, a, "CLAB_STOP_NODE", |e, lab, nodes, r| e.stop(lab, nodes, r))
}

/// Restarts nodes.
pub fn restart(global: &Global, a: Arguments) -> Result<u8> {
    run(global, a, "CLAB_RESTART_NODE", |e, lab, nodes, r| e.restart(lab, nodes, r))
}
