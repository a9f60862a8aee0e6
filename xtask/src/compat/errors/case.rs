//! One recorded case: its inputs, what prepared the machine, the command, what it ended with.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Topology of a case recorded by the oracle.
pub const TOPOLOGY: &str = "err.clab.yml";
/// The record of a golden case.
pub const EXPECTED: &str = "expected.txt";

/// A file of a case: its name in the working folder, and where it is copied from.
pub type Input = (String, PathBuf);

/// A case, with `netloom` in place of `containerlab`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Command lines, the last one is the one that counts.
    pub commands: Vec<String>,
    /// What prepared the machine.
    pub before: Vec<String>,
    /// What it ended with there; in a golden case, what it ends with here.
    pub exit: String,
    /// Everything after the exit code.
    pub output: String,
    /// Files beside the topology, the topology among them.
    pub inputs: Vec<Input>,
}

impl Case {
    /// All cases of a folder that the oracle recorded: `CASE.txt` and `CASE.FILE` beside it.
    pub fn recorded(dir: &Path) -> Result<Vec<Case>> {
        let files = names(dir)?;
        let cases = files.iter().filter_map(|f| f.strip_suffix(".txt"));
        cases
            .map(|name| {
                let text = read(&dir.join(format!("{name}.txt")))?;
                let prefix = format!("{name}.");
                let inputs = files.iter().filter_map(|file| {
                    let rest = file.strip_prefix(&prefix).filter(|rest| *rest != "txt")?;
                    let to = if rest == "clab.yml" { TOPOLOGY } else { rest };
                    Some((to.to_string(), dir.join(file)))
                });
                let inputs = inputs.collect();
                parse(name, &text, inputs)
            })
            .collect()
    }

    /// All golden cases: a folder each, with the record and the inputs.
    pub fn golden(dir: &Path) -> Result<Vec<Case>> {
        names(dir)?
            .iter()
            .filter(|name| dir.join(name).is_dir())
            .map(|name| {
                let folder = dir.join(name);
                let text = read(&folder.join(EXPECTED))?;
                let files = names(&folder)?.into_iter().filter(|f| f != EXPECTED);
                let inputs = files.map(|f| (f.clone(), folder.join(f))).collect();
                parse(name, &text, inputs)
            })
            .collect()
    }

    /// The head of a record: commands and preparation.
    pub fn head(&self) -> String {
        let commands = self.commands.iter().map(|c| format!("$ {c}\n"));
        let before = self.before.iter().map(|b| format!("# before: {b}\n"));
        commands.chain(before).collect()
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut out: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    out.sort();
    Ok(out)
}

fn parse(name: &str, text: &str, inputs: Vec<Input>) -> Result<Case> {
    let mut case = Case {
        name: name.into(),
        commands: Vec::new(),
        before: Vec::new(),
        exit: String::new(),
        output: String::new(),
        inputs,
    };
    let mut lines = text.lines();
    for line in lines.by_ref() {
        if let Some(command) = line.strip_prefix("$ ") {
            case.commands.push(ours(command));
        } else if let Some(before) = line.strip_prefix("# before: ") {
            case.before.push(ours(before));
        } else if let Some(exit) = line.strip_prefix("# exit code: ") {
            case.exit = exit.into();
            break;
        }
    }
    case.output = lines.map(|l| format!("{l}\n")).collect();
    if case.commands.is_empty() || case.exit.is_empty() {
        bail!("{name}: the record has no `$ COMMAND` or no `# exit code:` line");
    }
    Ok(case)
}

/// `containerlab` as a command becomes `netloom`; as a word in an option it stays.
fn ours(command: &str) -> String {
    let spaced = command.split(' ').map(|w| match w {
        "containerlab" | "clab" => "netloom",
        other => other,
    });
    spaced.collect::<Vec<_>>().join(" ")
}

/// Splits a command into words; none when it needs a shell.
pub fn words(command: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let (mut word, mut begun, mut quote) = (String::new(), false, None);
    let mut letters = command.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '$' | '`' | '\\') | (None, '$' | '`' | '|' | '&' | ';' | '<' | '>') => {
                return None;
            }
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, '\\') => word.push(letters.next()?),
            (None, ' ') if begun || !word.is_empty() => {
                out.push(std::mem::take(&mut word));
                begun = false;
            }
            (None, ' ') => {}
            (None, c) => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        out.push(word);
    }
    let assigns = out.first().is_none_or(|first| first.contains('='));
    (quote.is_none() && !assigns).then_some(out)
}
