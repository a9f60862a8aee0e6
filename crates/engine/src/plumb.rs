//! Links of nodes whose namespace comes and goes with their container (Docker's do).
//!
//! The holder keeps the namespace such a node had last, with the ends of its links in it: before
//! the first start that is one of ours. When the container gets a new namespace, the ends are
//! carried over with addresses, routes and queueing disciplines, and the new one is kept.

use crate::record::lock_file;
use crate::{Engine, EngineError, netns_link};
use netloom_datapath::carry::carry;
use netloom_datapath::link::bridge::{self, BridgeSpec};
use netloom_datapath::{Netns, Socket, link, observe};
use netloom_plan::{NamespaceOf, NodeObject, Objects};
use netloom_runtime_native::NativeRuntime;
use std::collections::BTreeSet;

impl Engine {
    /// Brings the links of a node into the namespace of its first process, unless they are there;
    /// says whether there was something to do.
    pub(crate) fn plumb(
        &self,
        lab: &str,
        native: &NativeRuntime,
        objects: &Objects,
        node: &NodeObject,
        pid: u32,
    ) -> Result<bool, EngineError> {
        // Who deploys and who watches may both have seen the start.
        let _lock = lock_file(&self.directories.lab(lab).join("plumb.lock"), None)?;
        let new = Netns::from_pid(pid)?.with_label(format!("node {}", node.name));
        let key = format!("netns:{}", node.name);
        let Some(old) = native.kept(&key)? else { return Ok(false) };
        let old = Netns::from_fd(old)?.with_label(format!("node {}, before", node.name));
        if old.same(&new) {
            return Ok(false);
        }
        let here = NamespaceOf::Node(node.name.clone());
        let mut socket = Socket::open_in(&new)?;
        let bridges = objects.nodes.iter().filter(|n| n.namespace == here);
        for name in bridges.filter_map(|n| n.bridge.as_ref()) {
            bridge::ensure(&mut socket, &BridgeSpec::new(name.clone()))?;
            link::set_up(&mut socket, name)?;
        }
        if let Some(leg) = &node.mgmt
            && let Some(found) = observe::link(&mut socket, &leg.interface)?
            && found.mac != Some(leg.mac)
        {
            link::set_mac(&mut socket, &leg.interface, leg.mac)?;
        }
        let ends = objects.links.iter().flat_map(|l| l.ends());
        let names: BTreeSet<&str> =
            ends.filter(|e| e.namespace == here).map(|e| e.interface.as_str()).collect();
        let carried = carry(&old, &new, &names.into_iter().collect::<Vec<_>>())?;
        let path = native.keep_fd(&key, new.into())?;
        netns_link::show(&self.directories.netns, &node.long_name, &path)?;
        match carried.failures.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(true),
        }
    }
}
