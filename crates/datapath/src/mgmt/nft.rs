//! The nftables table of a management network, through the `nft` program.

use std::path::PathBuf;
use std::process::Output;

use super::MgmtSpec;
use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::program::Program;

pub(super) const NFT: Program = Program { name: "nft", package: "nftables" };

/// The name of the table of a network.
pub fn table(network: &str) -> String {
    format!("netloom-net-{network}")
}

/// The program, where it is installed.
pub fn program() -> Option<PathBuf> {
    NFT.find()
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
    let output = NFT.spawn(host, "list nftables", &arguments, "")?;
    if output.status.success() {
        return Ok(Some(rules(&String::from_utf8_lossy(&output.stdout))));
    }
    if says_absent(&output) {
        return Ok(None);
    }
    Err(NFT.failed("list nftables", &output))
}

/// Whether what was asked for is not there.
pub(super) fn says_absent(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("No such file or directory")
}

pub(super) fn run(host: &Netns, action: &str, arguments: &[&str], input: &str) -> Result<()> {
    NFT.run(host, action, arguments, input).map(drop)
}
