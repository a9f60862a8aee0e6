//! Where state is kept.

use netloom_runtime_native::NativeConfig;
use netloom_topology::Node;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Folders of this user's labs.
#[derive(Debug, Clone)]
pub struct Directories {
    /// What outlives a reboot.
    pub state: PathBuf,
    /// Sockets.
    pub run: PathBuf,
    /// Where namespaces are shown by name.
    pub netns: PathBuf,
    /// The host's configuration: its hosts file, ssh.
    pub etc: PathBuf,
}

/// Longest lab name that is part of a socket's path; a socket's path has at most 107 bytes.
const LONGEST: usize = 40;

impl Directories {
    /// From the environment: `NETLOOM_STATE_DIR`, `NETLOOM_RUN_DIR`, `NETLOOM_NETNS_DIR`,
    /// `NETLOOM_ETC_DIR`, or the places of the user.
    pub fn of(env: &BTreeMap<String, String>, root: bool) -> Self {
        let var = |name: &str| env.get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = var("HOME").unwrap_or_else(|| "/".into());
        let state = var("NETLOOM_STATE_DIR").unwrap_or_else(|| match root {
            true => "/var/lib/netloom".into(),
            false => {
                var("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state")).join("netloom")
            }
        });
        let run = var("NETLOOM_RUN_DIR").unwrap_or_else(|| match (root, var("XDG_RUNTIME_DIR")) {
            (true, _) => "/run/netloom".into(),
            (false, Some(dir)) => dir.join("netloom"),
            (false, None) => state.join("run"),
        });
        let netns = var("NETLOOM_NETNS_DIR").unwrap_or_else(|| "/run/netns".into());
        let etc = var("NETLOOM_ETC_DIR").unwrap_or_else(|| "/etc".into());
        Directories { state, run, netns, etc }
    }

    /// Folder of all labs.
    pub fn labs(&self) -> PathBuf {
        self.state.join("labs")
    }

    /// Folder of one lab.
    pub fn lab(&self, lab: &str) -> PathBuf {
        self.labs().join(lab)
    }

    /// Private folder of a node: its changes to the image, its hosts file.
    pub fn node(&self, lab: &str, node: &str) -> PathBuf {
        self.lab(lab).join("nodes").join(node)
    }

    /// Layer with the names of a lab, laid over the images of all nodes with the same resolvers and
    /// an equal `/etc` (mode, user, group).
    pub fn names(&self, lab: &str, node: &Node, etc: (u32, u32, u32)) -> PathBuf {
        let hash = Sha256::digest(serde_json::to_vec(&(&node.dns, etc)).unwrap_or_default());
        let key: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
        self.lab(lab).join("names").join(key)
    }

    /// Named volumes.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.state.join("volumes").join(name)
    }

    /// Image store.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Where the runtime of a lab lives.
    pub fn native(&self, lab: &str, engine: &crate::Engine) -> NativeConfig {
        let short = if lab.len() <= LONGEST {
            lab.to_string()
        } else {
            let hash = Sha256::digest(lab.as_bytes());
            hash.iter().take(12).map(|b| format!("{b:02x}")).collect()
        };
        NativeConfig {
            state_dir: self.lab(lab).join("runtime"),
            run_dir: self.run.join(short),
            exe: engine.exe.clone(),
            args: engine.args.clone(),
        }
    }
}
