//! `compat resolve ORACLE CORPUS`: what a topology file resolves to, field by field.

use super::rules::Rules;
use anyhow::{Context, Result, bail};
use netloom_diag::render;
use netloom_kinds::Catalogue;
use netloom_source::{Disk, Request, gather};
use netloom_topology::{resolve, to_containerlab};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Least share of fields that must agree without any list.
const FIELDS: f64 = 0.98;
/// Least share of files that must agree without any list.
const FILES: f64 = 0.95;

#[derive(Default)]
struct Tally {
    files: usize,
    files_agree: usize,
    files_covered: usize,
    fields: usize,
    fields_agree: usize,
    fields_covered: usize,
    differences: Vec<String>,
    refused: usize,
    refused_by_us: usize,
    refused_here: usize,
}

/// Compares a corpus with its oracle; fails when too little agrees or a difference has no rule.
pub fn run(oracle: &Path, corpus: &Path, flags: &[&str]) -> Result<()> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-resolve.yml");
    let rules = match flags.iter().position(|f| *f == "--rules").and_then(|i| flags.get(i + 1)) {
        Some(path) => PathBuf::from(path),
        None => default,
    };
    let rules = Rules::read(&rules)?;
    let catalogue = Catalogue::builtin();
    let mut tally = Tally::default();
    for expected in files(oracle, "json")? {
        let relative = expected.strip_prefix(oracle)?.with_extension("");
        let theirs: Json = serde_json::from_str(&std::fs::read_to_string(&expected)?)
            .with_context(|| expected.display().to_string())?;
        compare(
            &corpus.join(&relative),
            corpus,
            &relative,
            &theirs,
            &catalogue,
            &rules,
            &mut tally,
        );
    }
    refused(oracle, corpus, &catalogue, &mut tally)?;
    let list = flags.contains(&"--list");
    report(&tally, list)
}

fn files(root: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                out.push(path);
            }
        }
    }
    out.sort();
    Ok(out)
}

/// Our comparison form of a file, with the machine's paths replaced as the oracle's are; or the
/// findings as text.
fn ours(file: &Path, corpus: &Path, catalogue: &Catalogue) -> (Option<Json>, Option<String>) {
    match resolved(file, corpus, catalogue) {
        Ok((lab, refusal)) => (Some(lab), refusal),
        Err(refusal) => (None, Some(refusal)),
    }
}

fn resolved(
    file: &Path,
    corpus: &Path,
    catalogue: &Catalogue,
) -> Result<(Json, Option<String>), String> {
    let disk = Disk;
    let env = BTreeMap::from([("HOME".to_string(), "/root".to_string())]);
    let request = Request { path: file.to_path_buf(), env, ..Request::default() };
    let inputs = gather(request, &disk).map_err(|e| e.to_string())?;
    let dir = inputs.dir().to_string_lossy().into_owned();
    let corpus = std::fs::canonicalize(corpus).map_err(|e| e.to_string())?;
    let done = resolve(&inputs, catalogue);
    let errors = || render(&done.sources, &done.found, false);
    let refusal = done.lab.is_none().then(errors);
    let lab = done.lab.or(done.partial).ok_or_else(|| refusal.clone().unwrap_or_default())?;
    let text = to_containerlab(&lab).to_string();
    let text = text
        .replace(&dir, "$TOPO_DIR")
        .replace(&*corpus.to_string_lossy(), "$CORPUS")
        .replace("/root", "$HOME");
    Ok((serde_json::from_str(&text).map_err(|e| e.to_string())?, refusal))
}

fn compare(
    file: &Path,
    corpus: &Path,
    relative: &Path,
    theirs: &Json,
    catalogue: &Catalogue,
    rules: &Rules,
    tally: &mut Tally,
) {
    tally.files += 1;
    let mut theirs = theirs.clone();
    let failed = theirs.as_object_mut().and_then(|o| o.remove("error"));
    let mut expected = BTreeMap::new();
    flatten("", &theirs, &mut expected);
    tally.fields += expected.len();
    let name = relative.display().to_string();
    let (mine, refusal) = ours(file, corpus, catalogue);
    if let Some(message) = refusal {
        tally.refused_here += 1;
        if rules.reason("error", "", &message).is_none() {
            tally.differences.push(format!("{name}: we refuse it:\n{message}"));
        }
    }
    let Some(mine) = mine else { return };
    let mut got = BTreeMap::new();
    flatten("", &mine, &mut got);
    if failed.is_some() {
        // The oracle has no links then: a parent interface was missing on that machine.
        got.retain(|k, _| !k.starts_with("links"));
    }
    if !theirs.as_object().is_some_and(|o| o.contains_key("nodes")) && failed.is_none() {
        got.retain(|k, _| !k.starts_with("nodes"));
    }
    let keys: std::collections::BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    let (mut wrong, mut uncovered) = (0, 0);
    let absent = String::new();
    for key in keys {
        let (t, o) = (expected.get(key).unwrap_or(&absent), got.get(key).unwrap_or(&absent));
        let same = t == o || (key.ends_with(".cmd") && same_words(t, o));
        if same {
            tally.fields_agree += 1;
            continue;
        }
        wrong += 1;
        if t.is_empty() {
            tally.fields += 1;
        }
        if rules.reason(key, t, o).is_some() {
            tally.fields_covered += 1;
        } else {
            uncovered += 1;
            tally.differences.push(format!("{name}: {key}\n    theirs: {t}\n    ours:   {o}"));
        }
    }
    if wrong == 0 {
        tally.files_agree += 1;
    } else if uncovered == 0 {
        tally.files_covered += 1;
    }
}

/// The oracle sorts `systemd.setenv=` words and cuts one at a space inside it.
fn same_words(a: &str, b: &str) -> bool {
    let sort = |t: &str| {
        let mut words: Vec<String> = t
            .split_whitespace()
            .map(|w| w.replace(['"', '\\'], ""))
            .filter(|w| !w.is_empty())
            .collect();
        words.sort();
        words
    };
    a.contains("systemd.setenv") && sort(a) == sort(b)
}

/// Leaves of a tree by path; lists whose order means nothing are one leaf, sorted.
fn flatten(path: &str, value: &Json, out: &mut BTreeMap<String, String>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        Json::Array(list) if list.iter().any(Json::is_object) => {
            for (i, value) in list.iter().enumerate() {
                flatten(&format!("{path}[{i}]"), value, out);
            }
        }
        Json::Array(list) if path.ends_with(".binds") => {
            let mut list: Vec<String> = list.iter().map(Json::to_string).collect();
            list.sort();
            out.insert(path.into(), list.join(", "));
        }
        // Missing and empty are the same in the oracle.
        Json::Null | Json::Bool(false) => {}
        Json::String(s) if s.is_empty() => {}
        Json::Array(list) if list.is_empty() => {}
        other => {
            out.insert(path.into(), other.to_string());
        }
    }
}

/// Files the oracle refuses: refused here too, or accepted.
fn refused(oracle: &Path, corpus: &Path, catalogue: &Catalogue, tally: &mut Tally) -> Result<()> {
    let Ok(list) = std::fs::read_to_string(oracle.join("REFUSED.tsv")) else { return Ok(()) };
    for line in list.lines() {
        let Some((file, _)) = line.split_once('\t') else { continue };
        tally.refused += 1;
        if ours(&corpus.join(file), corpus, catalogue).1.is_some() {
            tally.refused_by_us += 1;
        }
    }
    Ok(())
}

fn report(tally: &Tally, list: bool) -> Result<()> {
    let shown = if list { usize::MAX } else { 40 };
    for d in tally.differences.iter().take(shown) {
        println!("{d}");
    }
    let share = |n: usize, of: usize| if of == 0 { 1.0 } else { n as f64 / of as f64 };
    let fields = share(tally.fields_agree, tally.fields);
    let files = share(tally.files_agree, tally.files);
    println!(
        "fields: {} of {} agree ({:.2} %), {} by rule; files: {} of {} agree ({:.2} %), {} by rule; \
         refused only here: {}; refused by the oracle: {}, by us too: {}",
        tally.fields_agree,
        tally.fields,
        fields * 100.0,
        tally.fields_covered,
        tally.files_agree,
        tally.files,
        files * 100.0,
        tally.files_covered,
        tally.refused_here,
        tally.refused,
        tally.refused_by_us,
    );
    if !tally.differences.is_empty() {
        bail!("{} differences have no rule", tally.differences.len());
    }
    if fields < FIELDS || files < FILES {
        bail!("at least {FIELDS} of the fields and {FILES} of the files must agree without a rule");
    }
    Ok(())
}
