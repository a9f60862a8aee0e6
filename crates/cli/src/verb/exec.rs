//! `netloom exec`.

use crate::say::say;
use crate::standin::{self, stands_in};
use crate::{Global, context, output};
use anyhow::{Result, anyhow, bail};
use netloom_engine::{Engine, ExecResult, LabRecord, Selection};
use netloom_runtime::ExecSpec;
use netloom_source::SourceError;
use serde_json::{Map, Value as Json, json};
use std::io::{IsTerminal, Write};

/// Flags of `exec`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Command to run in every selected node (repeatable).
    #[arg(long, env = "CLAB_EXEC_CMD")]
    cmd: Vec<String>,
    /// Only nodes with this label, `key=value` or `key` (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',', env = "CLAB_EXEC_LABEL")]
    label: Vec<String>,
    /// Only these nodes (repeatable, or separated by commas).
    #[arg(short, long, value_delimiter = ',')]
    node: Vec<String>,
    /// Form of the output.
    #[arg(short, long, default_value = "plain", value_parser = ["plain", "json"], env = "CLAB_EXEC_FORMAT")]
    format: String,
    /// One node and a command, run with this terminal: `netloom exec NODE -- COMMAND...`.
    #[arg(value_name = "NODE")]
    target: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Executes.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let engine = context::engine()?;
    if let Some(node) = &a.target {
        if a.command.is_empty() {
            bail!("what should be run? write: netloom exec {node} -- COMMAND");
        }
        let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let record = context::record(global, &engine)?;
        let spec = ExecSpec { argv: a.command, tty, ..ExecSpec::default() };
        return Ok(code(engine.attach(&record, node, &spec)?));
    }
    if a.cmd.is_empty() {
        bail!("what should be run? give --cmd COMMAND, or NODE -- COMMAND");
    }
    let selection = Selection { nodes: a.node, labels: a.label };
    let mut results = Vec::new();
    let records = labs(global, &engine)?;
    for cmd in &a.cmd {
        let argv = shlex::split(cmd).ok_or_else(|| anyhow!("a quote is not closed in `{cmd}`"))?;
        for record in &records {
            results.extend(engine.exec(record, &selection, &argv)?);
        }
    }
    if results.is_empty() {
        bail!("nothing was run: the filter did not match any containers");
    }
    match a.format.as_str() {
        "json" => output::json(&as_json(&results))?,
        _ if stands_in() => logged(&results),
        _ => plain(&results)?,
    }
    if stands_in() {
        // Its scripts do not expect to end here.
        return Ok(0);
    }
    // The first command that failed decides.
    Ok(results
        .iter()
        .map(|r| r.output.as_ref().map_or(1, |o| code(o.code)))
        .find(|c| *c != 0)
        .unwrap_or(0))
}

/// The lab of the flags, or of the folder; where there is none, or under the name of the program
/// that looks at flags only, all of them.
fn labs(global: &Global, engine: &Engine) -> Result<Vec<LabRecord>> {
    let named = global.topo.is_some() || global.name.is_some();
    let none = || matches!(netloom_source::discover(None), Err(SourceError::NoTopology(_)));
    if !named && (stands_in() || none()) {
        return Ok(LabRecord::all(&engine.directories)?);
    }
    Ok(vec![context::record(global, engine)?])
}

/// An exit code that fits.
pub fn code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(1)
}

fn plain(results: &[ExecResult]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let several = results.len() > 1;
    for r in results {
        if several {
            say!("{}:", r.container);
        }
        match &r.output {
            Ok(o) => {
                out.write_all(&o.stdout)?;
                out.flush()?;
                std::io::stderr().write_all(&o.stderr)?;
            }
            Err(e) => say!("error: {}: {e}", r.container),
        }
    }
    Ok(())
}

fn logged(results: &[ExecResult]) {
    for r in results {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let (code, stdout, stderr) = match &r.output {
            Ok(o) => (o.code, text(&o.stdout), text(&o.stderr)),
            Err(e) => (-1, String::new(), e.clone()),
        };
        standin::executed(&r.container, &r.argv.join(" "), code, &stdout, &stderr);
    }
}

fn as_json(results: &[ExecResult]) -> Json {
    let mut out: Map<String, Json> = Map::new();
    for r in results {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let (code, stdout, stderr) = match &r.output {
            Ok(o) => (o.code, text(&o.stdout), text(&o.stderr)),
            Err(e) => (-1, String::new(), e.clone()),
        };
        // What is JSON is passed on as JSON.
        let stdout = match serde_json::from_str::<Json>(&stdout) {
            Ok(v @ (Json::Object(_) | Json::Array(_))) => v,
            _ => Json::String(stdout),
        };
        let entry = json!({"cmd": r.argv, "return-code": code, "stdout": stdout, "stderr": stderr});
        if let Some(list) =
            out.entry(r.container.clone()).or_insert_with(|| json!([])).as_array_mut()
        {
            list.push(entry);
        }
    }
    Json::Object(out)
}
