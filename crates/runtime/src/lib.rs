//! The contract between the engine and whatever runs a node's processes.
//!
//! The engine decides everything (names, addresses, mounts, environment) and writes it into a
//! [`ContainerSpec`]; a runtime only executes it. The embedded runtime, Docker and Podman
//! implement the same [`Runtime`] trait and pass the same contract suite.
//!
//! Knows: what a container is. Must never know: topology files, kinds, links.

mod error;
mod exec;
mod spec;
mod state;

pub use error::RuntimeError;
pub use exec::{ExecOutput, ExecSpec, LogsRequest};
pub use spec::{
    Bind, CgroupNs, ContainerSpec, Device, Healthcheck, Leg, Names, NetworkNs, PidNs,
    PublishedPort, Resources, RestartPolicy, Rootfs, Stdio, Tmpfs, Ulimit,
};
pub use state::{ContainerState, Health, Status};

use std::io::Write;
use std::time::Duration;

/// A program that runs containers. All calls block; callers use threads for concurrency.
///
/// Every method is idempotent in the sense the planner needs: creating what exists with an equal
/// specification, starting what runs, stopping what is stopped and removing what is gone succeed
/// without doing anything.
pub trait Runtime: Send + Sync {
    /// Short name shown to users: `native`, `docker`, `podman`.
    fn name(&self) -> &'static str;

    /// Records the container and prepares its directories; no process runs yet.
    fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError>;

    /// Starts the container's first process and returns its state once it has been executed.
    fn start(&self, name: &str) -> Result<ContainerState, RuntimeError>;

    /// Sends the stop signal, waits up to `grace` (the container's own when `None`), then kills.
    /// The restart policy does not apply to a stopped container until it is started again.
    fn stop(&self, name: &str, grace: Option<Duration>) -> Result<(), RuntimeError>;

    /// Sends a signal to the first process.
    fn kill(&self, name: &str, signal: i32) -> Result<(), RuntimeError>;

    /// Removes the container and its private file system; a running one only with `force`.
    fn remove(&self, name: &str, force: bool) -> Result<(), RuntimeError>;

    /// State of one container, `None` when there is none of that name.
    fn inspect(&self, name: &str) -> Result<Option<ContainerState>, RuntimeError>;

    /// States of every container this runtime handle is responsible for.
    fn list(&self) -> Result<Vec<ContainerState>, RuntimeError>;

    /// Runs a command in the container and collects its output.
    fn exec(&self, name: &str, exec: &ExecSpec) -> Result<ExecOutput, RuntimeError>;

    /// Runs a command attached to the caller's own standard streams (a terminal when `exec.tty`)
    /// and returns its exit code.
    fn exec_attached(&self, name: &str, exec: &ExecSpec) -> Result<i32, RuntimeError>;

    /// Copies the container's log to `out`; with `follow`, until the container ends or `out`
    /// refuses more.
    fn logs(&self, name: &str, req: &LogsRequest, out: &mut dyn Write) -> Result<(), RuntimeError>;
}
