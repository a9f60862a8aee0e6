//! Results: rows, limits, a table for people and JSON for programs.

use crate::contest::Sample;
use crate::docker::Docker;
use crate::measure::Cost;
use crate::scale::Scale;
use serde::Serialize;
use std::fmt::Write;

/// Everything measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Sizes and rows.
    pub rows: Vec<Row>,
    /// A large file.
    pub scale: Option<Scale>,
    /// Docker doing the same.
    pub docker: Docker,
    /// Limits, and whether they are met.
    pub checks: Vec<Check>,
}

/// A size in a row, medians of all rounds.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Nodes.
    pub nodes: usize,
    /// Links.
    pub links: usize,
    /// `a` without a management network, `b` with.
    pub row: &'static str,
    /// The floor: the same objects by system calls.
    pub floor: Figures,
    /// The same without `/proc`, `/sys` and `/dev` in nodes; for information.
    pub bare: Figures,
    /// netloom.
    pub netloom: Figures,
}

/// Figures of one of them, as in [`Sample`].
#[derive(Debug, Serialize)]
pub struct Figures {
    pub deploy: Cost,
    pub destroy: Cost,
    pub settled_seconds: f64,
    pub peak_kib: f64,
    pub daemons_peak_kib: f64,
    pub memory_each_kib: f64,
    pub host_mounts_added: i64,
}

impl From<Sample> for Figures {
    fn from(s: Sample) -> Self {
        Figures {
            deploy: s.deploy,
            destroy: s.destroy,
            settled_seconds: s.settled,
            peak_kib: s.peak,
            daemons_peak_kib: s.daemons,
            memory_each_kib: s.each,
            host_mounts_added: s.mounts,
        }
    }
}

/// A limit.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Of what.
    pub what: String,
    /// What was measured.
    pub value: f64,
    /// What is allowed.
    pub limit: f64,
    /// Unit of both.
    pub unit: &'static str,
    /// Whether it is met.
    pub met: bool,
}

/// Longest deploy by size and row, in seconds.
const DEPLOY: [(usize, &str, f64); 3] = [(306, "a", 2.0), (1000, "a", 6.0), (1000, "b", 12.0)];

impl Report {
    /// Compares with the limits.
    pub fn check(&mut self) {
        let mut checks = Vec::new();
        let mut check = |what: String, value: f64, limit: f64, unit| {
            checks.push(Check { what, value, limit, unit, met: value <= limit });
        };
        for row in &self.rows {
            let of = format!("{} nodes ({})", row.nodes, row.row);
            let (ours, floor) = (&row.netloom, &row.floor);
            let ratio = ours.deploy.wall / floor.deploy.wall;
            check(format!("{of}: deploy over floor"), ratio, 2.0, "x");
            for (_, _, limit) in DEPLOY.iter().filter(|d| (d.0, d.1) == (row.nodes, row.row)) {
                check(format!("{of}: deploy"), ours.deploy.wall, *limit, "s");
            }
            if row.nodes == 1000 {
                check(format!("{of}: destroy"), ours.destroy.wall, 5.0, "s");
            }
            check(format!("{of}: memory a node"), ours.memory_each_kib, 1024.0, "KiB");
            let mounts = ours.host_mounts_added.unsigned_abs() as f64;
            check(format!("{of}: mounts on the host"), mounts, 0.0, "");
        }
        if let Some(s) = &self.scale {
            check(format!("resolve {} nodes", s.nodes), s.resolve, 0.5, "s");
            // Planning alone: what the dry run takes beyond resolving.
            check(format!("plan {} nodes", s.nodes), s.plan - s.resolve, 1.0, "s");
            check(format!("plan {} nodes, memory", s.nodes), s.plan_peak / 1024.0, 200.0, "MiB");
        }
        self.checks = checks;
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if !self.rows.is_empty() {
            writeln!(
                out,
                "(a) without, (b) with management network; medians; cpu and all: seconds"
            )?;
            writeln!(
                out,
                "{:<17} {:<8} {:>8} {:>7} {:>7} {:>8} {:>7} {:>8} {:>9} {:>9} {:>9}",
                "lab",
                "by",
                "deploy",
                "cpu",
                "all",
                "destroy",
                "cpu",
                "settled",
                "peak",
                "daemons",
                "a node"
            )?;
        }
        for row in &self.rows {
            let lab = format!("{}/{} ({})", row.nodes, row.links, row.row);
            let all = [("netloom", &row.netloom), ("floor", &row.floor), ("bare", &row.bare)];
            for (by, f) in all {
                writeln!(
                    out,
                    "{lab:<17} {by:<8} {:>6.2} s {:>7.2} {:>7.2} {:>6.2} s {:>7.2} {:>6.2} s {:>5.1} MiB {:>5.1} MiB {:>5.0} KiB",
                    f.deploy.wall,
                    f.deploy.cpu,
                    f.deploy.machine_cpu,
                    f.destroy.wall,
                    f.destroy.cpu,
                    f.settled_seconds,
                    f.peak_kib / 1024.0,
                    f.daemons_peak_kib / 1024.0,
                    f.memory_each_kib
                )?;
            }
            let over = |f: &Figures| row.netloom.deploy.wall / f.deploy.wall;
            let (floor, bare) = (over(&row.floor), over(&row.bare));
            let destroy = row.netloom.destroy.wall / row.floor.destroy.wall;
            writeln!(
                out,
                "{lab:<17} ratio    {floor:>6.2} x of the floor ({bare:.2} x of the bare one); destroy {destroy:.2} x"
            )?;
        }
        if let Some(s) = &self.scale {
            writeln!(
                out,
                "file of {} nodes, {} links: resolve {:.2} s, {:.0} MiB; dry run {:.2} s, {:.0} MiB",
                s.nodes,
                s.links,
                s.resolve,
                s.resolve_peak / 1024.0,
                s.plan,
                s.plan_peak / 1024.0
            )?;
        }
        match (&self.docker.missing, self.docker.ratio) {
            (Some(why), _) => writeln!(out, "Docker: not compared: {why}")?,
            (None, ratio) => {
                let ratio = ratio.map(|r| format!(": {r:.1} x of netloom's")).unwrap_or_default();
                let d = &self.docker;
                let n = d.nodes;
                writeln!(
                    out,
                    "Docker: {n} nodes in {:.1} s{ratio}, removed in {:.1} s",
                    d.deploy, d.destroy
                )?;
            }
        }
        for c in &self.checks {
            let mark = if c.met { "met   " } else { "MISSED" };
            writeln!(out, "{mark} {:<36} {:>8.2} of {} {}", c.what, c.value, c.limit, c.unit)?;
        }
        Ok(())
    }
}
