//! Executes the steps a kind has for a running node: commands, files, ports, SSH, NETCONF, HTTP.
//!
//! ```text
//! Walk (walk.rs): one sequence of one node, a turn at a time; who waits gives its place away
//!    ├── command.rs   ├── place.rs (files, ports)   ├── shell.rs, netconf.rs (both over ssh.rs)
//!    └── http.rs
//! ```
//!
//! Knows: the step language, and how nodes are spoken to. Must never know: labs, links, plans.

mod command;
mod http;
mod netconf;
mod place;
mod shell;
mod ssh;
mod walk;

pub use walk::{Turn, Walk};

use netloom_runtime::{ExecOutput, ExecSpec, RuntimeError};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// Outputs of earlier steps, by the names they were given.
pub type Captured = BTreeMap<String, String>;

/// A node, as steps reach it.
pub trait Node: Sync {
    /// Runs a command in it.
    fn exec(&self, spec: &ExecSpec) -> Result<ExecOutput, RuntimeError>;
    /// Connects to one of its TCP ports.
    fn connect(&self, port: u16, within: Duration) -> io::Result<TcpStream>;
    /// Fills a template of its kind.
    fn fill(&self, text: &str, captured: &Captured) -> Result<String, String>;
    /// Its first process.
    fn pid(&self) -> Option<u32>;
    /// Writes a file in its folder.
    fn keep(&self, path: &str, content: &[u8]) -> io::Result<()>;
    /// Who logs in, and with which password.
    fn credentials(&self) -> (&str, &str);
}
