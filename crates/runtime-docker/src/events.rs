//! What happens to containers, as it happens.

use crate::daemon::Daemon;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use netloom_runtime::RuntimeError;
use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

/// Containers that are listened for.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Those with a label, `key=value` or `key`.
    Label(&'a str),
    /// Whatever the daemon has.
    All,
}

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The daemon's word for it (`start`, `die`, `exec_create: sh`).
    pub action: String,
    /// The container's name.
    pub name: String,
    /// Its number.
    pub id: String,
    /// What the daemon says of it: labels, image, exit code.
    pub attributes: BTreeMap<String, String>,
    /// When, in nanoseconds since 1970.
    pub time: i64,
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
            Which::All => {}
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
    let actor = event.actor.unwrap_or_default();
    let mut attributes: BTreeMap<String, String> =
        actor.attributes.unwrap_or_default().into_iter().collect();
    attributes.remove(crate::create::SPEC);
    Happened {
        action: event.action.unwrap_or_default(),
        name: attributes.get("name").cloned().unwrap_or_default(),
        id: actor.id.unwrap_or_default(),
        attributes,
        time: event.time_nano.unwrap_or_default(),
    }
}
