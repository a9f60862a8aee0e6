//! A look at what a running lab's namespaces hold: which links are whole, which nodes have lost
//! their leg in the management network.

use crate::wire::WIRING;
use crate::{Engine, EngineError};
use netloom_datapath::{LinkInfo, Netns, observe, ovs};
use netloom_plan::{Impl, LinkEnd, NamespaceOf, Objects, Runs};
use netloom_runtime_native::NativeRuntime;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

/// What was seen.
pub struct Seen {
    /// Links whose ends are there with their addresses.
    pub whole: HashSet<String>,
    /// Nodes whose management interface is missing something.
    pub detached: HashSet<String>,
}

/// Looks at everything a lab has.
pub fn look(
    engine: &Engine,
    sockets: &BTreeMap<Runs, PathBuf>,
    have: &Objects,
    runtime: &NativeRuntime,
) -> Result<Seen, EngineError> {
    let mut seen: HashMap<&NamespaceOf, Option<Vec<LinkInfo>>> = HashMap::new();
    let ends = have.links.iter().flat_map(|l| l.ends());
    let places = ends.map(|e| &e.namespace).chain(have.nodes.iter().map(|n| &n.namespace));
    for place in places {
        if seen.contains_key(place) {
            continue;
        }
        let netns = match place {
            NamespaceOf::Host => Some(Netns::current()?),
            NamespaceOf::Node(n) => match runtime.kept(&format!("netns:{n}"))? {
                Some(fd) => Some(Netns::from_fd(fd)?),
                None => None,
            },
            // Another lab's: it looks after itself.
            NamespaceOf::Other { .. } => None,
            foreign @ NamespaceOf::Foreign { .. } => engine.anothers(sockets, foreign)?,
        };
        seen.insert(place, netns.map(|n| observe::links_in(&n)).transpose()?);
    }
    let links_at = |place: &NamespaceOf| seen.get(place).and_then(Option::as_ref);
    let bridges: HashSet<&str> =
        have.links.iter().flat_map(|l| l.ends()).filter_map(|e| e.switch.as_deref()).collect();
    let host = Netns::current()?;
    // A switch that does not answer has no ports; that it does not, preflight says.
    let switched: HashMap<&str, BTreeSet<String>> =
        bridges.iter().map(|b| (*b, ovs::ports_of(&host, b).unwrap_or_default())).collect();
    let end_whole = |e: &LinkEnd| {
        if e.switch.as_ref().is_some_and(|b| !switched[b.as_str()].contains(&e.interface)) {
            return false;
        }
        let Some(links) = links_at(&e.namespace) else {
            return matches!(e.namespace, NamespaceOf::Other { .. });
        };
        let master =
            e.master.as_ref().map(|m| links.iter().find(|l| l.name == *m).map(|l| l.index));
        links.iter().any(|l| {
            l.name == e.interface
                && e.addresses.iter().all(|a| has_address(l, a))
                && master.is_none_or(|m| m.is_some() && l.master == m)
        })
    };
    let stitched = have.links.iter().any(|l| matches!(l.how, Impl::Stitch { .. }));
    let wired: HashSet<String> = match runtime.kept(WIRING)?.filter(|_| stitched) {
        Some(fd) => observe::links_in(&Netns::from_fd(fd)?)?.into_iter().map(|l| l.name).collect(),
        None => HashSet::new(),
    };
    let whole = have
        .links
        .iter()
        .filter(|l| end_whole(&l.a) && l.b.as_ref().is_none_or(end_whole))
        .filter(|l| match &l.how {
            Impl::Stitch { ports } => ports.iter().all(|p| wired.contains(p)),
            Impl::VxlanStitch { device, port, .. } => {
                links_at(&NamespaceOf::Host).is_none_or(|links| {
                    [device, port].iter().all(|n| links.iter().any(|l| l.name == **n))
                })
            }
            _ => true,
        })
        .map(|l| l.id.clone())
        .collect();
    let ports: HashSet<String> = observe::links_in(&Netns::current()?)?
        .into_iter()
        .filter(|l| l.master.is_some())
        .map(|l| l.name)
        .collect();
    let detached = have
        .nodes
        .iter()
        .filter(|n| {
            n.mgmt.as_ref().is_some_and(|m| {
                let inside =
                    links_at(&n.namespace).and_then(|l| l.iter().find(|l| l.name == m.interface));
                let good =
                    inside.is_some_and(|l| l.up && m.addresses.iter().all(|a| has_address(l, a)));
                // The leg of one that hands out legs itself is its own affair.
                !(n.runs.hands_out_legs() || (good && ports.contains(&m.port)))
            })
        })
        .map(|n| n.name.clone())
        .collect();
    Ok(Seen { whole, detached })
}

fn has_address(link: &LinkInfo, wanted: &ipnet::IpNet) -> bool {
    link.addresses
        .iter()
        .any(|a| a.cidr.address == wanted.addr() && a.cidr.prefix == wanted.prefix_len())
}
