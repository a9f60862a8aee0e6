//! `stages` of a node: appended over the levels.

use crate::lab::{Stage, StageExec, Stages, WaitFor};
use crate::merge::Levels;
use netloom_yaml::Node;

/// Reads and merges the stages of all levels, general first.
pub fn stages(levels: &mut Levels<'_>, magic: impl Fn(&str) -> String) -> Stages {
    let mut out = Stages::default();
    for value in levels.every("stages") {
        for e in value.as_map().unwrap_or_default() {
            let stage = match e.key.as_str() {
                "create" => &mut out.create,
                "create-links" => &mut out.create_links,
                "configure" => &mut out.configure,
                "healthy" => &mut out.healthy,
                "exit" => &mut out.exit,
                _ => continue,
            };
            add(stage, &e.value, &magic);
        }
    }
    out
}

fn add(stage: &mut Stage, value: &Node, magic: &impl Fn(&str) -> String) {
    let text =
        |n: &Node, key: &str| n.get(key).and_then(Node::as_str).unwrap_or_default().to_string();
    for w in value.get("wait-for").and_then(Node::as_seq).unwrap_or_default() {
        let wait = WaitFor { node: text(w, "node"), stage: text(w, "stage"), span: Some(w.span) };
        if !stage.wait_for.iter().any(|h| h.node == wait.node && h.stage == wait.stage) {
            stage.wait_for.push(wait);
        }
    }
    for x in value.get("exec").and_then(Node::as_seq).unwrap_or_default() {
        let or = |t: String, d: &str| if t.is_empty() { d.to_string() } else { t };
        stage.exec.push(StageExec {
            command: magic(&text(x, "command")),
            target: or(text(x, "target"), "container"),
            phase: or(text(x, "phase"), "on-enter"),
        });
    }
}
