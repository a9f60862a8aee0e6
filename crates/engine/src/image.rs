//! The image of a node: in our store, or the host itself.

use crate::record::{LabRecord, NodeRecord};
use crate::runtimes::Reached;
use crate::{Engine, EngineError};
use netloom_image::{Image, Reference, Store};
use netloom_plan::Runs;
use netloom_runtime_docker::DaemonImage;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Images looked up once each.
pub struct Images {
    store: Store,
    daemons: Reached,
    known: HashMap<(Runs, String), Found>,
}

/// The image of a name: `None` when it is not here, an error when the name cannot be one.
pub type Found = Result<Option<Arc<Image>>, String>;

impl Images {
    /// Looks in the store, and in these daemons.
    pub fn open(store: Store, daemons: Reached) -> Self {
        Images { store, daemons, known: HashMap::new() }
    }

    /// The image of a name as written: `None` when it is not here, an error when the name cannot
    /// be one.
    pub fn find(&mut self, runs: Runs, name: &str) -> Result<Found, EngineError> {
        let key = (runs, name.to_string());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let found = match name {
            "host" if runs != Runs::Native => Err(format!(
                "`image: host` is for nodes of the native runtime, not of {}",
                runs.word()
            )),
            _ if runs != Runs::Native => match self.daemons.get(&runs) {
                Some((_, daemon)) => Ok(daemon.image(name)?.map(|i| Arc::new(of_daemon(runs, &i)))),
                None => Ok(None),
            },
            "host" => Ok(Some(Arc::new(Image::host()))),
            _ => match Reference::parse(name) {
                Ok(reference) => Ok(self.store.resolve(&reference)?.map(Arc::new)),
                Err(e) => Err(format!("{e}; {}", e.hint())),
            },
        };
        self.known.insert(key, found.clone());
        Ok(found)
    }

    /// Names of all images here.
    pub fn names(&self) -> Vec<String> {
        let list = self.store.list().unwrap_or_default();
        list.iter().filter_map(|i| i.reference.as_ref().map(Reference::short)).collect()
    }
}

/// An image a daemon has: what it is made of and how it is run is known there.
fn of_daemon(runs: Runs, image: &DaemonImage) -> Image {
    Image {
        id: image.id.parse().ok(),
        layers: Vec::new(),
        size: image.size,
        source: runs.word().into(),
        ..Image::host()
    }
}

impl Engine {
    /// Nodes that were started from a layer. A lab whose record cannot be read may use anything.
    pub fn image_users(&self, layer: &Path) -> Vec<String> {
        let labs = LabRecord::folders(&self.directories).unwrap_or_default();
        let mut users = Vec::new();
        for lab in labs {
            match LabRecord::load(&self.directories, &lab) {
                Ok(Some(record)) => {
                    let of = |(_, n): &(&String, &NodeRecord)| n.layers.iter().any(|l| l == layer);
                    let nodes = record.nodes.iter().filter(of);
                    users.extend(nodes.map(|(name, _)| format!("node {name} of lab {lab}")));
                }
                Ok(None) => {}
                Err(_) => users.push(format!("lab {lab}, whose record cannot be read")),
            }
        }
        users
    }
}
