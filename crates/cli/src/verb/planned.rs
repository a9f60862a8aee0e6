//! What a deploy would do, for `--dry-run`.

use crate::output;
use crate::say::{show, show_text};
use crate::standin::{self, stands_in};
use anyhow::Result;
use netloom_engine::Planned;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// What was changed in a lab that was there, as a table for scripts that know the other program.
pub fn summary(planned: &Planned, lab: &str) -> String {
    Actions::of(planned, lab, true).table()
}

/// Shows what would be done; under the other name, as scripts that know it read it.
pub fn show(planned: &Planned, lab: &str, known: bool, as_json: bool) -> Result<()> {
    if stands_in() {
        let actions = Actions::of(planned, lab, known);
        standin::info("Apply plan", &[]);
        match as_json {
            true => output::json(&actions.json())?,
            false => show!("{}", actions.table()),
        }
        return Ok(());
    }
    match as_json {
        true => output::json(planned)?,
        false => show_text(&describe(planned)),
    }
    Ok(())
}

/// The same, by what happens to whom.
struct Actions {
    /// The lab, if nothing of it is there.
    lab: Option<String>,
    added: Vec<String>,
    deleted: Vec<String>,
    recreated: Vec<String>,
    started: Vec<String>,
    links: Vec<String>,
    ends: Vec<String>,
}

impl Actions {
    fn of(planned: &Planned, lab: &str, known: bool) -> Actions {
        let d = &planned.difference;
        let made: BTreeSet<&String> = d.make_nodes.iter().collect();
        let removed: BTreeSet<&String> = d.remove_nodes.iter().collect();
        let gone: BTreeSet<&String> = d.remove_links.iter().map(|link| &link.id).collect();
        let fresh: BTreeSet<&String> = d.make_links.iter().collect();
        let mut recreated: BTreeSet<&String> = made.intersection(&removed).copied().collect();
        recreated.extend(&d.rebuild);
        let only = |a: &BTreeSet<&String>, b: &BTreeSet<&String>| -> Vec<String> {
            a.difference(b).map(|name| (*name).clone()).collect()
        };
        // Those a new link takes over are not gone.
        let taken: BTreeSet<&str> = fresh.iter().flat_map(|id| id.split(' ')).collect();
        let ends = d
            .remove_links
            .iter()
            .filter(|link| !fresh.contains(&link.id))
            .flat_map(|link| link.id.split(' '))
            .filter(|end| !taken.contains(end))
            .filter(|end| {
                let node = end.split(':').next().unwrap_or_default();
                !removed.iter().any(|name| *name == node)
            });
        Actions {
            lab: (!known).then(|| lab.to_owned()),
            added: only(&made, &recreated),
            deleted: only(&removed, &recreated),
            ends: ends.map(str::to_owned).collect(),
            links: only(&fresh, &gone).iter().map(|id| id.replace(' ', " -- ")).collect(),
            recreated: recreated.into_iter().cloned().collect(),
            started: planned.start.clone(),
        }
    }

    fn json(&self) -> Json {
        let mut out = json!({ "dry-run": true, "deployed-lab": self.lab.is_some() });
        if let Some(lab) = &self.lab {
            out["lab-name"] = json!(lab);
        }
        // What is new as a whole is not listed.
        let none = self.lab.is_some();
        for (name, list) in self.lists() {
            let list = if none { &[][..] } else { list };
            out[name.replace(' ', "-")] = json!(list);
        }
        out
    }

    fn lists(&self) -> [(&str, &[String]); 7] {
        [
            ("added nodes", &self.added),
            ("deleted nodes", &self.deleted),
            ("recreated nodes", &self.recreated),
            ("started nodes", &self.started),
            ("added links", &self.links),
            ("deleted endpoints", &self.ends),
            ("restarted nodes", &[]),
        ]
    }

    fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        match &self.lab {
            Some(lab) => rows.push(vec!["deploy lab".into(), lab.clone()]),
            None => {
                for (name, list) in self.lists() {
                    rows.extend(list.iter().map(|entry| vec![name.to_owned(), entry.clone()]));
                }
            }
        }
        if rows.is_empty() {
            rows.push(vec!["no changes".into(), "-".into()]);
        }
        output::compact_table(&["Action", "Details"], &rows)
    }
}

fn describe(planned: &Planned) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let d = &planned.difference;
    if planned.anew {
        let _ = writeln!(out, "- everything that is there");
    }
    if planned.is_empty() {
        return "nothing to do\n".into();
    }
    if let Some(n) = &planned.network {
        let subnets: Vec<String> = [n.ipv4.map(|x| x.to_string()), n.ipv6.map(|x| x.to_string())]
            .into_iter()
            .flatten()
            .collect();
        let _ = writeln!(out, "network {} on bridge {}: {}", n.name, n.bridge, subnets.join(", "));
    }
    for link in &d.remove_links {
        let _ = writeln!(out, "- link {}", link.id);
    }
    for node in &d.remove_nodes {
        let _ = writeln!(out, "- node {node}");
    }
    let make: std::collections::HashSet<&str> = d.make_nodes.iter().map(String::as_str).collect();
    let shown = |n: &&netloom_plan::NodeObject| {
        let cluster = planned.clusters.contains(&n.name);
        make.contains(n.name.as_str()) && !cluster
    };
    for name in planned.clusters.iter().filter(|name| make.contains(name.as_str())) {
        let _ = writeln!(out, "+ cluster {name}");
    }
    for node in planned.objects.nodes.iter().filter(shown) {
        let addresses: Vec<String> =
            node.mgmt.iter().flat_map(|m| &m.addresses).map(|a| a.to_string()).collect();
        let _ = writeln!(out, "+ node {} as {} {}", node.name, node.long_name, addresses.join(" "));
    }
    for link in &d.make_links {
        let _ = writeln!(out, "+ link {link}");
    }
    for node in &d.rebuild {
        let _ = writeln!(out, "~ node {node}: its container is made anew");
    }
    for node in &planned.attach {
        let _ = writeln!(out, "~ node {node}: its management interface is mended");
    }
    for node in &planned.start {
        let _ = writeln!(out, "> start {node}");
    }
    out
}
