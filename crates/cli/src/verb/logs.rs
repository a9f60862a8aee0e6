//! `netloom logs NODE`.

use crate::{Global, context};
use anyhow::Result;
use netloom_runtime::LogsRequest;

/// Flags of `logs`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The node.
    node: String,
    /// Keep showing what is added.
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines.
    #[arg(short = 'n', long)]
    tail: Option<usize>,
}

/// Shows a log.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let engine = context::engine()?;
    let record = context::record(global, &engine)?;
    let request = LogsRequest { follow: a.follow, tail: a.tail };
    engine.logs(&record, &a.node, &request, &mut std::io::stdout().lock())?;
    Ok(0)
}
