//! Steps of a node's kind, run in the node: until it is ready, to configure it, to save what it has.

use crate::beneath;
use crate::deploy::DeployOptions;
use crate::exec::exec_unless;
use crate::plumb::opened;
use crate::report::{Event, Reporter};
use crate::schedule::Outcome;
use netloom_datapath::Netns;
use netloom_kinds::Sequence;
use netloom_plan::NodeObject;
use netloom_runtime::{ExecOutput, ExecSpec, Runtime, RuntimeError};
use netloom_steps::{Captured, Node as Reached, Turn, Walk};
use netloom_topology::{FileContext, Lab, Node, StepData};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the steps of a node's kind are filled in with, where it has any.
pub fn data(
    lab: &Lab,
    node: &Node,
    context: &FileContext,
    options: &DeployOptions,
) -> Result<Option<StepData>, String> {
    let kind = &node.kind_data;
    if kind.ready.is_none() && kind.configure.is_none() {
        return Ok(None);
    }
    let data = StepData::of(lab, node, context)?;
    let cleaned = options.remake.as_ref().is_some_and(|how| how.cleanup);
    let Some(saved) = kind.saved.as_deref().filter(|_| !cleaned) else { return Ok(Some(data)) };
    match node.dir.join(data.fill(saved, &Captured::new())?).exists() {
        true => StepData::of(lab, node, &FileContext { fresh: false, ..context.clone() }).map(Some),
        false => Ok(Some(data)),
    }
}

/// A running node as steps reach it.
pub struct Place<'a> {
    /// What runs it.
    pub runtime: Arc<dyn Runtime>,
    /// The node.
    pub node: &'a Node,
    /// Its place in the network.
    pub object: &'a NodeObject,
    /// What templates are filled in with.
    pub data: &'a StepData,
    /// Whether the user wants to stop.
    pub interrupted: fn() -> bool,
}

impl Place<'_> {
    fn container(&self) -> &str {
        &self.node.long_name
    }

    /// One port of it: by its management address, or from inside where it has none.
    fn reach(&self, port: u16, within: Duration) -> io::Result<TcpStream> {
        let legs = self.object.mgmt.iter().flat_map(|m| &m.addresses).map(|a| a.addr());
        let chosen = self.runtime.inspect(self.container()).map_err(io::Error::other)?;
        let given = chosen.iter().flat_map(|s| &s.addresses);
        let given = given.filter_map(|a| a.split('/').next()?.parse::<IpAddr>().ok());
        let within = within.max(Duration::from_millis(1));
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in legs.chain(given) {
            match TcpStream::connect_timeout(&SocketAddr::new(address, port), within) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        if self.object.mgmt.is_some() {
            return Err(last);
        }
        let netns: Netns = opened(&*self.runtime, self.container())
            .map_err(io::Error::other)?
            .ok_or(io::ErrorKind::NotConnected)?;
        let inside = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        netns.run_in(|| TcpStream::connect_timeout(&inside, within)).map_err(io::Error::other)?
    }
}

impl Reached for Place<'_> {
    fn exec(&self, spec: &ExecSpec) -> Result<ExecOutput, RuntimeError> {
        let done = exec_unless(&self.runtime, self.container(), spec, self.interrupted);
        done.unwrap_or_else(|| Err(RuntimeError::Remote("interrupted".into())))
    }

    fn connect(&self, port: u16, within: Duration) -> io::Result<TcpStream> {
        // Who waits for a port looks often: one that does not answer at all must not hold him up.
        self.reach(port, within.min(Duration::from_secs(5)))
    }

    fn fill(&self, text: &str, captured: &Captured) -> Result<String, String> {
        self.data.fill(text, captured)
    }

    fn pid(&self) -> Option<u32> {
        self.runtime.inspect(self.container()).ok().flatten().and_then(|s| s.pid)
    }

    fn keep(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let owner = self.node.dir.parent().and_then(|dir| std::fs::metadata(dir).ok());
        beneath::write(&self.node.dir, Path::new(path), content, owner.as_ref())
    }

    fn credentials(&self) -> (&str, &str) {
        (&self.node.credentials.username, &self.node.credentials.password)
    }
}

/// The sequences of a node that was started, one after the other.
pub struct Walks {
    left: Vec<(&'static str, Walk)>,
    told: usize,
    begun: Instant,
}

impl Walks {
    /// Those of a node's kind: until it is ready, then its configuration.
    pub fn of(node: &Node) -> Self {
        let kind = &node.kind_data;
        let sequences: [(&str, Option<&Sequence>); 2] =
            [("is not configured", kind.configure.as_ref()), ("is not ready", kind.ready.as_ref())];
        let left = sequences.into_iter().filter_map(|(what, s)| Some((what, Walk::new(s?))));
        Walks { left: left.collect(), told: 0, begun: Instant::now() }
    }

    /// Goes on as far as can be done now. The reason when a node is not as its kind says it should
    /// be; that is no reason to end the deploy.
    pub fn go_on<T>(
        &mut self,
        place: &Place<'_>,
        report: &dyn Reporter,
    ) -> (Outcome<T>, Option<String>) {
        let name = &place.node.name;
        while let Some((what, walk)) = self.left.last_mut() {
            if (place.interrupted)() {
                return (Outcome::Done, None);
            }
            let turn = walk.turn(place);
            for over in &walk.passed_over()[self.told..] {
                report.event(Event::Note(format!("node {name}: {over}")));
            }
            self.told = walk.passed_over().len();
            match turn {
                Turn::Again(wait) if wait.is_zero() => {}
                Turn::Again(wait) => return (Outcome::Later(wait), None),
                Turn::Done => {
                    self.left.pop();
                    self.told = 0;
                }
                Turn::Failed { step, why } => {
                    let seconds = self.begun.elapsed().as_secs();
                    let why = format!("node {name} {what} after {seconds} s: {step}: {why}");
                    return (Outcome::Done, Some(why));
                }
            }
        }
        (Outcome::Done, None)
    }
}
