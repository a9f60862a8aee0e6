//! What something cost: wall and processor time, memory, mounts.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Cost of one action.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// Seconds until it was done.
    pub wall: f64,
    /// Processor seconds of all its processes, those that stay included.
    pub cpu: f64,
    /// Processor seconds of the whole machine, kernel threads and strangers included.
    pub machine_cpu: f64,
}

/// A control group that everything measured lives in, for its processor time.
pub struct Group {
    folder: PathBuf,
    unified: bool,
}

impl Group {
    /// Makes it.
    pub fn new() -> Result<Self> {
        let name = format!("netloom-bench-{}", std::process::id());
        for (root, unified) in [("cpuacct", false), ("cpu,cpuacct", false), ("", true)] {
            let root = Path::new("/sys/fs/cgroup").join(root);
            let file = if unified { "cgroup.controllers" } else { "cpuacct.usage" };
            if root.join(file).exists() {
                let folder = root.join(&name);
                fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
                return Ok(Group { folder, unified });
            }
        }
        bail!("no control group tree that counts processor time below /sys/fs/cgroup")
    }

    /// File by which a process joins.
    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Its processes.
    pub fn members(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.procs()).unwrap_or_default();
        text.lines().filter_map(|l| l.parse().ok()).collect()
    }

    fn seconds(&self) -> f64 {
        let read = |file: &str| fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        if !self.unified {
            return read("cpuacct.usage").trim().parse::<f64>().unwrap_or(0.0) / 1e9;
        }
        field(&read("cpu.stat"), "usage_usec") / 1e6
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // All of these were started here; none is left unless something failed.
        for pid in self.members() {
            // SAFETY: plain numbers.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} stays", self.folder.display());
    }
}

/// The number after a word at the start of a line.
fn field(text: &str, word: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(word));
    let number = line.and_then(|l| l.trim_start_matches(':').split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

/// A running measurement.
pub struct Watch<'a> {
    group: &'a Group,
    since: Instant,
    cpu: f64,
    machine: f64,
}

impl<'a> Watch<'a> {
    /// Starts.
    pub fn start(group: &'a Group) -> Self {
        Watch { group, since: Instant::now(), cpu: group.seconds(), machine: machine_cpu() }
    }

    /// What it cost up to now.
    pub fn cost(&self) -> Cost {
        let wall = self.since.elapsed().as_secs_f64();
        let cpu = self.group.seconds() - self.cpu;
        Cost { wall, cpu, machine_cpu: machine_cpu() - self.machine }
    }
}

/// Busy seconds of all processors.
fn machine_cpu() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .lines()
        .next()
        .into_iter()
        .flat_map(|l| l.split_whitespace().skip(1).filter_map(|n| n.parse().ok()))
        .collect();
    // user, nice, system, then idle and waiting, then interrupts.
    let busy: f64 = [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum();
    // SAFETY: a plain number.
    busy / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

/// Memory of the machine that could be had, in KiB.
pub fn available() -> f64 {
    field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable")
}

/// Most memory a process ever had, in KiB.
pub fn peak(pid: u32) -> f64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), "VmHWM")
}

/// Its share of memory now, in KiB.
pub fn share(pid: u32) -> f64 {
    field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default(), "Pss")
}

/// Its name.
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().into()
}

/// Mounts this process sees.
pub fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count()
}

/// Waits for a child; its exit code and most memory in KiB.
pub fn wait(pid: u32) -> Result<(i32, f64)> {
    let mut status = 0;
    // SAFETY: plain memory the call fills in.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: one number and one structure, alive through the call.
    let got = unsafe { libc::wait4(pid as i32, &raw mut status, 0, &raw mut usage) };
    if got < 0 {
        return Err(std::io::Error::last_os_error()).context("wait for a child");
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    Ok((code, usage.ru_maxrss as f64))
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => all[n / 2],
        n => (all[n / 2 - 1] + all[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_medians() {
        assert_eq!(field("MemFree: 3 kB\nMemAvailable:   77 kB\n", "MemAvailable"), 77.0);
        assert_eq!(field("usage_usec 12\nuser_usec 3\n", "usage_usec"), 12.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
    }
}
