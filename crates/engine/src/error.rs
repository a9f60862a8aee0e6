//! What can go wrong, with the exit code each means.

use netloom_diag::Diagnostics;
use netloom_runtime::RuntimeError;
use std::path::PathBuf;
use thiserror::Error;

/// A command that could not be carried out.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The lab cannot be made as it is; nothing was made.
    #[error("the lab cannot be deployed as it is")]
    Refused(Diagnostics),
    /// No lab of that name.
    #[error("there is no lab `{0}` here; `netloom inspect --all` shows labs, --name chooses one")]
    NoLab(String),
    /// Its processes are gone.
    #[error(
        "the processes of lab `{0}` are gone (a reboot, or a kill); `netloom deploy` makes it anew, `netloom destroy` removes what is left"
    )]
    Gone(String),
    /// No such node.
    #[error("lab `{lab}` has no node `{node}`")]
    NoNode {
        /// The lab.
        lab: String,
        /// The node.
        node: String,
    },
    /// No such container, in labs or with daemons.
    #[error(
        "there is no container `{0}`: neither of a lab here, nor running with Docker or Podman; `netloom inspect --all` shows those of labs"
    )]
    NoContainer(String),
    /// Something the user wrote makes no sense.
    #[error("{what}: {hint}")]
    Input {
        /// What is wrong.
        what: String,
        /// What to write.
        hint: String,
    },
    /// The name belongs to another lab.
    #[error(
        "a lab named `{name}` is deployed already, from {topology}; destroy it first, or give this one another name with --name"
    )]
    NameTaken {
        /// The lab.
        name: String,
        /// Its topology file.
        topology: PathBuf,
    },
    /// Another lab lives in this one's namespaces.
    #[error("lab `{lab}` is in use: nodes of {users} live in its namespaces; destroy them first")]
    InUse {
        /// The lab.
        lab: String,
        /// The labs that use it.
        users: String,
    },
    /// Another node would end with this one.
    #[error(
        "node `{guest}` lives among the processes of `{node}` (`pid-mode`) and would end with it; name both"
    )]
    LivedIn {
        /// The node.
        node: String,
        /// Who lives there.
        guest: String,
    },
    /// Another command works on the lab.
    #[error("another command is working on lab `{0}`; wait for it to end")]
    Busy(String),
    /// The user may not.
    #[error("{what} needs root: {why}")]
    Permission {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// Some nodes or links could not be made.
    #[error("{}", failures("made", .0))]
    Failed(Vec<Failure>),
    /// Some parts of a lab could not be removed; it stays recorded.
    #[error("{}\n  what is left stays recorded: mend it and destroy once more", failures("removed", .0))]
    NotRemoved(Vec<Failure>),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A filter on a lab that runs.
    #[error(
        "lab `{0}` runs already with other nodes; --node-filter is for a lab that does not run yet"
    )]
    FilterOnRunning(String),
    /// A file.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A file that cannot be written.
    #[error("{} cannot be written: {why}{}", path.display(), room(why))]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A record that cannot be read.
    #[error(
        "the record {path} cannot be used: {why}; `netloom destroy --name LAB` removes the lab all the same"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A link or namespace.
    #[error(transparent)]
    Datapath(#[from] netloom_datapath::Error),
    /// A container.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An image.
    #[error(transparent)]
    Image(#[from] netloom_image::Error),
    /// The management network.
    #[error(transparent)]
    Network(#[from] netloom_plan::NetworkError),
    /// Anything a node did not do in time.
    #[error("waited {seconds} s for {what}; last seen: {seen}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was last seen.
        seen: String,
    },
}

/// One thing that could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `node a`, `link a:eth1 b:eth1`.
    pub what: String,
    /// Why, and what to do.
    pub why: String,
    /// Whether it was waited for in vain.
    pub late: bool,
}

impl Failure {
    /// Something that could not be done.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Failure { what: what.into(), why: why.into(), late: false }
    }
}

fn failures(word: &str, list: &[Failure]) -> String {
    let shown: Vec<String> =
        list.iter().take(10).map(|f| format!("{}: {}", f.what, f.why)).collect();
    let more = list.len().saturating_sub(10);
    let tail = if more > 0 { format!("\n  ... and {more} more") } else { String::new() };
    format!("{} could not be {word}:\n  {}{tail}", count(list.len()), shown.join("\n  "))
}

fn count(n: usize) -> String {
    if n == 1 { "one thing".into() } else { format!("{n} things") }
}

/// What to do about a full disk.
fn room(why: &std::io::Error) -> &'static str {
    match why.kind() {
        std::io::ErrorKind::StorageFull => {
            "; make room on that file system, or name another with NETLOOM_STATE_DIR"
        }
        _ => "",
    }
}

impl EngineError {
    /// The exit code (`docs/cli.md`).
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Refused(_) | EngineError::FilterOnRunning(_) => 3,
            EngineError::Input { .. } => 2,
            EngineError::NoContainer(_) => 4,
            EngineError::NoLab(_) | EngineError::Gone(_) | EngineError::NoNode { .. } => 4,
            EngineError::NameTaken { .. }
            | EngineError::InUse { .. }
            | EngineError::LivedIn { .. }
            | EngineError::Busy(_) => 5,
            EngineError::Permission { .. } => 6,
            EngineError::Timeout { .. } | EngineError::Runtime(RuntimeError::Timeout { .. }) => 7,
            EngineError::Failed(list) if list.iter().all(|f| f.late) => 7,
            EngineError::Interrupted => 130,
            _ => 1,
        }
    }
}
