//! `compat docker ORACLE`: what is really made on Docker, field by field: containers, interfaces,
//! the files of the lab directory, ssh configuration.

mod cli;
mod inside;
mod received;
mod shape;

use super::rules::Rules;
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Least share of fields that must agree without any list. What is decided otherwise on purpose is
/// 4.4 % of them: fixed addresses, complete inventories that are their owner's alone, keys nobody else
/// reads, serial numbers, addresses of links, no state beside the topology.
const FIELDS: f64 = 0.945;
/// Cases worked on at once.
const WORKERS: usize = 3;

/// A recorded case.
pub struct Case {
    /// File name without its ending.
    pub name: String,
    /// What was recorded.
    pub theirs: Json,
    /// The topology.
    pub topology: PathBuf,
}

impl Case {
    /// One that could not be run.
    fn empty(name: &str) -> Case {
        Case { name: name.into(), theirs: Json::Null, topology: PathBuf::new() }
    }
}

#[derive(Default)]
struct Tally {
    fields: usize,
    agree: usize,
    covered: usize,
    differences: Vec<String>,
    by_field: BTreeMap<String, usize>,
    by_rule: BTreeMap<String, usize>,
}

/// Deploys every case on a Docker of its own and compares; fails when too little agrees or a
/// difference has no rule. `--only TEXT` chooses cases, `--list` shows all differences, `--every N`
/// takes each Nth case.
pub fn run(oracle: &Path, flags: &[&str]) -> Result<()> {
    let value = |name: &str| flags.iter().position(|f| *f == name).and_then(|i| flags.get(i + 1));
    let rules = Rules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-docker.yml"))?;
    let only = value("--only").copied().unwrap_or_default();
    let every: usize = value("--every").and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut cases = cases(&oracle.join("kinds"))?;
    cases.retain(|c| c.name.contains(only));
    let cases: Vec<Case> = cases.into_iter().step_by(every.max(1)).collect();
    let count = cases.len();
    let inputs = oracle.join("kinds");
    let scenarios: Vec<cli::Scenario> =
        cli::scenarios()?.into_iter().filter(|s| s.name().contains(only)).collect();
    let scenarios = Mutex::new(scenarios.into_iter());
    let recordings = oracle.join("cli");
    let todo = Mutex::new(cases.into_iter());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut place = inside::Place::new();
                // The long ones first.
                loop {
                    let next = scenarios.lock().ok().and_then(|mut list| list.next());
                    let Some(scenario) = next else { break };
                    let (case, ours) = match cli::run(&mut place, &scenario, &recordings) {
                        Ok((case, ours)) => (case, Ok(ours)),
                        Err(e) => (Case::empty(&scenario.name()), Err(e)),
                    };
                    let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
                    results.insert(case.name.clone(), (case, ours));
                }
                loop {
                    let next = todo.lock().ok().and_then(|mut list| list.next());
                    let Some(case) = next else { return };
                    let ours = place.record(&case, &inputs);
                    let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
                    results.insert(case.name.clone(), (case, ours));
                }
            });
        }
    });
    let mut tally = Tally::default();
    for (case, ours) in results.into_inner().unwrap_or_else(|e| e.into_inner()).into_values() {
        match ours {
            Ok(ours) => compare(&case, &ours, &rules, &mut tally),
            Err(e) => tally.differences.push(format!("{}: {e:#}", case.name)),
        }
    }
    report(&tally, count, flags.contains(&"--list"))
}

fn cases(folder: &Path) -> Result<Vec<Case>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".json") else { continue };
        let topology = folder.join(format!("{name}.clab.yml"));
        let text = std::fs::read_to_string(&path)?;
        let theirs: Json = serde_json::from_str(&text).with_context(|| name.to_string())?;
        if topology.is_file() && theirs.get("containers").is_some() {
            out.push(Case { name: name.into(), theirs, topology });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn compare(case: &Case, ours: &Json, rules: &Rules, tally: &mut Tally) {
    let theirs = unswapped(&case.theirs, ours);
    let (mut expected, mut got) = (shape::fields(&theirs), shape::fields(ours));
    if !theirs["exit_code"].is_number() && !case.name.starts_with("cli.") {
        // It was ended while it waited for the nodes: what comes last it never made.
        let last = [
            "exit_code",
            "ssh_config",
            "lab_dir.topology-data",
            "lab_dir.ansible",
            "lab_dir.nornir",
        ];
        let made = |path: &String| !last.iter().any(|l| path.starts_with(l));
        expected.retain(|path, _| made(path));
        got.retain(|path, _| made(path));
    }
    let keys: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    let absent = String::new();
    for key in keys {
        let (t, o) = (expected.get(key).unwrap_or(&absent), got.get(key).unwrap_or(&absent));
        // What says nothing on both sides is nothing to agree on.
        if t.is_empty() && o.is_empty() {
            continue;
        }
        tally.fields += 1;
        if t == o {
            tally.agree += 1;
            continue;
        }
        if let Some(why) = rules.reason(key, t, o) {
            tally.covered += 1;
            *tally.by_rule.entry(why.to_owned()).or_default() += 1;
            continue;
        }
        *tally.by_field.entry(shape::family(key)).or_default() += 1;
        tally.differences.push(format!("{}: {key}\n    theirs: {t}\n    ours:   {o}", case.name));
    }
}

/// Their record with the addresses of n1 and n2 the other way round, where they were handed out so:
/// it is a race there, and differs between two runs.
fn unswapped(theirs: &Json, ours: &Json) -> Json {
    let address = |record: &Json, node: &str, key: &str| -> Option<String> {
        let containers = record["containers"].as_object()?;
        let (_, container) = containers.iter().find(|(name, _)| name.ends_with(node))?;
        let network = container["networks"].as_object()?.values().next()?;
        network[key].as_str().filter(|a| !a.is_empty()).map(str::to_owned)
    };
    let mut text = theirs.to_string();
    let mut swap = |a: &str, b: &str| {
        let whole = |t: &str| regex::Regex::new(&format!(r"\b{}\b", regex::escape(t)));
        if let (Ok(first), Ok(second)) = (whole(a), whole(b)) {
            let marked = first.replace_all(&text, "\u{1}").into_owned();
            text = second.replace_all(&marked, a).replace('\u{1}', b);
        }
    };
    // Docker derives the one from the other.
    let mac = |address: &str| {
        let four: std::net::Ipv4Addr = address.parse().ok()?;
        Some(four.octets().iter().fold("02:42".to_owned(), |mac, b| format!("{mac}:{b:02x}")))
    };
    for key in ["IPAddress", "GlobalIPv6Address"] {
        let (Some(a), Some(b)) = (address(theirs, "-n1", key), address(theirs, "-n2", key)) else {
            continue;
        };
        let (mine, other) = (address(ours, "-n1", key), address(ours, "-n2", key));
        if mine.as_ref() != Some(&b) || other.as_ref() != Some(&a) || a == b {
            continue;
        }
        swap(&a, &b);
        if let (Some(a), Some(b)) = (mac(&a), mac(&b)) {
            swap(&a, &b);
        }
    }
    serde_json::from_str(&text).unwrap_or_else(|_| theirs.clone())
}

fn report(tally: &Tally, cases: usize, list: bool) -> Result<()> {
    let shown = if list { usize::MAX } else { 30 };
    for difference in tally.differences.iter().take(shown) {
        println!("{difference}");
    }
    let mut families: Vec<_> = tally.by_field.iter().collect();
    families.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (family, count) in families.into_iter().take(25) {
        println!("{count:6} {family}");
    }
    for (why, count) in &tally.by_rule {
        let words: Vec<&str> = why.split_whitespace().take(16).collect();
        println!("{count:6} by rule: {} ...", words.join(" "));
    }
    let share = if tally.fields == 0 { 0.0 } else { tally.agree as f64 / tally.fields as f64 };
    println!(
        "{cases} cases; fields: {} of {} agree ({:.2} %), {} by rule, {} neither",
        tally.agree,
        tally.fields,
        share * 100.0,
        tally.covered,
        tally.differences.len(),
    );
    if !tally.differences.is_empty() {
        bail!("{} differences have no rule", tally.differences.len());
    }
    if share < FIELDS {
        bail!("at least {FIELDS} of the fields must agree without a rule");
    }
    Ok(())
}
