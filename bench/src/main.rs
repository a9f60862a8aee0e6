//! Measures netloom against a floor of raw system calls, in one run.
//!
//! `netloom-bench run` alternates floor and netloom in a network namespace of its own, with
//! folders of its own, and prints times, memory and ratios. `netloom-bench floor` is the floor.

mod contest;
mod daemon;
mod docker;
mod floor;
mod measure;
mod place;
mod report;
mod scale;
mod topology;

use clap::Parser;

/// Measures netloom against a floor of raw system calls.
#[derive(Parser)]
enum Cli {
    /// Measure everything.
    Run(contest::Arguments),
    /// Measure with Docker as the runtime: the daemon's time and ours apart.
    Daemon(daemon::Arguments),
    /// The floor: makes a lab's objects, prints `made`, waits for a line, removes them.
    #[command(hide = true)]
    Floor(floor::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse() {
        Cli::Run(a) => contest::run(&a),
        Cli::Daemon(a) => daemon::run(&a),
        Cli::Floor(a) => floor::run(&a),
    }
}
