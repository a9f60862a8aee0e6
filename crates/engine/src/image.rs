//! The image of a node: in our store, or the host itself.

use crate::record::{LabRecord, NodeRecord};
use crate::{Engine, EngineError};
use netloom_image::{Image, Reference, Store};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Images looked up once each.
pub struct Images {
    store: Store,
    known: HashMap<String, Result<Option<Arc<Image>>, String>>,
}

impl Images {
    /// Opens the store.
    pub fn open(store: Store) -> Self {
        Images { store, known: HashMap::new() }
    }

    /// The image of a name as written: `None` when it is not here, an error when the name cannot
    /// be one.
    pub fn find(&mut self, name: &str) -> Result<Result<Option<Arc<Image>>, String>, EngineError> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let found = match name {
            "host" => Ok(Some(Arc::new(Image::host()))),
            _ => match Reference::parse(name) {
                Ok(reference) => Ok(self.store.resolve(&reference)?.map(Arc::new)),
                Err(e) => Err(format!("{e}; {}", e.hint())),
            },
        };
        self.known.insert(name.to_string(), found.clone());
        Ok(found)
    }

    /// Names of all images here.
    pub fn names(&self) -> Vec<String> {
        let list = self.store.list().unwrap_or_default();
        list.iter().filter_map(|i| i.reference.as_ref().map(Reference::short)).collect()
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
