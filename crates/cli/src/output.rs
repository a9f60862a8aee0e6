//! Tables, JSON and CSV on standard output.

use crate::standin::stands_in;
use anyhow::Result;
use netloom_engine::{InterfaceRow, NodeRow};
use serde_json::{Map, Value as Json, json};
use tabled::builder::Builder;
use tabled::settings::object::Rows;
use tabled::settings::{Alignment, Span, Style};

/// Prints JSON.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    use std::io::Write;
    // As it is made: the text of a large lab is larger than the lab.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match serde_json::to_writer_pretty(&mut out, value) {
        Err(e) if e.is_io() => {}
        other => other?,
    }
    let _ = writeln!(out).and_then(|()| out.flush());
    Ok(())
}

/// A table with a line between rows. Of the first `merged` columns a cell that says what the one
/// above says is one with it.
pub fn table(headers: &[&str], rows: &[Vec<String>], merged: usize) -> String {
    let mut builder = Builder::default();
    builder.push_record(headers.iter().copied());
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::modern_rounded());
    table.modify(Rows::first(), Alignment::center());
    for column in 0..merged {
        let mut first = 0;
        while first < rows.len() {
            let same = |r: &&Vec<String>| r[..=column] == rows[first][..=column];
            let count = rows[first..].iter().take_while(same).count();
            if count > 1 {
                let span = isize::try_from(count).unwrap_or(1);
                table.modify((first + 1, column), Span::row(span));
            }
            first += count;
        }
    }
    table.to_string()
}

/// A table without lines between rows.
pub fn compact_table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let mut builder = Builder::default();
    builder.push_record(headers.iter().copied());
    rows.iter().for_each(|row| builder.push_record(row));
    let mut table = builder.build();
    table.with(Style::rounded());
    table.modify(Rows::first(), Alignment::center());
    table.to_string()
}

/// Text of somebody else on one line, without what moves a cursor.
pub fn flat(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// A time as Go programs write it (`100ms`, `1m0.5s`).
pub fn go_time(time: std::time::Duration) -> String {
    let nanoseconds = time.as_nanos();
    let trimmed = |value: f64, unit: &str| format!("{value}{unit}");
    match nanoseconds {
        0 => "0s".into(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => trimmed(nanoseconds as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => trimmed(nanoseconds as f64 / 1e6, "ms"),
        _ => {
            let minutes = time.as_secs() / 60;
            let seconds = time.as_secs_f64() - (minutes * 60) as f64;
            let seconds = (seconds * 1e9).round() / 1e9;
            if minutes > 0 { format!("{minutes}m{seconds}s") } else { format!("{seconds}s") }
        }
    }
}

/// What nodes as a table also say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns {
    /// The lab's columns.
    pub labs: bool,
    /// The owner's; each cell in one line.
    pub wide: bool,
}

/// Nodes as a table.
pub fn node_table(rows: &[NodeRow], columns: Columns) -> String {
    let mut headers = vec!["Name", "Kind/Image", "State", "IPv4/6 Address"];
    if columns.wide {
        headers.insert(0, "Owner");
    }
    if columns.labs {
        headers.splice(0..0, ["Topology", "Lab Name"]);
    }
    let between = if columns.wide { " " } else { "\n" };
    let each = |r: &NodeRow| {
        let state = match r.status.as_str() {
            health @ ("healthy" | "starting" | "unhealthy") if r.state == "running" => {
                format!("running{between}({health})")
            }
            _ => r.state.clone(),
        };
        let address = |a: &Option<String>| match a {
            Some(a) => a.split('/').next().unwrap_or(a).to_string(),
            None => "N/A".into(),
        };
        let mut cells = vec![
            r.name.clone(),
            format!("{}{between}{}", r.kind, r.image),
            state,
            format!("{}{between}{}", address(&r.ipv4), address(&r.ipv6)),
        ];
        if columns.wide {
            cells.insert(0, r.owner.clone());
        }
        if columns.labs {
            cells.splice(0..0, [from_here(&r.topology), r.lab.clone()]);
        }
        cells
    };
    let merged = if columns.labs && !columns.wide { 2 } else { 0 };
    table(&headers, &rows.iter().map(each).collect::<Vec<_>>(), merged)
}

/// A path as seen from the working directory.
fn from_here(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let (mut here, mut there) =
        (here.components().peekable(), std::path::Path::new(path).components().peekable());
    while here.peek().is_some() && here.peek() == there.peek() {
        here.next();
        there.next();
    }
    let mut out: std::path::PathBuf = here.map(|_| "..").collect();
    out.extend(there);
    out.display().to_string()
}

/// Nodes by lab, in the shape tools for containerlab read.
pub fn node_json(rows: &[NodeRow]) -> Json {
    let mut labs: Map<String, Json> = Map::new();
    for r in rows {
        let mut node = json!({
            "lab_name": r.lab,
            "labPath": from_here(&r.topology),
            "absLabPath": r.topology,
            "name": r.name,
            "container_id": r.id.chars().take(12).collect::<String>(),
            "image": r.image,
            "kind": r.kind,
            "group": r.group,
            "state": r.state,
            "status": r.status,
            "ipv4_address": r.ipv4.clone().unwrap_or_else(|| "N/A".into()),
            "ipv6_address": r.ipv6.clone().unwrap_or_else(|| "N/A".into()),
            "owner": r.owner,
        });
        if r.group.is_empty()
            && let Some(map) = node.as_object_mut()
        {
            // The order of the others is what it was.
            map.shift_remove("group");
        }
        // Who is of no lab has a name of its own for that there.
        let lab = if r.lab.is_empty() { "_unknown_lab_" } else { &r.lab };
        if let Some(list) = labs.entry(lab.to_owned()).or_insert_with(|| json!([])).as_array_mut() {
            list.push(node);
        }
    }
    Json::Object(labs)
}

/// Nodes as CSV with a header line.
pub fn node_csv(rows: &[NodeRow]) -> String {
    let columns = [
        "lab_name",
        "labPath",
        "absLabPath",
        "name",
        "container_id",
        "image",
        "kind",
        "state",
        "status",
        "ipv4_address",
        "ipv6_address",
        "owner",
    ];
    let mut out = columns.join(",");
    let labs = node_json(rows);
    for node in
        labs.as_object().into_iter().flat_map(|m| m.values()).filter_map(Json::as_array).flatten()
    {
        let cells: Vec<String> =
            columns.iter().map(|c| field(node[*c].as_str().unwrap_or_default())).collect();
        out.push('\n');
        out.push_str(&cells.join(","));
    }
    out
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

/// Interfaces of several nodes as a table.
pub fn interface_table(nodes: &[(String, Vec<InterfaceRow>)]) -> String {
    let mut headers =
        vec!["Container Name", "Name", "Alias", "MAC", "Index", "MTU", "Type", "State"];
    if !stands_in() {
        headers.push("Addresses");
    }
    let mut cells = Vec::new();
    for (node, rows) in nodes {
        for r in rows {
            let alias = if r.alias.is_empty() { "N/A" } else { &r.alias };
            let mut row = vec![
                node.clone(),
                r.name.clone(),
                alias.into(),
                r.mac.clone(),
                r.index.to_string(),
                r.mtu.to_string(),
                r.kind.clone(),
                r.state.to_string(),
            ];
            if !stands_in() {
                row.push(r.addresses.join("\n"));
            }
            cells.push(row);
        }
    }
    table(&headers, &cells, 1)
}

/// Interfaces of several nodes in the shape tools for containerlab read, addresses added.
pub fn interface_json(nodes: &[(String, Vec<InterfaceRow>)]) -> Json {
    nodes
        .iter()
        .map(|(name, rows)| {
            let interfaces: Vec<Json> = rows
                .iter()
                .map(|r| {
                    let mut row = json!({
                        "name": r.name, "alias": r.alias, "mac": r.mac, "ifindex": r.index,
                        "mtu": r.mtu, "type": r.kind, "state": r.state,
                    });
                    if !stands_in() {
                        row["addresses"] = json!(r.addresses);
                    }
                    row
                })
                .collect();
            json!({"name": name, "interfaces": interfaces})
        })
        .collect()
}
