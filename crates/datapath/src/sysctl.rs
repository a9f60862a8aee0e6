//! `net.*` sysctls of a namespace.
//!
//! Files below `/proc/sys/net` show the namespace of the thread that opens
//! them, so reading and writing happen on a thread that has entered it.

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::netns::Netns;

/// One setting that was changed, with what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Key below `net`, e.g. `ipv4/ip_forward`.
    pub key: String,
    /// Value before.
    pub before: String,
    /// Value now.
    pub after: String,
}

/// Reads `net.<key>` of a namespace. The parts of the key are separated by
/// `/`, because interface names may hold dots: `ipv4/conf/eth0.5/rp_filter`.
pub fn read(netns: &Netns, key: &str) -> Result<String> {
    let path = path(key)?;
    netns
        .run_in(|| fs::read_to_string(&path))?
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| Error::io("read sysctl", subject(netns, key), &error))
}

/// Writes `net.<key>` of a namespace.
pub fn write(netns: &Netns, key: &str, value: &str) -> Result<()> {
    let path = path(key)?;
    netns
        .run_in(|| fs::write(&path, value))?
        .map_err(|error| Error::io("write sysctl", subject(netns, key), &error))
}

/// Writes `net.<key>` unless it has that value; gives what was changed.
pub fn ensure(netns: &Netns, key: &str, value: &str) -> Result<Option<Changed>> {
    let before = read(netns, key)?;
    if before == value {
        return Ok(None);
    }
    write(netns, key, value)?;
    Ok(Some(Changed { key: key.into(), before, after: value.into() }))
}

fn subject(netns: &Netns, key: &str) -> String {
    format!("net.{} in {}", key.replace('/', "."), netns.label())
}

fn path(key: &str) -> Result<PathBuf> {
    let clean = !key.is_empty()
        && key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if clean {
        return Ok(PathBuf::from("/proc/sys/net").join(key));
    }
    Err(Error::Invalid {
        what: "sysctl",
        value: key.into(),
        reason: "parts are separated by single slashes".into(),
    })
}
