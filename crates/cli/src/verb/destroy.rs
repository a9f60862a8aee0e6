//! `netloom destroy`.

use crate::progress::Progress;
use crate::say::{say, say_text};
use crate::standin::stands_in;
use crate::{Global, context};
use anyhow::{Result, bail};
use netloom_engine::{DestroyOptions, EngineError, LabRecord};
use std::io::{IsTerminal, Write};

/// Flags of `destroy`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Every lab on this machine.
    #[arg(short, long, env = "CLAB_DESTROY_ALL")]
    all: bool,
    /// Remove the lab directory too.
    #[arg(short = 'c', long, env = "CLAB_DESTROY_CLEANUP")]
    cleanup: bool,
    /// Only these nodes; the others stay (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',', env = "CLAB_DESTROY_NODE_FILTER", conflicts_with_all = ["cleanup", "all"])]
    node_filter: Vec<String>,
    /// Ask the nodes to end before they are killed.
    #[arg(long, env = "CLAB_DESTROY_GRACEFUL")]
    graceful: bool,
    /// Do not ask.
    #[arg(short, long, env = "CLAB_DESTROY_YES")]
    yes: bool,
    /// Keep the management network.
    #[arg(long, env = "CLAB_DESTROY_KEEP_MGMT_NET")]
    keep_mgmt_net: bool,
    /// Most things at once; 0 chooses.
    #[arg(
        long,
        default_value_t = 0,
        allow_negative_numbers = true,
        env = "CLAB_DESTROY_MAX_WORKERS"
    )]
    max_workers: usize,
}

/// Destroys.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let engine = context::engine()?;
    let options = DestroyOptions {
        cleanup: a.cleanup,
        graceful: a.graceful,
        keep_mgmt_net: a.keep_mgmt_net,
        max_workers: a.max_workers,
    };
    let progress = Progress::new(global.plain);
    if !a.all {
        let name = match (&global.name, &global.topo) {
            // By name alone, whatever state its record is in.
            (Some(name), None) if !name.contains('/') && !name.starts_with('.') => name.clone(),
            _ => match context::record(global, &engine) {
                Ok(record) => record.name,
                // A deploy killed at its very beginning leaves a folder without a record.
                Err(e) => match context::half_made(global, &engine) {
                    Some(name) => name,
                    // What is not there is destroyed, to its scripts.
                    None if stands_in() && e.downcast_ref().is_some_and(no_lab) => return Ok(0),
                    None => return Err(e),
                },
            },
        };
        if !a.node_filter.is_empty() {
            engine.remove_nodes(&name, &a.node_filter, &options, &progress)?;
            say!("lab {name}: {} removed", a.node_filter.join(", "));
            return Ok(0);
        }
        engine.destroy(&name, &options, &progress)?;
        say!("lab {name} is gone");
        return Ok(0);
    }
    if global.name.is_some() {
        say!("error: --all and --name exclude each other");
        return Ok(2);
    }
    let mut left = LabRecord::all(&engine.directories)?;
    for name in LabRecord::folders(&engine.directories)? {
        if !left.iter().any(|r| r.name == name) {
            left.push(LabRecord::new(&name));
        }
    }
    if left.is_empty() {
        say!("there are no labs");
        return Ok(0);
    }
    let names: Vec<&str> = left.iter().map(|r| r.name.as_str()).collect();
    if !a.yes && !confirmed(&names)? {
        return Ok(0);
    }
    // Those that live in others' namespaces first.
    let mut failed = None;
    while !left.is_empty() {
        let free = left.iter().position(|r| !left.iter().any(|o| o.uses.contains(&r.name)));
        let record = left.remove(free.unwrap_or(0));
        match engine.destroy(&record.name, &options, &progress) {
            Ok(()) | Err(EngineError::NoLab(_)) => say!("lab {} is gone", record.name),
            Err(e) => {
                say!("error: lab {}: {e}", record.name);
                failed = Some(e.exit_code());
            }
        }
    }
    Ok(failed.unwrap_or(0))
}

fn no_lab(e: &EngineError) -> bool {
    matches!(e, EngineError::NoLab(_))
}

fn confirmed(names: &[&str]) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("destroying every lab ({}) needs --yes when nobody can be asked", names.join(", "));
    }
    say_text(&format!("destroy {}? [y/N] ", names.join(", ")));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
