//! `netloom shell NODE`.

use crate::{Global, context};
use anyhow::Result;
use netloom_runtime::ExecSpec;
use std::io::IsTerminal;

/// Flags of `shell`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The node.
    node: String,
    /// The shell; the best one the node has when left out.
    #[arg(short, long)]
    shell: Option<String>,
}

/// Opens a shell.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let engine = context::engine()?;
    let record = context::record(global, &engine)?;
    let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let shells = match a.shell {
        Some(shell) => vec![shell],
        None => ["/bin/bash", "/bin/ash", "/bin/sh"].map(String::from).to_vec(),
    };
    let mut code = 127;
    for shell in shells {
        let spec = ExecSpec { argv: vec![shell], tty, ..ExecSpec::default() };
        code = engine.attach(&record, &a.node, &spec)?;
        if code != 127 && code != 126 {
            break;
        }
    }
    Ok(super::exec::code(code))
}
