//! What is there: nodes and interfaces of labs.

use crate::record::LabRecord;
use crate::{Engine, EngineError, details};
use netloom_datapath::{Netns, link, observe};
use netloom_plan::{NamespaceOf, NodeObject, Runs};
use netloom_runtime::{ContainerState, Status};
use std::collections::{BTreeMap, HashMap};

/// A node as users see it.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// Lab.
    pub lab: String,
    /// Topology file.
    pub topology: String,
    /// Container name.
    pub name: String,
    /// Short name.
    pub node: String,
    /// Identifier of the container, empty without one.
    pub id: String,
    /// Image as written.
    pub image: String,
    /// Kind as written.
    pub kind: String,
    /// Group.
    pub group: String,
    /// `running`, `exited`, ...
    pub state: String,
    /// `Up 3 minutes`, `healthy`, `Exited (1)`.
    pub status: String,
    /// Management address with prefix length.
    pub ipv4: Option<String>,
    /// Management address with prefix length.
    pub ipv6: Option<String>,
    /// Owner of the lab.
    pub owner: String,
    /// First process.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: u32,
    /// Whether it is a container of somebody else.
    pub outside: bool,
}

/// An interface as users see it.
#[derive(Debug, Clone)]
pub struct InterfaceRow {
    /// Name.
    pub name: String,
    /// Alias.
    pub alias: String,
    /// MAC address.
    pub mac: String,
    /// Index.
    pub index: u32,
    /// MTU.
    pub mtu: u32,
    /// Kind of device.
    pub kind: String,
    /// `up` or `down`.
    pub state: &'static str,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
}

/// What runtimes say of a lab's containers.
#[derive(Default)]
struct Known {
    states: HashMap<String, ContainerState>,
    away: BTreeMap<Runs, String>,
}

impl Engine {
    /// All that is known of each node of a lab, in the shape tools for containerlab read; under
    /// `Netloom` what they do not know.
    pub fn details(&self, record: &LabRecord, now: u64) -> Result<serde_json::Value, EngineError> {
        let Known { states, .. } = self.states(record)?;
        let places: HashMap<&str, &NodeObject> =
            record.objects.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
        let mut out = Vec::new();
        for row in self.nodes(record, now)? {
            let (node, place) = (&record.nodes[&row.node], places.get(row.node.as_str()));
            let outside = match place.filter(|p| p.outside) {
                Some(place) => self.outside_state(record, place)?,
                None => None,
            };
            let state = outside.as_ref().or_else(|| states.get(&row.name));
            out.push(details::of(record, &row, node, place.copied(), state, now));
        }
        Ok(out.into())
    }

    /// States by container name, and why those of some runtimes are not known.
    fn states(&self, record: &LabRecord) -> Result<Known, EngineError> {
        let mut known = Known::default();
        let Some(runtimes) = self.runtimes(record)? else { return Ok(known) };
        for runs in record.runtimes() {
            match runtimes.of(runs).and_then(|r| Ok(r.list()?)) {
                Ok(list) => known.states.extend(list.into_iter().map(|s| (s.name.clone(), s))),
                Err(e) if runs == Runs::Native => return Err(e),
                Err(e) => drop(known.away.insert(runs, e.to_string())),
            }
        }
        Ok(known)
    }

    /// The state of a container that a node only stands for.
    fn outside_state(
        &self,
        record: &LabRecord,
        node: &NodeObject,
    ) -> Result<Option<ContainerState>, EngineError> {
        let Some(runtimes) = self.runtimes(record)? else { return Ok(None) };
        let runtime = self.runtime_of(&runtimes, node);
        // With what ran it went the container.
        Ok(runtime.ok().and_then(|r| r.inspect(&node.long_name).ok()).flatten())
    }

    /// The nodes of a lab.
    pub fn nodes(&self, record: &LabRecord, now: u64) -> Result<Vec<NodeRow>, EngineError> {
        let Known { states, away } = self.states(record)?;
        let mut rows = Vec::new();
        for (name, node) in &record.nodes {
            let Some(object) = record.objects.nodes.iter().find(|o| o.name == *name) else {
                continue;
            };
            if !(object.container || object.outside) {
                continue;
            }
            let outside = match object.outside {
                true => self.outside_state(record, object)?,
                false => None,
            };
            let state = outside.as_ref().or_else(|| states.get(&node.long_name));
            let address = |v4: bool| {
                let mgmt = object.mgmt.as_ref()?;
                mgmt.addresses.iter().find(|a| a.addr().is_ipv4() == v4).map(|a| a.to_string())
            };
            let address = |v4: bool| {
                let given = state.map(|s| &s.addresses[..]).unwrap_or_default();
                let given = given.iter().find(|a| a.contains('.') == v4).cloned();
                given.or_else(|| address(v4))
            };
            rows.push(NodeRow {
                lab: record.name.clone(),
                topology: record.topology.display().to_string(),
                name: node.long_name.clone(),
                node: name.clone(),
                id: state.map(|s| s.id.clone()).unwrap_or_default(),
                image: match (node.image.as_str(), &outside) {
                    ("", Some(state)) => state.image.clone(),
                    (image, _) => image.to_owned(),
                },
                kind: node.kind.clone(),
                group: node.group.clone(),
                state: match (state, away.get(&node.runs)) {
                    (Some(state), _) => state.status.word().to_string(),
                    (None, Some(_)) => "unknown".into(),
                    (None, None) => "gone".into(),
                },
                status: match (state, away.get(&node.runs)) {
                    (None, Some(why)) => why.clone(),
                    _ => status(state, now),
                },
                ipv4: address(true),
                ipv6: address(false),
                owner: record.owner.clone(),
                pid: state.and_then(|s| s.pid),
                restarts: state.map_or(0, |s| s.restarts),
                outside: object.outside,
            });
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// The network namespace of a node.
    pub(crate) fn netns(&self, record: &LabRecord, node: &str) -> Result<Netns, EngineError> {
        let missing = || EngineError::NoNode { lab: record.name.clone(), node: node.into() };
        let (name, _) = record
            .nodes
            .iter()
            .find(|(n, r)| *n == node || r.long_name == node)
            .ok_or_else(missing)?;
        let object = record.objects.nodes.iter().find(|o| o.name == *name).ok_or_else(missing)?;
        let netns = match &object.namespace {
            NamespaceOf::Host => Netns::current()?,
            NamespaceOf::Node(owner) => {
                self.namespace_of(&record.name, owner)?.ok_or_else(missing)?
            }
            of => self.anothers(&record.sockets, of)?.ok_or_else(missing)?,
        };
        Ok(netns.with_label(format!("node {node}")))
    }

    /// The interfaces of a node.
    pub fn interfaces(
        &self,
        record: &LabRecord,
        node: &str,
    ) -> Result<Vec<InterfaceRow>, EngineError> {
        let netns = self.netns(record, node)?;
        let mut rows: Vec<InterfaceRow> = observe::links_in(&netns)?
            .into_iter()
            .map(|l| InterfaceRow {
                // What has no address has none of zeros.
                mac: match l.mac {
                    Some(mac) if mac.iter().any(|byte| *byte != 0) => link::mac_text(&mac),
                    _ => String::new(),
                },
                alias: l.alias.unwrap_or_default(),
                index: l.index,
                mtu: l.mtu,
                state: match (&*l.kind, &*l.name, l.up) {
                    // Nothing can be plugged in.
                    ("", "lo", true) => "unknown",
                    (_, _, true) => "up",
                    _ => "down",
                },
                kind: if l.kind.is_empty() { "device".into() } else { l.kind },
                addresses: l.addresses.iter().map(|a| a.cidr.to_string()).collect(),
                name: l.name,
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }
}

fn status(state: Option<&ContainerState>, now: u64) -> String {
    let Some(state) = state else { return "the lab's processes are gone".into() };
    match (state.status, state.health) {
        (Status::Running, Some(health)) => health.word().to_string(),
        (Status::Running, None) => {
            let seconds = now.saturating_sub(state.started_at.unwrap_or(now));
            format!("Up {}", age(seconds))
        }
        (Status::Exited, _) => {
            let code = state.exit_code.map_or_else(|| "?".into(), |c| c.to_string());
            match state.finished_at {
                Some(end) => format!("Exited ({code}) {} ago", age(now.saturating_sub(end))),
                None => format!("Exited ({code})"),
            }
        }
        (other, _) => other.word().to_string(),
    }
}

/// A time as people say it.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} seconds"),
        60..3600 => format!("{} minutes", seconds / 60),
        3600..86_400 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
