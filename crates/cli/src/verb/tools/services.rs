//! `netloom tools gotty`, `sshx` and `api-server`: containers with services for a lab that
//! containerlab starts from images of its makers. Here they are looked at; the terminals of nodes are
//! `netloom shell` and `netloom exec`.

use crate::say::show;
use crate::{context, output};
use anyhow::Result;
use serde_json::{Value as Json, json};

/// What is done.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Those that run.
    #[command(visible_alias = "status")]
    List {
        /// Form of the output.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
}

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A terminal in the browser.
    Gotty,
    /// A terminal that is shared.
    Sshx,
    /// An API.
    Api,
}

impl Service {
    /// The label its containers carry.
    fn label(self) -> &'static str {
        match self {
            Service::Gotty => "gotty",
            Service::Sshx => "sshx",
            Service::Api => "api-server",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Service::Gotty => "GoTTY",
            Service::Sshx => "SSHX",
            Service::Api => "API server",
        }
    }
}

/// Shows containers of a service.
pub fn run(service: Service, verb: &Verb) -> Result<u8> {
    let Verb::List { format } = verb;
    let list = context::engine()?.labelled("tool-type", service.label())?;
    let each = list.iter().map(|c| {
        let label = |name: &str| c.labels.get(name).cloned().unwrap_or_default();
        let address = c.addresses.iter().find(|a| a.contains('.')).cloned().unwrap_or_default();
        let address = address.split('/').next().unwrap_or_default().to_owned();
        let mut row =
            json!({ "name": c.name, "state": c.status.word(), "owner": label("clab-owner") });
        match service {
            Service::Api => {
                row["host"] = json!(label("clab-api-host"));
                row["port"] = json!(label("clab-api-port").parse::<u16>().unwrap_or_default());
                row["labs_dir"] = json!(label("clab-labs-dir"));
                row["runtime"] = json!(label("clab-runtime"));
            }
            _ => row["ipv4_address"] = json!(address),
        }
        row
    });
    let rows: Vec<Json> = each.collect();
    if format == "json" {
        output::json(&rows)?;
    } else if rows.is_empty() {
        show!("No active {} containers found", service.title());
    } else {
        let cell = |row: &Json, key: &str| match &row[key] {
            Json::String(text) => output::flat(text),
            other => other.to_string(),
        };
        let last = if service == Service::Api { "port" } else { "ipv4_address" };
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| ["name", "state", last, "owner"].map(|key| cell(row, key)).to_vec())
            .collect();
        let headers =
            ["Name", "State", if last == "port" { "Port" } else { "IPv4 Address" }, "Owner"];
        show!("{}", output::compact_table(&headers, &cells));
    }
    Ok(0)
}
