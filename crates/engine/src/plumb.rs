//! Links of nodes whose namespace comes and goes with their container (Docker's do).
//!
//! The holder keeps the namespace such a node had last, with the ends of its links in it: before
//! the first start that is one of ours. When the container gets a new namespace, the ends are
//! carried over with addresses, routes and queueing disciplines, and the new one is kept. What
//! cannot be carried stays in the old one, which is kept beside until it can.

use crate::apply::owns_namespace;
use crate::record::{Lock, lock_file};
use crate::report::{Event, Reporter};
use crate::{Engine, EngineError, netns_link};
use netloom_datapath::carry::carry;
use netloom_datapath::link::bridge::{self, BridgeSpec};
use netloom_datapath::{Netns, Socket, link, observe};
use netloom_plan::{NamespaceOf, NodeObject, Objects};
use netloom_runtime::{Runtime, RuntimeError};
use netloom_runtime_native::NativeRuntime;
use std::collections::BTreeSet;

impl Engine {
    /// Who deploys and who watches must not move the same links at once.
    pub(crate) fn lock_plumbing(&self, lab: &str) -> Result<Lock, EngineError> {
        lock_file(&self.directories.lab(lab).join("plumb.lock"), None)
    }

    /// Brings the links of a running node into the namespace of its container, unless they are
    /// there; says what they have lost on the way. A node that does not run is left alone.
    pub(crate) fn plumb(
        &self,
        lab: &str,
        native: &NativeRuntime,
        runtime: &dyn Runtime,
        objects: &Objects,
        node: &NodeObject,
    ) -> Result<Vec<String>, EngineError> {
        let _lock = self.lock_plumbing(lab)?;
        let key = format!("netns:{}", node.name);
        let Some(old) = native.kept(&key)? else { return Ok(Vec::new()) };
        let Some(new) = opened(runtime, &node.long_name)? else { return Ok(Vec::new()) };
        let before = Netns::from_fd(old)?.with_label(format!("node {}, before", node.name));
        let left_key = format!("left:{}", node.name);
        let left = native.kept(&left_key)?.map(Netns::from_fd).transpose()?;
        let moved = !before.same(&new);
        if !moved && left.is_none() {
            return Ok(Vec::new());
        }
        let here = NamespaceOf::Node(node.name.clone());
        if moved {
            prepare(&new, &here, objects, node)?;
        }
        let ends = objects.links.iter().flat_map(|l| l.ends());
        let names: BTreeSet<&str> =
            ends.filter(|e| e.namespace == here).map(|e| e.interface.as_str()).collect();
        // A leg that is ours comes along.
        let leg = node.mgmt.as_ref().filter(|_| !node.runs.hands_out_legs());
        let names: Vec<&str> =
            names.into_iter().chain(leg.map(|leg| leg.interface.as_str())).collect();
        let (mut failures, mut lost, mut stays) = (Vec::new(), Vec::new(), None);
        for from in left.into_iter().chain(moved.then_some(before)) {
            let carried = carry(&from, &new, &names)?;
            failures.extend(carried.failures);
            lost.extend(carried.lost);
            if !carried.left.is_empty() {
                stays = Some(from);
            }
        }
        // Before the new one takes its place: an interface dies with the last who keeps it.
        match stays {
            Some(from) => drop(native.keep_fd(&left_key, from.into())?),
            None => native.release([left_key])?,
        }
        if moved {
            let path = native.keep_fd(&key, new.into())?;
            netns_link::show(&self.directories.netns, &node.long_name, &path)?;
        }
        match failures.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(lost),
        }
    }
}

impl Engine {
    /// As [`Engine::plumb`], for a node that was just started; the user hears what it has lost.
    pub(crate) fn plumb_started(
        &self,
        lab: &str,
        (native, runtime): (&NativeRuntime, &dyn Runtime),
        objects: &Objects,
        node: &NodeObject,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        if !(node.runs.own_namespaces() && owns_namespace(node)) {
            return Ok(());
        }
        for what in self.plumb(lab, native, runtime, objects, node)? {
            let what = format!("node {}: lost at its start: {what}", node.name);
            report.event(Event::Warning(what));
        }
        Ok(())
    }
}

/// The namespace of a container, if it runs: that of the same process before and after it was
/// opened, and never the host's.
pub(crate) fn opened(runtime: &dyn Runtime, name: &str) -> Result<Option<Netns>, EngineError> {
    let look = || -> Result<_, RuntimeError> {
        let state = runtime.inspect(name)?;
        Ok(state.and_then(|s| Some((s.pid?, s.started_at, s.restarts))))
    };
    for _ in 0..10 {
        let Some(seen) = look()? else { return Ok(None) };
        let opened = Netns::from_pid(seen.0);
        if look()? != Some(seen) {
            continue;
        }
        let netns = opened?.with_label(format!("container {name}"));
        if netns.same(&Netns::current()?) {
            let what = format!("container `{name}` has the host's network namespace");
            return Err(RuntimeError::Remote(what).into());
        }
        return Ok(Some(netns));
    }
    Ok(None)
}

/// Bridges in the node, and the MAC address of its leg.
fn prepare(
    new: &Netns,
    here: &NamespaceOf,
    objects: &Objects,
    node: &NodeObject,
) -> Result<(), EngineError> {
    let mut socket = Socket::open_in(new)?;
    let bridges = objects.nodes.iter().filter(|n| n.namespace == *here);
    for name in bridges.filter_map(|n| n.bridge.as_ref()) {
        bridge::ensure(&mut socket, &BridgeSpec::new(name.clone()))?;
        link::set_up(&mut socket, name)?;
    }
    if let Some(leg) = node.mgmt.as_ref().filter(|m| !m.self_willed)
        && node.runs.hands_out_legs()
        && let Some(found) = observe::link(&mut socket, &leg.interface)?
        && found.mac != Some(leg.mac)
    {
        link::set_mac(&mut socket, &leg.interface, leg.mac)?;
    }
    Ok(())
}
