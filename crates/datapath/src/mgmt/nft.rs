//! The nftables table of a management network, through the `nft` program: the
//! only program this crate runs.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::MgmtSpec;
use crate::error::{Error, Result};
use crate::netns::Netns;

const PROGRAM: &str = "nft";

/// The name of the table of a network.
pub fn table(network: &str) -> String {
    format!("netloom-{network}")
}

/// Refuses names that `nft` would read as something else.
pub(super) fn check_name(network: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !network.is_empty() && network.len() <= 64 && network.chars().all(plain) {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "network name",
        value: network.into(),
        reason: "letters, digits, `-`, `_` and `.` only, 64 at most".into(),
    })
}

/// Makes the table unless an equal one is there; says whether it was made.
pub(super) fn ensure_table(host: &Netns, spec: &MgmtSpec) -> Result<bool> {
    let table = table(&spec.name);
    let wanted = rules(&body(spec));
    match list(host, &table)? {
        Some(found) if found == wanted => Ok(false),
        Some(found) => {
            let first = |a: &[String], b: &[String]| a.iter().find(|l| !b.contains(l)).cloned();
            Err(Error::Differs {
                subject: format!("nftables table {table}"),
                field: "rule",
                wanted: first(&wanted, &found).unwrap_or_else(|| "another order".into()),
                found: first(&found, &wanted).unwrap_or_else(|| "none".into()),
            })
        }
        None => {
            let script = format!("table inet {table} {{\n{}}}\n", body(spec));
            run(host, "make the management network's rules", &["-f", "-"], &script)?;
            Ok(true)
        }
    }
}

/// Removes the table of a network if it is there; says whether it was.
pub fn remove_table(host: &Netns, network: &str) -> Result<bool> {
    check_name(network)?;
    remove(host, &table(network))
}

/// Removes a table if it is there; says whether it was.
pub(super) fn remove(host: &Netns, table: &str) -> Result<bool> {
    if list(host, table)?.is_none() {
        return Ok(false);
    }
    run(host, "remove an nftables table", &["delete", "table", "inet", table], "")?;
    Ok(true)
}

/// Chains and rules, as `nft` prints them.
fn body(spec: &MgmtSpec) -> String {
    let bridge = &spec.bridge;
    let mut rules = String::new();
    for gateway in &spec.gateways {
        let family = if gateway.address.is_ipv4() { "ip" } else { "ip6" };
        let subnet = gateway.network();
        rules += &format!("{family} saddr {subnet} oifname != \"{bridge}\" masquerade\n");
    }
    format!(
        "chain postrouting {{\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         {rules}}}\n\
         chain forward {{\n\
         type filter hook forward priority filter; policy accept;\n\
         iifname \"{bridge}\" accept\n\
         oifname \"{bridge}\" accept\n\
         }}\n"
    )
}

/// The rules of a listing: versions of `nft` print priorities differently.
fn rules(text: &str) -> Vec<String> {
    let frame = |line: &&str| {
        line.is_empty() || *line == "}" || line.ends_with('{') || line.starts_with("type ")
    };
    text.lines().map(str::trim).filter(|line| !frame(line)).map(str::to_owned).collect()
}

/// The rules of a table; none if it is not there.
fn list(host: &Netns, table: &str) -> Result<Option<Vec<String>>> {
    let arguments = ["list", "table", "inet", table];
    let output = spawn(host, "list nftables", &arguments, "")?;
    if output.status.success() {
        return Ok(Some(rules(&String::from_utf8_lossy(&output.stdout))));
    }
    if String::from_utf8_lossy(&output.stderr).contains("No such file or directory") {
        return Ok(None);
    }
    Err(failed("list nftables", &output))
}

pub(super) fn run(host: &Netns, action: &str, arguments: &[&str], input: &str) -> Result<()> {
    let output = spawn(host, action, arguments, input)?;
    if output.status.success() { Ok(()) } else { Err(failed(action, &output)) }
}

fn failed(action: &str, output: &Output) -> Error {
    Error::Program {
        program: PROGRAM.into(),
        action: action.into(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

/// Runs the program inside the namespace: a child starts in that of the thread
/// that makes it.
fn spawn(host: &Netns, action: &str, arguments: &[&str], input: &str) -> Result<Output> {
    host.run_in(|| {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    })?
    .map_err(|error| Error::Program {
        program: PROGRAM.into(),
        action: action.into(),
        status: "could not be run".into(),
        stderr: format!("{error}; is the package `nftables` installed?"),
    })
}
