//! What holds for every plan: addresses and MACs are unique, the order of stages has no circle, a
//! lab that is as wished needs nothing.

use netloom_diag::SourceFile;
use netloom_kinds::Catalogue;
use netloom_plan::{Macs, Network, Objects, Order, difference, order, plan_links, plan_nodes};
use netloom_topology::{Inputs, Lab, NoFiles, Overrides, Settings, resolve};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::path::PathBuf;

/// A wait: who, at which stage, for whom, which stage of theirs.
type Wait = (usize, usize, usize, usize);

const STAGES: [&str; 5] = ["create", "create-links", "configure", "healthy", "exit"];

/// The lab of a generated file; `None` when the resolver refuses it (a circle of waits).
fn lab(nodes: usize, links: &[(usize, usize)], waits: &[Wait]) -> Option<Lab> {
    let mut text = String::from(
        "name: p\nmgmt: {ipv4-subnet: 10.0.0.0/16, ipv6-subnet: 2001:db8::/64}\ntopology:\n  nodes:\n",
    );
    for n in 0..nodes {
        let mut stages: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (_, s, other, theirs) in waits.iter().filter(|w| w.0 % nodes == n && w.2 % nodes != n) {
            stages.entry(s % 5).or_default().push((other % nodes, theirs % 5));
        }
        let _ = writeln!(text, "    n{n}:\n      kind: linux\n      image: x\n      stages:");
        for (s, list) in stages {
            let list: Vec<String> = list
                .iter()
                .map(|(o, t)| format!("{{node: n{o}, stage: {}}}", STAGES[*t]))
                .collect();
            let _ = writeln!(text, "        {}: {{wait-for: [{}]}}", STAGES[s], list.join(", "));
        }
    }
    text.push_str("  links:\n");
    for (i, (a, b)) in links.iter().enumerate() {
        let _ =
            writeln!(text, "    - endpoints: [\"n{}:a{i}\", \"n{}:b{i}\"]", a % nodes, b % nodes);
    }
    let files = NoFiles;
    let inputs = Inputs {
        topology: SourceFile::new("p.clab.yml", text),
        path: PathBuf::from("/p/p.clab.yml"),
        vars: Vec::new(),
        templates: Vec::new(),
        env: BTreeMap::new(),
        git: None,
        overrides: Overrides::default(),
        settings: Settings::default(),
        files: &files,
    };
    resolve(&inputs, &Catalogue::builtin()).lab
}

fn objects(lab: &Lab) -> (Network, Objects) {
    let mut network = Network::wanted(&lab.name, &lab.mgmt, None, &[]).expect("nothing overlaps");
    network.reserve(lab).expect("there is room");
    let mut macs = Macs::default();
    let none = BTreeMap::new();
    let nodes = plan_nodes(lab, Some(&network), &none, &BTreeSet::new(), &mut macs);
    let links = plan_links(lab, Some(&network), &none, &mut macs);
    (network, Objects { nodes, links })
}

/// Whether every task can be done: none waits for itself in the end.
fn can_be_done(order: &Order) -> bool {
    let mut done: HashSet<usize> = HashSet::new();
    loop {
        let before = done.len();
        for (i, (_, deps)) in order.tasks.iter().enumerate() {
            if deps.iter().all(|d| done.contains(d)) {
                done.insert(i);
            }
        }
        if done.len() == order.tasks.len() {
            return true;
        }
        if done.len() == before {
            return false;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn plans_hold(
        nodes in 1usize..12,
        links in proptest::collection::vec((0usize..12, 0usize..12), 0..20),
        waits in proptest::collection::vec((0usize..12, 0usize..5, 0usize..12, 0usize..5), 0..6),
    ) {
        let Some(lab) = lab(nodes, &links, &waits) else { return Ok(()) };
        let (network, wanted) = objects(&lab);
        prop_assert_eq!(&objects(&lab).1, &wanted, "the same file gives the same plan");

        let mut macs = HashSet::new();
        let ends = wanted.links.iter().flat_map(|l| l.ends()).map(|e| e.mac);
        for mac in ends.chain(wanted.nodes.iter().flat_map(|n| &n.mgmt).map(|m| m.mac)) {
            prop_assert!(macs.insert(mac), "a MAC address twice");
            prop_assert_eq!(mac[0] & 1, 0, "a group address");
        }
        let mut addresses = HashSet::new();
        for address in wanted.nodes.iter().flat_map(|n| &n.mgmt).flat_map(|m| &m.addresses) {
            prop_assert!(addresses.insert(address.addr()), "an address twice");
            prop_assert!(Some(address.addr()) != network.ipv4_gw && Some(address.addr()) != network.ipv6_gw);
            let inside = network.ipv4.is_some_and(|n| address.addr().is_ipv4() && ipnet::IpNet::from(n).contains(&address.addr()))
                || network.ipv6.is_some_and(|n| ipnet::IpNet::from(n).contains(&address.addr()));
            prop_assert!(inside, "outside of the subnet");
        }

        let all = (0..wanted.nodes.len()).collect();
        let every = (0..wanted.links.len()).collect();
        let order = order(&lab, &wanted, &all, &every);
        prop_assert_eq!(can_be_done(&order), order.stuck().is_empty(), "a circle nobody tells of");
        let mut made: Vec<usize> = order.tasks.iter().flat_map(|(t, _)| match t {
            netloom_plan::Task::Link(l) => vec![*l],
            netloom_plan::Task::Links(l) => l.clone(),
            netloom_plan::Task::Stage(_) => Vec::new(),
        }).collect();
        made.sort_unstable();
        prop_assert_eq!(made, (0..wanted.links.len()).collect::<Vec<_>>(), "every link is made once");
        let wired = |node: &str, create: usize| {
            let mut todo = vec![create];
            let mut before = HashSet::new();
            while let Some(t) = todo.pop() {
                todo.extend(order.tasks[t].1.iter().copied().filter(|d| before.insert(*d)));
            }
            order.tasks.iter().enumerate().all(|(i, (t, _))| match t {
                netloom_plan::Task::Links(links) => {
                    let its = |l: &usize| wanted.links[*l].ends().any(|e| e.node == node);
                    before.contains(&i) || !links.iter().any(its)
                }
                _ => true,
            })
        };
        for (i, (task, _)) in order.tasks.iter().enumerate() {
            if let netloom_plan::Task::Stage(s) = task && s.stage == 0 {
                let name = &wanted.nodes[s.node].name;
                prop_assert!(wired(name, i), "{} starts before its links are there", name);
            }
        }

        prop_assert!(difference(&wanted, &[], &wanted, |_| false).is_empty());
        let fresh = difference(&Objects::default(), &[], &wanted, |_| false);
        prop_assert_eq!(fresh.make_nodes.len(), wanted.nodes.len());
        prop_assert_eq!(fresh.make_links.len(), wanted.links.len());
        prop_assert!(fresh.remove_nodes.is_empty() && fresh.remove_links.is_empty());
    }
}
