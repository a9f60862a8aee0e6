//! `netloom completion`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Flags of `completion`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub fn run<C: CommandFactory>(a: Arguments) -> Result<u8> {
    clap_complete::generate(a.shell, &mut C::command(), "netloom", &mut std::io::stdout());
    Ok(0)
}
