//! Exit codes (`docs/cli.md`) and how an error is shown.

use crate::say::{say, say_text};
use netloom_diag::{Diagnostics, Sources, render};
use netloom_engine::EngineError;
use std::process::ExitCode;

/// The topology file, or what it needs, is not as it should be; nothing was made.
pub const INVALID: u8 = 3;

/// The lab was made, and some nodes are not as their kinds say they should be.
pub const NOT_READY: u8 = 8;

/// Findings with the files they point to.
#[derive(Debug)]
pub struct Invalid {
    /// Files.
    pub sources: Sources,
    /// Findings.
    pub found: Diagnostics,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n = self.found.errors();
        write!(f, "{n} error{}, nothing was changed", if n == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Invalid {}

/// Shows an error and gives the exit code.
pub fn report(done: anyhow::Result<u8>) -> ExitCode {
    let error = match done {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    if let Some(invalid) = error.downcast_ref::<Invalid>() {
        let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
        say_text(&render(&invalid.sources, &invalid.found, color));
        say!("error: {invalid}");
        return ExitCode::from(INVALID);
    }
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    say!("error: {text}");
    let code = match error.downcast_ref::<EngineError>() {
        Some(e) => e.exit_code(),
        None => match error.downcast_ref::<netloom_source::SourceError>() {
            Some(_) => INVALID,
            None => 1,
        },
    };
    ExitCode::from(code)
}
