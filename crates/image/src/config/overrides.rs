//! Changes the importer makes to an image's run configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What to set; `None` or empty leaves what the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigOverrides {
    /// `NAME=value`, added to the image's; a name already there is replaced.
    pub env: Vec<String>,
    /// Replaces the entry point, and clears `cmd` as Docker does.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the command.
    pub cmd: Option<Vec<String>>,
    /// Replaces the user.
    pub user: Option<String>,
    /// Replaces the working directory.
    pub working_dir: Option<String>,
    /// Added to the image's.
    pub labels: BTreeMap<String, String>,
    /// Replaces the stop signal.
    pub stop_signal: Option<String>,
}

impl ConfigOverrides {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applies the changes to a configuration document, keeping all that is not known here.
    pub(crate) fn apply(&self, document: &mut Value) {
        let Some(document) = document.as_object_mut() else { return };
        let run = document.entry("config").or_insert_with(|| json!({}));
        if !run.is_object() {
            *run = json!({});
        }
        let Some(run) = run.as_object_mut() else { return };
        if let Some(entrypoint) = &self.entrypoint {
            run.insert("Entrypoint".into(), json!(entrypoint));
            run.remove("Cmd");
        }
        if let Some(cmd) = &self.cmd {
            run.insert("Cmd".into(), json!(cmd));
        }
        let texts = [
            ("User", &self.user),
            ("WorkingDir", &self.working_dir),
            ("StopSignal", &self.stop_signal),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                run.insert(key.into(), json!(value));
            }
        }
        self.apply_env(run);
        if !self.labels.is_empty() {
            let mut labels =
                run.get("Labels").and_then(Value::as_object).cloned().unwrap_or_default();
            labels.extend(self.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
            run.insert("Labels".into(), Value::Object(labels));
        }
    }

    fn apply_env(&self, run: &mut Map<String, Value>) {
        if self.env.is_empty() {
            return;
        }
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let mut env = run.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
        for entry in &self.env {
            env.retain(|old| old.as_str().is_none_or(|old| name(old) != name(entry)));
            env.push(json!(entry));
        }
        run.insert("Env".into(), Value::Array(env));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges() {
        let mut document = json!({"config": {"Env": ["A=1", "B=2"], "Cmd": ["x"], "Odd": 1}});
        let overrides = ConfigOverrides {
            env: vec!["A=3".into(), "C=4".into()],
            entrypoint: Some(vec!["/init".into()]),
            labels: BTreeMap::from([("k".into(), "v".into())]),
            user: Some("1:1".into()),
            ..Default::default()
        };
        overrides.apply(&mut document);
        let wanted = json!({"config": {"Env": ["B=2", "A=3", "C=4"], "Odd": 1,
            "Entrypoint": ["/init"], "User": "1:1", "Labels": {"k": "v"}}});
        assert_eq!(document, wanted);
    }
}
