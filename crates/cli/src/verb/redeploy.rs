//! `netloom redeploy`: destroy, then deploy.

use super::deploy;
use crate::progress::Progress;
use crate::{Global, context};
use anyhow::Result;
use netloom_engine::{DestroyOptions, EngineError};

/// Flags of `redeploy`: those of `deploy`, and how the lab that runs is unmade.
#[derive(clap::Args, Debug)]
#[group(id = "redeploy")]
pub struct Arguments {
    #[command(flatten)]
    deploy: deploy::Arguments,
    /// Ask the nodes to end before they are killed.
    #[arg(long)]
    graceful: bool,
    /// Keep the management network.
    #[arg(long)]
    keep_mgmt_net: bool,
}

/// Redeploys. Without `-c` the lab directory stays, and what was saved in it.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    if !a.deploy.only_looks() {
        // First, so that a file with errors destroys nothing.
        let (lab, _) = context::lab(global, a.deploy.overrides())?;
        let options = DestroyOptions {
            cleanup: a.deploy.cleans(),
            graceful: a.graceful,
            keep_mgmt_net: a.keep_mgmt_net,
            max_workers: 0,
        };
        let engine = context::engine()?;
        engine.refuse_foreign(&lab)?;
        match engine.destroy(&lab.name, &options, &Progress::new(global.plain)) {
            Ok(()) | Err(EngineError::NoLab(_)) => {}
            Err(e) => return Err(e.into()),
        }
    }
    deploy::run(global, a.deploy)
}
