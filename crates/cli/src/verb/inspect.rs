//! `netloom inspect`.

use crate::say::{say, show};
use crate::standin::stands_in;
use crate::{Global, context, output};
use anyhow::Result;
use netloom_engine::{Engine, LabRecord, NodeRow};
use serde_json::Value as Json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Flags of `inspect`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Every lab on this machine.
    #[arg(short, long, env = "CLAB_INSPECT_ALL")]
    all: bool,
    /// Form of the output.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json", "csv"], env = "CLAB_INSPECT_FORMAT")]
    format: String,
    /// Everything that is recorded of each node, as JSON.
    #[arg(long, env = "CLAB_INSPECT_DETAILS")]
    details: bool,
    /// More columns.
    #[arg(short, long, env = "CLAB_INSPECT_WIDE")]
    wide: bool,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Interfaces of nodes.
    #[command(visible_aliases = ["int", "intf"])]
    Interfaces {
        /// Only this node.
        #[arg(short, long, env = "CLAB_INSPECT_INTERFACES_NODE")]
        node: Option<String>,
        /// Form of the output.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"], env = "CLAB_INSPECT_INTERFACES_FORMAT")]
        format: String,
    },
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Inspects.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let engine = context::engine()?;
    if let Some(What::Interfaces { node, format }) = a.what {
        let record = context::record(global, &engine)?;
        return interfaces(&engine, &record, node, &format);
    }
    let records = match a.all {
        true => LabRecord::all(&engine.directories)?,
        false => vec![context::record(global, &engine)?],
    };
    if a.details {
        let mut labs = serde_json::Map::new();
        for record in &records {
            let mut nodes = engine.details(record, now())?;
            for node in nodes.as_array_mut().into_iter().flatten().filter(|_| stands_in()) {
                node.as_object_mut().map(|facts| facts.remove("Netloom"));
            }
            if stands_in()
                && let Some(list) = nodes.as_array_mut()
            {
                // Of no lab there, and not looked at with all labs.
                let outside: Vec<Json> =
                    list.extract_if(.., |node| node["Labels"]["containerlab"].is_null()).collect();
                if !(a.all || outside.is_empty()) {
                    labs.insert("_unknown_lab_".into(), outside.into());
                }
            }
            labs.insert(record.name.clone(), nodes);
        }
        output::json(&labs)?;
        return Ok(0);
    }
    let mut rows = Vec::new();
    for record in &records {
        rows.extend(engine.nodes(record, now())?);
    }
    if stands_in() {
        rows = as_there(rows, a.all);
    }
    match a.format.as_str() {
        "json" => output::json(&output::node_json(&rows))?,
        "csv" => show!("{}", output::node_csv(&rows)),
        _ if rows.is_empty() => say!("no containers found"),
        _ => show!("{}", output::node_table(&rows, output::Columns { labs: a.all, wide: a.wide })),
    }
    Ok(0)
}

/// Containers of somebody else are of no lab there, and come first where they are shown at all.
pub fn as_there(rows: Vec<NodeRow>, all: bool) -> Vec<NodeRow> {
    let (outside, mut ours): (Vec<NodeRow>, Vec<NodeRow>) =
        rows.into_iter().partition(|r| r.outside);
    let of_nobody = |row: NodeRow| NodeRow {
        lab: String::new(),
        topology: String::new(),
        owner: String::new(),
        ..row
    };
    ours.splice(0..0, outside.into_iter().filter(|_| !all).map(of_nobody));
    ours
}

fn interfaces(
    engine: &Engine,
    record: &LabRecord,
    node: Option<String>,
    format: &str,
) -> Result<u8> {
    let mut nodes = Vec::new();
    match node {
        Some(node) => {
            let name = engine.container(record, &node)?;
            nodes.push((name, engine.interfaces(record, &node)?));
        }
        None => {
            for row in engine.nodes(record, now())?.into_iter().filter(|r| !r.outside) {
                nodes.push((row.name, engine.interfaces(record, &row.node)?));
            }
        }
    }
    match format {
        "json" => output::json(&output::interface_json(&nodes))?,
        _ => show!("{}", output::interface_table(&nodes)),
    }
    Ok(0)
}
