//! From flags to an engine, a topology and a lab.

use crate::Global;
use crate::exit::Invalid;
use crate::say::say_text;
use crate::standin;
use anyhow::{Context, Result, bail};
use netloom_diag::{Severity, Sources, render};
use netloom_engine::{Daemons, Directories, Engine, EngineError, LabRecord};
use netloom_kinds::Catalogue;
use netloom_source::{Disk, Request, catalogue, discover, gather};
use netloom_topology::{Inputs, Lab, Overrides, Resolved, resolve};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The environment, as far as it is text.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect()
}

/// The engine of this user.
pub fn engine() -> Result<Engine> {
    let root = nix::unistd::Uid::effective().is_root();
    Ok(Engine {
        directories: Directories::of(&environment(), root),
        exe: std::env::current_exe().context("find this program's own file")?,
        args: Vec::new(),
        daemons: Arc::new(Daemons::new(environment())),
    })
}

/// The user's home.
pub fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from)
}

/// What the topology file of the flags resolves to, errors included.
pub fn resolved(global: &Global, overrides: Overrides) -> Result<Resolved> {
    let disk = Disk;
    let inputs = inputs(global, overrides, &disk)?;
    told(&inputs.path);
    Ok(resolve(&inputs, &kinds(&inputs)?))
}

/// As [`resolved`], of a file the user has heard of.
pub fn resolved_quietly(global: &Global, overrides: Overrides) -> Result<Resolved> {
    let disk = Disk;
    let inputs = inputs(global, overrides, &disk)?;
    Ok(resolve(&inputs, &kinds(&inputs)?))
}

fn inputs<'a>(global: &Global, overrides: Overrides, disk: &'a Disk) -> Result<Inputs<'a>> {
    let given = global.topo.as_deref();
    let path = match given.map(|p| p.to_string_lossy().into_owned()).as_deref() {
        Some("-" | "stdin") => PathBuf::from("-"),
        _ => discover(given)?,
    };
    let overrides = Overrides {
        name: global.name.clone().or(overrides.name),
        runtime: global.runtime.clone().or(overrides.runtime),
        ..overrides
    };
    let request = Request { path, vars: global.vars.clone(), overrides, env: environment() };
    Ok(gather(request, disk)?)
}

fn kinds(inputs: &Inputs<'_>) -> Result<Catalogue> {
    Ok(catalogue(Some(&config()), Some(inputs.dir()))?)
}

/// Kinds that are known wherever the user is.
pub fn own_kinds() -> Result<Catalogue> {
    Ok(catalogue(Some(&config()), None)?)
}

fn config() -> PathBuf {
    let config = std::env::var_os("XDG_CONFIG_HOME");
    config.map_or_else(|| home().join(".config"), PathBuf::from).join("netloom")
}

/// The lab of a file; its errors end the command, its warnings are shown.
pub fn sound(done: Resolved, global: &Global) -> Result<(Lab, Sources)> {
    match done.lab {
        Some(lab) => {
            show_warnings(&done.sources, &done.found, global);
            Ok((lab, done.sources))
        }
        None => Err(Invalid { sources: done.sources, found: done.found }.into()),
    }
}

fn show_warnings(sources: &Sources, found: &netloom_diag::Diagnostics, global: &Global) {
    if found.iter().any(|d| d.severity == Severity::Warning) {
        let color = !global.plain && std::io::IsTerminal::is_terminal(&std::io::stderr());
        say_text(&render(sources, found, color));
    }
}

/// The record of the lab meant by the flags: by name, or by the topology file it came from. A file
/// that was moved since is found by the lab's name in it.
pub fn record(global: &Global, engine: &Engine) -> Result<LabRecord> {
    let record = meant(global, engine)?;
    told(&record.topology);
    Ok(record)
}

/// Says which file is looked at, where scripts count on it.
fn told(topology: &Path) {
    if standin::stands_in() {
        let name = topology.file_name().unwrap_or_default().to_string_lossy();
        standin::info("Parsing & checking topology", &[("file", &name)]);
    }
}

fn meant(global: &Global, engine: &Engine) -> Result<LabRecord> {
    if let (Some(name), None) = (&global.name, &global.topo) {
        if name.contains('/') || name.starts_with('.') {
            return Err(EngineError::NoLab(name.clone()).into());
        }
        let record = LabRecord::load(&engine.directories, name)?;
        return record.ok_or_else(|| EngineError::NoLab(name.clone()).into());
    }
    let path = discover(global.topo.as_deref())?;
    let path = match std::fs::canonicalize(&path) {
        Ok(path) => path,
        // The file is gone; the lab may not be.
        Err(_) => std::env::current_dir().unwrap_or_default().join(&path),
    };
    let all = LabRecord::all(&engine.directories)?;
    let named = |r: &&LabRecord| global.name.as_ref().is_none_or(|n| *n == r.name);
    let of_file: Vec<&LabRecord> =
        all.iter().filter(|r| r.topology == path).filter(named).collect();
    let in_file =
        || resolved(global, Overrides::default()).ok().and_then(|d| d.lab).map(|l| l.name);
    match of_file.as_slice() {
        [one] => return Ok((*one).clone()),
        [] => {}
        several => {
            let lab = in_file();
            if let Some(record) = several.iter().find(|r| Some(&r.name) == lab.as_ref()) {
                return Ok((*record).clone());
            }
            let names: Vec<&str> = several.iter().map(|r| r.name.as_str()).collect();
            bail!(
                "several labs were deployed from {}: {}; choose one with --name",
                path.display(),
                names.join(", ")
            );
        }
    }
    let lab = in_file();
    let moved = |r: &&LabRecord| Some(&r.name) == lab.as_ref() && !r.topology.exists();
    match all.iter().find(moved) {
        Some(record) => Ok(record.clone()),
        None => Err(EngineError::NoLab(lab.unwrap_or_else(|| path.display().to_string())).into()),
    }
}

/// The lab of the flags' file, when all that is there of it is its folder.
pub fn half_made(global: &Global, engine: &Engine) -> Option<String> {
    // Only a name that was found good: it becomes a path.
    let name = resolved(global, Overrides::default()).ok()?.lab?.name;
    let there = engine.directories.lab(&name).is_dir();
    let recorded = LabRecord::load(&engine.directories, &name).is_ok_and(|r| r.is_some());
    (there && !recorded).then_some(name)
}

/// Reads `90s`, `5m`, `2m30s`, `1h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time; write it like 90s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return if seconds > 0 {
            Ok(Duration::from_secs(seconds))
        } else {
            Err("must be more than zero".into())
        };
    }
    let mut total = Duration::ZERO;
    let mut number = String::new();
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        // A year is more than anybody waits, and far from overflowing.
        let n: u64 = number.parse().ok().filter(|n| *n < 31_536_000).ok_or_else(wrong)?;
        number.clear();
        total += match c {
            'h' => Duration::from_secs(n * 3600),
            'm' if letters.peek() == Some(&'s') => {
                letters.next();
                Duration::from_millis(n)
            }
            'm' => Duration::from_secs(n * 60),
            's' => Duration::from_secs(n),
            _ => return Err(wrong()),
        };
    }
    if !number.is_empty() {
        return Err(wrong());
    }
    if total.is_zero() { Err("must be more than zero".into()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m30s"), Ok(Duration::from_secs(150)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert!(duration("0s").is_err());
        assert!(duration("soon").is_err());
        assert!(duration("5m3").is_err());
    }
}
