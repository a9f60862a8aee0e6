//! `netloom validate`.

use crate::exit::{INVALID, Invalid};
use crate::say::{say_text, show, show_text};
use crate::standin::{info, stands_in};
use crate::{Global, context, output};
use anyhow::Result;
use netloom_diag::{render, render_json};
use netloom_topology::{Overrides, json_schema, to_containerlab};
use serde_json::json;

/// Version of the resolved form.
const VERSION: u32 = 1;

/// Flags of `validate`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// `text` says whether it is valid; `json` and `yaml` print the resolved lab with where each
    /// value came from; `containerlab` prints what that tool would resolve.
    #[arg(short, long, default_value = "text", value_parser = ["text", "json", "yaml", "containerlab"])]
    format: String,
    /// Print the file after templates and environment, and nothing else.
    #[arg(long)]
    rendered: bool,
    /// Print the JSON schema of topology files, for editors.
    #[arg(long)]
    schema: bool,
}

/// Validates.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    if a.schema {
        output::json(&json_schema())?;
        return Ok(0);
    }
    let mut done = context::resolved(global, Overrides::default())?;
    if let Some(lab) = done.lab.as_mut().filter(|_| matches!(a.format.as_str(), "json" | "yaml")) {
        lab.locate_origins(&done.sources);
    }
    if a.rendered {
        show_text(&done.rendered);
        return Ok(0);
    }
    let findings = || render_json(&done.sources, &done.found);
    let color = !global.plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
    match a.format.as_str() {
        "json" => {
            output::json(&json!({"version": VERSION, "findings": findings(), "lab": done.lab}))?
        }
        "yaml" => {
            let value = json!({"version": VERSION, "findings": findings(), "lab": done.lab});
            show_text(&serde_saphyr::to_string(&value)?);
        }
        "containerlab" => {
            if let Some(lab) = done.lab.as_ref().or(done.partial.as_ref()) {
                output::json(&to_containerlab(lab))?;
            }
            say_text(&render(&done.sources, &done.found, color));
        }
        _ => match done.lab {
            Some(lab) => {
                say_text(&render(&done.sources, &done.found, color));
                let (nodes, links) = (lab.nodes.len(), lab.links.len());
                let text = format!("lab {} is valid: {nodes} nodes, {links} links", lab.name);
                match stands_in() {
                    true => info(&text, &[]),
                    false => show!("{text}"),
                }
            }
            None => return Err(Invalid { sources: done.sources, found: done.found }.into()),
        },
    }
    Ok(if done.found.has_errors() { INVALID } else { 0 })
}
