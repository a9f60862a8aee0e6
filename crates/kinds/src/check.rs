//! What serde cannot see: regular expressions, verbs, versions.

use crate::{Kind, Sequence};
use regex::Regex;

/// Problems of a kind, in the order of the file; empty when there are none.
pub fn check(kind: &Kind) -> Vec<String> {
    let mut problems = Vec::new();
    if kind.schema != 1 {
        problems.push(format!("schema: {} is not known here, only 1 is", kind.schema));
    }
    if kind.names.is_empty() {
        problems.push("names: a kind needs at least one name".into());
    }
    for name in &kind.names {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(fine) {
            problems.push(format!("names: `{name}` may only have letters, digits, `-`, `_`, `.`"));
        }
    }
    let patterns =
        kind.interfaces.pattern.iter().chain(kind.interfaces.aliases.iter().map(|a| &a.r#match));
    for pattern in patterns {
        if let Err(e) = Regex::new(pattern) {
            problems.push(format!("interfaces: `{pattern}` is not a regular expression: {e}"));
        }
    }
    for (key, seq) in [("ready", &kind.ready), ("configure", &kind.configure), ("save", &kind.save)]
    {
        if let Some(seq) = seq {
            check_sequence(key, seq, &mut problems);
        }
    }
    for file in &kind.files {
        let texts = [&file.content, &file.template, &file.copy, &file.link];
        if texts.into_iter().flatten().count() + usize::from(file.directory) != 1 {
            problems.push(format!(
                "files: `{}` needs exactly one of content, template, copy, link and directory",
                file.path
            ));
        }
        if let Some(owner) = &file.owner
            && owner_ids(owner).is_none()
        {
            problems.push(format!("files: `{}`: owner `{owner}` is not UID:GID", file.path));
        }
        if let Some(mode) = &file.mode
            && u32::from_str_radix(mode, 8).is_err()
        {
            problems.push(format!("files: `{}`: mode `{mode}` is not octal", file.path));
        }
    }
    problems
}

/// The numbers of `uid:gid`.
pub fn owner_ids(text: &str) -> Option<(u32, u32)> {
    let (user, group) = text.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

fn check_sequence(key: &str, seq: &Sequence, problems: &mut Vec<String>) {
    for (i, step) in seq.steps.iter().enumerate() {
        if step.verbs() != 1 {
            problems.push(format!(
                "{key}: step {} needs exactly one of exec, console, ssh, netconf, http, copy, wait",
                i + 1
            ));
        }
        let expects = [
            step.exec.as_ref().and_then(|e| e.expect.as_ref()),
            step.console.as_ref().and_then(|c| c.expect.as_ref()),
            step.ssh.as_ref().and_then(|s| s.expect.as_ref()),
            step.http.as_ref().and_then(|h| h.expect.as_ref()),
        ];
        for e in expects.into_iter().flatten().filter(|e| !e.contains("{{")) {
            if let Err(err) = Regex::new(e) {
                problems.push(format!("{key}: step {}: `{e}`: {err}", i + 1));
            }
        }
    }
}
