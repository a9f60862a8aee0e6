//! `netloom redeploy`: destroy, then deploy.

use super::deploy;
use crate::Global;
use anyhow::Result;
use netloom_engine::DestroyOptions;

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

/// Redeploys. Without `-c` the lab directory stays, and what was saved in it. Nothing is unmade
/// before it is clear that the lab can be made.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let remake = DestroyOptions {
        cleanup: a.deploy.cleans(),
        graceful: a.graceful,
        keep_mgmt_net: a.keep_mgmt_net,
        max_workers: 0,
    };
    deploy::deploy(global, a.deploy, Some(remake))
}
