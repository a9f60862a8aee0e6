//! What is on the machine, as lines, to see what a command left: links, addresses, routes, nft,
//! mounts, control groups, processes, sysctls, and the files of the scratch folder.

use super::cgroup;
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lines; the first word says of what.
pub type Lines = BTreeSet<String>;

/// What netloom keeps for good once it ran, whatever became of the command.
const PERMANENT: [&str; 4] = ["state/images", "state/labs", "state/locks", "state/ledger.json"];
/// Settings that a namespace does not have for itself, but a lab could want.
const SYSCTLS: [&str; 5] =
    ["net", "fs/inotify", "kernel/keys", "vm/max_map_count", "kernel/pid_max"];

/// Everything, now.
pub fn take(scratch: &Path) -> Result<Lines> {
    let mut out = Lines::new();
    network(&mut out)?;
    mounts(&mut out)?;
    processes(&mut out)?;
    for folder in ["topo", "state", "run", "netns", "home", "user", "etc"] {
        files(&scratch.join(folder), scratch, &mut out);
    }
    ledger(&scratch.join("state/ledger.json"), &mut out);
    for hierarchy in cgroup::hierarchies()? {
        groups(&hierarchy, &mut out);
    }
    for root in SYSCTLS {
        sysctls(&Path::new("/proc/sys").join(root), &mut out);
    }
    Ok(out)
}

/// What came (`+`) and what went (`-`).
pub fn difference(before: &Lines, after: &Lines) -> Vec<String> {
    let came = after.difference(before).map(|l| format!("+{l}"));
    let went = before.difference(after).map(|l| format!("-{l}"));
    came.chain(went).collect()
}

/// How many lines of each sort, in few words.
pub fn summary(difference: &[String]) -> String {
    let mut sorts: Vec<(String, usize)> = Vec::new();
    for line in difference {
        let sort = line.split(' ').next().unwrap_or_default().to_string();
        match sorts.iter_mut().find(|(s, _)| *s == sort) {
            Some((_, n)) => *n += 1,
            None => sorts.push((sort, 1)),
        }
    }
    if sorts.is_empty() {
        return "nothing".into();
    }
    sorts.iter().map(|(s, n)| format!("{n} {s}")).collect::<Vec<_>>().join(", ")
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let done = Command::new(program).args(arguments).output().context(program.to_string())?;
    if !done.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn network(out: &mut Lines) -> Result<()> {
    let links: Vec<Json> = serde_json::from_str(&output("ip", &["-json", "address", "show"])?)?;
    let text = |v: &Json, key: &str| v[key].as_str().unwrap_or("-").to_string();
    for link in &links {
        let name = text(link, "ifname");
        out.insert(format!("link {name} mtu {} master {}", link["mtu"], text(link, "master")));
        for address in link["addr_info"].as_array().into_iter().flatten() {
            out.insert(format!(
                "address {name} {}/{}",
                text(address, "local"),
                address["prefixlen"]
            ));
        }
    }
    for family in ["-4", "-6"] {
        for line in output("ip", &[family, "route", "show"])?.lines() {
            out.insert(format!("route {}", line.trim()));
        }
    }
    for line in output("nft", &["list", "ruleset"])?.lines() {
        out.insert(format!("nft {}", line.trim()));
    }
    out.remove("nft ");
    Ok(())
}

fn mounts(out: &mut Lines) -> Result<()> {
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        out.insert(format!("mount {}", fields.get(4).unwrap_or(&"?")));
    }
    Ok(())
}

/// Processes of this namespace, but the first one, this one and its children, and the dead.
fn processes(out: &mut Lines) -> Result<()> {
    let me = std::process::id();
    for entry in entries(Path::new("/proc")) {
        let pid = entry.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != 1 && *pid != me) else { continue };
        let stat = fs::read_to_string(entry.join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        if state == Some("Z") || parent == Some(&*me.to_string()) {
            continue;
        }
        let words = fs::read(entry.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        out.insert(format!("process {pid} {}", words.trim()));
    }
    Ok(())
}

fn files(path: &Path, scratch: &Path, out: &mut Lines) {
    for entry in entries(path) {
        let name = entry.strip_prefix(scratch).unwrap_or(&entry).display().to_string();
        let permanent = PERMANENT.contains(&name.as_str());
        if !permanent {
            let length = match fs::symlink_metadata(&entry) {
                Ok(m) if m.is_file() && name.starts_with("topo/") => format!(" {} bytes", m.len()),
                _ => String::new(),
            };
            out.insert(format!("file {name}{length}"));
        }
        let hidden = permanent && name != "state/labs";
        if !hidden && entry.is_dir() && !entry.is_symlink() {
            files(&entry, scratch, out);
        }
    }
}

/// What labs share: anything in it is something left.
fn ledger(path: &Path, out: &mut Lines) {
    let Ok(text) = fs::read_to_string(path) else { return };
    let Ok(Json::Object(tables)) = serde_json::from_str(&text) else {
        out.insert("ledger unreadable".into());
        return;
    };
    for (table, rows) in tables {
        for (key, _) in rows.as_object().into_iter().flatten() {
            out.insert(format!("ledger {table} {key}"));
        }
    }
}

/// Control groups, but the parent of all of ours, which stays.
fn groups(path: &Path, out: &mut Lines) {
    for entry in entries(path).into_iter().filter(|e| e.is_dir()) {
        if !entry.ends_with("netloom") {
            out.insert(format!("cgroup {}", entry.display()));
        }
        groups(&entry, out);
    }
}

fn sysctls(path: &Path, out: &mut Lines) {
    if path.is_dir() {
        let parent = path.parent().and_then(Path::file_name).and_then(|n| n.to_str());
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let known = ["all", "default", "lo", "eth0"].contains(&name);
        if matches!(parent, Some("conf" | "neigh")) && !known {
            return; // of an interface: comes and goes with it
        }
        for entry in entries(path) {
            sysctls(&entry, out);
        }
        return;
    }
    let counts = ["nf_conntrack_count", "tcp_fastopen_key", "random_table_entries"];
    if path.file_name().is_some_and(|n| counts.iter().any(|c| *c == n)) {
        return;
    }
    if let Ok(value) = fs::read_to_string(path) {
        out.insert(format!("sysctl {} = {}", path.display(), value.trim()));
    }
}

fn entries(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}
