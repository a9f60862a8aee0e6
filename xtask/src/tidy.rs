//! `tidy`: the rules of the house that a compiler does not know.

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most lines of a file; tables and tests included.
const LINES: usize = 700;
/// Module names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "misc", "helpers", "types"];
/// Crates in which `unsafe` may stand.
const UNSAFE: [&str; 8] =
    ["datapath", "runtime-native", "runtime-docker", "image", "cli", "bench", "e2e", "testkit"];

/// Allowed dependencies by crate.
type Layers = BTreeMap<String, Vec<String>>;

/// Checks the tree; says everything that is wrong.
pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let mut wrong = Vec::new();
    layers(&root, &mut wrong)?;
    for file in sources(&root)? {
        check_file(&root, &file, &mut wrong)?;
    }
    map(&root, &mut wrong)?;
    if wrong.is_empty() {
        println!("tidy: nothing to complain about");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"));
}

/// Dependencies between our crates against `layers.toml`.
fn layers(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join("layers.toml")).context("layers.toml")?;
    let layers = parse_layers(&text);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    let metadata: Json = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let short = |name: &str| match name {
        "netloom" => "cli".to_string(),
        other => other.trim_start_matches("netloom-").to_string(),
    };
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = short(package["name"].as_str().unwrap_or_default());
        let Some(allowed) = layers.get(&name) else {
            if !["xtask", "bench", "e2e", "testkit"].contains(&name.as_str()) {
                wrong.push(format!("layers.toml does not know the crate `{name}`"));
            }
            continue;
        };
        for dep in package["dependencies"].as_array().into_iter().flatten() {
            let ours = dep["path"].is_string() && dep["kind"].is_null();
            let dep = short(dep["name"].as_str().unwrap_or_default());
            if ours && !allowed.contains(&dep) {
                wrong.push(format!("`{name}` may not depend on `{dep}` (layers.toml)"));
            }
        }
    }
    Ok(())
}

/// `name = ["a", "b"]` lines under `[allowed]`.
fn parse_layers(text: &str) -> Layers {
    let mut allowed = BTreeMap::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with(['#', '['])) {
        if let Some((name, list)) = line.split_once('=') {
            let names = list.split('"').skip(1).step_by(2).map(str::to_string).collect();
            allowed.insert(name.trim().to_string(), names);
        }
    }
    allowed
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git").args(["ls-files", "*.rs"]).current_dir(root).output()?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(list.lines().map(|l| root.join(l)).filter(|p| p.is_file()).collect())
}

fn check_file(root: &Path, file: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let name = file.strip_prefix(root)?.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    if !text.starts_with("//!") {
        wrong.push(format!("{name}: does not open with `//!`: what it is"));
    }
    let lines = text.lines().count();
    if lines > LINES {
        wrong.push(format!("{name}: {lines} lines, at most {LINES}: look for the seam"));
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if EMPTY_NAMES.contains(&stem.as_str()) {
        wrong.push(format!("{name}: `{stem}` says nothing; name it after what is in it"));
    }
    let crate_name =
        name.split('/').nth(usize::from(name.starts_with("crates/"))).unwrap_or_default();
    let code = |l: &str| l.split("//").next().unwrap_or_default().to_string();
    // Put together here, so that this file does not find itself.
    let word = ["un", "safe"].concat();
    let has_unsafe = text
        .lines()
        .map(code)
        .any(|l| l.contains(&format!("{word} {{")) || l.contains(&format!("{word} fn")));
    if has_unsafe && !UNSAFE.contains(&crate_name) {
        wrong.push(format!("{name}: `{word}` outside of the crates that need it"));
    }
    for macro_name in ["todo", "unimplemented", "dbg"] {
        let mark = format!("{macro_name}!(");
        if text.contains(&mark) {
            wrong.push(format!("{name}: `{mark}` is left in it"));
        }
    }
    if text.contains(&["#[", "ignore"].concat()) {
        wrong.push(format!("{name}: an ignored test is a skip nobody counts"));
    }
    Ok(())
}

/// Paths that the map of the code names exist.
fn map(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    for word in text.split('`').skip(1).step_by(2) {
        let inside = ["crates/", "topology/src/", "engine/src/", "plan/src/", "xtask/src/"];
        if !inside.iter().any(|p| word.starts_with(p)) || word.contains(' ') {
            continue;
        }
        if !root.join(word).exists() && !root.join("crates").join(word).exists() {
            wrong.push(format!("ARCHITECTURE.md names `{word}`, which is not there"));
        }
    }
    Ok(())
}
