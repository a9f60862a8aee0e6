//! `netloom logs NODE`.

use crate::{Global, context};
use anyhow::Result;
use netloom_engine::EngineError;
use netloom_runtime::{LogsRequest, Runtime};
use netloom_runtime_native::NativeRuntime;

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
    let name = engine.container(&record, &a.node)?;
    let runtime = NativeRuntime::connect(&engine.directories.native(&record.name, &engine))?
        .ok_or_else(|| EngineError::Gone(record.name.clone()))?;
    let request = LogsRequest { follow: a.follow, tail: a.tail };
    runtime.logs(&name, &request, &mut std::io::stdout().lock())?;
    Ok(0)
}
