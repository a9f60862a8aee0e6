//! What runs the containers of a lab: the embedded runtime, and the daemons some of its nodes are
//! given to.

use crate::daemons::Daemons;
use crate::record::{LabRecord, NodeRecord};
use crate::{Engine, EngineError};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_plan::{NodeObject, Runs};
use netloom_runtime::{ContainerState, Runtime};
use netloom_runtime_docker::{Containers, Daemon};
use netloom_runtime_native::NativeRuntime;
use netloom_topology::Lab;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// Label that says which lab a container belongs to.
pub const LAB_LABEL: &str = "containerlab";

/// The runtimes of one lab.
#[derive(Clone)]
pub struct Runtimes {
    /// The embedded one, whose holder keeps the namespaces of all nodes.
    pub native: Arc<NativeRuntime>,
    lab: String,
    daemons: Arc<Daemons>,
    sockets: BTreeMap<Runs, PathBuf>,
}

impl Runtimes {
    /// Those of a lab; daemons listen where the lab's record says.
    pub fn new(engine: &Engine, record: &LabRecord, native: Arc<NativeRuntime>) -> Self {
        Runtimes {
            native,
            lab: record.name.clone(),
            daemons: engine.daemons.clone(),
            sockets: record.sockets.clone(),
        }
    }

    /// What runs such nodes.
    pub fn of(&self, runs: Runs) -> Result<Arc<dyn Runtime>, EngineError> {
        match runs {
            Runs::Native => Ok(self.native.clone()),
            runs => Ok(Arc::new(self.containers(runs)?)),
        }
    }

    /// Where daemons listen, as the lab's record says.
    pub fn sockets(&self) -> &BTreeMap<Runs, PathBuf> {
        &self.sockets
    }

    /// All containers of a daemon, to look at and to run commands in.
    pub fn of_anybody(&self, runs: Runs) -> Result<Arc<dyn Runtime>, EngineError> {
        let ours = self.containers(runs)?;
        Ok(Arc::new(Containers::of_anybody(ours.daemon().clone())))
    }

    fn containers(&self, runs: Runs) -> Result<Containers, EngineError> {
        containers(&self.daemons, &self.sockets, &self.lab, runs)
    }

    /// States of all containers of the lab, by name.
    pub fn states(
        &self,
        which: &BTreeSet<Runs>,
    ) -> Result<HashMap<String, ContainerState>, EngineError> {
        let mut out = HashMap::new();
        for runs in which {
            let list = self.of(*runs)?.list()?;
            out.extend(list.into_iter().map(|s| (s.name.clone(), s)));
        }
        Ok(out)
    }
}

/// The containers of a lab that a daemon has.
pub fn containers(
    daemons: &Daemons,
    sockets: &BTreeMap<Runs, PathBuf>,
    lab: &str,
    runs: Runs,
) -> Result<Containers, EngineError> {
    let daemon: Arc<Daemon> = match sockets.get(&runs) {
        Some(socket) => daemons.at(runs, socket)?,
        None => daemons.usual(runs)?,
    };
    Ok(Containers::new(daemon, LAB_LABEL, lab))
}

impl LabRecord {
    /// What runs the nodes of the lab, or may run some that a deploy did not come to make.
    pub fn runtimes(&self) -> BTreeSet<Runs> {
        let nodes = self.everything_ref().filter(|n| n.container).map(|n| n.runs);
        nodes.chain(self.nodes.values().map(|n: &NodeRecord| n.runs)).collect()
    }

    /// What runs a container.
    pub fn runs_of(&self, container: &str) -> Runs {
        let node = self.nodes.values().find(|n| n.long_name == container);
        node.map(|n| n.runs).unwrap_or_default()
    }

    /// Nodes that a daemon runs, or may.
    pub fn given_away(&self) -> impl Iterator<Item = &NodeObject> {
        self.everything_ref().filter(|n| n.container && n.runs != Runs::Native)
    }
}

/// Daemons that answer, and where they listen.
pub type Reached = BTreeMap<Runs, (PathBuf, Arc<Daemon>)>;

impl Engine {
    /// Finds the daemons that nodes of a lab are to be given to; one that does not answer is a
    /// finding. A lab that is there stays with the daemons it has.
    pub(crate) fn reach(
        &self,
        lab: &Lab,
        record: Option<&LabRecord>,
        found: &mut Diagnostics,
    ) -> Reached {
        let mut out = Reached::new();
        let mut missing = BTreeSet::new();
        for node in &lab.nodes {
            let runs = netloom_plan::runs(node);
            if runs == Runs::Native || out.contains_key(&runs) || missing.contains(&runs) {
                continue;
            }
            let socket = match record.and_then(|r| r.sockets.get(&runs)) {
                Some(socket) => Ok(socket.clone()),
                None => self.daemons.socket(runs),
            };
            match socket.and_then(|s| Ok((s.clone(), self.daemons.at(runs, &s)?))) {
                Ok(reached) => drop(out.insert(runs, reached)),
                Err(e) => {
                    missing.insert(runs);
                    let at = node.span_of("runtime");
                    let what = format!("node `{}` cannot be run: {e}", node.name);
                    found.push(Diagnostic::error("no-daemon", what).at(at));
                }
            }
        }
        out
    }

    /// The runtimes of a lab, if its holder lives.
    pub fn runtimes(&self, record: &LabRecord) -> Result<Option<Runtimes>, EngineError> {
        let native = self.runtime(&record.name)?;
        Ok(native.map(|native| Runtimes::new(self, record, Arc::new(native))))
    }
}
