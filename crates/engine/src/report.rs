//! What happens, told to whoever shows it.

use netloom_diag::Diagnostics;

/// Something worth showing.
#[derive(Debug, Clone)]
pub enum Event {
    /// A phase begins: a word, and how many things it has.
    Phase(&'static str, usize),
    /// One thing of the phase is done.
    Step,
    /// The phase is over.
    Done,
    /// A command was run in a node.
    Executed {
        /// The node.
        node: String,
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// Standard output.
        stdout: String,
        /// Standard errors.
        stderr: String,
    },
    /// Something worth a line.
    Note(String),
    /// Something the user should know.
    Warning(String),
    /// What was found in the file that keeps nobody from going on.
    Found(Diagnostics),
}

/// Shows events.
pub trait Reporter: Sync {
    /// Takes one.
    fn event(&self, event: Event);
}
