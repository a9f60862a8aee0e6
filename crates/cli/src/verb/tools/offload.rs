//! `netloom tools disable-tx-offload`.

use super::lab;
use crate::standin::info;
use crate::{Global, context};
use anyhow::Result;

/// Flags.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The container, by its name.
    #[arg(short, long, env = "CLAB_TOOLS_DISABLE_TX_OFFLOAD_CONTAINER")]
    container: String,
}

/// Turns the offload off.
pub fn run(global: &Global, a: &Arguments) -> Result<u8> {
    let engine = context::engine()?;
    let lab = lab(global, &engine)?;
    engine.disable_tx_offload(lab.as_ref(), &a.container)?;
    info(&format!("Tx checksum offload is off in container {}", a.container), &[]);
    Ok(0)
}
