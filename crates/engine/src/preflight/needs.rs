//! What kinds need of the machine (`host` in `docs/kind-schema.md`).

use netloom_diag::{Diagnostic, Diagnostics};
use netloom_kinds::{Class, HostNeeds};
use netloom_topology::{Lab, Node, bytes};
use std::collections::HashSet;

/// The machine, as far as kinds ask for it.
#[derive(Debug, Clone)]
struct Host {
    processors: f64,
    /// Bytes.
    memory: u64,
    flags: HashSet<String>,
    kernel: String,
}

impl Host {
    fn observe() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, v)| v.trim().to_string()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kilobytes = memory.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        let flags = field(&read("/proc/cpuinfo"), "flags");
        Host {
            processors: super::host::online().map_or(1.0, |n| n.len() as f64),
            memory: kilobytes.unwrap_or(u64::MAX / 1024) * 1024,
            flags: flags.split_ascii_whitespace().map(str::to_lowercase).collect(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
        }
    }
}

/// Checks each kind that runs, once.
pub(super) fn kinds(lab: &Lab, found: &mut Diagnostics) {
    let mut seen = HashSet::new();
    let running = lab.nodes.iter().filter(|n| n.kind_data.class == Class::Container);
    let mut host = None;
    for node in running {
        if seen.insert(node.kind_data.names.first()) {
            let host = host.get_or_insert_with(Host::observe);
            check(node, host, found);
        }
    }
}

fn check(node: &Node, host: &Host, found: &mut Diagnostics) {
    for (error, what) in lacking(&node.kind_data.host, host) {
        let what = format!("kind `{}` needs {what}", node.kind);
        let finding = match error {
            true => Diagnostic::error("host-too-small", what),
            false => Diagnostic::warning("host-too-small", what),
        };
        found.push(finding.at(node.span_of("kind")).hint("use a larger machine for this lab"));
    }
}

/// What is missing, and whether it cannot work without.
fn lacking(needs: &HostNeeds, host: &Host) -> Vec<(bool, String)> {
    let mut out = Vec::new();
    if let Some(least) = needs.cpus.as_ref().filter(|m| host.processors < m.min) {
        let (min, have) = (least.min, host.processors);
        out.push((least.error, format!("{min} processors, this machine has {have}")));
    }
    if let Some(least) = &needs.memory
        && bytes(&least.min).is_some_and(|min| host.memory < min)
    {
        let have = host.memory / 1_000_000;
        out.push((least.error, format!("{} of memory, this machine has {have} MB", least.min)));
    }
    // Other architectures have none of these flags, and images of their own.
    let missing = needs.cpu_flags.iter().filter(|f| !host.flags.contains(&f.to_lowercase()));
    for flag in missing.filter(|_| cfg!(target_arch = "x86_64") && !host.flags.is_empty()) {
        out.push((true, format!("a processor with `{flag}`")));
    }
    if let Some(oldest) = needs.kernel.as_ref().filter(|k| version(&host.kernel) < version(k)) {
        out.push((true, format!("Linux {oldest} or later, this is {}", host.kernel)));
    }
    out
}

/// The first two numbers of a version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netloom_kinds::Catalogue;

    #[test]
    fn what_a_machine_lacks() {
        let kinds = Catalogue::builtin();
        let kind = kinds.get("nokia_srlinux").expect("it is in the catalogue");
        let needs = &kind.host;
        let mut host = Host {
            processors: 2.0,
            memory: 4 << 30,
            flags: HashSet::from(["ssse3".to_string()]),
            kernel: "6.1.0-13-amd64".into(),
        };
        assert!(lacking(needs, &host).is_empty());
        host.processors = 1.0;
        host.memory = 1 << 30;
        host.flags = HashSet::from(["sse2".to_string()]);
        host.kernel = "4.9.0".into();
        let wanted = [
            (true, "2 processors, this machine has 1".to_string()),
            (false, "2GB of memory, this machine has 1073 MB".to_string()),
            (true, "a processor with `ssse3`".to_string()),
            (true, "Linux 4.10 or later, this is 4.9.0".to_string()),
        ];
        assert_eq!(lacking(needs, &host), wanted);
    }
}
