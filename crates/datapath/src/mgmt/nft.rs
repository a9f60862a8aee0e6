//! The nftables table of a management network, through the `nft` program: the
//! only program this crate runs.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::MgmtSpec;
use crate::error::{Error, Result};
use crate::netns::Netns;

const PROGRAM: &str = "nft";

/// The name of the table of a network.
pub fn table(network: &str) -> String {
    format!("netloom-net-{network}")
}

/// The program: administrators' programs are not in everybody's search path.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(usual);
    folders.find_map(|folder| Some(folder.join(PROGRAM)).filter(|file| file.is_file()))
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

/// Makes the table what it has to be; says whether anything was done.
pub(super) fn ensure_table(host: &Netns, spec: &MgmtSpec) -> Result<bool> {
    let table = table(&spec.name);
    let wanted = rules(&body(spec));
    match list(host, &table)? {
        Some(found) if found == wanted => Ok(false),
        // Not there, or of another time: replaced as a whole, in one transaction.
        _ => {
            let empty = format!("table inet {table}\ndelete table inet {table}\n");
            let script = format!("{empty}table inet {table} {{\n{}}}\n", body(spec));
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
    // Without the program nothing of ours was made with it.
    if program().is_none() {
        return Ok(false);
    }
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
         {rules}}}\n"
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
    let program = program().unwrap_or_else(|| PROGRAM.into());
    host.run_in(|| {
        let mut child = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends early says why on its standard error.
            let _ = stdin.write_all(input.as_bytes());
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
