//! All kinds there are: the built-in ones and the user's.

use crate::{Kind, check};
use netloom_diag::did_you_mean;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

struct BuiltIn {
    folder: &'static str,
    text: &'static str,
    templates: &'static [(&'static str, &'static str)],
}

static BUILT_IN: &[BuiltIn] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// A kind file that cannot be used.
#[derive(Debug, Error)]
#[error("{file}: {message}")]
pub struct KindError {
    /// The file as shown to the user.
    pub file: String,
    /// What is wrong with it, with line and column where known.
    pub message: String,
}

/// Kinds by name and alias.
#[derive(Debug, Clone)]
pub struct Catalogue {
    kinds: BTreeMap<String, Arc<Kind>>,
}

impl Catalogue {
    /// The built-in kinds. They are checked by the tests; one that cannot be read is left out.
    pub fn builtin() -> Catalogue {
        static PARSED: OnceLock<Catalogue> = OnceLock::new();
        PARSED
            .get_or_init(|| {
                let mut c = Catalogue { kinds: BTreeMap::new() };
                for kind in Self::parse_builtin().flatten() {
                    c.add(kind);
                }
                c
            })
            .clone()
    }

    fn parse_builtin() -> impl Iterator<Item = Result<Kind, KindError>> {
        BUILT_IN.iter().map(|b| {
            let mut kind = Self::parse(&format!("kinds/{}/kind.yml", b.folder), b.text)?;
            kind.templates =
                b.templates.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
            Ok(kind)
        })
    }

    /// Reads and checks a kind file's text.
    pub fn parse(file: &str, text: &str) -> Result<Kind, KindError> {
        let kind: Kind = serde_saphyr::from_str(text)
            .map_err(|e| KindError { file: file.into(), message: e.to_string() })?;
        match check(&kind).first() {
            Some(problem) => Err(KindError { file: file.into(), message: problem.clone() }),
            None => Ok(kind),
        }
    }

    /// Adds a kind; it takes its names from any kind that had them.
    pub fn add(&mut self, kind: Kind) {
        let kind = Arc::new(kind);
        for name in &kind.names {
            self.kinds.insert(name.clone(), kind.clone());
        }
    }

    /// The kind of a name or alias.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(name)
    }

    /// Every name and alias, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// Each kind once, by its first name.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter().filter(|(name, k)| k.names.first() == Some(name)).map(|(_, k)| k)
    }

    /// Names near a name that is not there: slips of the fingers first, then names that contain
    /// it or a part of it.
    pub fn near(&self, name: &str) -> Vec<&str> {
        if let Some(best) = did_you_mean(name, self.names()) {
            return vec![best];
        }
        let wanted = name.to_ascii_lowercase();
        let parts: Vec<&str> =
            wanted.split(['_', '-', ' ', '.']).filter(|p| p.len() >= 3).collect();
        self.names()
            .filter(|n| parts.iter().any(|p| n.contains(p) || (n.len() >= 3 && p.contains(n))))
            .take(6)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_kind_is_valid_and_names_are_unique() {
        let mut seen = BTreeMap::new();
        let problems: Vec<String> =
            Catalogue::parse_builtin().filter_map(|k| k.err().map(|e| e.to_string())).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        for kind in Catalogue::parse_builtin().flatten() {
            for name in &kind.names {
                let first = seen.insert(name.clone(), kind.names[0].clone());
                assert!(first.is_none(), "{name} is claimed by {first:?} and {}", kind.names[0]);
            }
        }
        assert!(seen.contains_key("linux"));
    }

    #[test]
    fn near_names() {
        let c = Catalogue::builtin();
        assert_eq!(c.near("linx"), ["linux"]);
        assert!(c.near("nosuchkind").is_empty());
    }
}
