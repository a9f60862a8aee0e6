//! A daemon that is spoken to over its socket.

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use netloom_runtime::RuntimeError;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a daemon may think about a question that needs no work.
const QUESTION: Duration = Duration::from_secs(60);
/// How long it may take to answer at all the first time.
const GREETING: Duration = Duration::from_secs(20);
/// The oldest API that has everything needed (Docker 20.10, Podman 4).
const OLDEST: (usize, usize) = (1, 41);

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

impl Program {
    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Program::Docker => "docker",
            Program::Podman => "podman",
        }
    }

    /// The name in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Program::Docker => "Docker",
            Program::Podman => "Podman",
        }
    }

    /// By the name users write.
    pub fn named(name: &str) -> Option<Program> {
        [Program::Docker, Program::Podman].into_iter().find(|p| p.name() == name)
    }
}

/// Where a program listens: what `DOCKER_HOST` or `CONTAINER_HOST` says, or its usual place. An
/// error says why such a place will not do.
pub fn socket_of(
    program: Program,
    environment: &BTreeMap<String, String>,
) -> Result<PathBuf, RuntimeError> {
    let (variable, usual) = match program {
        Program::Docker => ("DOCKER_HOST", "/var/run/docker.sock"),
        Program::Podman => ("CONTAINER_HOST", "/run/podman/podman.sock"),
    };
    let Some(text) = environment.get(variable).filter(|t| !t.is_empty()) else {
        // The socket of an ordinary user's Podman, when that is who asks.
        let own = environment.get("XDG_RUNTIME_DIR").filter(|_| !nix::unistd::geteuid().is_root());
        let own = own.map(|dir| Path::new(dir).join("podman/podman.sock"));
        return Ok(own.filter(|_| program == Program::Podman).unwrap_or_else(|| usual.into()));
    };
    match text.strip_prefix("unix://") {
        Some(path) => Ok(path.into()),
        None if text.starts_with('/') => Ok(text.into()),
        None => Err(RuntimeError::Unreachable {
            runtime: program.title().into(),
            socket: text.clone(),
            why: format!(
                "links need its namespaces on this machine: {variable} must be unix://PATH"
            ),
        }),
    }
}

/// A daemon that answers.
pub struct Daemon {
    pub(crate) docker: Docker,
    pub(crate) program: Program,
    socket: PathBuf,
    tokio: tokio::runtime::Runtime,
}

impl Daemon {
    /// Connects, and agrees on a version of the API.
    pub fn connect(program: Program, socket: &Path) -> Result<Self, RuntimeError> {
        let unreachable = |why: String| RuntimeError::Unreachable {
            runtime: program.title().into(),
            socket: socket.display().to_string(),
            why,
        };
        let start = match program {
            Program::Docker => "is the service running (systemctl start docker)?",
            Program::Podman => {
                "is its socket there (systemctl start podman.socket, or podman system service)?"
            }
        };
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| RuntimeError::io("start threads for the API", e))?;
        let path = socket.to_string_lossy();
        // No limit of the library's own: how long a pull or a stop takes is known here.
        const NO_LIMIT: u64 = 30 * 24 * 3600;
        let docker = Docker::connect_with_unix(&path, NO_LIMIT, API_DEFAULT_VERSION)
            .map_err(|_| unreachable(format!("there is no such socket; {start}")))?;
        let greeting = tokio
            .block_on(async { tokio::time::timeout(GREETING, docker.negotiate_version()).await });
        let docker = match greeting {
            Ok(Ok(docker)) => docker,
            Ok(Err(Error::DockerResponseServerError { message, .. })) => {
                return Err(unreachable(sentence(&message)));
            }
            Ok(Err(e)) => return Err(unreachable(format!("{}; {start}", cause(&e)))),
            Err(_) => {
                let why = format!("no answer within {} s; {start}", GREETING.as_secs());
                return Err(unreachable(why));
            }
        };
        let ClientVersion { major_version, minor_version } = docker.client_version();
        if (major_version, minor_version) < OLDEST {
            return Err(unreachable(format!(
                "its API has version {major_version}.{minor_version}, and {}.{} is the oldest that will do (Docker 20.10, Podman 4.0)",
                OLDEST.0, OLDEST.1
            )));
        }
        Ok(Daemon { docker, program, socket: socket.into(), tokio })
    }

    /// Which program it is.
    pub fn program(&self) -> Program {
        self.program
    }

    /// Waits for what needs no work of the daemon.
    pub(crate) fn ask<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, RuntimeError> {
        self.wait(what, QUESTION, future)
    }

    /// Waits for an answer, but no longer than this.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, RuntimeError> {
        match self.run(async { tokio::time::timeout(limit, future).await }) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(self.error(what, &e)),
            Err(_) => Err(RuntimeError::Timeout {
                what: format!("{} to {what}", self.program.title()),
                seconds: limit.as_secs(),
                seen: format!("no answer at {}", self.socket.display()),
            }),
        }
    }

    /// Runs something to its end.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.tokio.block_on(future)
    }

    /// An error of the library as ours.
    pub(crate) fn error(&self, what: &str, e: &Error) -> RuntimeError {
        let title = self.program.title();
        match e {
            Error::DockerResponseServerError { message, .. } => {
                RuntimeError::Remote(format!("{title} could not {what}: {}", sentence(message)))
            }
            Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }
            | Error::SocketNotFoundError(_) => RuntimeError::Unreachable {
                runtime: title.into(),
                socket: self.socket.display().to_string(),
                why: format!("it went away while it should {what}"),
            },
            other => RuntimeError::Remote(format!("{title} could not {what}: {}", plain(other))),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Streams that nobody reads any more must not hold up who leaves.
        let spare = tokio::runtime::Builder::new_current_thread().build();
        if let Ok(spare) = spare {
            std::mem::replace(&mut self.tokio, spare).shutdown_background();
        }
    }
}

/// The status of a refusal.
pub(crate) fn status(e: &Error) -> Option<u16> {
    match e {
        // Podman's answer when it goes while it is looked at.
        Error::DockerResponseServerError { status_code: 500, message }
            if message.contains("no such container") =>
        {
            Some(404)
        }
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The words of a refusal.
pub(crate) fn words(e: &Error) -> String {
    match e {
        Error::DockerResponseServerError { message, .. } => sentence(message),
        other => plain(other),
    }
}

fn sentence(message: &str) -> String {
    message.trim().trim_end_matches(": unknown").replace('\n', " ")
}

/// The last thing behind an error: what the system said, not which library heard it.
fn cause(e: &Error) -> String {
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// An error with what is behind it, each said once.
fn plain(e: &Error) -> String {
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = inner.source();
    }
    text
}
