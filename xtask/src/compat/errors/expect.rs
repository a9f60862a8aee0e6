//! What is expected of each case (`compat-errors.yml`), and whether that is what happened.

use super::inside::Outcome;
use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The committed list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// Images that are there, made of a few tools.
    pub images: Vec<String>,
    /// By name of the case.
    pub cases: BTreeMap<String, Expected>,
}

/// What is right in a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// An error before anything is made.
    Refused(Refusal),
    /// It is done, and why that is right.
    Accepted(String),
    /// A later issue brings what it needs.
    Waits(String),
}

/// How a case is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The exit code.
    pub exit: i32,
    /// Regular expression over the output.
    pub says: String,
    /// Where the first error is: FILE:LINE:COLUMN; none where no file is at fault.
    #[serde(default)]
    pub place: Option<String>,
}

impl Expectations {
    /// Reads a list.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// The first error of an output.
pub fn message(output: &str) -> &str {
    let lines = || output.lines().filter(|l| !l.trim().is_empty());
    let panic = lines().find(|l| l.contains("panicked at"));
    panic
        .or_else(|| lines().find(|l| l.starts_with("error")))
        .or_else(|| lines().find(|l| l.starts_with("warning")))
        .or_else(|| lines().next_back())
        .unwrap_or("(no output)")
}

/// Where the first error is.
pub fn place(output: &str) -> Option<&str> {
    let mut lines = output.lines().skip_while(|l| !l.starts_with("error"));
    lines.next()?;
    let arrow = lines.next()?.trim_start().strip_prefix("--> ")?;
    Some(arrow.trim())
}

/// What is wrong; empty when all is right. Without an expectation only what is never right counts.
pub fn judge(expected: Option<&Expected>, done: &Outcome) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let crashed = done.output.contains("panicked at") || done.exit == Some(101);
    if crashed || done.exit.is_none() {
        wrong.push(format!("it crashed or hung {}", done.ended));
    }
    if !done.after_destroy.is_empty() {
        wrong.push("not everything is gone after `destroy --all`".into());
    }
    if done.exit != Some(0) && !done.left.is_empty() {
        wrong.push("refused, but the machine is not as before".into());
    }
    match expected {
        Some(Expected::Refused(refusal)) => refused(refusal, done, &mut wrong)?,
        Some(Expected::Accepted(_)) if done.exit != Some(0) => {
            wrong.push("it must be accepted".into());
        }
        None if message(&done.output).starts_with("error[") && place(&done.output).is_none() => {
            wrong.push("an error about the file without a place in it".into());
        }
        _ => {}
    }
    Ok(wrong)
}

fn refused(refusal: &Refusal, done: &Outcome, wrong: &mut Vec<String>) -> Result<()> {
    if done.exit != Some(refusal.exit) {
        wrong.push(format!("the exit code must be {}", refusal.exit));
    }
    let says = Regex::new(&refusal.says).with_context(|| refusal.says.clone())?;
    if !says.is_match(&done.output) {
        wrong.push(format!("it must say `{}`", refusal.says));
    }
    let at = place(&done.output);
    if refusal.place.as_deref() != at {
        let wanted = refusal.place.as_deref().unwrap_or("none");
        wrong.push(format!("the place must be {wanted}, it is {}", at.unwrap_or("none")));
    }
    let cure = ["= help:", "first here", "first by", "; "].iter().any(|c| done.output.contains(c));
    if at.is_some() && !cure {
        wrong.push("it names a place and a cause, but no cure".into());
    }
    // Exit code 3 says that nothing was made.
    if refusal.exit == 3 && done.output.lines().any(|l| l.contains("undoing what was made")) {
        wrong.push("it was found only after something was made".into());
    }
    Ok(())
}
