//! From inputs to a lab: the steps in order.

use crate::document::{self, Document};
use crate::expand::unset_hint;
use crate::inputs::Inputs;
use crate::lab::{EndpointNode, Lab, Link, LinkEndpoint, Node};
use crate::link::{self, NodeFacts};
use crate::merge::{Level, Levels, json};
use crate::node::{self, Common, Draft};
use crate::{env, kind, magic, mgmt, verify};
use netloom_diag::{Diagnostic, Diagnostics, Sources, Span};
use netloom_kinds::Catalogue;
use netloom_yaml::{Entry, Node as Tree};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What came of a topology file.
pub struct Resolved {
    /// The lab; `None` when an error stands in the way.
    pub lab: Option<Lab>,
    /// What could be resolved in spite of errors; only to be looked at, never to be made.
    pub partial: Option<Lab>,
    /// Everything found, by place.
    pub found: Diagnostics,
    /// The files that findings point to.
    pub sources: Sources,
    /// The text after templates and environment.
    pub rendered: String,
}

/// Resolves a topology file: a pure function of its inputs and the catalogue.
pub fn resolve(inputs: &Inputs<'_>, catalogue: &Catalogue) -> Resolved {
    let mut sources = Sources::default();
    let mut found = Diagnostics::default();
    let document = document::read(inputs, &mut sources, &mut found);
    let mut rendered = String::new();
    let lab = document.and_then(|d| {
        let lab = build(&d, inputs, catalogue, &mut found);
        rendered = d.rendered;
        lab
    });
    found.sort();

    match found.has_errors() {
        true => Resolved { lab: None, partial: lab, found, sources, rendered },
        false => Resolved { lab, partial: None, found, sources, rendered },
    }
}

fn build(
    document: &Document,
    inputs: &Inputs<'_>,
    catalogue: &Catalogue,
    found: &mut Diagnostics,
) -> Option<Lab> {
    let root = &document.root;
    let name = lab_name(root, inputs, Span::start_of(document.source), found);
    let prefix = match root.get("prefix") {
        None => "clab".to_string(),
        Some(p) if p.is_null() => "clab".to_string(),
        Some(p) => p.as_str().unwrap_or_default().to_string(),
    };
    check_prefix(&prefix, root.get("prefix").map(|n| n.span), found);
    let mgmt = mgmt::mgmt(root.get("mgmt").filter(|n| !n.is_null()), &inputs.overrides, found);
    let dir_name = format!("clab-{name}");
    let base = inputs.settings.labdir_base.clone().unwrap_or_else(|| inputs.dir().to_path_buf());
    let dir = base.join(&dir_name);
    let topology = root.get("topology");
    if topology.is_none_or(Tree::is_null) {
        found.push(
            Diagnostic::error("missing-key", "the file has no `topology`")
                .at(root.span)
                .hint("nodes stand under `topology: {nodes: {...}}`"),
        );
    }
    let common =
        Common { inputs, lab: &name, prefix: &prefix, dir: &dir, dir_name: &dir_name, mgmt: &mgmt };
    let written = topology.and_then(|t| t.get("nodes")).and_then(Tree::as_map);
    if let (Some(topology), None | Some([])) = (topology.filter(|t| !t.is_null()), written) {
        found.push(
            Diagnostic::warning("no-nodes", "this lab has no nodes")
                .at(topology.span)
                .hint("nodes stand under `topology: {nodes: {...}}`"),
        );
    }
    let drafts = drafts(topology, catalogue, found);
    let mut nodes: Vec<Node> = drafts.into_iter().map(|d| node::build(d, &common, found)).collect();
    let facts: HashMap<String, NodeFacts> = nodes
        .iter()
        .map(|n| (n.name.clone(), NodeFacts { kind: n.kind_data.clone(), managed: n.managed() }))
        .collect();
    let broken: HashSet<&str> = topology
        .and_then(|t| t.get("nodes"))
        .and_then(Tree::as_map)
        .unwrap_or_default()
        .iter()
        .map(|e| e.key.as_str())
        .filter(|name| !facts.contains_key(*name))
        .collect();
    let links = link::read(topology.and_then(|t| t.get("links")), &facts, &broken, found);
    let ends = ends_by_node(&links);
    let addresses = nodes
        .iter()
        .flat_map(|n| [n.mgmt_ipv4.map(|a| a.to_string()), n.mgmt_ipv6.map(|a| a.to_string())]);
    let no_proxy = env::no_proxy(&mgmt, nodes.iter().map(|n| n.name.as_str()), addresses.flatten());
    for n in &mut nodes {
        let ends = ends.get(n.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        kind::apply(n, &common, ends, &no_proxy, found);
    }
    drop(ends);
    let certificate_authority = root
        .get("settings")
        .and_then(|s| s.get("certificate-authority"))
        .map(json)
        .unwrap_or_default();
    let lab = Lab {
        topology_file: inputs.path.clone(),
        owner: inputs.settings.owner.clone(),
        certificate_authority,
        name,
        prefix,
        dir,
        mgmt,
        nodes,
        links,
    };
    verify::verify(&lab, found);
    Some(lab)
}

fn check_prefix(prefix: &str, span: Option<Span>, found: &mut Diagnostics) {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !prefix.chars().all(fine) {
        found.push(
            Diagnostic::error(
                "bad-name",
                format!("`{prefix}` cannot begin the name of a container"),
            )
            .at(span)
            .hint(
                "letters, digits, `-`, `_` and `.`; \"\" for none; `__lab-name` for the lab's name",
            ),
        );
    }
}

fn lab_name(root: &Tree, inputs: &Inputs<'_>, start: Span, found: &mut Diagnostics) -> String {
    let written = root.get("name").filter(|n| !n.is_null());
    let span = written.map_or(start, |n| n.span);
    let name = match (&inputs.overrides.name, written.and_then(Tree::as_str)) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) if !name.is_empty() => magic::lab_name(name, inputs.git.as_ref()),
        _ => {
            found.push(
                Diagnostic::error("missing-key", "the lab has no name")
                    .at(span)
                    .hint("write `name: NAME` at the top, or give --name NAME"),
            );
            return String::new();
        }
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.len() > LONGEST_NAME
        || !name.chars().all(allowed)
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        found.push(
            Diagnostic::error("bad-name", format!("`{name}` cannot be the name of a lab"))
                .at(span)
                .hint("letters, digits, `-`, `_` and `.`, beginning with a letter or digit, 64 at most")
                .maybe_hint(unset_hint(&name)),
        );
    }
    name
}

/// Names of labs become names of folders, of nftables tables and parts of others.
const LONGEST_NAME: usize = 64;

fn drafts<'a>(
    topology: Option<&'a Tree>,
    catalogue: &Catalogue,
    found: &mut Diagnostics,
) -> Vec<Draft<'a>> {
    let section = |key: &str| topology.and_then(|t| t.get(key));
    let defaults = section("defaults").filter(|n| !n.is_null());
    let by_name = |key: &str| -> HashMap<&'a str, &'a Tree> {
        section(key)
            .and_then(Tree::as_map)
            .unwrap_or_default()
            .iter()
            .map(|e| (e.key.as_str(), &e.value))
            .collect()
    };
    let (kinds, groups) = (by_name("kinds"), by_name("groups"));
    for e in section("kinds").and_then(Tree::as_map).unwrap_or_default() {
        if catalogue.get(&e.key).is_none() {
            found.push(unknown_kind(&e.key, e.key_span, catalogue));
        }
    }
    let entries = section("nodes").and_then(Tree::as_map).unwrap_or_default();
    let mut out = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        check_node_name(entry, found);
        if let Some(draft) = draft(entry, index, defaults, &kinds, &groups, catalogue, found) {
            out.push(draft);
        }
    }
    out
}

fn text<'a>(tree: Option<&'a Tree>, key: &str) -> Option<(&'a str, Span)> {
    let value = tree?.get(key)?;
    value.as_str().filter(|s| !s.is_empty()).map(|s| (s, value.span))
}

fn draft<'a>(
    entry: &'a Entry,
    index: usize,
    defaults: Option<&'a Tree>,
    kinds: &HashMap<&'a str, &'a Tree>,
    groups: &HashMap<&'a str, &'a Tree>,
    catalogue: &Catalogue,
    found: &mut Diagnostics,
) -> Option<Draft<'a>> {
    let body = &entry.value;
    let group_map = |name: Option<(&'a str, Span)>| name.and_then(|(g, _)| groups.get_key_value(g));
    let own_group = text(Some(body), "group");
    let default_group = text(defaults, "group");
    let kind = text(Some(body), "kind")
        .or_else(|| text(group_map(own_group).map(|(_, m)| *m), "kind"))
        .or_else(|| text(group_map(default_group).map(|(_, m)| *m), "kind"))
        .or_else(|| text(defaults, "kind"));
    let Some((kind, kind_span)) = kind else {
        found.push(
            Diagnostic::error("missing-kind", format!("node `{}` has no kind", entry.key))
                .at(entry.key_span)
                .hint("write `kind: linux`, or set it for all under `topology.defaults`"),
        );
        return None;
    };
    let Some(data) = catalogue.get(kind) else {
        found.push(unknown_kind(kind, kind_span, catalogue));
        return None;
    };
    let kind_map = kinds.get_key_value(kind);
    let group = own_group.or_else(|| text(kind_map.map(|(_, m)| *m), "group")).or(default_group);
    let mut levels = Vec::with_capacity(4);
    let mut add = |word, name: &'a str, map: &'a Tree| {
        if map.as_map().is_some() {
            levels.push(Level { word, name, map });
        }
    };
    add("node", &entry.key, body);
    if let Some((name, map)) = group_map(group) {
        add("group", name, map);
    }
    if let Some((name, map)) = kind_map {
        add("kind", name, map);
    }
    if let Some(map) = defaults {
        add("defaults", "", map);
    }
    Some(Draft {
        name: &entry.key,
        span: entry.key_span,
        index,
        kind: kind.to_string(),
        data: data.clone(),
        group: group.map(|(g, _)| g.to_string()).unwrap_or_default(),
        levels: Levels::new(levels),
    })
}

fn unknown_kind(kind: &str, span: Span, catalogue: &Catalogue) -> Diagnostic {
    let near = catalogue.near(kind);
    let hint = match near.as_slice() {
        [] => "`netloom kind list` shows all kinds".to_string(),
        [one] => format!("did you mean `{one}`?"),
        many => format!("near names: {}", many.join(", ")),
    };
    Diagnostic::error("unknown-kind", format!("there is no kind `{kind}`")).at(span).hint(hint)
}

fn check_node_name(entry: &Entry, found: &mut Diagnostics) {
    let name = entry.key.as_str();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._|".contains(c);
    if name.is_empty() || !name.chars().all(allowed) || name.starts_with(['-', '.', '_']) {
        let hint = if name.contains(char::is_whitespace) {
            format!("without spaces: `{}`", name.split_whitespace().collect::<Vec<_>>().join("-"))
        } else {
            "letters, digits, `-`, `_` and `.`, beginning with a letter or digit".to_string()
        };
        found.push(
            Diagnostic::error("bad-name", format!("`{name}` cannot be the name of a node"))
                .at(entry.key_span)
                .hint(hint),
        );
    }
}

fn ends_by_node(links: &[Link]) -> BTreeMap<&str, Vec<&LinkEndpoint>> {
    let mut out: BTreeMap<&str, Vec<&LinkEndpoint>> = BTreeMap::new();
    for end in links.iter().flat_map(|l| &l.endpoints) {
        if let EndpointNode::Node(n) = &end.node {
            out.entry(n).or_default().push(end);
        }
    }
    out
}
