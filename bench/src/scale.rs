//! A large file: resolving it, and planning it without doing anything.

use crate::contest::command;
use crate::measure::{Group, Watch, median};
use crate::place::{IMAGE, Place};
use crate::topology::Lab;
use anyhow::Result;
use serde::Serialize;
use std::fs;

/// What a large file cost.
#[derive(Debug, Serialize)]
pub struct Scale {
    /// Nodes of the file.
    pub nodes: usize,
    /// Links of the file.
    pub links: usize,
    /// Seconds of `netloom validate`.
    pub resolve: f64,
    /// Its most memory, in KiB.
    pub resolve_peak: f64,
    /// Seconds of `netloom deploy --dry-run`, which resolves first.
    pub plan: f64,
    /// Its most memory, in KiB.
    pub plan_peak: f64,
}

/// Measures.
pub fn measure(place: &Place, group: &Group, nodes: usize, rounds: usize) -> Result<Scale> {
    let lab = Lab::new(nodes, true);
    let fresh = place.fresh("scale")?;
    fresh.import(&place.layer())?;
    let file = fresh.folder.join("lab.clab.yml");
    fs::write(&file, lab.file(IMAGE))?;
    let file = file.to_string_lossy().into_owned();
    let times = |arguments: &[&str]| -> Result<(f64, f64)> {
        let mut walls = Vec::new();
        let mut peaks = Vec::new();
        for _ in 0..rounds {
            let watch = Watch::start(group);
            peaks.push(command(group, &fresh, arguments)?);
            walls.push(watch.cost().wall);
        }
        Ok((median(walls), median(peaks)))
    };
    eprintln!("a file of {nodes} nodes");
    let (resolve, resolve_peak) = times(&["validate", "-t", &file])?;
    let (plan, plan_peak) = times(&["deploy", "--dry-run", "-t", &file])?;
    let links = lab.links().count();
    Ok(Scale { nodes, links, resolve, resolve_peak, plan, plan_peak })
}
