//! Waiting for a node: its health check, or its end.

use netloom_runtime::{ContainerState, Health, Status};

/// What a look at a node says about a stage that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Reached.
    Yes,
    /// Not yet; what is seen.
    NotYet(String),
    /// It will never be.
    Never(String),
}

/// Whether a node is healthy. Without a health check, running is all there is to see.
pub fn healthy(state: Option<&ContainerState>) -> Verdict {
    let Some(state) = state else { return Verdict::Never("there is no container".into()) };
    match (state.status, state.health) {
        (Status::Running, None | Some(Health::Healthy)) => Verdict::Yes,
        (Status::Running | Status::Restarting, health) => {
            let word = health.map_or("restarting", Health::word);
            Verdict::NotYet(format!("{}, {word}", state.status.word()))
        }
        (Status::Created, _) => Verdict::NotYet("created".into()),
        (Status::Exited, _) => {
            let code = state.exit_code.map_or_else(|| "?".into(), |c| c.to_string());
            Verdict::Never(format!("it ended with exit code {code}"))
        }
    }
}

/// Whether a node has ended.
pub fn ended(state: Option<&ContainerState>) -> Verdict {
    match state {
        None => Verdict::Yes,
        Some(s) if s.status == Status::Exited => Verdict::Yes,
        Some(s) => Verdict::NotYet(s.status.word().into()),
    }
}
