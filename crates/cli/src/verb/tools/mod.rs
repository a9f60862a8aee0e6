//! `netloom tools`: one file per tool.

mod cert;
mod netem;
mod offload;
mod services;
mod veth;
mod vxlan;

use crate::{Global, context};
use anyhow::Result;
use netloom_engine::{Engine, LabRecord};

/// Tools for running labs.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// API servers of containerlab that run.
    #[command(subcommand)]
    ApiServer(services::Verb),
    /// Certificates.
    #[command(subcommand)]
    Cert(cert::Verb),
    /// Have a container compute checksums of what it sends by itself.
    DisableTxOffload(offload::Arguments),
    /// Web terminals of containerlab that run.
    #[command(subcommand)]
    Gotty(services::Verb),
    /// Impairments of what an interface sends: delay, loss, rate, corruption.
    #[command(subcommand)]
    Netem(netem::Verb),
    /// Shared terminals of containerlab that run.
    #[command(subcommand)]
    Sshx(services::Verb),
    /// Links that no topology file knows.
    #[command(subcommand)]
    Veth(veth::Verb),
    /// Tunnels to other machines.
    #[command(subcommand)]
    Vxlan(vxlan::Verb),
}

/// Runs a tool.
pub fn run(global: &Global, verb: Verb) -> Result<u8> {
    match verb {
        Verb::ApiServer(v) => services::run(services::Service::Api, &v),
        Verb::Cert(v) => cert::run(v),
        Verb::DisableTxOffload(a) => offload::run(global, &a),
        Verb::Gotty(v) => services::run(services::Service::Gotty, &v),
        Verb::Netem(v) => netem::run(global, v),
        Verb::Sshx(v) => services::run(services::Service::Sshx, &v),
        Verb::Veth(v) => veth::run(global, &v),
        Verb::Vxlan(v) => vxlan::run(v),
    }
}

/// The lab of the flags, where they name one: its nodes have short names.
fn lab(global: &Global, engine: &Engine) -> Result<Option<LabRecord>> {
    match global.topo.is_some() || global.name.is_some() {
        true => Ok(Some(context::record(global, engine)?)),
        false => Ok(None),
    }
}
