//! The lab's authority and its nodes' certificates: what is in the lab directory and still good
//! stays, the rest is made.

use crate::deploy::DeployOptions;
use crate::{EngineError, LabRecord, files, labdir};
use fs_err as fs;
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_pki::{
    KEY_SIZE, Pair, PkiError, Subject, Terms, YEAR, authority, check_authority, issue, serves,
};
use netloom_plan::{NodeObject, Objects};
use netloom_topology::{Certificate, Lab, Node, absolute};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Certificates of a lab.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    authority: Option<Pair>,
    /// The authority is the user's own.
    external: bool,
    nodes: BTreeMap<String, Pair>,
}

/// Whether a node gets a certificate: the file asks for one, or its kind cannot do without.
fn needs_one(node: &Node) -> bool {
    node.certificate["issue"] == true || node.kind_data.late.certificate.issue
}

/// A certificate that a look cannot show: it would be made.
const TO_BE_MADE: &str = "(made when the lab is deployed)";

impl Certificates {
    /// Finds or makes what nodes of the lab need. Who only looks makes nothing.
    pub fn of(
        lab: &Lab,
        objects: &Objects,
        options: &DeployOptions,
        found: &mut Diagnostics,
    ) -> Self {
        let mut out = Certificates::default();
        let wanted: Vec<(&Node, Subject)> = lab
            .nodes
            .iter()
            .zip(&objects.nodes)
            .filter(|(n, o)| o.container && needs_one(n))
            .map(|(n, o)| (n, subject(n, o)))
            .collect();
        if let Err(e) = out.find_authority(lab, options, !wanted.is_empty()) {
            let what = format!("the lab's certificate authority: {e}");
            found.push(Diagnostic::error("certificate-authority", what).hint(
                "look at `settings.certificate-authority`, and at `.tls/ca` in the lab directory",
            ));
            return out;
        }
        let mut missing = Vec::new();
        for (node, subject) in wanted {
            let have = read(&lab.dir, &node.name);
            let good = have.filter(|pair| {
                out.authority.as_ref().is_some_and(|above| serves(pair, above, &subject, now()))
            });
            match good {
                Some(pair) => drop(out.nodes.insert(node.name.clone(), pair)),
                None => missing.push((node, subject)),
            }
        }
        if options.look {
            let text = || TO_BE_MADE.to_owned();
            let pair = || Pair { certificate: text(), key: text() };
            out.nodes.extend(missing.into_iter().map(|(n, _)| (n.name.clone(), pair())));
        } else if let Some(above) = &out.authority {
            for (node, made) in make(above, missing) {
                match made {
                    Ok(pair) => drop(out.nodes.insert(node.name.clone(), pair)),
                    Err(e) => {
                        let what = format!("the certificate of node `{}`: {e}", node.name);
                        let at = node.span_of("certificate");
                        found.push(Diagnostic::error("certificate", what).at(at));
                    }
                }
            }
        }
        out
    }

    fn find_authority(
        &mut self,
        lab: &Lab,
        options: &DeployOptions,
        needed: bool,
    ) -> Result<(), PkiError> {
        if let Some([certificate, key]) = external(lab, options) {
            let read = |path: &Path| {
                std::fs::read_to_string(path).map_err(|e| PkiError::Bad {
                    what: "a file",
                    why: format!("{}: {e}", path.display()),
                })
            };
            let pair = Pair { certificate: read(&certificate)?, key: read(&key)? };
            check_authority(&pair)?;
            self.external = true;
            self.authority = Some(pair);
        } else if let Some(pair) = read(&lab.dir, "ca") {
            check_authority(&pair)?;
            self.authority = Some(pair);
        } else if (needed || !lab.certificate_authority.is_null()) && !options.look {
            self.authority = Some(new_authority(&lab.name, &lab.certificate_authority)?);
        }
        Ok(())
    }

    /// What templates see of a node's certificate.
    pub fn of_node(&self, node: &str) -> Option<Certificate> {
        let pair = self.nodes.get(node)?;
        Some(Certificate {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            authority: self.authority.as_ref().map(|a| a.certificate.clone()).unwrap_or_default(),
        })
    }

    /// Writes what is not there; keys are for their owner alone.
    pub fn write(&self, lab: &Lab) -> Result<(), EngineError> {
        let own = self.authority.iter().filter(|_| !self.external).map(|a| ("ca", a));
        let nodes = self.nodes.iter().map(|(name, pair)| (name.as_str(), pair));
        for (name, pair) in own.chain(nodes) {
            labdir::make(&lab.dir)?;
            put(&lab.dir, &lab.topology_file, name, pair)?;
        }
        Ok(())
    }
}

fn put(dir: &Path, topology: &Path, name: &str, pair: &Pair) -> Result<(), EngineError> {
    let owner = topology.parent().and_then(|folder| std::fs::metadata(folder).ok());
    let [certificate, key] = place(dir, name);
    if let Some(folder) = certificate.parent() {
        fs::create_dir_all(folder)?;
    }
    // The key first: a certificate without one would be taken for a whole pair's.
    for (path, text, mode) in [(key, &pair.key, 0o600), (certificate, &pair.certificate, 0o644)] {
        if !std::fs::read_to_string(&path).is_ok_and(|have| have == *text) {
            files::replace(&path, text.as_bytes(), mode, owner.as_ref())?;
        }
    }
    Ok(())
}

fn new_authority(lab: &str, written: &Json) -> Result<Pair, PkiError> {
    authority(&Subject::of_lab(format!("{lab} lab CA")), terms(written)?)
}

/// Makes the authority of a lab of whose nodes none needs a certificate: whoever issues one later
/// finds it there. A key takes a processor a good part of a second, for which no deploy waits: the
/// supervisor does it a moment later.
pub fn late_authority(record: &LabRecord) -> Result<(), EngineError> {
    let dir = &record.lab_dir;
    if !record.complete || !dir.is_dir() || dir.join(".tls/ca").exists() {
        return Ok(());
    }
    let pair = new_authority(&record.name, &Json::Null).map_err(std::io::Error::other)?;
    match dir.join(".tls/ca").exists() {
        true => Ok(()),
        false => put(dir, &record.topology, "ca", &pair),
    }
}

/// Certificates that are missing, some at once: making a key takes a processor a while.
fn make<'n>(
    above: &Pair,
    missing: Vec<(&'n Node, Subject)>,
) -> Vec<(&'n Node, Result<Pair, PkiError>)> {
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).min(missing.len());
    let todo = Mutex::new(missing.into_iter());
    let made = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().unwrap_or_else(|e| e.into_inner()).next();
                    let Some((node, subject)) = next else { return };
                    let pair = terms(&node.certificate).and_then(|t| issue(above, &subject, t));
                    made.lock().unwrap_or_else(|e| e.into_inner()).push((node, pair));
                }
            });
        }
    });
    made.into_inner().unwrap_or_else(|e| e.into_inner())
}

fn subject(node: &Node, object: &NodeObject) -> Subject {
    let mut subject = Subject::of_lab(&node.fqdn);
    let mut names = vec![node.name.clone(), node.long_name.clone(), node.fqdn.clone()];
    let sans = node.certificate["sans"].as_array().into_iter().flatten();
    for san in sans.filter_map(Json::as_str) {
        match san.parse() {
            Ok(address) => subject.addresses.push(address),
            Err(_) => names.push(san.to_owned()),
        }
    }
    names.dedup();
    let own = object.mgmt.iter().flat_map(|m| &m.addresses).map(|a| a.addr());
    subject.addresses.splice(0..0, own);
    subject.names = names;
    subject
}

/// Size of the key and time of life, as written.
fn terms(written: &Json) -> Result<Terms, PkiError> {
    let size = written["key-size"].as_u64().filter(|n| *n > 0);
    let valid = match written["validity-duration"].as_str().filter(|t| !t.is_empty()) {
        None => YEAR,
        Some(text) => duration(text).filter(|d| !d.is_zero()).unwrap_or(YEAR),
    };
    let key_size = size.and_then(|n| usize::try_from(n).ok()).unwrap_or(KEY_SIZE);
    Ok(Terms { key_size, valid, now: now() })
}

/// A time like `1h30m`, as the format has it.
fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        total += number
            * match &unit[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &unit[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The user's own authority, by the file or the environment.
fn external(lab: &Lab, options: &DeployOptions) -> Option<[PathBuf; 2]> {
    let written = |key: &str, variable: &str| {
        let text = lab.certificate_authority[key].as_str().filter(|t| !t.is_empty());
        let text = text.map(str::to_owned).or_else(|| options.environment.get(variable).cloned());
        let folder = lab.topology_file.parent().unwrap_or(Path::new("/"));
        text.filter(|t| !t.is_empty()).map(|t| absolute(&options.home, folder, &t))
    };
    Some([written("cert", "CLAB_CA_CERT_FILE")?, written("key", "CLAB_CA_KEY_FILE")?])
}

fn place(dir: &Path, name: &str) -> [PathBuf; 2] {
    let folder = dir.join(".tls").join(name);
    [folder.join(format!("{name}.pem")), folder.join(format!("{name}.key"))]
}

fn read(dir: &Path, name: &str) -> Option<Pair> {
    let [certificate, key] = place(dir, name);
    let read = |path| std::fs::read_to_string(path).ok();
    Some(Pair { certificate: read(certificate)?, key: read(key)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(duration("90"), None);
        assert_eq!(duration("1y"), None);
    }
}
