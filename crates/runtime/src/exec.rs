//! Commands run inside a container, and its log.

use std::time::Duration;

/// A command to run inside a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the container's own.
    pub env: Vec<(String, String)>,
    /// Working directory; the container's own when `None`.
    pub cwd: Option<String>,
    /// `user[:group]`; the container's own when `None`.
    pub user: Option<String>,
    /// On a pseudo terminal.
    pub tty: bool,
    /// Given on standard input.
    pub stdin: Option<Vec<u8>>,
    /// Killed after this time; `None` waits for ever.
    pub timeout: Option<Duration>,
}

/// What a command left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code (128 + signal when killed, 127 not found, 126 not executable).
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard errors.
    pub stderr: Vec<u8>,
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// Keep copying what is added.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
}
