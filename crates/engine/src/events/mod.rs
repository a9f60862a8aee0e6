//! What happens in labs, as it happens: containers that come, start, end and go; interfaces that
//! appear, change and vanish; what they send and receive.
//!
//! Daemons tell what happens to their containers; the embedded runtime is looked at. Interfaces are
//! compared whenever the kernel says that something in their namespace has changed.

mod containers;
mod interfaces;

use crate::record::LabRecord;
use crate::{Engine, EngineError};
use containers::Containers;
use interfaces::Interfaces;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often what tells nothing by itself is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Something that happened, in the shape tools for containerlab read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Happening {
    /// When, in nanoseconds since 1970.
    #[serde(skip)]
    pub time: i64,
    /// `container` or `interface`.
    #[serde(rename = "type")]
    pub what: &'static str,
    /// `start`, `die`, `create`, `update`, `stats`, ...
    pub action: String,
    /// First twelve digits of the container's number.
    pub actor_id: String,
    /// The container's name.
    pub actor_name: String,
    /// The container's number.
    pub actor_full_id: String,
    /// Whatever there is to say.
    pub attributes: BTreeMap<String, String>,
}

/// What is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    /// Begin with what is there.
    pub initial: bool,
    /// Counters of interfaces, so often.
    pub stats: Option<Duration>,
}

/// Now, in nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Happening {
    fn of_container(
        action: &str,
        id: &str,
        name: &str,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        Happening {
            time: now(),
            what: "container",
            action: action.into(),
            actor_id: id.chars().take(12).collect(),
            actor_name: name.into(),
            actor_full_id: id.into(),
            attributes,
        }
    }
}

/// The records of all labs, read again only when they are written anew.
#[derive(Default)]
struct Records {
    known: BTreeMap<String, (Option<SystemTime>, LabRecord)>,
}

impl Records {
    fn look(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let names = LabRecord::folders(&engine.directories)?;
        self.known.retain(|name, _| names.contains(name));
        for name in names {
            let path = engine.directories.lab(&name).join("lab.json");
            let written = std::fs::metadata(&path).and_then(|m| m.modified()).ok();
            if self.known.get(&name).is_some_and(|(when, _)| *when == written) {
                continue;
            }
            if let Ok(Some(record)) = LabRecord::load(&engine.directories, &name) {
                self.known.insert(name, (written, record));
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &LabRecord> {
        self.known.values().map(|(_, record)| record)
    }
}

impl Engine {
    /// Tells what happens in all labs, until `each` says false or the user wants to stop.
    pub fn watch(
        &self,
        watch: Watch,
        interrupted: fn() -> bool,
        mut each: impl FnMut(Happening) -> bool,
    ) -> Result<(), EngineError> {
        let mut records = Records::default();
        records.look(self)?;
        let mut containers = Containers::listen(self, &records);
        let mut interfaces = Interfaces::default();
        let mut first = true;
        let mut counted = Instant::now();
        while !interrupted() {
            let mut happened = Vec::new();
            let running = containers.look(self, &records, first, watch.initial, &mut happened);
            // What is there when somebody begins to listen is no news, unless he asks for it; of
            // what starts later everything is.
            let word = match (first, watch.initial) {
                (true, true) => Some("snapshot"),
                (true, false) => None,
                (false, _) => Some("create"),
            };
            interfaces.look(self, &records, &running, word, &mut happened);
            if let Some(every) = watch.stats
                && counted.elapsed() >= every
            {
                interfaces.count(counted.elapsed(), &mut happened);
                counted = Instant::now();
            }
            first = false;
            for one in happened {
                if !each(one) {
                    return Ok(());
                }
            }
            interfaces.wait(LOOK);
            records.look(self)?;
        }
        Ok(())
    }
}

/// A container that runs: its number, and when and as which process it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    lab: String,
    node: String,
    id: String,
    pid: u32,
    started: Option<u64>,
}

/// Containers that run, by name.
type Running = HashMap<String, Run>;
