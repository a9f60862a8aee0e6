//! The recordings of commands: each lab of `compat-docker-cli.yml` is worked with as it was there,
//! command by command, under the other program's name. Compared are whether a command fails, what it
//! prints on standard output, and after a deploy what is there. Messages on standard error are for
//! people; those that scripts look for are held by the acceptance suites (`xtask robot`).

use super::Case;
use super::inside::Place;
use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;

/// A lab and what is done with it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the topology file in the commands.
    file: String,
    /// The recorded topology.
    topology: String,
    /// Environment of all commands.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Files beside the topology.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// What the host has, as a line of shell.
    #[serde(default)]
    before: String,
    /// The step after which `records` are compared.
    #[serde(default)]
    after: String,
    /// Recordings by part of the record.
    #[serde(default)]
    records: BTreeMap<String, String>,
    steps: Vec<Json>,
}

/// The scenarios.
pub fn scenarios() -> Result<Vec<Scenario>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-docker-cli.yml");
    let text = fs::read_to_string(&path)?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}

impl Scenario {
    /// What it is called in what is printed.
    pub fn name(&self) -> String {
        format!("cli.{}", self.topology.trim_end_matches(".clab.yml"))
    }
}

/// A recorded command.
struct Recording {
    command: String,
    failed: bool,
    stdout: String,
}

fn recording(folder: &Path, name: &str) -> Result<Recording> {
    let path = folder.join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let command = text.lines().next().unwrap_or_default().trim_start_matches("$ ").to_owned();
    let code = text.lines().find_map(|l| l.strip_prefix("# exit code: ")).unwrap_or("0");
    let (_, rest) = text.split_once("# --- stdout\n").unwrap_or(("", ""));
    let stdout = match rest.strip_prefix("# --- stderr") {
        Some(_) => "",
        None => rest.split("\n# --- stderr").next().unwrap_or_default(),
    };
    Ok(Recording { command, failed: code != "0", stdout: stdout.into() })
}

/// Works with one lab; what was recorded and what is seen, as cases to compare.
pub fn run(place: &mut Place, scenario: &Scenario, folder: &Path) -> Result<(Case, Json)> {
    for image in ["alpine:3", "nginx:stable-alpine", "quay.io/frrouting/frr:10.2.1"] {
        let config = match image.starts_with("nginx") {
            true => json!({ "Cmd": ["nginx", "-g", "daemon off;"] }),
            false => json!({ "Cmd": ["/bin/sh"] }),
        };
        place.image(&json!({ "config": { "Image": image }, "image_config": config }))?;
    }
    let s = place.sandbox();
    s.sh("rm -rf ./* ./.[a-z]*").ok();
    let bin = s.folders()[0].join("bin");
    if !bin.exists() {
        fs::create_dir_all(&bin)?;
        symlink(netloom_e2e::binary::netloom(), bin.join("containerlab"))?;
    }
    let tmp = s.folders()[0].join("tmp");
    fs::create_dir_all(&tmp)?;
    let lay = |topology: &str| -> Result<()> {
        s.file(&scenario.file, &fs::read_to_string(folder.join(topology))?);
        Ok(())
    };
    lay(&scenario.topology)?;
    for (name, text) in &scenario.files {
        s.file(name, text);
    }
    s.file(
        "../home/.ssh/id_ed25519.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL someone@labhost\n",
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let shell = |line: &str| {
        let line = line.replace("/tmp/", &format!("{}/", tmp.display()));
        let mut run = s.run("sh").args(["-c", &line]).env("PATH", &path).env("USER", "root");
        for (name, value) in &scenario.env {
            run = run.env(name, value);
        }
        run.within(90).run()
    };
    shell(&scenario.before).ok();
    let (mut theirs, mut ours) = (Map::new(), Map::new());
    let mut record = Json::Null;
    for step in &scenario.steps {
        if let Some(topology) = step["topology"].as_str() {
            lay(topology)?;
            continue;
        }
        if let Some(line) = step["shell"].as_str() {
            shell(line).ok();
            continue;
        }
        let name = step.as_str().context("a step")?;
        let recorded = recording(folder, name)?;
        let done = shell(&recorded.command);
        if (done.code != 0) != recorded.failed {
            println!("{}: {}: {}", scenario.name(), recorded.command, done.stderr.trim());
        }
        let stdout = place.text(&done.stdout).replace(&format!("{}/", tmp.display()), "/tmp/");
        theirs.insert(name.into(), output(recorded.failed, &recorded.stdout));
        ours.insert(name.into(), output(done.code != 0, &stdout));
        if name == scenario.after {
            let containers = read(folder, scenario.records.get("containers"))?;
            let mut wanted = containers.as_object().cloned().unwrap_or_default();
            let interfaces = read(folder, scenario.records.get("interfaces"))?;
            for name in interfaces.as_object().into_iter().flat_map(|m| m.keys()) {
                wanted.entry(name.clone()).or_insert(Json::Null);
            }
            record = place.look(&wanted, 0)?;
        }
    }
    for (part, file) in &scenario.records {
        let mut there = read(folder, Some(file))?;
        // Nobody looks at offloads here.
        let lists = there.as_object_mut().into_iter().flat_map(|m| m.values_mut());
        for facts in lists.filter_map(Json::as_array_mut).flatten().filter_map(Json::as_object_mut)
        {
            facts.remove("tx-checksumming");
        }
        if part == "interfaces" {
            for side in [&mut there, &mut record[part.as_str()]] {
                side.as_object_mut().map(|nodes| nodes.remove("clab-rich-hostnet"));
            }
        }
        theirs.insert(part.clone(), there);
        let seen = match part.as_str() {
            "network" => continue,
            part => record[part].clone(),
        };
        ours.insert(part.clone(), seen);
    }
    theirs.remove("network");
    place.tidy();
    let case = Case {
        name: scenario.name(),
        theirs: Json::Object(theirs),
        topology: folder.join(&scenario.topology),
    };
    Ok((case, Json::Object(ours)))
}

fn read(folder: &Path, name: Option<&String>) -> Result<Json> {
    let Some(name) = name else { return Ok(Json::Null) };
    let text = fs::read_to_string(folder.join(name)).with_context(|| name.clone())?;
    Ok(serde_json::from_str(&text)?)
}

/// What a command did, as leaves.
fn output(failed: bool, stdout: &str) -> Json {
    let printed = match serde_json::from_str::<Json>(stdout) {
        Ok(mut json) if json.is_object() || json.is_array() => {
            fleeting(&mut json);
            json
        }
        _ => Json::Object(rows(stdout).into_iter().map(|row| (row, json!("there"))).collect()),
    };
    json!({ "failed": failed, "stdout": printed })
}

/// Numbers that are others at every run.
fn fleeting(json: &mut Json) {
    match json {
        Json::Object(map) => {
            let host = map.get("name").is_some_and(|n| n == "clab-rich-hostnet");
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "Pid" | "pid" => *value = json!("<PID>"),
                    "ifindex" => *value = json!("<N>"),
                    // The host's own interfaces are the machine's.
                    "interfaces" if host => *value = Json::Null,
                    _ => fleeting(value),
                }
            }
        }
        Json::Array(list) => list.iter_mut().for_each(fleeting),
        Json::String(text) => *text = steady(text),
        _ => {}
    }
}

/// A text without what is another at every run.
pub fn steady(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"Up (<AGE>|(about |less than )?(an?|\d+) \w+)", "Up <AGE>"),
            (r"Exited \((\d+)\) .* ago", "Exited ($1) <AGE> ago"),
            // Which of the nodes without a fixed address gets which is a race there.
            (r"\b172\.20\.20\.[2-9]\b|\b172\.30\.30\.1[2-9]\d\b", "<DYNAMIC>"),
            (r"3fff:172:(20:20|30:30)::[1-9]\b", "<DYNAMIC>"),
            // Names the kernel knows long ones by.
            (r"\b(clab-<HEX8>|nl[0-9a-f]{12})", "<LONG>"),
            (r"\b[0-9a-f]{64}\b", "<ID64>"),
            (r"\b[0-9a-f]{12}\b", "<ID12>"),
        ]
        .into_iter()
        .map(|(from, to)| (Regex::new(from).expect("a good expression"), to))
        .collect()
    });
    RULES.iter().fold(super::shape::plain(text), |text, (from, to)| {
        from.replace_all(&text, *to).into_owned()
    })
}

/// The rows of a text: of a table the cells, without its frame.
fn rows(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    // Where indexes of interfaces are, counted from the right.
    let mut indexes = false;
    for line in text.lines() {
        let mut cells: Vec<String> = line
            .split('│')
            .map(|cell| steady(cell).split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|cell| !cell.is_empty())
            .collect();
        indexes |= cells.iter().any(|c| c == "Index");
        if let (true, Some(at)) = (indexes, cells.len().checked_sub(4)) {
            cells[at] = "<N>".into();
        }
        let row = cells.join(" | ");
        if row.chars().any(|c| c.is_alphanumeric()) && !row.starts_with(['╭', '├', '╰']) {
            out.push(row);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn tables_without_frames() {
        let text =
            "╭───┬───╮\n│ A │ B  │\n├───┼───┤\n│ x │ Up 3 seconds │\n╰───┴───╯\nplain  line\n";
        assert_eq!(rows(text), ["A | B", "x | Up <AGE>", "plain line"]);
    }
}
