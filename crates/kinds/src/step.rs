//! The step language: one way to say what is done to a node, over any channel.

use serde::{Deserialize, Serialize};

/// One bounded step. Exactly one verb is set; `check` refuses anything else.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// Shown while it runs.
    pub name: Option<String>,
    /// Left out when this renders to nothing.
    pub when: Option<String>,
    /// Longest time (`30s`).
    pub timeout: Option<String>,
    /// Tried again until it passes.
    pub retry: Option<Retry>,
    /// Its failure does not end the sequence.
    #[serde(default)]
    pub ignore_errors: bool,
    /// A command in the node.
    pub exec: Option<Exec>,
    /// The serial console.
    pub console: Option<Console>,
    /// Lines over SSH.
    pub ssh: Option<Ssh>,
    /// A NETCONF call.
    pub netconf: Option<Netconf>,
    /// An HTTP call.
    pub http: Option<Http>,
    /// A file into the node.
    pub copy: Option<Copy>,
    /// Something that appears.
    pub wait: Option<Wait>,
}

impl Step {
    /// How many verbs are set.
    pub fn verbs(&self) -> usize {
        [
            self.exec.is_some(),
            self.console.is_some(),
            self.ssh.is_some(),
            self.netconf.is_some(),
            self.http.is_some(),
            self.copy.is_some(),
            self.wait.is_some(),
        ]
        .into_iter()
        .filter(|set| *set)
        .count()
    }
}

/// How often a step is tried.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// Time between two tries.
    pub every: String,
    /// Longest time for all.
    pub r#for: String,
}

/// A command in the node.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Exec {
    pub argv: Vec<String>,
    pub stdin: Option<String>,
    pub user: Option<String>,
    pub expect: Option<String>,
    pub capture: Option<String>,
    pub into: Option<String>,
}

/// The serial console.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Console {
    pub expect: Option<String>,
    pub send: Option<String>,
    #[serde(default)]
    pub react: Vec<React>,
}

/// An answer to give whenever a text is seen.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct React {
    pub expect: String,
    pub send: String,
}

/// Lines over SSH.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Ssh {
    pub lines: Vec<String>,
    pub expect: Option<String>,
    pub port: Option<u16>,
    pub into: Option<String>,
}

/// A NETCONF call.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Netconf {
    pub rpc: String,
    pub port: Option<u16>,
    pub into: Option<String>,
}

/// An HTTP call.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Http {
    pub method: String,
    pub url: String,
    pub body: Option<String>,
    pub expect: Option<String>,
}

/// A file into the node.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Copy {
    pub from: String,
    pub to: String,
}

/// Something that appears.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/kind-schema.md")]
pub struct Wait {
    pub file: Option<String>,
    pub port: Option<u16>,
}
