//! What a kind brings to a node: defaults, environment, binds and the rest.

use crate::env::add_no_proxy;
use crate::lab::{Healthcheck, LinkEndpoint, Node, StartupConfig};
use crate::merge::target;
use crate::node::Common;
use crate::template_data;
use gotmpl::Value as Data;
use netloom_diag::{Diagnostic, Diagnostics, Span};
use serde_json::Value as Json;
use std::path::PathBuf;

/// Lets the kind have its say: defaults, environment, binds and the rest. `ends` are the node's
/// endpoints, `no_proxy` the value every node gets.
pub fn apply(
    node: &mut Node,
    common: &Common<'_>,
    ends: &[&LinkEndpoint],
    no_proxy: &str,
    found: &mut Diagnostics,
) {
    let kind = node.kind_data.clone();
    let mut t = Templates { node_span: node.span, kind: &node.kind.clone(), data: None, found };
    if node.r#type.is_empty() {
        let value = t.fill(kind.defaults.r#type.as_deref(), || {
            template_data::data(node, common.place(), ends)
        });
        node.r#type = value;
    }
    node.labels.insert("clab-node-type".into(), node.r#type.clone());
    t.data = None;
    let fresh = |node: &Node| template_data::data(node, common.place(), ends);
    for (key, value) in &kind.env.default {
        if !node.env.contains_key(key) {
            let value = t.fill(Some(value), || fresh(node));
            if !value.is_empty() {
                node.env.insert(key.clone(), value);
            }
        }
    }
    for line in t.fill(kind.env.lines.as_deref(), || fresh(node)).lines() {
        if let Some((key, value)) = line.trim().split_once('=') {
            node.env.entry(key.to_string()).or_insert_with(|| value.to_string());
        }
    }
    for (key, value) in &kind.env.forced {
        let value = t.fill(Some(value), || fresh(node));
        if !value.is_empty() {
            node.env.insert(key.clone(), value);
        }
    }
    add_no_proxy(&mut node.env, no_proxy);
    t.data = None;
    for (key, value) in &kind.sysctls.default {
        if !node.sysctls.contains_key(key) {
            let value = t.fill(Some(value), || fresh(node));
            if !value.is_empty() {
                node.sysctls.insert(key.clone(), value);
            }
        }
    }
    for (key, value) in &kind.sysctls.forced {
        let value = t.fill(Some(value), || fresh(node));
        if !value.is_empty() {
            node.sysctls.insert(key.clone(), value);
        }
    }
    for (key, value) in &kind.tmpfs {
        node.tmpfs.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let mut binds = Vec::new();
    for bind in &kind.binds {
        let bind = t.fill(Some(bind), || fresh(node));
        let theirs = node.binds.iter().any(|b| target(b) == target(&bind));
        if !bind.is_empty() && !theirs {
            binds.push(bind);
        }
    }
    if kind.binds_first {
        node.binds.splice(0..0, binds);
    } else {
        node.binds.extend(binds);
    }
    for (have, add) in [(&mut node.devices, &kind.devices), (&mut node.cap_add, &kind.cap_add)] {
        for item in add {
            if !have.contains(item) {
                have.push(item.clone());
            }
        }
    }
    if kind.certificate.issue {
        let mut map = node.certificate.as_object().cloned().unwrap_or_default();
        map.insert("issue".into(), true.into());
        node.certificate = Json::Object(map);
    }
    let d = &kind.defaults;
    let o = &kind.r#override;
    let keys = [
        ("image", &d.image, &o.image),
        ("cmd", &d.cmd, &o.cmd),
        ("entrypoint", &d.entrypoint, &o.entrypoint),
        ("user", &d.user, &o.user),
        ("restart-policy", &d.restart_policy, &o.restart_policy),
        ("memory", &d.memory, &o.memory),
        ("shm-size", &d.shm_size, &o.shm_size),
        ("network-mode", &d.network_mode, &o.network_mode),
    ];
    for (key, default, forced) in keys {
        let value = t.fill(default.as_deref(), || fresh(node));
        let forced = t.fill(forced.as_deref(), || fresh(node));
        let slot = match key {
            "image" => &mut node.image,
            "cmd" => &mut node.cmd,
            "entrypoint" => &mut node.entrypoint,
            "user" => &mut node.user,
            "restart-policy" => &mut node.restart_policy,
            "memory" => &mut node.memory,
            "shm-size" => &mut node.shm_size,
            _ => &mut node.network_mode,
        };
        if !forced.is_empty() {
            *slot = forced;
        } else if slot.is_empty() {
            *slot = value;
        }
    }
    if node.cpu.is_none() {
        node.cpu = d.cpu;
    }
    if let (None, Some(h)) = (&node.healthcheck, &d.healthcheck) {
        node.healthcheck = Some(Healthcheck {
            test: h.test.clone(),
            interval: h.interval,
            timeout: h.timeout,
            retries: h.retries,
            start_period: h.start_period,
        });
    }
    if node.startup_config.is_none() && d.startup_config.is_some() {
        let text = t.fill(d.startup_config.as_deref(), || fresh(node));
        node.startup_config = (!text.is_empty()).then(|| StartupConfig::File(PathBuf::from(text)));
    }
}

/// Fills templates of kind data; the data are made when the first template needs them.
struct Templates<'a> {
    node_span: Option<Span>,
    kind: &'a str,
    data: Option<Data>,
    found: &'a mut Diagnostics,
}

impl Templates<'_> {
    fn fill(&mut self, text: Option<&str>, data: impl FnOnce() -> Data) -> String {
        let Some(text) = text else { return String::new() };
        if !text.contains("{{") {
            return text.to_string();
        }
        let data = self.data.get_or_insert_with(data);
        template_data::fill(text, data).unwrap_or_else(|e| {
            self.found.push(
                Diagnostic::error(
                    "kind-template",
                    format!("a template of kind `{}` cannot be rendered: {e}", self.kind),
                )
                .at(self.node_span)
                .hint(format!("the template is: {text}")),
            );
            String::new()
        })
    }
}
