//! The runtime trait over a daemon.

use crate::daemon::{Daemon, Program, status, words};
use crate::{attached, create, exec, logs, state};
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use futures_util::{StreamExt, TryStreamExt};
use netloom_runtime::{
    ContainerSpec, ContainerState, ExecOutput, ExecSpec, LogsRequest, Runtime, RuntimeError,
};
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// How long a container may take over starting: file systems, networks, hooks.
const START: Duration = Duration::from_secs(120);
/// How long a daemon may take over a stop beyond the container's own time.
const MARGIN: Duration = Duration::from_secs(60);
/// How long Podman may take to clear away what has ended.
const CLEARING: Duration = Duration::from_secs(10);
/// How soon it is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// Containers looked at at once.
const AT_ONCE: usize = 16;

/// A container's state, and what it was made from if it was made here.
type Looked = (ContainerState, Option<String>);

/// The containers of a daemon that carry a label; or all of them, to look at and to run commands
/// in.
pub struct Containers {
    daemon: Arc<Daemon>,
    label: Option<(String, String)>,
}

impl Containers {
    /// Those that carry this label; others are never touched.
    pub fn new(daemon: Arc<Daemon>, key: &str, value: &str) -> Self {
        Containers { daemon, label: Some((key.into(), value.into())) }
    }

    /// All of them. Nothing is changed of those: what would is refused.
    pub fn of_anybody(daemon: Arc<Daemon>) -> Self {
        Containers { daemon, label: None }
    }

    /// The daemon.
    pub fn daemon(&self) -> &Arc<Daemon> {
        &self.daemon
    }

    /// Whether a container carries the label and was made here: other programs may use the label
    /// too.
    fn ours(&self, (state, made): &Looked) -> bool {
        match &self.label {
            Some((key, value)) => made.is_some() && state.labels.get(key) == Some(value),
            None => true,
        }
    }

    /// Any container of a name, whoever made it.
    async fn look(&self, name: &str) -> Result<Option<Looked>, Error> {
        let until = tokio::time::Instant::now() + CLEARING;
        loop {
            let docker = &self.daemon.docker;
            match docker.inspect_container(name, None::<InspectContainerOptions>).await {
                Err(e) if status(&e) == Some(404) => return Ok(None),
                Err(e) if clearing(&e) && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(e) => return Err(e),
                Ok(answer) => {
                    let labels = answer.config.as_ref().and_then(|c| c.labels.as_ref());
                    let spec = labels.and_then(|l| l.get(create::SPEC)).cloned();
                    return Ok(Some((state::of(answer), spec)));
                }
            }
        }
    }

    /// The state of a container of ours.
    fn state(&self, name: &str) -> Result<ContainerState, RuntimeError> {
        self.inspect(name)?.ok_or_else(|| RuntimeError::NotFound(name.into()))
    }

    /// A container that commands may be run in.
    fn check(&self, name: &str) -> Result<(), RuntimeError> {
        self.state(name).map(drop)
    }

    /// A container that must be ours to change.
    fn changed(&self, name: &str) -> Result<(), RuntimeError> {
        self.ours_to_change(name)?;
        self.check(name)
    }

    fn ours_to_change(&self, name: &str) -> Result<(), RuntimeError> {
        match self.label {
            Some(_) => Ok(()),
            None => Err(RuntimeError::Unsupported {
                what: format!("changing container `{name}`"),
                why: "it belongs to nobody here".into(),
            }),
        }
    }
}

/// Podman's word for a container that has ended and is still being cleared away, which the library
/// does not know; its exit code is not known yet either.
fn clearing(e: &Error) -> bool {
    matches!(e, Error::JsonDataError { message, .. } if message.contains("`stopped`"))
}

impl Runtime for Containers {
    fn name(&self) -> &'static str {
        self.daemon.program.name()
    }

    fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.ours_to_change(&spec.name)?;
        let what = format!("make container {}", spec.name);
        let body = create::body(&self.daemon, spec)?;
        let wanted = create::digest(spec)?;
        let options =
            CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let docker = &self.daemon.docker;
        self.daemon.wait(&what, START, async {
            match docker.create_container(Some(options), body).await {
                Ok(_) => Ok(Ok(())),
                // Docker says 409, Podman 500 with words.
                Err(e)
                    if status(&e) == Some(409)
                        || (status(&e) == Some(500) && words(&e).contains("already in use")) =>
                {
                    match self.look(&spec.name).await? {
                        Some(found) if self.ours(&found) && found.1 == Some(wanted) => Ok(Ok(())),
                        Some(_) => Ok(Err(RuntimeError::NameTaken(spec.name.clone()))),
                        None => Err(e),
                    }
                }
                Err(e) => Err(e),
            }
        })?
    }

    fn start(&self, name: &str) -> Result<ContainerState, RuntimeError> {
        self.changed(name)?;
        let docker = &self.daemon.docker;
        self.daemon.wait(&format!("start {name}"), START, async {
            match docker.start_container(name, None::<StartContainerOptions>).await {
                Ok(()) => Ok(Ok(())),
                Err(e) if status(&e) == Some(304) => Ok(Ok(())),
                Err(e) if status(&e).is_some() => Ok(Err(RuntimeError::Start {
                    name: name.into(),
                    step: self.daemon.program.title().into(),
                    source: std::io::Error::other(words(&e)),
                })),
                Err(e) => Err(e),
            }
        })??;
        self.state(name)
    }

    fn stop(&self, name: &str, grace: Option<Duration>) -> Result<(), RuntimeError> {
        self.changed(name)?;
        let t = grace.and_then(|g| i32::try_from(g.as_secs_f64().ceil() as u64).ok());
        let options = StopContainerOptions { signal: None, t };
        let limit = grace.unwrap_or(MARGIN) + MARGIN;
        self.daemon.wait(&format!("stop {name}"), limit, async {
            match self.daemon.docker.stop_container(name, Some(options)).await {
                Err(e) if status(&e) == Some(304) => Ok(()),
                // Podman refuses to stop what never ran.
                Err(e) if words(&e).contains("state improper") => Ok(()),
                other => other,
            }
        })
    }

    fn kill(&self, name: &str, signal: i32) -> Result<(), RuntimeError> {
        self.changed(name)?;
        let options = KillContainerOptions { signal: signal.to_string() };
        self.daemon.ask(&format!("send a signal to {name}"), async {
            match self.daemon.docker.kill_container(name, Some(options)).await {
                Err(e) if status(&e) == Some(409) || words(&e).contains("state improper") => {
                    Ok(Err(RuntimeError::NotRunning(name.into())))
                }
                other => other.map(Ok),
            }
        })?
    }

    fn remove(&self, name: &str, force: bool) -> Result<(), RuntimeError> {
        self.ours_to_change(name)?;
        let Some(_) = self.inspect(name)? else { return Ok(()) };
        let options = RemoveContainerOptions { force, v: true, ..Default::default() };
        let what = format!("remove {name}");
        self.daemon.wait(&what, MARGIN, async {
            if force && self.daemon.program == Program::Podman {
                // It would ask first, and wait for an answer.
                let options = KillContainerOptions { signal: "9".into() };
                let _ = self.daemon.docker.kill_container(name, Some(options)).await;
            }
            match self.daemon.docker.remove_container(name, Some(options)).await {
                Err(e) if status(&e) == Some(404) => Ok(()),
                // It is on its way: one that removes itself, or somebody else does.
                Err(e) if words(&e).contains("already in progress") => {
                    while self.look(name).await?.is_some() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Ok(())
                }
                other => other,
            }
        })
    }

    fn inspect(&self, name: &str) -> Result<Option<ContainerState>, RuntimeError> {
        let found = self.daemon.ask(&format!("look at {name}"), self.look(name))?;
        // It also takes the beginning of a number for a name.
        Ok(found.filter(|f| self.ours(f) && f.0.name == name).map(|(state, _)| state))
    }

    fn list(&self) -> Result<Vec<ContainerState>, RuntimeError> {
        let label = |(key, value): &(String, String)| vec![format!("{key}={value}")];
        let label = self.label.as_ref().map(label);
        let options = ListContainersOptions {
            all: true,
            filters: label.map(|l| HashMap::from([("label".to_owned(), l)])),
            ..Default::default()
        };
        let docker = &self.daemon.docker;
        let found = self.daemon.ask("list containers", async {
            let until = tokio::time::Instant::now() + CLEARING;
            let list = loop {
                match docker.list_containers(Some(options.clone())).await {
                    Err(e) if clearing(&e) && tokio::time::Instant::now() < until => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    other => break other?,
                }
            };
            let ids = list.into_iter().filter_map(|c| c.id);
            let looks = ids.map(async |id| self.look(&id).await);
            futures_util::stream::iter(looks).buffered(AT_ONCE).try_collect::<Vec<_>>().await
        })?;
        let found = found.into_iter().flatten().filter(|f| self.ours(f));
        let mut states: Vec<_> = found.map(|(state, _)| state).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    fn exec(&self, name: &str, exec: &ExecSpec) -> Result<ExecOutput, RuntimeError> {
        self.check(name)?;
        exec::captured(&self.daemon, name, exec)
    }

    fn exec_attached(&self, name: &str, exec: &ExecSpec) -> Result<i32, RuntimeError> {
        self.check(name)?;
        attached::run(&self.daemon, name, exec)
    }

    fn logs(&self, name: &str, req: &LogsRequest, out: &mut dyn Write) -> Result<(), RuntimeError> {
        self.check(name)?;
        logs::copy(&self.daemon, name, req, out)
    }
}
