//! What happens to containers, as it happens.

use crate::daemon::Daemon;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use netloom_runtime::RuntimeError;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Containers that are listened for.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Those with a label, `key=value` or `key`.
    Label(&'a str),
    /// Those of these names.
    Named(&'a [String]),
}

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The daemon's word for it (`start`, `die`, `exec_create: sh`).
    pub action: String,
    /// The container's name.
    pub name: String,
}

impl Daemon {
    /// Calls `each` for everything that happens to the containers that are meant, until `each` says
    /// false or the daemon goes away; `ready` is called as soon as nothing can be
    /// missed any more.
    pub fn watch(
        &self,
        which: Which<'_>,
        ready: impl FnOnce(),
        mut each: impl FnMut(Happened) -> bool,
    ) -> Result<(), RuntimeError> {
        let mut filters = HashMap::from([("type".to_owned(), vec!["container".to_owned()])]);
        match which {
            Which::Label(label) => drop(filters.insert("label".into(), vec![label.into()])),
            Which::Named(names) => drop(filters.insert("container".into(), names.to_vec())),
        }
        // What happens while the request is on its way is told too.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let since = Some(now.saturating_sub(1).to_string());
        let options = EventsOptions { filters: Some(filters), since, ..EventsOptions::default() };
        let mut stream = std::pin::pin!(self.docker.events(Some(options)));
        // The request is on its way with the first look at the stream.
        let first = self.run(async {
            tokio::time::timeout(std::time::Duration::from_millis(50), stream.next()).await
        });
        ready();
        let mut next = match first {
            Ok(first) => first,
            Err(_) => self.run(stream.next()),
        };
        loop {
            match next {
                None => return Ok(()),
                Some(Err(e)) => return Err(self.error("tell what happens", &e)),
                // Who is told may ask the daemon something himself.
                Some(Ok(event)) => {
                    if !each(read(event)) {
                        return Ok(());
                    }
                }
            }
            next = self.run(stream.next());
        }
    }
}

fn read(event: EventMessage) -> Happened {
    let mut attributes = event.actor.and_then(|a| a.attributes).unwrap_or_default();
    Happened {
        action: event.action.unwrap_or_default(),
        name: attributes.remove("name").unwrap_or_default(),
    }
}
