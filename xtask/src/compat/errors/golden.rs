//! Golden cases: a folder each, with the inputs and `expected.txt`: the command, the exit code and
//! the whole output, paths as `$DIR` and times as `N s`.

use super::case::{Case, EXPECTED, TOPOLOGY};
use super::{Bench, Outcome, snapshot};
use anyhow::{Context, Result, anyhow, bail};
use regex::Regex;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The topology of a golden case.
const LAB: &str = "lab.clab.yml";

/// Compares each case with its record; `bless` writes the records anew.
pub fn compare(bench: &Bench, dir: &Path, cases: &[Case], bless: bool) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, String)>> {
        let mut wrong = Vec::new();
        while let Some((at, case)) = following(&next, cases) {
            let file = dir.join(&case.name).join(EXPECTED);
            wrong.extend(one(bench, case, &file, bless)?.map(|text| (at, text)));
        }
        Ok(wrong)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut wrong = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let mut wrong = Vec::new();
        for one in started {
            wrong.extend(one.join().map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok::<_, anyhow::Error>(wrong)
    })?;
    wrong.sort();
    for (_, text) in &wrong {
        println!("{text}");
    }
    if !wrong.is_empty() {
        bail!(
            "{} of {} golden cases differ; when the new output is right: \
             cargo xtask compat errors {} --golden --bless",
            wrong.len(),
            cases.len(),
            dir.display()
        );
    }
    if cases.is_empty() {
        bail!("{}: there are no golden cases", dir.display());
    }
    println!("{} golden cases: as recorded", cases.len());
    Ok(())
}

fn following<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    cases.get(at).map(|case| (at, case))
}

/// Runs a case; what differs, if anything does.
fn one(bench: &Bench, case: &Case, file: &Path, bless: bool) -> Result<Option<String>> {
    let done = bench.case(case)?;
    if let Some(why) = done.unprepared.as_ref().or(done.after_destroy.first()) {
        return Ok(Some(format!("{}: {why}", case.name)));
    }
    let now = record(case, &done)?;
    let before = fs::read_to_string(file)?;
    if now == before {
        return Ok(None);
    }
    if bless {
        fs::write(file, now)?;
        println!("{}: written", case.name);
        return Ok(None);
    }
    Ok(Some(format!("{}:\n--- expected\n{before}--- got\n{now}", case.name)))
}

/// The record of what happened.
fn record(case: &Case, done: &Outcome) -> Result<String> {
    let exit = done.exit.map_or(done.ended.clone(), |e| e.to_string());
    let times = Regex::new(r"\d+\.\d+ s\b").context("times")?;
    let output = times.replace_all(&done.output, "N s");
    let left = match done.exit {
        Some(0) => "removed by destroy --all".into(),
        _ => snapshot::summary(&done.left),
    };
    Ok(format!("{}# exit code: {exit}\n{output}# left on the machine: {left}\n", case.head()))
}

/// Writes golden cases from recorded ones that behave as they should.
pub fn write(bench: &Bench, folder: &Path, cases: &[Case]) -> Result<()> {
    for case in cases {
        let dir = folder.join(&case.name);
        fs::create_dir_all(&dir)?;
        let rename = |text: &String| text.replace(TOPOLOGY, LAB);
        let case = Case {
            commands: case.commands.iter().map(rename).collect(),
            before: case.before.iter().map(rename).collect(),
            inputs: case.inputs.iter().map(|(n, from)| (rename(n), from.clone())).collect(),
            ..case.clone()
        };
        for (name, from) in &case.inputs {
            fs::copy(from, dir.join(name))?;
        }
        let done = bench.case(&case)?;
        fs::write(dir.join(EXPECTED), record(&case, &done)?)?;
    }
    println!("{} golden cases written to {}", cases.len(), folder.display());
    Ok(())
}
