//! One node: the levels combined, then what its kind brings.

use crate::expand::unset_hint;
use crate::inputs::Inputs;
use crate::lab::{Credentials, Dns, Healthcheck, Mgmt, Node, PullPolicy, StartupConfig};
use crate::merge::{Levels, env_file, environment, json};
use crate::{magic, ports, stages};
use netloom_diag::{Diagnostic, Diagnostics, Span};
use netloom_kinds::{Kind, LinkApply};
use netloom_yaml::{Node as Tree, Scalar};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What all nodes of a lab have in common.
pub struct Common<'a> {
    /// The world.
    pub inputs: &'a Inputs<'a>,
    /// Lab name.
    pub lab: &'a str,
    /// Prefix as written.
    pub prefix: &'a str,
    /// Lab directory.
    pub dir: &'a Path,
    /// Name of the lab directory.
    pub dir_name: &'a str,
    /// Management network.
    pub mgmt: &'a Mgmt,
}

impl<'a> Common<'a> {
    /// What templates know of the lab.
    pub fn place(&self) -> crate::template_data::Place<'a> {
        crate::template_data::Place {
            lab: self.lab,
            prefix: self.prefix,
            dir: self.dir,
            topo_dir: self.inputs.dir(),
            home: &self.inputs.settings.home,
            mgmt: self.mgmt,
        }
    }
}

/// A node before its kind had a say.
pub struct Draft<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its key stands.
    pub span: Span,
    /// Position in the file.
    pub index: usize,
    /// Name of the kind, as written.
    pub kind: String,
    /// The kind.
    pub data: Arc<Kind>,
    /// Name of the group.
    pub group: String,
    /// Its levels.
    pub levels: Levels<'a>,
}

/// Container name of a node.
pub fn long_name(prefix: &str, lab: &str, node: &str) -> String {
    match prefix {
        "" => node.to_string(),
        "__lab-name" => format!("{lab}-{node}"),
        p => format!("{p}-{lab}-{node}"),
    }
}

/// Combines the levels of a node.
pub fn build(draft: Draft<'_>, common: &Common<'_>, found: &mut Diagnostics) -> Node {
    let Draft { name, span, index, kind, data, group, mut levels } = draft;
    let inputs = common.inputs;
    let dir = common.dir.join(name);
    let magic = |t: &str| magic::node_text(t, common.dir, common.dir_name, name);
    let l = &mut levels;
    let path = |text: String| (!text.is_empty()).then(|| inputs.absolute(&magic(&text)));
    let startup_config = startup_config(&l.text("startup-config"), inputs, &magic);
    let mut env = env_files(&l.list("env-files"), l, inputs, found);
    env.extend(environment(l, inputs));
    let long_name = match data.role {
        netloom_kinds::Role::ExtContainer => name.to_string(),
        _ => long_name(common.prefix, common.lab, name),
    };
    let mut node = Node {
        name: name.to_string(),
        fqdn: format!("{name}.{}.io", common.lab),
        index,
        kind,
        dir,
        r#type: l.text("type"),
        image: l.text("image"),
        image_pull_policy: pull_policy(l, found),
        license: path(l.text("license")),
        startup_config,
        enforce_startup_config: l.boolean("enforce-startup-config").unwrap_or(false),
        suppress_startup_config: l.boolean("suppress-startup-config").unwrap_or(false),
        startup_delay: l.number("startup-delay").unwrap_or(0.0).max(0.0) as u64,
        auto_remove: l.boolean("auto-remove").unwrap_or(false),
        restart_policy: l.text("restart-policy"),
        hostname: l.text("hostname"),
        entrypoint: l.text("entrypoint"),
        cmd: l.text("cmd"),
        exec: l.list("exec").iter().map(|t| magic(t)).collect(),
        binds: sorted(l.targets("binds")),
        volumes: sorted(l.targets("volumes")),
        devices: l.list("devices"),
        cap_add: l.list("cap-add"),
        security_opts: l.list("security-opts"),
        env_files: l.list("env-files"),
        privileged: l.boolean("privileged").unwrap_or(true),
        cgroupns_mode: l.text("cgroupns-mode"),
        cgroup_parent: l.text("cgroup-parent"),
        pid_mode: l.text("pid-mode"),
        tmpfs: l.map("tmpfs"),
        shm_size: l.text("shm-size"),
        ports: published(l, found),
        mgmt_ipv4: address(l, "mgmt-ipv4", found),
        mgmt_ipv6: address(l, "mgmt-ipv6", found),
        env,
        user: l.text("user"),
        labels: l.map("labels"),
        network_mode: l.text("network-mode"),
        runtime: l.text("runtime"),
        cpu: l.number("cpu"),
        cpu_set: l.text("cpu-set"),
        memory: l.text("memory"),
        sysctls: l.map("sysctls"),
        extras: l.whole("extras").map(json).unwrap_or_default(),
        config: l.deep("config"),
        stages: stages::stages(l, magic),
        dns: dns(l),
        certificate: l.fields("certificate").map(|n| json(&n)).unwrap_or_default(),
        healthcheck: healthcheck(l),
        credentials: credentials(l, &data),
        aliases: l.list("aliases"),
        components: components(l),
        whole: Json::Null,
        link_apply_mode: link_apply(&l.text("link-apply-mode"), &data),
        position: l.text("position"),
        origins: BTreeMap::new(),
        span: Some(span),
        kind_data: data,
        group,
        long_name,
    };
    if node.runtime.is_empty() {
        node.runtime = inputs.overrides.runtime.clone().unwrap_or_default();
    }
    add_labels(&mut node, common);
    node.origins = levels.origins;
    node
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

fn startup_config(
    text: &str,
    inputs: &Inputs<'_>,
    magic: &impl Fn(&str) -> String,
) -> Option<StartupConfig> {
    if text.is_empty() {
        return None;
    }
    if text.trim_end().contains('\n') {
        return Some(StartupConfig::Text(text.to_string()));
    }
    let scheme = text.split_once("://").map(|(s, _)| s);
    if scheme.is_some_and(|s| ["http", "https", "s3", "ftp", "sftp", "scp"].contains(&s)) {
        return Some(StartupConfig::Url(text.to_string()));
    }
    Some(StartupConfig::File(inputs.absolute(magic(text).trim())))
}

fn env_files(
    files: &[String],
    levels: &Levels<'_>,
    inputs: &Inputs<'_>,
    found: &mut Diagnostics,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let at = levels.origins.get("env-files").and_then(|o| o.span);
    for file in files {
        let path = inputs.absolute(file);
        let text = match inputs.files.read(&path) {
            Ok(text) => text,
            Err(e) => {
                found.push(
                    Diagnostic::error(
                        "env-file",
                        format!("the env-file `{file}` cannot be read: {e}"),
                    )
                    .at(at)
                    .hint(format!("it was looked for at {}", path.display())),
                );
                continue;
            }
        };
        match env_file(&text) {
            Ok(list) => env.extend(list),
            Err((line, what)) => found.push(
                Diagnostic::error("env-file", format!("{}:{line}: {what}", path.display()))
                    .at(at)
                    .hint("each line is NAME=value"),
            ),
        }
    }
    env
}

fn pull_policy(l: &mut Levels<'_>, found: &mut Diagnostics) -> PullPolicy {
    let text = l.text("image-pull-policy");
    match text.to_ascii_lowercase().as_str() {
        "" | "ifnotpresent" => PullPolicy::IfNotPresent,
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        _ => {
            found.push(
                Diagnostic::error(
                    "unknown-word",
                    format!("`{text}` is not a value of `image-pull-policy`"),
                )
                .at(l.origins.get("image-pull-policy").and_then(|o| o.span))
                .hint("it may be IfNotPresent, Always or Never"),
            );
            PullPolicy::IfNotPresent
        }
    }
}

fn published(l: &mut Levels<'_>, found: &mut Diagnostics) -> Vec<crate::lab::PortBinding> {
    let mut out = Vec::new();
    for item in l.whole("ports").and_then(Tree::as_seq).unwrap_or_default() {
        match ports::parse(item.as_str().unwrap_or_default()) {
            Ok(list) => out.extend(list),
            Err(what) => found.push(
                Diagnostic::error("bad-port", what)
                    .at(item.span)
                    .hint("write HOST:NODE, like 8080:80 or 127.0.0.1:8080:80/udp"),
            ),
        }
    }
    out
}

fn address<A: std::str::FromStr>(
    l: &mut Levels<'_>,
    key: &'static str,
    found: &mut Diagnostics,
) -> Option<A> {
    let text = l.text(key);
    if text.is_empty() {
        return None;
    }
    let bare = text.split('/').next().unwrap_or_default();
    let parsed = bare.parse().ok();
    if parsed.is_none() {
        let version = if key.ends_with('4') { "IPv4" } else { "IPv6" };
        found.push(
            Diagnostic::error("bad-address", format!("`{text}` is not an {version} address"))
                .at(l.origins.get(key).and_then(|o| o.span))
                .hint("write four numbers from 0 to 255, or hexadecimal groups with colons")
                .maybe_hint(unset_hint(&text)),
        );
    }
    parsed
}

fn texts(node: Option<&Tree>) -> Vec<String> {
    node.and_then(Tree::as_seq)
        .unwrap_or_default()
        .iter()
        .filter_map(|n| n.as_str().map(str::to_string))
        .collect()
}

fn dns(l: &mut Levels<'_>) -> Option<Dns> {
    let node = l.whole("dns")?;
    Some(Dns {
        servers: texts(node.get("servers")),
        options: texts(node.get("options")),
        search: texts(node.get("search")),
    })
}

fn healthcheck(l: &mut Levels<'_>) -> Option<Healthcheck> {
    let node = l.whole("healthcheck")?;
    let number = |key: &str| match node.get(key).and_then(Tree::typed) {
        Some(Scalar::Int(n)) => u64::try_from(n).unwrap_or(0),
        _ => 0,
    };
    Some(Healthcheck {
        test: texts(node.get("test")),
        interval: number("interval"),
        timeout: number("timeout"),
        retries: u32::try_from(number("retries")).unwrap_or(u32::MAX),
        start_period: number("start-period"),
    })
}

/// User name and password come together from one level; the kind's own are the last resort.
fn credentials(l: &mut Levels<'_>, kind: &Kind) -> Credentials {
    let mut out = Credentials::default();
    for value in l.every("credentials").into_iter().rev() {
        let text = |key| value.get(key).and_then(Tree::as_str).unwrap_or_default().to_string();
        if out.identity_file.is_empty() {
            out.identity_file = text("identity-file");
        }
        let (user, password) = (text("username"), text("password"));
        if out.username.is_empty()
            && out.password.is_empty()
            && !(user.is_empty() && password.is_empty())
        {
            (out.username, out.password) = (user, password);
        }
    }
    let (user, password) = (l.text("username"), l.text("password"));
    if out.username.is_empty() && !user.is_empty() {
        out.username = user;
    }
    if out.password.is_empty() && !password.is_empty() {
        out.password = password;
    }
    if out.username.is_empty() {
        out.username = kind.credentials.username.clone();
    }
    if out.password.is_empty() {
        out.password = kind.credentials.password.clone();
    }
    out
}

fn components(l: &mut Levels<'_>) -> Json {
    let Some(node) = l.whole("components") else { return Json::Null };
    let mut list: Vec<Json> = match json(node) {
        Json::Array(list) => list,
        _ => return Json::Null,
    };
    // Slots are texts in the format, whatever YAML thinks of `1`.
    for (item, tree) in list.iter_mut().zip(node.as_seq().unwrap_or_default()) {
        if let (Some(map), Some(slot)) =
            (item.as_object_mut(), tree.get("slot").and_then(Tree::as_str))
        {
            map.insert("slot".into(), slot.into());
        }
    }
    list.sort_by(|a, b| a["slot"].as_str().cmp(&b["slot"].as_str()));
    Json::Array(list)
}

fn link_apply(text: &str, kind: &Kind) -> LinkApply {
    match text {
        "live" => LinkApply::Live,
        "restart" => LinkApply::Restart,
        "recreate" => LinkApply::Recreate,
        _ => kind.link_apply,
    }
}

fn add_labels(node: &mut Node, common: &Common<'_>) {
    let own = [
        ("containerlab", common.lab.to_string()),
        ("clab-node-name", node.name.clone()),
        ("clab-node-longname", node.long_name.clone()),
        ("clab-node-kind", node.kind.clone()),
        ("clab-node-group", node.group.clone()),
        ("clab-node-lab-dir", node.dir.to_string_lossy().into_owned()),
        ("clab-topo-file", common.inputs.path.to_string_lossy().into_owned()),
        ("clab-owner", common.inputs.settings.owner.clone()),
    ];
    node.labels.extend(own.map(|(k, v)| (k.to_string(), v)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags() {
        assert_eq!(long_name("clab", "l", "n"), "clab-l-n");
        assert_eq!(long_name("", "l", "n"), "n");
        assert_eq!(long_name("__lab-name", "l", "n"), "l-n");
    }
}
