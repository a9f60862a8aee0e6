//! Ports of Open vSwitch bridges, through `ovs-vsctl`: the switch keeps them in a database of its
//! own, and takes an interface only from there. What is ours carries the lab's name in
//! `external_ids:netloom`, so that it is found again whatever became of a record.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::program::Program;

const VSCTL: Program = Program { name: "ovs-vsctl", package: "openvswitch-switch" };
/// Seconds the switch has to take a port.
const PATIENCE: &str = "--timeout=10";

/// How an error of a switch that did not take a port in time begins.
const NO_ANSWER: &str = "had no answer in 10 seconds";

/// Whether the switch itself is away, and not one port at fault.
pub fn away(error: &Error) -> bool {
    matches!(error, Error::Program { status, .. } if status == NO_ANSWER)
}

/// What the switch has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switch {
    /// Its bridges.
    pub bridges: BTreeSet<String>,
    /// Its ports, and the lab each was made for, where it was for one.
    pub ports: BTreeMap<String, Option<String>>,
}

/// A port of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// The interface.
    pub interface: &'a str,
}

/// The program, where it is installed.
pub fn program() -> Option<PathBuf> {
    VSCTL.find()
}

/// What the switch of this host has.
pub fn observe(host: &Netns) -> Result<Switch> {
    let action = "ask Open vSwitch for its bridges";
    let bridges = run(host, action, &[PATIENCE.into(), "list-br".into()])?;
    let table = list(host, "Port", "name,external_ids")?;
    let ports = ports(&table).ok_or_else(|| unread(&table))?;
    Ok(Switch { bridges: bridges.lines().map(str::to_owned).collect(), ports })
}

/// Ports of one bridge that the switch has in use.
pub fn ports_of(host: &Netns, bridge: &str) -> Result<BTreeSet<String>> {
    let arguments = [PATIENCE, "list-ports", bridge].map(str::to_owned);
    let list = run(host, "ask Open vSwitch for its ports", &arguments)?;
    let broken = broken(host)?;
    Ok(list.lines().filter(|l| !broken.contains(*l)).map(str::to_owned).collect())
}

/// Interfaces that stand in the database, and that the switch could not open or has not taken.
fn broken(host: &Netns) -> Result<BTreeSet<String>> {
    let table = list(host, "Interface", "name,ofport")?;
    let rows = rows(&table).ok_or_else(|| unread(&table))?;
    // None yet, or that of something that went wrong.
    let wrong = rows.into_iter().filter(|(_, port)| port.as_i64().is_none_or(|n| n <= 0));
    Ok(wrong.map(|(name, _)| name).collect())
}

/// Two columns of a table, as JSON.
fn list(host: &Netns, table: &str, columns: &str) -> Result<String> {
    let columns = format!("--columns={columns}");
    let arguments = [PATIENCE, "--format=json", &columns, "list", table].map(str::to_owned);
    run(host, "ask Open vSwitch for its ports", &arguments)
}

fn unread(table: &str) -> Error {
    Error::Answer {
        action: "read".into(),
        subject: "the ports of Open vSwitch".into(),
        reason: table.trim().chars().take(200).collect(),
    }
}

/// Makes interfaces ports of bridges for a lab, in one transaction; those that are stay.
///
/// # Errors
/// The switch does not answer, a bridge is not there, an interface is a port of another one or
/// cannot be opened: none of them is a port of this lab then.
pub fn ensure(host: &Netns, list: &[Port<'_>], lab: &str) -> Result<()> {
    let done = add(host, list, lab);
    if done.is_err() {
        // What could not be opened stands in the database all the same.
        let interfaces: Vec<&str> = list.iter().map(|p| p.interface).collect();
        // The error of interest is the first one.
        let _ = ensure_absent(host, &interfaces, lab);
    }
    done
}

fn add(host: &Netns, list: &[Port<'_>], lab: &str) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let mut arguments = vec![PATIENCE.to_owned()];
    for port in list {
        let add = ["--", "--may-exist", "add-port", port.bridge, port.interface];
        let set = ["--", "set", "Port", port.interface];
        arguments.extend(add.into_iter().chain(set).map(str::to_owned));
        arguments.push(format!("external_ids:netloom=\"{lab}\""));
    }
    run(host, "make ports of Open vSwitch", &arguments).map(drop)
}

/// Takes interfaces out of their bridges, as far as they are in one for this lab. The switch is not
/// waited for: what its database does not name it lets go of.
pub fn ensure_absent(host: &Netns, interfaces: &[&str], lab: &str) -> Result<()> {
    // Where the program is gone, so are the bridges.
    if program().is_none() {
        return Ok(());
    }
    let mine = mine(host, lab)?;
    let wanted = interfaces.iter().filter(|i| mine.contains(**i)).map(|i| (*i).to_owned());
    remove(host, wanted.collect())
}

/// Takes every port of a lab out.
pub fn forget(host: &Netns, lab: &str) -> Result<()> {
    if program().is_none() {
        return Ok(());
    }
    remove(host, mine(host, lab)?.into_iter().collect())
}

fn remove(host: &Netns, list: Vec<String>) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let mut arguments = vec![PATIENCE.to_owned(), "--no-wait".to_owned()];
    for port in list {
        arguments.extend(["--", "--if-exists", "del-port"].map(str::to_owned));
        arguments.push(port);
    }
    run(host, "remove ports of Open vSwitch", &arguments).map(drop)
}

fn mine(host: &Netns, lab: &str) -> Result<BTreeSet<String>> {
    let query = ["--no-heading", "--format=table", "--data=bare", "--columns=name", "find", "Port"];
    let mut arguments: Vec<String> =
        [PATIENCE].into_iter().chain(query).map(str::to_owned).collect();
    arguments.push(format!("external_ids:netloom=\"{lab}\""));
    let list = run(host, "ask Open vSwitch for the ports of a lab", &arguments)?;
    Ok(list.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect())
}

fn run(host: &Netns, action: &str, arguments: &[String]) -> Result<String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = VSCTL.spawn(host, action, &arguments, "")?;
    // A port the switch cannot open stands in its database all the same, and the program is content.
    let complained = String::from_utf8_lossy(&output.stderr).contains("Error detected");
    if output.status.success() && !complained {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut error = VSCTL.failed(action, &output);
    if let Error::Program { status, stderr, .. } = &mut error {
        // It gives up by the signal of its own alarm.
        if output.status.signal() == Some(nix::libc::SIGALRM) {
            *status = NO_ANSWER.into();
            *stderr = "is ovs-vswitchd running?".into();
        } else if stderr.contains("database connection failed") {
            stderr.push_str("; is the service `openvswitch-switch` running?");
        }
    }
    Err(error)
}

/// Names and second columns of a listing in JSON (RFC 7047, section 5.1).
fn rows(text: &str) -> Option<Vec<(String, serde_json::Value)>> {
    let table: serde_json::Value = serde_json::from_str(text).ok()?;
    let rows = table.get("data")?.as_array()?;
    rows.iter().map(|row| Some((row.get(0)?.as_str()?.to_owned(), row.get(1)?.clone()))).collect()
}

/// Names of ports and whose they are.
fn ports(text: &str) -> Option<BTreeMap<String, Option<String>>> {
    let mut out = BTreeMap::new();
    for (name, ids) in rows(text)? {
        let pairs = ids.get(1)?.as_array()?;
        let value = |pair: &serde_json::Value| {
            (pair.get(0)?.as_str()? == "netloom")
                .then(|| pair.get(1)?.as_str().map(str::to_owned))?
        };
        out.insert(name, pairs.iter().find_map(value));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() {
        let text = r#"{"data":[["br0",["map",[]]],["p1",["map",[["a","b"],["netloom","lab"]]]]],
                       "headings":["name","external_ids"]}"#;
        let found = ports(text).expect("a listing");
        let wanted = [("br0".to_string(), None), ("p1".to_string(), Some("lab".to_string()))];
        assert_eq!(found, BTreeMap::from(wanted));
        for bad in ["", "{}", r#"{"data":[["p"]]}"#, r#"{"data":[[1,["map",[]]]]}"#] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }
}
