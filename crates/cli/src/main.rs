//! `netloom`: arguments in, rendering out. What a command does is in the engine.

mod context;
mod exit;
mod interrupt;
mod output;
mod progress;
mod say;
mod standin;
mod variables;
mod verb;

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// One topology file in, a running network out.
#[derive(Parser)]
#[command(name = "netloom", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Topology file, or a folder with one; `-` is standard input.
    #[arg(short, long, global = true, env = "CLAB_TOPO", value_name = "FILE")]
    pub topo: Option<PathBuf>,
    /// File with template variables (repeatable).
    #[arg(long, global = true, env = "CLAB_VARS", value_name = "FILE")]
    pub vars: Vec<PathBuf>,
    /// Name of the lab, instead of the file's.
    #[arg(long, global = true, env = "CLAB_NAME")]
    pub name: Option<String>,
    /// Longest wait for a node others wait for (`90s`, `5m`).
    #[arg(long, global = true, env = "CLAB_TIMEOUT", default_value = "2m", value_parser = context::duration)]
    pub timeout: std::time::Duration,
    /// Runtime of nodes that name none.
    #[arg(short, long, global = true, env = "CLAB_RUNTIME", value_name = "RUNTIME", value_parser = ["native", "docker", "podman"])]
    pub runtime: Option<String>,
    /// More words about what is done (accepted for compatibility; there is one level).
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "CLAB_DEBUG")]
    pub debug: u8,
    /// Level of messages (accepted for compatibility; there is one level).
    #[arg(long, global = true, env = "CLAB_LOG_LEVEL", value_parser = ["trace", "debug", "info", "warn", "warning", "error", "fatal"])]
    pub log_level: Option<String>,
    /// Plain lines instead of a progress display, no colours.
    #[arg(long, global = true)]
    pub plain: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a lab, or bring a running one to what its file says now.
    #[command(visible_alias = "dep", alias = "apply")]
    Deploy(verb::deploy::Arguments),
    /// Unmake a lab and make it again.
    #[command(visible_alias = "rdep")]
    Redeploy(verb::redeploy::Arguments),
    /// Unmake a lab.
    #[command(visible_alias = "des")]
    Destroy(verb::destroy::Arguments),
    /// Check a topology file and show what it resolves to.
    #[command(visible_alias = "val")]
    Validate(verb::validate::Arguments),
    /// Draw a topology: Graphviz, Mermaid, draw.io.
    Graph(verb::graph::Arguments),
    /// Write the topology file of a Clos network.
    #[command(visible_alias = "gen")]
    Generate(verb::generate::Arguments),
    /// Show what is there.
    #[command(visible_aliases = ["ins", "i"])]
    Inspect(verb::inspect::Arguments),
    /// Run a command in nodes.
    Exec(verb::exec::Arguments),
    /// Open a shell in a node.
    Shell(verb::shell::Arguments),
    /// Show what a node wrote.
    Logs(verb::logs::Arguments),
    /// Start nodes that are stopped.
    Start(verb::lifecycle::Arguments),
    /// Stop nodes; their links and addresses stay.
    Stop(verb::lifecycle::Arguments),
    /// Stop nodes and start them again.
    Restart(verb::lifecycle::Arguments),
    /// Images on this machine.
    #[command(subcommand)]
    Image(verb::image::Verb),
    /// Kinds of nodes.
    #[command(subcommand)]
    Kind(verb::kind::Verb),
    /// Tell what happens in labs, as it happens.
    #[command(visible_alias = "ev")]
    Events(verb::events::Arguments),
    /// Have nodes save their configurations.
    Save(verb::save::Arguments),
    /// Tools: impairments, links by hand, tunnels, certificates.
    #[command(subcommand)]
    Tools(verb::tools::Verb),
    /// What this machine can do, and what to do about the rest.
    Doctor(verb::doctor::Arguments),
    /// Print the version.
    Version(verb::version::Arguments),
    /// Print a script that completes commands in a shell.
    Completion(verb::completion::Arguments),
    #[command(name = "__holder", hide = true)]
    Holder { directory: PathBuf },
    #[command(name = "__supervisor", hide = true)]
    Supervisor { directory: PathBuf },
}

/// A reader that goes away ends a command that only prints, as it ends any other program.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler is installed, the signal gets back its default.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// One descriptor a node: the usual soft limit is far below what the system grants.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn main() -> ExitCode {
    variables::tidy(&Cli::command());
    raise_descriptor_limit();
    let mut cli = Cli::parse();
    if cli.global.runtime.is_none() && standin::stands_in() {
        cli.global.runtime = Some("docker".into());
    }
    // What makes and unmakes labs goes on when nobody reads; holder and supervisor always do.
    let makes = matches!(
        cli.verb,
        Verb::Deploy(_)
            | Verb::Redeploy(_)
            | Verb::Destroy(_)
            | Verb::Generate(_)
            | Verb::Save(_)
            | Verb::Start(_)
            | Verb::Stop(_)
            | Verb::Restart(_)
            | Verb::Holder { .. }
            | Verb::Supervisor { .. }
    );
    if !makes {
        end_with_the_reader();
    }
    let global = &cli.global;
    // Set once, here.
    let _ = netloom_engine::WAITING.set(|text| say::say!("{text}"));
    let done = match cli.verb {
        Verb::Deploy(a) => verb::deploy::run(global, a),
        Verb::Redeploy(a) => verb::redeploy::run(global, a),
        Verb::Destroy(a) => verb::destroy::run(global, a),
        Verb::Validate(a) => verb::validate::run(global, a),
        Verb::Graph(a) => verb::graph::run(global, a),
        Verb::Generate(a) => verb::generate::run(global, a),
        Verb::Inspect(a) => verb::inspect::run(global, a),
        Verb::Exec(a) => verb::exec::run(global, a),
        Verb::Shell(a) => verb::shell::run(global, a),
        Verb::Logs(a) => verb::logs::run(global, a),
        Verb::Start(a) => verb::lifecycle::start(global, a),
        Verb::Stop(a) => verb::lifecycle::stop(global, a),
        Verb::Restart(a) => verb::lifecycle::restart(global, a),
        Verb::Image(v) => verb::image::run(v, global.plain),
        Verb::Kind(v) => verb::kind::run(v),
        Verb::Events(a) => verb::events::run(global, &a),
        Verb::Save(a) => verb::save::run(global, a),
        Verb::Tools(v) => verb::tools::run(global, v),
        Verb::Doctor(a) => verb::doctor::run(a),
        Verb::Version(a) => verb::version::run(a),
        Verb::Completion(a) => verb::completion::run::<Cli>(a),
        Verb::Holder { directory } => {
            netloom_runtime_native::holder::main(&directory).map(|()| 0).map_err(Into::into)
        }
        Verb::Supervisor { directory } => verb::supervisor::run(&directory),
    };
    exit::report(done)
}
