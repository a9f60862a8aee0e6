//! Nodes of several containers: one per entry of `components`, sharing one network namespace.

use crate::lab::{EndpointNode, Lab, LinkEndpoint, Node};
use crate::template_data::{self, Place};
use gotmpl::Value as Data;
use netloom_kinds::{Kind, Parts};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Label of a part: the node of the file it belongs to.
pub const ROOT_NAME: &str = "clab-root-node-name";
/// Label of a part: the container name that node would have.
pub const ROOT_LONG_NAME: &str = "clab-root-node-longname";

impl Node {
    /// The node of the file this is a part of, if it is one.
    pub fn part_of(&self) -> Option<&str> {
        self.labels.get(ROOT_NAME).map(String::as_str)
    }
}

/// A lab with a node for every part: the first part of each has its links, addresses, ports,
/// commands and stages; the others live in its namespace. What names the node in other places of
/// the file means the first. The error names the template that cannot be filled in.
pub fn with_parts<'a>(lab: &'a Lab, home: &Path) -> Result<Cow<'a, Lab>, String> {
    if lab.nodes.iter().all(|n| slots(n).is_none()) {
        return Ok(Cow::Borrowed(lab));
    }
    let mut out = Lab { nodes: Vec::new(), ..lab.clone() };
    let mut firsts: HashMap<String, String> = HashMap::new();
    for node in &lab.nodes {
        let Some((rule, components)) = slots(node) else {
            out.nodes.push(node.clone());
            continue;
        };
        let parts = split(lab, node, rule, components, home)?;
        if let Some(first) = parts.first() {
            firsts.insert(node.name.clone(), first.name.clone());
            firsts.insert(node.long_name.clone(), first.name.clone());
        }
        out.nodes.extend(parts);
    }
    let rename = |name: &mut String| {
        if let Some(first) = firsts.get(name) {
            name.clone_from(first);
        }
    };
    for end in out.links.iter_mut().flat_map(|l| &mut l.endpoints) {
        if let EndpointNode::Node(name) = &mut end.node {
            rename(name);
        }
    }
    for node in &mut out.nodes {
        node.stages.waits_mut().for_each(|wait| rename(&mut wait.node));
        for mode in [&mut node.network_mode, &mut node.pid_mode] {
            if let Some(first) = mode.strip_prefix("container:").and_then(|n| firsts.get(n)) {
                *mode = format!("container:{first}");
            }
        }
    }
    Ok(Cow::Owned(out))
}

/// The components that make parts of a node, control cards (letters) before line cards (numbers).
fn slots(node: &Node) -> Option<(&Parts, Vec<&Json>)> {
    let rule = node.kind_data.parts.as_ref()?;
    let slot = |c: &Json| c["slot"].as_str().map(str::to_string).filter(|s| !s.is_empty());
    let mut list: Vec<&Json> =
        node.components.as_array()?.iter().filter(|c| slot(c).is_some()).collect();
    list.sort_by_key(|c| {
        let slot = slot(c).unwrap_or_default();
        (slot.starts_with(|c: char| c.is_ascii_digit()), slot.parse::<u32>().unwrap_or(0), slot)
    });
    (list.len() >= rule.least.unwrap_or(1)).then_some((rule, list))
}

fn split(
    lab: &Lab,
    node: &Node,
    rule: &Parts,
    components: Vec<&Json>,
    home: &Path,
) -> Result<Vec<Node>, String> {
    let topo_dir = lab.topology_file.parent().unwrap_or(Path::new("/"));
    let place = Place {
        lab: &lab.name,
        prefix: &lab.prefix,
        dir: &lab.dir,
        topo_dir,
        home,
        mgmt: &lab.mgmt,
    };
    let here = |end: &&LinkEndpoint| matches!(&end.node, EndpointNode::Node(n) if *n == node.name);
    let ends: Vec<&LinkEndpoint> =
        lab.links.iter().flat_map(|l| &l.endpoints).filter(here).collect();
    let whole = Filled::of(node, &template_data::data(node, place, &ends))?;
    let mut out: Vec<Node> = Vec::new();
    for component in components {
        let mut part = Node {
            components: Json::Array(vec![component.clone()]),
            whole: node.components.clone(),
            ..node.clone()
        };
        let data = template_data::data(&part, place, &ends);
        let name = fill(node, &rule.name, &data)?;
        let stem = node.long_name.strip_suffix(&node.name).unwrap_or(&node.long_name);
        part.long_name = format!("{stem}{name}");
        part.fqdn = format!("{name}.{}.io", lab.name);
        let labels = [
            ("clab-node-name", name.clone()),
            ("clab-node-longname", part.long_name.clone()),
            (ROOT_NAME, node.name.clone()),
            (ROOT_LONG_NAME, node.long_name.clone()),
        ];
        part.labels.extend(labels.map(|(key, value)| (key.to_string(), value)));
        part.name = name;
        Filled::of(node, &data)?.replace(&whole, &mut part);
        for (key, value) in &rule.env {
            part.env.insert(key.clone(), fill(node, value, &data)?);
        }
        for bind in &rule.binds {
            let bind = fill(node, bind, &data)?;
            part.binds.extend((!bind.is_empty()).then_some(bind));
        }
        for (key, value) in component["env"].as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            part.env.insert(key.clone(), text);
        }
        match out.first() {
            None => part.aliases.extend([node.name.clone(), node.long_name.clone()]),
            Some(first) => follow(&mut part, first),
        }
        out.push(part);
    }
    Ok(out)
}

/// Leaves to the first part what a node has once.
fn follow(part: &mut Node, first: &Node) {
    part.network_mode = format!("container:{}", first.name);
    part.ports.clear();
    (part.mgmt_ipv4, part.mgmt_ipv6) = (None, None);
    part.exec.clear();
    part.aliases.clear();
    part.stages = Default::default();
}

/// What a kind's templates make for a node or a part.
struct Filled {
    /// Where the user has none.
    env: BTreeMap<String, String>,
    forced: BTreeMap<String, String>,
    binds: Vec<String>,
}

impl Filled {
    fn of(node: &Node, data: &Data) -> Result<Filled, String> {
        let kind: &Kind = &node.kind_data;
        let all = |map: &BTreeMap<String, String>| -> Result<BTreeMap<String, String>, String> {
            let mut out = BTreeMap::new();
            for (key, text) in map {
                out.insert(key.clone(), fill(node, text, data)?);
            }
            out.retain(|_, value| !value.is_empty());
            Ok(out)
        };
        let mut env = all(&kind.env.default)?;
        let lines = kind.env.lines.as_deref().map(|text| fill(node, text, data)).transpose()?;
        for line in lines.unwrap_or_default().lines() {
            if let Some((key, value)) = line.trim().split_once('=') {
                env.entry(key.to_string()).or_insert_with(|| value.to_string());
            }
        }
        let mut binds = Vec::new();
        for bind in &kind.binds {
            binds.push(fill(node, bind, data)?);
        }
        binds.retain(|bind| !bind.is_empty());
        Ok(Filled { env, forced: all(&kind.env.forced)?, binds })
    }

    /// Puts a part's values where the whole node's stand; the user's own stay.
    fn replace(self, whole: &Filled, part: &mut Node) {
        for (key, value) in whole.env.iter().chain(&whole.forced) {
            if part.env.get(key) == Some(value) {
                part.env.remove(key);
            }
        }
        for (key, value) in self.env {
            part.env.entry(key).or_insert(value);
        }
        part.env.extend(self.forced);
        part.binds.retain(|bind| !whole.binds.contains(bind));
        match part.kind_data.binds_first {
            true => drop(part.binds.splice(0..0, self.binds)),
            false => part.binds.extend(self.binds),
        }
    }
}

fn fill(node: &Node, text: &str, data: &Data) -> Result<String, String> {
    template_data::fill(text, data).map_err(|e| format!("kind `{}`: {e} in {text}", node.kind))
}
