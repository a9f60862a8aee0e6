//! Keys of the file that this runtime does not honour yet: each is named, with its place.

use netloom_diag::{Diagnostic, Diagnostics};
use netloom_kinds::{Kind, Role};
use netloom_topology::{Lab, Node, StartupConfig};
use std::collections::HashMap;

/// Looks at every node and at the lab.
pub fn check(lab: &Lab, found: &mut Diagnostics) {
    let of_lab = |what: &str| Diagnostic::warning("unhonoured", what.to_string());
    if !(lab.mgmt.driver_opts.is_empty() || crate::daemon_network::needed(lab)) {
        let what = "`mgmt.driver-opts` belong to Docker's networks and do nothing here";
        found.push(of_lab(what).at(lab.mgmt.span));
    }
    let mut uses: HashMap<*const Kind, Uses> = HashMap::new();
    for node in &lab.nodes {
        let uses = uses
            .entry(std::sync::Arc::as_ptr(&node.kind_data))
            .or_insert_with(|| Uses::of(&node.kind_data));
        each(node, uses, found);
    }
}

/// Which of a node's keys the templates of its kind make something of.
struct Uses {
    startup: bool,
    license: bool,
    extras: bool,
    components: bool,
}

impl Uses {
    fn of(kind: &Kind) -> Self {
        let text = serde_json::to_string(kind).unwrap_or_default();
        // What stands in files of their own is not looked at.
        let elsewhere = kind.files.iter().any(|file| file.template.is_some());
        let has = |word: &str| elsewhere || text.contains(word);
        Uses {
            startup: has(".Startup"),
            license: has(".License"),
            extras: has(".Extras"),
            components: kind.parts.is_some() || has(".Component"),
        }
    }
}

fn each(node: &Node, uses: &Uses, found: &mut Diagnostics) {
    let mut say = |key: &str, what: String| {
        found.push(
            Diagnostic::warning("unhonoured", format!("node `{}`: {what}", node.name))
                .at(node.span_of(key)),
        );
    };
    if !node.ports.is_empty() && !node.managed() {
        say("ports", "`ports` lead nowhere: it is not on the management network".into());
    }
    if netloom_plan::Runs::named(&node.runtime).is_none() {
        say("runtime", format!("there is no runtime `{}` yet; it runs natively", node.runtime));
    }
    if matches!(node.startup_config, Some(StartupConfig::Url(_))) {
        say("startup-config", "configurations are not fetched from the network yet".into());
    }
    if node.origins.contains_key("link-apply-mode") {
        say("link-apply-mode", "links of running nodes are always changed live".into());
    }
    if !node.credentials.identity_file.is_empty() {
        say("credentials", "`identity-file` is not used yet".into());
    }
    if !node.aliases.is_empty() && !node.managed() {
        say("aliases", "`aliases` are names of its management address, and it has none".into());
    }
    let unread = |value: &serde_json::Value| match value {
        serde_json::Value::Null => false,
        serde_json::Value::Object(map) => !map.is_empty(),
        serde_json::Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    // The program that makes it reads what it needs (`clusters.rs`).
    if node.kind_data.role == Role::K8sCluster {
        return;
    }
    if unread(&node.extras) && !uses.extras {
        say("extras", format!("kind `{}` makes nothing of `extras`", node.kind));
    }
    if unread(&node.components) && !uses.components {
        say("components", format!("kind `{}` makes nothing of `components`", node.kind));
    }
    let start =
        matches!(node.startup_config, Some(StartupConfig::File(_) | StartupConfig::Text(_)));
    for (given, used, key) in
        [(start, uses.startup, "startup-config"), (node.license.is_some(), uses.license, "license")]
    {
        if given && !used {
            say(key, format!("kind `{}` makes nothing of `{key}`", node.kind));
        }
    }
}
