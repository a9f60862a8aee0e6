//! The committed list of differences that are meant: rules, not files, each with its reason.

use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;
use std::path::Path;

/// One difference that is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Regular expression over the path of the field (`nodes.NAME.env.X`, `links[3].mtu`).
    pub field: String,
    /// Regular expression over theirs, as JSON; absent: anything.
    #[serde(default)]
    pub theirs: Option<String>,
    /// Regular expression over ours, as JSON or as the error; absent: anything.
    #[serde(default)]
    pub ours: Option<String>,
    /// The defect or the decision.
    pub why: String,
}

/// All rules, compiled.
pub struct Rules {
    list: Vec<(Regex, Option<Regex>, Option<Regex>, String)>,
}

impl Rules {
    /// Reads a list.
    pub fn read(path: &Path) -> Result<Rules> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let rules: Vec<Rule> = serde_saphyr::from_str(&text).context("rules")?;
        let compile = |t: &str| Regex::new(t).with_context(|| format!("`{t}`"));
        let list = rules
            .into_iter()
            .map(|r| {
                let theirs = r.theirs.as_deref().map(compile).transpose()?;
                let ours = r.ours.as_deref().map(compile).transpose()?;
                Ok((compile(&format!("^(?:{})$", r.field))?, theirs, ours, r.why))
            })
            .collect::<Result<_>>()?;
        Ok(Rules { list })
    }

    /// The reason of a difference, if a rule covers it.
    pub fn reason(&self, field: &str, theirs: &str, ours: &str) -> Option<&str> {
        self.list
            .iter()
            .find(|(f, t, o, _)| {
                f.is_match(field)
                    && t.as_ref().is_none_or(|t| t.is_match(theirs))
                    && o.as_ref().is_none_or(|o| o.is_match(ours))
            })
            .map(|(_, _, _, why)| why.as_str())
    }
}
