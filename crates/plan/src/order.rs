//! What waits for what: the stages of all nodes as a graph of tasks.

use crate::objects::{LinkEnd, LinkObject, NamespaceOf, Objects};
use netloom_topology::Lab;
use std::collections::{BTreeSet, HashMap};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A stage of a node.
    Stage(StageTask),
    /// A link that cannot be made at once, by its position.
    Link(usize),
    /// Links that wait for nothing, by position: those of some nodes, so that these can start while
    /// the links of the next ones are made.
    Links(Vec<usize>),
}

/// A stage of a node, by its position in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTask {
    /// The node.
    pub node: usize,
    /// 0 create, 1 create-links, 2 configure, 3 healthy, 4 exit.
    pub stage: usize,
    /// Whether somebody waits for it, or it has commands (healthy and exit are only looked at then).
    pub awaited: bool,
    /// Whether its commands for entering it are run.
    pub enters: bool,
    /// Whether it is over with this: its commands for leaving it are run.
    pub leaves: bool,
}

/// Tasks, and for each the tasks that must be over before.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// The tasks. What comes first is done first where both can be.
    pub tasks: Vec<(Task, Vec<usize>)>,
}

impl Order {
    /// Tasks that can never be done because they wait for each other, or for such; empty when all
    /// can.
    pub fn stuck(&self) -> Vec<&Task> {
        let mut waiting: Vec<usize> = self.tasks.iter().map(|(_, deps)| deps.len()).collect();
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.tasks.len()];
        for (i, (_, deps)) in self.tasks.iter().enumerate() {
            deps.iter().for_each(|d| after[*d].push(i));
        }
        let mut ready: Vec<usize> = (0..waiting.len()).filter(|i| waiting[*i] == 0).collect();
        while let Some(task) = ready.pop() {
            for &next in &after[task] {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    ready.push(next);
                }
            }
        }
        (0..waiting.len()).filter(|i| waiting[*i] > 0).map(|i| &self.tasks[i].0).collect()
    }
}

/// Links made in one go; enough to be worth a visit of namespaces.
const BATCH: usize = 256;

const STAGES: [&str; 5] = ["create", "create-links", "configure", "healthy", "exit"];

/// What is done for the order's sake as long as nobody waits for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Care {
    /// Only what the file says.
    Least,
    /// Commands of early stages come before the links of their nodes.
    Commands,
    /// And links between containers that bring their namespaces along come after these.
    Most,
}

/// Orders the making of `nodes` and `links` (positions in `objects`).
pub fn order(
    lab: &Lab,
    objects: &Objects,
    nodes: &BTreeSet<usize>,
    links: &BTreeSet<usize>,
) -> Order {
    let most = with_care(lab, objects, nodes, links, Care::Most);
    if most.stuck().is_empty() {
        return most;
    }
    let commands = with_care(lab, objects, nodes, links, Care::Commands);
    match commands.stuck().is_empty() {
        true => commands,
        false => with_care(lab, objects, nodes, links, Care::Least),
    }
}

fn with_care(
    lab: &Lab,
    objects: &Objects,
    nodes: &BTreeSet<usize>,
    links: &BTreeSet<usize>,
    care: Care,
) -> Order {
    let position: HashMap<&str, usize> =
        objects.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let mut awaited = BTreeSet::new();
    let mut waits: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
    for (i, node) in lab.nodes.iter().enumerate() {
        for (s, (_, stage)) in node.stages.named().into_iter().enumerate() {
            for w in &stage.wait_for {
                let other = position.get(w.node.as_str());
                let theirs = STAGES.iter().position(|n| *n == w.stage);
                if let (Some(&other), Some(theirs)) = (other, theirs) {
                    waits.entry((i, s)).or_default().push((other, theirs));
                    awaited.insert((other, theirs));
                }
            }
            if !stage.exec.is_empty() {
                awaited.insert((i, s));
            }
        }
        let owner = match &objects.nodes[i].namespace {
            NamespaceOf::Node(owner) if *owner != node.name => position.get(owner.as_str()),
            _ => None,
        };
        let pid = node.pid_mode.strip_prefix("container:").and_then(|n| position.get(n));
        for &other in owner.into_iter().chain(pid).filter(|o| **o != i) {
            waits.entry((i, 0)).or_default().push((other, 0));
        }
    }
    let early = if care >= Care::Commands { Early::of(lab) } else { Early::default() };
    let mut late: BTreeSet<usize> =
        waits.keys().filter(|(_, s)| *s == 1).map(|(n, _)| *n).collect();
    late.extend(early.commands.iter().copied());
    let mut out = Order::default();
    // The namespaces of both ends come with their containers: made where they are then, a link need
    // not be carried there. Unless a container waits for links.
    let patient = |(_, stage): &(usize, usize)| *stage == 0;
    let fleeting = |l: &LinkObject| {
        let there = |e: &LinkEnd| match &e.namespace {
            NamespaceOf::Node(owner) => position
                .get(owner.as_str())
                .is_some_and(|o| objects.nodes[*o].runs.own_namespaces() && nodes.contains(o)),
            _ => false,
        };
        l.b.is_some() && l.ends().all(there)
    };
    let waiting = waits.iter().any(|((_, s), list)| *s == 0 && !list.iter().all(patient));
    let carried = |l: &usize| care < Care::Most || waiting || !fleeting(&objects.links[*l]);
    let is_late = |l: &usize| {
        !carried(l) || ends(&objects.links[*l], &position).iter().any(|e| late.contains(e))
    };
    let (after, at_once): (Vec<usize>, Vec<usize>) = links.iter().copied().partition(is_late);
    let wired = batches(objects, &at_once, &position, &mut out);
    let mut ids: HashMap<(usize, usize), usize> = HashMap::new();
    for &n in nodes {
        for s in 0..5 {
            ids.insert((n, s), out.tasks.len());
            let enters = s != 1 || !early.entering.contains(&n);
            let awaited = awaited.contains(&(n, s));
            let task = StageTask { node: n, stage: s, awaited, enters, leaves: true };
            out.tasks.push((Task::Stage(task), Vec::new()));
        }
    }
    for &n in nodes {
        for s in 0..5 {
            let mut deps: Vec<usize> = Vec::new();
            match s {
                0 => deps.extend(wired.get(&n)),
                s => deps.push(ids[&(n, s - 1)]),
            }
            let others = waits.get(&(n, s)).into_iter().flatten();
            deps.extend(others.filter_map(|w| ids.get(w)).copied());
            out.tasks[ids[&(n, s)]].1 = deps;
        }
    }
    // Commands for entering `create-links` come before the links.
    let mut entered: HashMap<usize, usize> = HashMap::new();
    for &n in nodes.iter().filter(|n| early.entering.contains(n)) {
        let neighbours: BTreeSet<usize> = after
            .iter()
            .map(|l| ends(&objects.links[*l], &position))
            .filter(|e| e.contains(&n))
            .flatten()
            .collect();
        let others = waits.get(&(n, 1)).into_iter().flatten();
        let others = others.filter(|(other, s)| *s != 1 || !neighbours.contains(other));
        let deps = others.filter_map(|w| ids.get(w)).chain([&ids[&(n, 0)]]).copied().collect();
        entered.insert(n, out.tasks.len());
        let task = StageTask { node: n, stage: 1, awaited: true, enters: true, leaves: false };
        out.tasks.push((Task::Stage(task), deps));
        out.tasks[ids[&(n, 1)]].1.push(entered[&n]);
    }
    for l in after {
        let ends = ends(&objects.links[l], &position);
        // Made once whatever its late ends wait for is over.
        let mut before: BTreeSet<(usize, usize)> = BTreeSet::new();
        // The namespaces are there from the beginning: a link needs no container at its ends.
        for e in &ends {
            before.extend(link_waits(*e, &ends, &waits));
        }
        let in_place = !carried(&l);
        if in_place {
            let owner = |e: &LinkEnd| match &e.namespace {
                NamespaceOf::Node(owner) => position.get(owner.as_str()).copied(),
                _ => None,
            };
            before.extend(objects.links[l].ends().filter_map(owner).map(|o| (o, 0)));
        }
        before.extend(ends.iter().filter(|e| early.commands.contains(e)).map(|e| (*e, 0)));
        let mut deps: Vec<usize> = before.iter().filter_map(|b| ids.get(b)).copied().collect();
        deps.extend(ends.iter().filter_map(|e| entered.get(e)));
        let id = out.tasks.len();
        out.tasks.push((Task::Link(l), deps));
        for e in ends.iter().filter(|e| in_place || late.contains(e)) {
            if let Some(&links_done) = ids.get(&(*e, 1)) {
                out.tasks[links_done].1.push(id);
            }
        }
    }
    out
}

/// Nodes with commands that are run before their links are made.
#[derive(Default)]
struct Early {
    /// In `create`, or when entering `create-links`.
    commands: BTreeSet<usize>,
    /// The latter alone.
    entering: BTreeSet<usize>,
}

impl Early {
    fn of(lab: &Lab) -> Self {
        let mut out = Early::default();
        for (i, node) in lab.nodes.iter().enumerate() {
            let [(_, create), (_, links), ..] = node.stages.named();
            if links.exec.iter().any(|e| e.phase == "on-enter") {
                out.entering.insert(i);
                out.commands.insert(i);
            }
            if create.exec.iter().any(|e| e.target != "host") {
                out.commands.insert(i);
            }
        }
        out
    }
}

/// Links that wait for nothing, in batches of neighbouring nodes, one after the other. Says for
/// each node after which task all its links of these are there.
fn batches(
    objects: &Objects,
    links: &[usize],
    position: &HashMap<&str, usize>,
    out: &mut Order,
) -> HashMap<usize, usize> {
    let first = |l: &usize| ends(&objects.links[*l], position).into_iter().min();
    let mut sorted: Vec<usize> = links.to_vec();
    sorted.sort_by_key(first);
    let mut wired = HashMap::new();
    let mut rest = sorted.as_slice();
    while !rest.is_empty() {
        let mut size = BATCH.min(rest.len());
        while size < rest.len() && first(&rest[size]) == first(&rest[size - 1]) {
            size += 1;
        }
        let (now, then) = rest.split_at(size);
        let id = out.tasks.len();
        for end in now.iter().flat_map(|l| objects.links[*l].ends()) {
            // Whose namespace it is waits too: its program would start without the interface.
            let owner = match &end.namespace {
                NamespaceOf::Node(owner) => position.get(owner.as_str()),
                _ => None,
            };
            for node in position.get(end.node.as_str()).into_iter().chain(owner) {
                wired.insert(*node, id);
            }
        }
        out.tasks.push((Task::Links(now.to_vec()), id.checked_sub(1).into_iter().collect()));
        rest = then;
    }
    wired
}

/// What an end waits for before its links are made. Waiting for the links of the other end of the
/// same link means waiting for what that end waits for: the link itself cannot come first.
fn link_waits(
    end: usize,
    ends: &[usize],
    waits: &HashMap<(usize, usize), Vec<(usize, usize)>>,
) -> BTreeSet<(usize, usize)> {
    let mut out = BTreeSet::new();
    let mut todo = vec![end];
    let mut seen = BTreeSet::from([end]);
    while let Some(e) = todo.pop() {
        for &(other, stage) in waits.get(&(e, 1)).into_iter().flatten() {
            if stage == 1 && ends.contains(&other) {
                if seen.insert(other) {
                    todo.push(other);
                }
            } else {
                out.insert((other, stage));
            }
        }
    }
    out
}

fn ends(link: &LinkObject, position: &HashMap<&str, usize>) -> Vec<usize> {
    link.ends().filter_map(|e| position.get(e.node.as_str()).copied()).collect()
}
