//! Processes that belong to a sandbox, found by what they mention.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Program and arguments.
    pub command: String,
}

/// Every process whose arguments, environment or mounts name one of the folders, and everything
/// below such a process; this one and its children that are not marked are left out.
pub fn mentioning(folders: &[&Path]) -> Vec<Process> {
    let needles: Vec<&[u8]> = folders.iter().map(|f| f.as_os_str().as_encoded_bytes()).collect();
    let mine = std::process::id().cast_signed();
    let mut all = BTreeMap::new();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("read /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let Some(process) = read(pid) else { continue };
        let marked = ["cmdline", "environ", "mountinfo"].iter().any(|file| {
            let text = fs::read(entry.path().join(file)).unwrap_or_default();
            needles.iter().any(|n| text.windows(n.len()).any(|w| w == *n))
        });
        if marked && pid != mine {
            found.push(pid);
        }
        all.insert(pid, process);
    }
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(all.values().filter(|p| p.parent == parent).map(|p| p.pid));
        at += 1;
    }
    found.sort_unstable();
    found.dedup();
    found.iter().filter_map(|pid| all.remove(pid)).collect()
}

/// A process that is alive; one that only waits to be collected is not.
fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
    let command = match words.join(" ").trim() {
        "" => head.split_once('(')?.1.to_string(),
        line => line.to_string(),
    };
    Some(Process { pid, parent, command })
}

/// Kills one process, which a test has found to be its own.
pub fn kill_nine(pid: i32) {
    let _ =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// Whether a process is there and alive.
pub fn alive(pid: i32) -> bool {
    read(pid).is_some()
}
