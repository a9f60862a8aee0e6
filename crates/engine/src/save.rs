//! Has nodes save their configurations, as their kinds say.

use crate::deploy::need_root;
use crate::exec::AT_ONCE;
use crate::record::lock_lab;
use crate::schedule::{self, Graph, Outcome};
use crate::steps::Place;
use crate::{Engine, EngineError, LabRecord, beneath, files, outputs, prepare};
use netloom_steps::{Captured, Node as _, Turn, Walk};
use netloom_topology::{Lab, Node, StepData};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What is saved, and where to.
#[derive(Clone)]
pub struct SaveOptions {
    /// Only these nodes; empty for all.
    pub nodes: Vec<String>,
    /// Folder that gets a copy of each configuration as well.
    pub copy: Option<PathBuf>,
    /// Time of the copies, in their names.
    pub stamp: String,
    /// The user's home.
    pub home: PathBuf,
    /// Variables that start-up configurations may refer to.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Asked between two steps: whether the user wants to stop.
    pub interrupted: fn() -> bool,
}

/// What became of one node.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The node.
    pub node: String,
    /// The file it is saved in, if that is in the node's folder; why it was not saved.
    pub file: Result<Option<PathBuf>, String>,
}

impl Engine {
    /// Has nodes save their configurations, in parallel. Nodes whose kind has nothing to save are
    /// left out.
    pub fn save(
        &self,
        lab: &Lab,
        record: &LabRecord,
        options: &SaveOptions,
    ) -> Result<Vec<Saved>, EngineError> {
        need_root("saving configurations")?;
        let parts = prepare::in_parts(lab, &options.home)?;
        let lab: &Lab = &parts;
        let _lock = lock_lab(&self.directories, &record.name)?;
        let known = |n: &String| lab.node(n).is_some() || record.nodes.contains_key(n);
        let root = |n: &String| lab.nodes.iter().any(|other| other.part_of() == Some(n.as_str()));
        if let Some(unknown) = options.nodes.iter().find(|n| !known(n) && !root(n)) {
            let (lab, node) = (record.name.clone(), unknown.clone());
            return Err(EngineError::NoNode { lab, node });
        }
        let meant = |name: &String| options.nodes.is_empty() || options.nodes.contains(name);
        // The first part of a node speaks for all.
        let chosen: Vec<&Node> = lab
            .nodes
            .iter()
            .filter(|n| meant(&n.name) || n.part_of().is_some_and(|root| meant(&root.to_owned())))
            .filter(|n| n.part_of().is_none() || n.shares_namespace_of().is_none())
            .filter(|n| n.kind_data.save.is_some() && record.nodes.contains_key(&n.name))
            .collect();
        let unknown = record.nodes.keys().filter(|name| meant(name) && lab.node(name).is_none());
        let unknown: Vec<Saved> = unknown
            .map(|node| Saved {
                node: node.clone(),
                file: Err("the topology file does not know it any more".into()),
            })
            .collect();
        let before = vec![Vec::new(); chosen.len()];
        let graph = Graph { before: &before, workers: AT_ONCE, keep_going: true };
        let done = Mutex::new(Vec::new());
        schedule::run::<()>(&graph, &|| (options.interrupted)(), &|i| {
            let node = chosen[i];
            let saved = self.save_one(lab, record, node, options);
            let file = saved.and_then(|file| {
                if let (Some(file), Some(folder)) = (&file, &options.copy) {
                    let to = folder.join(copies(lab)).join(&node.name);
                    copy(&node.dir, Path::new(file), &to, &options.stamp)
                        .map_err(|e| format!("copy {file}: {e}"))?;
                }
                Ok(file.map(|file| node.dir.join(file)))
            });
            let saved = Saved { node: node.name.clone(), file };
            done.lock().unwrap_or_else(|e| e.into_inner()).push((i, saved));
            Outcome::Done
        });
        let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        done.sort_by_key(|(i, _)| *i);
        Ok(done.into_iter().map(|(_, saved)| saved).chain(unknown).collect())
    }

    fn save_one(
        &self,
        lab: &Lab,
        record: &LabRecord,
        node: &Node,
        options: &SaveOptions,
    ) -> Result<Option<String>, String> {
        let Some(sequence) = &node.kind_data.save else { return Ok(None) };
        let text = |e: EngineError| e.to_string();
        let object = record.objects.nodes.iter().find(|o| o.name == node.name);
        let object = object.ok_or("it is not there")?;
        let runtimes =
            self.runtimes(record).map_err(text)?.ok_or("the lab's processes are gone")?;
        let runtime = runtimes.of(object.runs).map_err(text)?;
        // It may have another name in the file by now.
        let mut node = node.clone();
        node.long_name = object.long_name.clone();
        let node = &node;
        let state = runtime.inspect(&node.long_name).map_err(|e| e.to_string())?;
        if state.is_none_or(|s| s.pid.is_none()) {
            return Err("it does not run".into());
        }
        let keys = outputs::public_keys(&options.home);
        let user = (options.home.as_path(), &options.environment);
        let context = files::context(node, object, &[], None, &keys, user)?;
        let data = StepData::of(lab, node, &context)?;
        let interrupted = options.interrupted;
        let place = Place { runtime, node, object, data: &data, interrupted };
        let mut walk = Walk::new(sequence);
        loop {
            if interrupted() {
                return Err("interrupted".into());
            }
            match walk.turn(&place) {
                Turn::Again(wait) => std::thread::sleep(wait),
                Turn::Failed { step, why } => return Err(format!("{step}: {why}")),
                Turn::Done => break,
            }
        }
        let kept = || node.kind_data.saved.as_deref().map(|p| place.fill(p, &Captured::new()));
        walk.left(&place).or_else(kept).transpose()
    }
}

/// The folder of a lab among copies.
fn copies(lab: &Lab) -> String {
    lab.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Copies a file beside earlier copies, with the time in its name; the plain name leads to the
/// newest.
fn copy(base: &Path, file: &Path, folder: &Path, stamp: &str) -> std::io::Result<()> {
    let mut from = beneath::read(base, file)?;
    std::fs::create_dir_all(folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem.to_owned(), format!(".{extension}")),
        _ => (name.clone(), String::new()),
    };
    let dated = format!("{stem}-{stamp}{extension}");
    std::io::copy(&mut from, &mut std::fs::File::create(folder.join(&dated))?)?;
    let (link, new) = (folder.join(&name), folder.join(format!(".{name}.new")));
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(&dated, &new)?;
    std::fs::rename(new, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_kept_beside_each_other() {
        let folder = std::env::temp_dir().join(format!("netloom-save-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.json");
        for (text, stamp) in [("1", "260101_000000"), ("2", "260101_000001")] {
            std::fs::write(&file, text).unwrap();
            copy(&folder, Path::new("config.json"), &folder.join("out"), stamp).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.join("out").join(name)).unwrap();
        assert_eq!(
            (read("config-260101_000000.json"), read("config.json")),
            ("1".into(), "2".into())
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
