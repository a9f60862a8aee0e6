//! Tables, JSON and CSV on standard output.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use netloom_engine::{InterfaceRow, NodeRow};
use serde_json::{Map, Value as Json, json};

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

fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headers.iter().copied());
    table
}

/// Nodes as a table; `labs` adds the lab's columns.
pub fn node_table(rows: &[NodeRow], labs: bool) -> String {
    let mut headers = vec!["Name", "Kind/Image", "State", "IPv4/6 Address"];
    if labs {
        headers.splice(0..0, ["Topology", "Lab Name"]);
    }
    let mut out = table(&headers);
    for r in rows {
        let state = if r.state == "running" && r.status == "healthy" {
            "running\n(healthy)".to_string()
        } else if r.state == "running" && ["starting", "unhealthy"].contains(&r.status.as_str()) {
            format!("running\n({})", r.status)
        } else {
            r.state.clone()
        };
        let address = |a: &Option<String>| match a {
            Some(a) => a.split('/').next().unwrap_or(a).to_string(),
            None => "N/A".into(),
        };
        let mut cells = vec![
            r.name.clone(),
            format!("{}\n{}", r.kind, r.image),
            state,
            format!("{}\n{}", address(&r.ipv4), address(&r.ipv6)),
        ];
        if labs {
            cells.splice(0..0, [r.topology.clone(), r.lab.clone()]);
        }
        out.add_row(cells);
    }
    out.to_string()
}

/// Nodes by lab, in the shape tools for containerlab read.
pub fn node_json(rows: &[NodeRow]) -> Json {
    let here = std::env::current_dir().unwrap_or_default();
    let mut labs: Map<String, Json> = Map::new();
    for r in rows {
        let relative = std::path::Path::new(&r.topology)
            .strip_prefix(&here)
            .map(|p| p.display().to_string())
            .unwrap_or_else(|_| r.topology.clone());
        let mut node = json!({
            "lab_name": r.lab,
            "labPath": relative,
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
            map.remove("group");
        }
        if let Some(list) = labs.entry(r.lab.clone()).or_insert_with(|| json!([])).as_array_mut() {
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
    let mut out = table(&["Node", "Name", "Alias", "MAC", "MTU", "Type", "State", "Addresses"]);
    for (node, rows) in nodes {
        for r in rows {
            out.add_row([
                node.clone(),
                r.name.clone(),
                r.alias.clone(),
                r.mac.clone(),
                r.mtu.to_string(),
                r.kind.clone(),
                r.state.to_string(),
                r.addresses.join("\n"),
            ]);
        }
    }
    out.to_string()
}

/// Interfaces of several nodes in the shape tools for containerlab read, addresses added.
pub fn interface_json(nodes: &[(String, Vec<InterfaceRow>)]) -> Json {
    nodes
        .iter()
        .map(|(name, rows)| {
            let interfaces: Vec<Json> = rows
                .iter()
                .map(|r| {
                    json!({
                        "name": r.name, "alias": r.alias, "mac": r.mac, "ifindex": r.index,
                        "mtu": r.mtu, "type": r.kind, "state": r.state, "addresses": r.addresses,
                    })
                })
                .collect();
            json!({"name": name, "interfaces": interfaces})
        })
        .collect()
}
