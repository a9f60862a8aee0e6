//! What happens to containers, as it happens.

use crate::daemon::Daemon;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use netloom_runtime::RuntimeError;
use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub what: What,
    /// The word the daemon used (`start`, `die`, `exec_create: sh`).
    pub action: String,
    /// The container's number.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// Its labels, and what else the daemon says.
    pub attributes: BTreeMap<String, String>,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

/// Kinds of what can happen that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Its first process was started.
    Started,
    /// Its first process ended.
    Ended,
    /// It was removed.
    Removed,
    /// Anything else.
    Other,
}

impl Daemon {
    /// Calls `each` for everything that happens to containers with a label (`key=value`), until
    /// `each` says false or the daemon goes away; `ready` is called as soon as nothing can be
    /// missed any more.
    pub fn watch(
        &self,
        label: &str,
        ready: impl FnOnce(),
        mut each: impl FnMut(Happened) -> bool,
    ) -> Result<(), RuntimeError> {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![label.to_owned()]),
        ]);
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
    let actor = event.actor.unwrap_or_default();
    let attributes: BTreeMap<String, String> =
        actor.attributes.unwrap_or_default().into_iter().collect();
    let action = event.action.unwrap_or_default();
    Happened {
        what: match action.as_str() {
            "start" => What::Started,
            "die" | "died" => What::Ended,
            "destroy" | "remove" => What::Removed,
            _ => What::Other,
        },
        action,
        id: actor.id.unwrap_or_default(),
        name: attributes.get("name").cloned().unwrap_or_default(),
        attributes,
        at: event.time_nano.unwrap_or_default(),
    }
}
