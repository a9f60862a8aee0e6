//! `netloom graph`: drawings of the topology, written into the lab directory.

use crate::say::{say, show};
use crate::{Global, context};
use anyhow::{Context, Result};
use netloom_engine::EngineError;
use netloom_graph::{Direction, Picture, dot, drawio, mermaid};
use netloom_topology::{Lab, Overrides};
use std::path::{Path, PathBuf};

/// Flags of `graph`.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("form").required(true))]
pub struct Arguments {
    /// For Graphviz.
    #[arg(long, group = "form", env = "CLAB_GRAPH_DOT")]
    dot: bool,
    /// A Mermaid flowchart.
    #[arg(long, group = "form", env = "CLAB_GRAPH_MERMAID")]
    mermaid: bool,
    /// For draw.io.
    #[arg(long, group = "form", env = "CLAB_GRAPH_DRAWIO")]
    drawio: bool,
    /// Which way the flowchart runs: TB, TD, BT, RL or LR.
    #[arg(long, default_value = "TD", env = "CLAB_GRAPH_MERMAID_DIRECTION")]
    mermaid_direction: Direction,
    /// Only these nodes, and links between them.
    #[arg(long, value_delimiter = ',', env = "CLAB_GRAPH_NODE_FILTER")]
    node_filter: Vec<String>,
    /// Look at the file only (accepted for compatibility; it always is).
    #[arg(short, long, env = "CLAB_GRAPH_OFFLINE")]
    offline: bool,
    /// The file to write; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where a drawing of a lab stands when nobody says where.
fn usual(lab: &Lab, extension: &str) -> Result<PathBuf> {
    netloom_engine::make_lab_dir(&lab.dir)?;
    let stem = lab.topology_file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(lab.dir.join("graph").join(format!("{stem}.{extension}")))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    say!("created {}", path.display());
    Ok(())
}

/// Draws a lab for Graphviz into its directory.
pub fn draw(lab: &Lab) -> Result<()> {
    write(&usual(lab, "dot")?, &dot(&Picture::of(lab, &[])))
}

/// Draws.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let resolved = context::resolved(global, Overrides::default())?;
    let (lab, _) = context::sound(resolved, global)?;
    if let Some(unknown) = a.node_filter.iter().find(|n| lab.node(n).is_none()) {
        return Err(EngineError::NoNode { lab: lab.name, node: unknown.clone() }.into());
    }
    let picture = Picture::of(&lab, &a.node_filter);
    let (text, extension) = match (a.dot, a.mermaid) {
        (true, _) => (dot(&picture), "dot"),
        (_, true) => (mermaid(&picture, a.mermaid_direction), "mermaid"),
        _ => (drawio(&picture), "drawio"),
    };
    let path = match a.out {
        Some(path) if path.as_os_str() == "-" => {
            show!("{}", text.trim_end());
            return Ok(0);
        }
        Some(path) => path,
        None => usual(&lab, extension)?,
    };
    write(&path, &text)?;
    if a.drawio {
        show!("Diagram created successfully.");
    }
    Ok(0)
}
