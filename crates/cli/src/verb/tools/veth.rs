//! `netloom tools veth`.

use super::lab;
use crate::standin::info;
use crate::{Global, context};
use anyhow::Result;

/// What is done.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Make a link: it belongs to the lab of its first node, stays over deploys, goes with the lab.
    Create(Create),
}

/// Flags of `create`.
#[derive(clap::Args, Debug)]
pub struct Create {
    /// One end: CONTAINER:INTERFACE, host:INTERFACE, bridge:BRIDGE:INTERFACE or
    /// ovs-bridge:BRIDGE:INTERFACE; short names of nodes where the lab is named.
    #[arg(short, long, env = "CLAB_TOOLS_VETH_CREATE_A_ENDPOINT")]
    a_endpoint: String,
    /// The other end.
    #[arg(short, long, env = "CLAB_TOOLS_VETH_CREATE_B_ENDPOINT")]
    b_endpoint: String,
    /// MTU of both ends.
    #[arg(short, long, default_value_t = 9500, env = "CLAB_TOOLS_VETH_CREATE_MTU", value_parser = clap::value_parser!(u32).range(68..=65535))]
    mtu: u32,
}

/// Makes a link.
pub fn run(global: &Global, verb: &Verb) -> Result<u8> {
    let Verb::Create(a) = verb;
    let engine = context::engine()?;
    let lab = lab(global, &engine)?;
    let ends = [a.a_endpoint.as_str(), a.b_endpoint.as_str()];
    let (lab, _) = engine.add_link(lab.as_ref(), ends, a.mtu)?;
    info(&format!("Created link: {} ▪┄┄▪ {}", ends[0], ends[1]), &[("lab", &lab)]);
    Ok(0)
}
