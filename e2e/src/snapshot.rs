//! The host as a deploy could change it, to compare before and after.

use crate::Sandbox;
use crate::processes::mentioning;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Everything a lab must put back, by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    topics: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Snapshot {
    /// Looks at the host as the calling thread sees it.
    pub fn take(sandbox: &Sandbox) -> Snapshot {
        let mut topics = BTreeMap::new();
        topics.insert("links", lines(&["ip", "-o", "link"]));
        topics.insert("addresses", addresses());
        topics.insert("routes", lines(&["ip", "-o", "-4", "route", "show", "table", "all"]));
        topics.insert("rules", lines(&["ip", "-o", "rule"]));
        topics.insert("nftables", BTreeSet::from([output(&["nft", "-s", "list", "ruleset"])]));
        topics.insert("mounts", mounts());
        topics.insert("control groups", groups(sandbox));
        topics.insert("sysctls", sysctls());
        topics.insert("processes", processes(sandbox));
        topics.insert("files", files(sandbox));
        Snapshot { topics }
    }

    /// What is different in another one, a line each.
    pub fn difference(&self, later: &Snapshot) -> Vec<String> {
        let mut out = Vec::new();
        for (topic, before) in &self.topics {
            let after = &later.topics[topic];
            out.extend(after.difference(before).map(|l| format!("{topic}: + {l}")));
            out.extend(before.difference(after).map(|l| format!("{topic}: - {l}")));
        }
        out
    }
}

fn output(argv: &[&str]) -> String {
    let done = Command::new(argv[0]).args(&argv[1..]).output();
    let done = done.unwrap_or_else(|e| panic!("cannot run {}: {e}; install it", argv[0]));
    assert!(
        done.status.success(),
        "`{}` failed: {}",
        argv.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).trim().to_string()
}

fn lines(argv: &[&str]) -> BTreeSet<String> {
    output(argv).lines().map(|l| l.trim().to_string()).collect()
}

/// Addresses without the state of duplicate detection.
fn addresses() -> BTreeSet<String> {
    lines(&["ip", "-o", "addr"]).into_iter().map(|l| l.replace(" tentative", "")).collect()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("read mountinfo");
    text.lines().map(|l| l.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect()
}

/// Control groups of this sandbox: it has a parent group of its own.
pub(crate) fn groups(sandbox: &Sandbox) -> BTreeSet<String> {
    let parent = format!("/{}/", sandbox.cgroup_parent());
    let mut out = BTreeSet::new();
    walk(Path::new("/sys/fs/cgroup"), &mut |path, is_dir| {
        if is_dir && path.to_string_lossy().contains(&parent) {
            out.insert(path.display().to_string());
        }
    });
    out
}

/// Settings that change by themselves, or that come and go with kernel modules.
const RESTLESS: [&str; 16] = [
    "netfilter/",
    "random/",
    "stable_secret",
    "file-nr",
    "inode-nr",
    "inode-state",
    "dentry-state",
    "ns_last_pid",
    "pty/nr",
    "aio-nr",
    "quota/",
    "route/",
    "neigh/",
    "perf_event",
    "net/core/netdev",
    "sched",
];

fn sysctls() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for top in ["net", "kernel", "fs", "user"] {
        walk(&Path::new("/proc/sys").join(top), &mut |path, is_dir| {
            let name = path.display().to_string();
            if is_dir || RESTLESS.iter().any(|r| name.contains(r)) {
                return;
            }
            if let Ok(value) = fs::read_to_string(path) {
                out.insert(format!("{name} = {}", value.trim()));
            }
        });
    }
    out
}

fn processes(sandbox: &Sandbox) -> BTreeSet<String> {
    mentioning(&sandbox.folders())
        .into_iter()
        .map(|p| format!("{} (parent {}): {}", p.pid, p.parent, p.command))
        .collect()
}

/// Files of the sandbox, but for what stays by design: the image store, the empty folders, the
/// lock files, and the ledger of which only the contents count.
fn files(sandbox: &Sandbox) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let (state, etc) = (sandbox.state(), sandbox.etc_dir());
    for folder in sandbox.folders() {
        walk(folder, &mut |path, is_dir| {
            let inside = path.strip_prefix(&state).ok().map(|p| p.display().to_string());
            let stays = match inside.as_deref() {
                Some("labs" | "locks" | "volumes") => true,
                Some(p) if p.starts_with("images") => true,
                Some("ledger.json") => {
                    let text = fs::read_to_string(path).unwrap_or_default();
                    out.insert(format!("ledger {}", empty_ledger(&text)));
                    true
                }
                Some(p) => p.starts_with("locks/"),
                None => is_dir && (path == sandbox.run_dir() || path == sandbox.netns_dir()),
            };
            // What stands in for the host's own files counts with what is in them.
            if path.starts_with(&etc) && !is_dir {
                let text = fs::read_to_string(path).unwrap_or_default();
                out.insert(format!("{}: {text}", path.display()));
            } else if !stays {
                out.insert(path.display().to_string());
            }
        });
    }
    out.remove("ledger ");
    out
}

/// Nothing for a ledger without entries, its text otherwise.
fn empty_ledger(text: &str) -> String {
    let entries = |v: &serde_json::Value| match v {
        serde_json::Value::Object(o) => {
            o.values().all(|v| v.as_object().is_some_and(|o| o.is_empty()))
        }
        _ => false,
    };
    match serde_json::from_str(text) {
        Ok(value) if entries(&value) => String::new(),
        _ => text.to_string(),
    }
}

/// Everything below a folder; links are not followed.
fn walk(folder: &Path, each: &mut dyn FnMut(&Path, bool)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        each(&entry.path(), is_dir);
        if is_dir {
            walk(&entry.path(), each);
        }
    }
}
