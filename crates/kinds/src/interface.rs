//! Interface names: which are allowed, and what a vendor's name is called in Linux.

use crate::Kind;
use regex::{Captures, Regex};
use std::cell::RefCell;
use std::collections::HashMap;
use thiserror::Error;

/// An interface name as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Name in Linux.
    pub linux: String,
    /// The vendor's name, when it was written so.
    pub alias: Option<String>,
}

/// A name that this kind does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InterfaceError {
    /// Neither pattern nor alias matches.
    #[error("`{name}` is not an interface name of kind `{kind}`")]
    Refused {
        /// The name.
        name: String,
        /// The kind.
        kind: String,
        /// Names it has.
        help: Option<String>,
    },
    /// The name is the management network's.
    #[error("`{0}` is the management interface of this node")]
    Reserved(String),
    /// An alias leads to a name that cannot be.
    #[error("`{name}` maps to `{linux}`, which is not possible")]
    Impossible {
        /// The name.
        name: String,
        /// What it came to.
        linux: String,
    },
}

thread_local! {
    static REGEXES: RefCell<HashMap<String, Option<Regex>>> = RefCell::new(HashMap::new());
}

/// Compiled once per thread; a pattern that does not compile matches nothing (the check of kind
/// files refuses it).
fn with_regex<T>(pattern: &str, f: impl FnOnce(&Regex) -> T) -> Option<T> {
    REGEXES.with_borrow_mut(|map| {
        let regex = match map.get(pattern) {
            Some(r) => r,
            None => {
                let compiled = Regex::new(&format!("^(?:{pattern})$")).ok();
                map.entry(pattern.to_string()).or_insert(compiled)
            }
        };
        regex.as_ref().map(f)
    })
}

impl Kind {
    /// What an interface name of the topology is called in Linux. `managed` says whether the node
    /// has a management interface of its own.
    pub fn interface(&self, name: &str, managed: bool) -> Result<Mapped, InterfaceError> {
        let rules = &self.interfaces;
        for alias in &rules.aliases {
            let hit =
                with_regex(&alias.r#match, |re| re.captures(name).map(|c| fill(&alias.to, &c)));
            if let Some(Some(linux)) = hit {
                let linux = linux.filter(|l| !l.is_empty()).ok_or_else(|| {
                    InterfaceError::Impossible { name: name.into(), linux: alias.to.clone() }
                })?;
                if managed && rules.reserved.contains(&linux) {
                    return Err(InterfaceError::Reserved(name.into()));
                }
                return Ok(Mapped { linux, alias: Some(name.to_string()) });
            }
        }
        if managed && rules.reserved.iter().any(|r| r == name) {
            return Err(InterfaceError::Reserved(name.into()));
        }
        let allowed = match &rules.pattern {
            None => true,
            Some(p) => with_regex(p, |re| re.is_match(name)).unwrap_or(false),
        };
        if !allowed {
            return Err(InterfaceError::Refused {
                name: name.into(),
                kind: self.names[0].clone(),
                help: rules.help.clone(),
            });
        }
        Ok(Mapped { linux: name.to_string(), alias: None })
    }
}

/// Fills `{a}`, `{a+1}`, `{a*4+b}`; `None` when a value is missing or negative.
fn fill(template: &str, captures: &Captures<'_>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}')? + open;
        out.push_str(&rest[..open]);
        let expr = &rest[open + 1..close];
        if expr.contains(['+', '-', '*']) {
            let n = evaluate(expr, captures)?;
            out.push_str(&u64::try_from(n).ok()?.to_string());
        } else if let Some((group, default)) = expr.split_once('?') {
            out.push_str(captures.name(group).map_or(default, |m| m.as_str()));
        } else {
            out.push_str(captures.name(expr)?.as_str());
        }
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    Some(out)
}

/// Sums of products of named groups and numbers, left to right: `a*4+b-1`.
fn evaluate(expr: &str, captures: &Captures<'_>) -> Option<i64> {
    let mut total = 0i64;
    let mut sign = 1i64;
    let mut start = 0;
    let bytes = expr.as_bytes();
    for i in 0..=bytes.len() {
        if i == bytes.len() || matches!(bytes[i], b'+' | b'-') {
            let mut product = 1i64;
            for factor in expr[start..i].split('*') {
                let factor = factor.trim();
                let text = captures.name(factor).map_or(factor, |m| m.as_str());
                product = product.checked_mul(text.parse().ok()?)?;
            }
            total = total.checked_add(sign * product)?;
            if i < bytes.len() {
                sign = if bytes[i] == b'+' { 1 } else { -1 };
            }
            start = i + 1;
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    fn kind(interfaces: &str) -> Kind {
        let text = format!(
            "schema: 1\nnames: [t]\ndescription: t\nclass: container\ninterfaces: {interfaces}\n"
        );
        Catalogue::parse("t", &text).unwrap()
    }

    #[test]
    fn aliases_count() {
        let k = kind(
            r#"{pattern: 'eth[1-9]\d*', aliases: [{match: '(?:et|ge)-0/0/(?P<p>\d+)', to: 'eth{p+1}'}, {match: 'e(?P<s>\d)/(?P<p>\d)', to: 'eth{s*4+p}'}]}"#,
        );
        let to = |n: &str| k.interface(n, true).map(|m| m.linux);
        assert_eq!(to("ge-0/0/0"), Ok("eth1".into()));
        assert_eq!(to("e1/2"), Ok("eth6".into()));
        assert_eq!(to("eth7"), Ok("eth7".into()));
        assert!(matches!(to("eth0"), Err(InterfaceError::Refused { .. })));
        assert!(matches!(to("xeth1"), Err(InterfaceError::Refused { .. })));
        assert!(to("ge-0/0/99999999999999999999").is_err());
    }

    #[test]
    fn reserved_unless_unmanaged() {
        let k = kind("{reserved: [eth0]}");
        assert_eq!(k.interface("eth0", true), Err(InterfaceError::Reserved("eth0".into())));
        assert!(k.interface("eth0", false).is_ok());
        assert!(k.interface("anything", true).is_ok());
    }
}
