//! Observe and plan: everything decided before anything is done.

use crate::certificates::Certificates;
use crate::clusters;
use crate::deploy::{DeployOptions, Planned};
use crate::image::Images;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::preflight::{self, Situation};
use crate::record::LabRecord;
use crate::runtimes::Runtimes;
use crate::spec::{self, Parts, Paths};
use crate::{
    Engine, EngineError, by_hand, daemon_network, digest, files, heal, honour, hosts, outputs,
    steps,
};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_image::{Image, Store};
use netloom_plan::{
    AddressError, Difference, Elsewhere, LinkObject, Macs, NamespaceOf, Network, NetworkError,
    Objects, Runs, Task, difference, order, plan_links, plan_nodes,
};
use netloom_runtime::{ContainerSpec, Status};
use netloom_runtime_docker::DaemonNetwork;
use netloom_topology::{EndpointNode, Lab, NodeFiles, StepData, node_files};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything decided, before anything is done.
pub struct Decision {
    /// What will be done.
    pub planned: Planned,
    /// Digest of each node's container.
    pub digests: BTreeMap<String, String>,
    /// Container of each node, and what its kind adds.
    pub specs: BTreeMap<String, (ContainerSpec, NodeFiles)>,
    /// What steps of nodes' kinds are filled in with.
    pub steps: BTreeMap<String, StepData>,
    /// Labs whose namespaces this one uses.
    pub uses: BTreeSet<String>,
    /// The lab as it was deployed.
    pub record: Option<LabRecord>,
    /// Nodes whose leg in the management network is broken and has to go first.
    pub detached: HashSet<String>,
    /// The host.
    pub machine: Machine,
    /// Image of each node that runs.
    pub images: HashMap<String, Arc<Image>>,
    /// Certificates of the lab.
    pub certificates: Certificates,
    /// Where the daemons listen that run some of the nodes.
    pub sockets: BTreeMap<Runs, PathBuf>,
}

impl Decision {
    /// The layers a node is started from.
    pub fn layers(&self, node: &str) -> Vec<PathBuf> {
        self.images.get(node).map(|image| image.layers.clone()).unwrap_or_default()
    }
}

impl Engine {
    /// Observes, checks and plans. Without a `runtime` the lab is planned as a new one. Who only
    /// looks needs no containers' specifications kept, of which there may be ten thousand.
    pub(crate) fn decide(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        runtimes: Option<&Runtimes>,
        ledger: &Ledger,
        found: &mut Diagnostics,
    ) -> Result<Decision, EngineError> {
        let mut machine = Machine::observe()?;
        let record = LabRecord::load(&self.directories, &lab.name)?;
        // A lab that is to be unmade first takes along what it alone has.
        let keeps = options.remake.as_ref().is_some_and(|how| how.keep_mgmt_net);
        let mut cleared = None;
        if runtimes.is_none() && record.is_some() && !keeps {
            let left = cleared.insert(ledger.clone());
            left.networks.retain(|_, network| {
                let stays = network.users.keys().any(|user| *user != lab.name);
                if !stays && !network.foreign_bridge {
                    machine.forget(&network.bridge);
                }
                stays
            });
        }
        let ledger = cleared.as_ref().unwrap_or(ledger);
        let mut others = self.other_containers(&lab.name)?;
        let topology = lab.topology_file.parent().unwrap_or(Path::new("/"));
        let paths = Paths { topology, home: &options.home, directories: &self.directories };
        let record_ref = record.as_ref();
        let mut reached = self.reach(lab, record_ref, found);
        self.find_outside(lab, record_ref, &mut others, &mut reached)?;
        self.check_clusters(lab, record_ref, found);
        let situation = Situation {
            machine: &machine,
            ledger,
            record: record_ref,
            others: &others,
            paths: &paths,
            look: options.look,
        };
        let mut images = Images::open(Store::open(self.directories.images())?, reached.clone());
        let images = preflight::check(lab, &situation, &mut images, found)?;
        let known = match reached.get(&Runs::Docker).filter(|_| daemon_network::needed(lab)) {
            Some((socket, daemon)) => Some((socket, daemon.network(&lab.mgmt.network)?)),
            None => None,
        };
        if let Some((_, Some(theirs))) = &known {
            daemon_network::check(lab, ledger, theirs, found);
        }
        let network = match network(lab, ledger, &machine, known.as_ref()) {
            Ok(network) => network,
            Err(e) => {
                found.push(network_finding(lab, &e));
                None
            }
        };
        let mut macs = Macs::default();
        network.iter().flat_map(|n| n.macs_of_others(&lab.name)).for_each(|mac| macs.take(mac));
        let in_use: BTreeSet<u16> = ledger
            .ports
            .iter()
            .filter(|(_, l)| **l != lab.name)
            .filter_map(|(p, _)| p.split('/').next()?.parse().ok())
            .collect();
        let nodes = plan_nodes(lab, network.as_ref(), &others, &in_use, &mut macs);
        // Links are this lab's alone: others on the network are no reason for other addresses.
        let mut of_links = Macs::default();
        nodes.iter().filter_map(|n| n.mgmt.as_ref()).for_each(|leg| of_links.keep(leg.mac, true));
        let links = plan_links(lab, network.as_ref(), &others, &mut of_links);
        let mut objects = Objects { nodes, links };
        if let Some(record) = record_ref.filter(|_| options.remake.is_none()) {
            let gone = by_hand::keep(&record.objects, &mut objects, &|place| {
                Ok(self.anothers(&record.sockets, place)?.is_some())
            })?;
            for link in gone {
                let what =
                    format!("link {} made by hand is given up: its other end is gone", link.id);
                found.push(Diagnostic::warning("link-by-hand", what));
            }
        }
        circles(lab, &objects, found);
        let mut decision = Decision {
            planned: Planned {
                clusters: clusters::of(lab).map(|n| n.name.clone()).collect(),
                network,
                objects,
                difference: Difference::default(),
                start: Vec::new(),
                attach: Vec::new(),
                publish: false,
                anew: false,
            },
            digests: BTreeMap::new(),
            specs: BTreeMap::new(),
            steps: BTreeMap::new(),
            uses: BTreeSet::new(),
            record,
            detached: HashSet::new(),
            machine,
            images,
            certificates: Certificates::default(),
            sockets: reached.iter().map(|(runs, (socket, _))| (*runs, socket.clone())).collect(),
        };
        if !found.has_errors() {
            let objects = &decision.planned.objects;
            decision.certificates = Certificates::of(lab, objects, options, found);
        }
        self.containers(lab, options, &paths, &mut decision, found)?;
        if !found.has_errors() {
            honour::check(lab, found);
        }
        // Parts of a node have their places in common.
        found.drop_repeated();
        self.compare(runtimes, &mut decision)?;
        Ok(decision)
    }

    /// What every container is made from.
    fn containers(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        paths: &Paths<'_>,
        decision: &mut Decision,
        found: &mut Diagnostics,
    ) -> Result<(), EngineError> {
        let mut links: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut interfaces: HashMap<&str, usize> = HashMap::new();
        for (at, link) in lab.links.iter().enumerate() {
            for end in &link.endpoints {
                if let EndpointNode::Node(n) = &end.node {
                    *interfaces.entry(n).or_default() += 1;
                    let of_node = links.entry(n).or_default();
                    // A link from a node to itself counts once here.
                    if of_node.last() != Some(&at) {
                        of_node.push(at);
                    }
                }
            }
        }
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let resolvers = hosts::resolvers(&resolv);
        let bridge = decision.planned.network.as_ref().map(|n| n.bridge.clone());
        let writes = |n| netloom_plan::runs(n).own_namespaces();
        let extra = match lab.nodes.iter().any(writes) {
            true => hosts::extra(lab, &decision.planned.objects),
            false => Vec::new(),
        };
        let keys = outputs::public_keys(&options.home);
        let by_name: HashMap<&str, &netloom_plan::NodeObject> =
            decision.planned.objects.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
        for (node, object) in lab.nodes.iter().zip(&decision.planned.objects.nodes) {
            // Parts of one node have its addresses in common.
            let first = node.part_of().and(node.shares_namespace_of());
            let addressed = first.and_then(|n| by_name.get(n).copied()).unwrap_or(object);
            let netns = match &object.namespace {
                NamespaceOf::Other { lab, node } => {
                    decision.uses.insert(lab.clone());
                    self.netns_path(lab, node)?
                }
                _ => None,
            };
            let Some(image) = decision.images.get(&node.name) else { continue };
            let ends = links.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
            let certificate = decision.certificates.of_node(&node.name);
            let context = files::context(
                node,
                addressed,
                ends,
                certificate,
                &keys,
                (&options.home, &options.environment),
            );
            let rendered = context.and_then(|mut context| {
                if context.dns.is_empty() {
                    context.dns = resolvers.clone();
                }
                // Of a node in parts the first speaks for all.
                let other = node.part_of().is_some() && node.shares_namespace_of().is_some();
                let steps = match options.look || options.skip_post_deploy || other {
                    true => None,
                    false => steps::data(lab, node, &context, options)?,
                };
                Ok((node_files(lab, node, &context)?, steps))
            });
            let files = match rendered {
                Ok((files, steps)) => {
                    decision.steps.extend(steps.map(|s| (node.name.clone(), s)));
                    files
                }
                Err(why) => {
                    // A missing start-up file has been reported with its place.
                    if !found.has_errors() {
                        found.push(Diagnostic::error("kind-template", why).at(node.span));
                    }
                    continue;
                }
            };
            let count = interfaces.get(node.name.as_str()).copied().unwrap_or(0);
            let parts = Parts {
                lab,
                node,
                object,
                image,
                files: &files,
                paths,
                netns,
                bridge: bridge.as_deref(),
                resolvers: &resolvers,
                hosts: &extra,
                interfaces: count,
            };
            let spec = spec::container(&parts);
            let digest = digest::of(&spec, image, &files, &resolvers);
            decision.digests.insert(node.name.clone(), digest);
            if !options.look {
                decision.specs.insert(node.name.clone(), (spec, files));
            }
        }
        Ok(())
    }

    /// Compares what is there with what is wished for.
    fn compare(
        &self,
        runtimes: Option<&Runtimes>,
        decision: &mut Decision,
    ) -> Result<(), EngineError> {
        let want = &decision.planned.objects;
        let ports = |objects: &Objects| -> Vec<(String, netloom_plan::Port)> {
            let each = |n: &netloom_plan::NodeObject| {
                let name = n.name.clone();
                n.ports.clone().into_iter().map(move |p| (name.clone(), p)).collect::<Vec<_>>()
            };
            objects.nodes.iter().flat_map(each).collect()
        };
        let published = decision.record.as_ref().map(|r| ports(&r.objects)).unwrap_or_default();
        decision.planned.publish = published != ports(want);
        let (Some(record), Some(runtimes)) = (&decision.record, runtimes) else {
            decision.planned.difference = difference(&Objects::default(), &[], want, |_| false);
            return Ok(());
        };
        let native = &runtimes.native;
        let kept: HashSet<String> = native.kept_names()?.into_iter().collect();
        let everything = record.everything();
        let mut have = Objects { nodes: everything.nodes, links: record.objects.links.clone() };
        have.nodes.retain(|n| match &n.namespace {
            NamespaceOf::Node(owner) => kept.contains(&format!("netns:{owner}")),
            _ => true,
        });
        let found = heal::look(self, &record.sockets, &have, native)?;
        let known: HashMap<&str, &LinkObject> =
            have.links.iter().map(|l| (l.id.as_str(), l)).collect();
        let maybe: Vec<_> = everything
            .links
            .into_iter()
            .filter(|l| known.get(l.id.as_str()) != Some(&l) || !found.whole.contains(&l.id))
            .collect();
        have.links.retain(|l| found.whole.contains(&l.id));
        let changed = |name: &str| {
            record.nodes.get(name).map(|r| r.digest.as_str()).unwrap_or_default()
                != decision.digests.get(name).map(String::as_str).unwrap_or_default()
        };
        let difference = difference(&have, &maybe, want, changed);
        let remade: HashSet<&str> = difference.make_nodes.iter().map(String::as_str).collect();
        let running: HashSet<String> = runtimes
            .states(&record.runtimes())?
            .into_values()
            .filter(|s| matches!(s.status, Status::Running | Status::Restarting))
            .map(|s| s.name)
            .collect();
        let standing = |n: &&netloom_plan::NodeObject| !remade.contains(n.name.as_str());
        decision.planned.start = want
            .nodes
            .iter()
            .filter(standing)
            .filter(|n| n.container && !difference.rebuild.contains(&n.name))
            .filter(|n| !running.contains(&n.long_name))
            .map(|n| n.name.clone())
            .collect();
        let sizes: HashMap<&str, u32> = have
            .nodes
            .iter()
            .filter_map(|n| Some((n.name.as_str(), n.mgmt.as_ref()?.mtu)))
            .collect();
        let resized = |n: &&netloom_plan::NodeObject| {
            n.mgmt.as_ref().map(|m| m.mtu) != sizes.get(n.name.as_str()).copied()
        };
        decision.planned.attach = want
            .nodes
            .iter()
            .filter(standing)
            .filter(|n| {
                let broken = !record.complete || found.detached.contains(&n.name) || resized(n);
                n.mgmt.is_some() && broken
            })
            .map(|n| n.name.clone())
            .collect();
        decision.planned.difference = difference;
        decision.detached = found.detached;
        Ok(())
    }

    /// Containers of other labs, by name.
    fn other_containers(&self, lab: &str) -> Result<BTreeMap<String, Elsewhere>, EngineError> {
        let mut out = BTreeMap::new();
        for record in LabRecord::all(&self.directories)?.into_iter().filter(|r| r.name != lab) {
            // The namespaces of a lab whose processes are gone are gone with them.
            if matches!(self.runtime(&record.name), Ok(None)) {
                continue;
            }
            for object in record.everything().nodes {
                if let NamespaceOf::Node(owner) = object.namespace {
                    let there = match object.runs.own_namespaces() {
                        // Its namespace is another at each start.
                        true => Elsewhere::Daemon(object.runs),
                        false => Elsewhere::Lab { lab: record.name.clone(), node: owner },
                    };
                    out.insert(object.long_name, there);
                }
            }
        }
        Ok(out)
    }

    /// Path of the namespace of a node of another lab, as this machine can open it now.
    fn netns_path(&self, lab: &str, node: &str) -> Result<Option<PathBuf>, EngineError> {
        let record = LabRecord::load(&self.directories, lab)?;
        Ok(record.and_then(|r| r.nodes.get(node).and_then(|n| n.netns.clone())))
    }
}

/// Links that wait for stages that wait for the links.
fn circles(lab: &Lab, objects: &Objects, found: &mut Diagnostics) {
    let all = (0..objects.nodes.len()).collect();
    let links = (0..objects.links.len()).collect();
    let order = order(lab, objects, &all, &links);
    let stuck = order.stuck().into_iter().find_map(|t| match t {
        Task::Link(l) => Some(*l),
        Task::Stage(_) | Task::Links(_) => None,
    });
    if let Some(link) = stuck {
        found.push(
            Diagnostic::error(
                "cycle",
                format!("link {} waits for stages that wait for the link", objects.links[link].id),
            )
            .at(lab.links.get(link).and_then(|l| l.span))
            .hint("take one `wait-for` under `create-links` of its ends away"),
        );
    }
}

/// The management network a lab needs, with its addresses reserved.
fn network(
    lab: &Lab,
    ledger: &Ledger,
    machine: &Machine,
    docker: Option<&(&PathBuf, Option<DaemonNetwork>)>,
) -> Result<Option<Network>, NetworkError> {
    let mut ends = lab.links.iter().flat_map(|l| &l.endpoints);
    let used =
        lab.nodes.iter().any(|n| n.managed()) || ends.any(|e| e.node == EndpointNode::MgmtNet);
    if !used {
        return Ok(None);
    }
    // One that only Docker knows is taken as it is.
    let theirs = docker.and_then(|(_, n)| n.as_ref());
    let adopted =
        theirs.map(|n| daemon_network::adopted(&lab.mgmt.network, n, lab.mgmt.external_access));
    let existing = ledger.networks.get(&lab.mgmt.network).or(adopted.as_ref());
    let mut others = machine.subnets.clone();
    for network in ledger.networks.values().filter(|n| n.name != lab.mgmt.network) {
        let label = format!("network `{}`", network.name);
        others.extend(network.ipv4.map(|n| (n.into(), label.clone())));
        others.extend(network.ipv6.map(|n| (n.into(), label.clone())));
    }
    if existing.is_none()
        && let Some(bridge) = &lab.mgmt.bridge
    {
        // Subnets of the bridge the file names are no strangers.
        others.retain(|(_, what)| !what.ends_with(&format!(" on {bridge}")));
    }
    let mut network = Network::wanted(&lab.name, &lab.mgmt, existing, &others)?;
    if existing.is_none() {
        network.foreign_bridge = machine.link(&network.bridge).is_some();
    }
    if let Some((socket, theirs)) = docker {
        let ours: HashSet<&str> = lab.nodes.iter().map(|n| n.long_name.as_str()).collect();
        let users = network.users.clone();
        let known =
            |name: &str| ours.contains(name) || users.values().any(|u| u.contains_key(name));
        if let Some(theirs) = theirs {
            network.strangers = daemon_network::strangers(theirs, known);
        }
        if !network.foreign_bridge || theirs.is_none() {
            network.daemons.insert(Runs::Docker, (*socket).clone());
        }
        network.given_away.insert(lab.name.clone());
    }
    network.reserve(lab)?;
    Ok(Some(network))
}

fn network_finding(lab: &Lab, e: &NetworkError) -> Diagnostic {
    let node = |name: &str| lab.node(name);
    let d = Diagnostic::error("network", e.to_string())
        .at(lab.mgmt.span.or(lab.nodes.first().and_then(|n| n.span)));
    match e {
        NetworkError::Overlap { .. } => d.hint("choose another `mgmt.ipv4-subnet`, or `auto`"),
        NetworkError::Differs { .. } => {
            d.hint("use its subnet, choose another `mgmt.network`, or leave the subnet out")
        }
        NetworkError::NoSubnet(_) => d.hint("name a subnet under `mgmt`"),
        NetworkError::Address(AddressError::Exhausted { .. }) => {
            d.hint("choose a larger subnet under `mgmt`")
        }
        NetworkError::Address(
            AddressError::Taken { node: name, address, .. }
            | AddressError::Outside { node: name, address, .. },
        ) => {
            let key = if address.is_ipv4() { "mgmt-ipv4" } else { "mgmt-ipv6" };
            d.at(node(name).and_then(|n| n.span_of(key))).hint("choose another address")
        }
    }
}
