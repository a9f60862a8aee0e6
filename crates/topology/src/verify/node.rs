//! One node: commands, sizes, types, names, what excludes each other.

use super::{capability, mounts};
use crate::lab::{EndpointNode, Lab, Node, StartupConfig};
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};
use netloom_kinds::License;

/// What must hold for one node.
pub fn node(lab: &Lab, node: &Node, found: &mut Diagnostics) {
    mounts::check(node, found);
    texts(node, found);
    words(node, found);
    stage_commands(node, found);
    startup(node, found);
    kind_type(node, found);
    hostname(node, found);
    capability::check(node, found);
    network_mode(lab, node, found);
    restart_policy(node, found);
    if let Some(h) = &node.healthcheck
        && !matches!(h.test.first().map(String::as_str), Some("CMD" | "CMD-SHELL" | "NONE"))
    {
        found.push(
            Diagnostic::error("bad-healthcheck", "`healthcheck.test` begins with CMD or CMD-SHELL")
                .at(node.span_of("healthcheck"))
                .hint("write test: [CMD-SHELL, \"command\"]"),
        );
    }
}

/// Commands that shells can read, sizes that are sizes.
fn texts(node: &Node, found: &mut Diagnostics) {
    let at = |key: &str| node.span_of(key);
    for (key, text) in [("cmd", &node.cmd), ("entrypoint", &node.entrypoint)] {
        if shlex::split(text).is_none() && !text.trim().is_empty() {
            found.push(unclosed_quote(text).at(at(key)));
        }
    }
    for text in &node.exec {
        if shlex::split(text).is_none() {
            found.push(unclosed_quote(text).at(at("exec")));
        }
    }
    for (key, text) in [("memory", &node.memory), ("shm-size", &node.shm_size)] {
        if !text.is_empty() && crate::bytes(text).is_none() {
            found.push(
                Diagnostic::error("bad-size", format!("`{key}: {text}` is not a size"))
                    .at(at(key))
                    .hint("a number and a unit: 512MB, 2GiB, 64k"),
            );
        }
    }
}

/// Words and numbers that have only some values.
fn words(node: &Node, found: &mut Diagnostics) {
    let mut wrong = |key: &str, value: &str, hint: &str| {
        found.push(
            Diagnostic::error("unknown-word", format!("`{value}` is not a value of `{key}`"))
                .at(node.span_of(key))
                .hint(hint),
        );
    };
    let pid = node.pid_mode.as_str();
    if !matches!(pid, "" | "private" | "host") && !pid.starts_with("container:") {
        wrong("pid-mode", pid, "it may be host or container:NODE");
    }
    if !matches!(node.cgroupns_mode.as_str(), "" | "private" | "host") {
        wrong("cgroupns-mode", &node.cgroupns_mode, "it may be private or host");
    }
    if let Some(cpu) = node.cpu.filter(|cpu| !(cpu.is_finite() && *cpu >= 0.0)) {
        wrong("cpu", &cpu.to_string(), "a number of processors: 0.5, 2; 0 is no limit");
    }
    const LEAST: u64 = 6 << 20;
    let memory = crate::bytes(&node.memory).filter(|bytes| (1..LEAST).contains(bytes));
    if memory.is_some() {
        wrong("memory", &node.memory, "nothing starts with less than 6 MiB; 0 is no limit");
    }
    let parent = node.cgroup_parent.split('/').any(|part| part == ".." || part == ".");
    if parent {
        wrong("cgroup-parent", &node.cgroup_parent, "a path of names below the root group");
    }
}

/// Commands of stages are there, and can be read.
fn stage_commands(node: &Node, found: &mut Diagnostics) {
    for (name, stage) in node.stages.named() {
        for exec in &stage.exec {
            match shlex::split(&exec.command) {
                None => found.push(unclosed_quote(&exec.command).at(node.span_of("stages"))),
                Some(argv) if argv.is_empty() => found.push(
                    Diagnostic::error(
                        "missing-key",
                        format!("an `exec` of stage `{name}` has no `command`"),
                    )
                    .at(node.span_of("stages"))
                    .hint("write `- command: ...`"),
                ),
                Some(_) => {}
            }
        }
    }
}

/// Start-up configuration and licence.
fn startup(node: &Node, found: &mut Diagnostics) {
    let at = |key: &str| node.span_of(key);
    let kind = &node.kind_data;
    if node.enforce_startup_config && node.suppress_startup_config {
        found.push(
            Diagnostic::error(
                "contradiction",
                "`enforce-startup-config` and `suppress-startup-config` exclude each other",
            )
            .at(at("suppress-startup-config"))
            .also(at("enforce-startup-config"), "and here"),
        );
    } else if node.enforce_startup_config && node.startup_config.is_none() {
        found.push(
            Diagnostic::error("contradiction", "there is no `startup-config` to enforce")
                .at(at("enforce-startup-config")),
        );
    }
    if kind.startup_partial_only
        && let Some(StartupConfig::File(path)) = &node.startup_config
        && !path.to_string_lossy().to_lowercase().contains(".partial")
    {
        let what = format!("kind `{}` takes only partial start-up configurations", node.kind);
        found.push(
            Diagnostic::error("startup-config", what)
                .at(at("startup-config"))
                .hint("name it `NAME.partial.cfg`, if it is what is to be added to the defaults"),
        );
    }
    if kind.license == License::Required && node.license.is_none() {
        found.push(
            Diagnostic::error("missing-license", format!("kind `{}` needs a licence", node.kind))
                .at(node.span)
                .hint("write `license: FILE`"),
        );
    }
}

/// The variant of the kind.
fn kind_type(node: &Node, found: &mut Diagnostics) {
    let at = |key: &str| node.span_of(key);
    let kind = &node.kind_data;
    let types = &kind.types;
    if types.required && node.r#type.is_empty() {
        let names: Vec<_> = types.names.keys().map(String::as_str).collect();
        found.push(
            Diagnostic::error("missing-type", format!("kind `{}` needs a `type`", node.kind))
                .at(node.span)
                .hint(format!("one of {}", names.join(", "))),
        );
    } else if !types.names.is_empty()
        && !node.r#type.is_empty()
        && !types.names.keys().any(|n| n.eq_ignore_ascii_case(&node.r#type))
    {
        let near = did_you_mean(&node.r#type, types.names.keys().map(String::as_str));
        let hint = match near {
            Some(n) => format!("did you mean `{n}`?"),
            None => {
                format!("one of {}", types.names.keys().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        found.push(
            Diagnostic::error(
                "unknown-type",
                format!("kind `{}` has no type `{}`", node.kind, node.r#type),
            )
            .at(at("type"))
            .hint(hint),
        );
    }
}

/// What the kernel and a hosts file take as a name.
fn hostname(node: &Node, found: &mut Diagnostics) {
    let at = |key: &str| node.span_of(key);
    if node.hostname.len() > 64
        || !node.hostname.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        found.push(
            Diagnostic::error("bad-hostname", format!("`{}` cannot be a host name", node.hostname))
                .at(at("hostname"))
                .hint("letters, digits, `-`, `_` and `.`, at most 64"),
        );
    } else if node.hostname.is_empty() && node.name.len() > 64 {
        found.push(
            Diagnostic::error(
                "bad-hostname",
                format!("`{}` is too long for a host name", node.name),
            )
            .at(node.span)
            .hint("set a `hostname` of at most 64 characters"),
        );
    }
}

fn unclosed_quote(text: &str) -> Diagnostic {
    let quote = if text.matches('"').count() % 2 == 1 { '"' } else { '\'' };
    Diagnostic::error("bad-quote", format!("a quote is not closed in `{text}`"))
        .hint(format!("close the {quote}, or write \\{quote} for the sign itself"))
}

fn network_mode(lab: &Lab, node: &Node, found: &mut Diagnostics) {
    let mode = node.network_mode.as_str();
    let known = matches!(mode, "" | "bridge" | "none" | "host");
    if !known && node.shares_namespace_of().is_none_or(str::is_empty) {
        found.push(
            Diagnostic::error("unknown-word", format!("`{mode}` is not a value of `network-mode`"))
                .at(node.span_of("network-mode"))
                .hint("it may be bridge, none, host or container:NODE"),
        );
    }
    let mut seen = vec![node.name.as_str()];
    let mut at = node;
    while let Some(next) = at.shares_namespace_of().and_then(|n| lab.container(n)) {
        if seen.contains(&next.name.as_str()) {
            found.push(
                Diagnostic::error(
                    "cycle",
                    format!(
                        "`network-mode` goes round in a circle: {} -> {}",
                        seen.join(" -> "),
                        next.name
                    ),
                )
                .at(node.span_of("network-mode")),
            );
            break;
        }
        seen.push(&next.name);
        at = next;
    }
    if mode == "host" {
        let linked = lab.links.iter().flat_map(|l| &l.endpoints);
        for end in linked.filter(|e| e.node == EndpointNode::Node(node.name.clone())) {
            found.push(
                Diagnostic::error(
                    "bad-endpoint",
                    format!("node `{}` is in the host's own namespace and has no links", node.name),
                )
                .at(end.span)
                .hint("write `host:INTERFACE` as the endpoint"),
            );
        }
    }
}

fn restart_policy(node: &Node, found: &mut Diagnostics) {
    let (word, count) = node.restart_policy.split_once(':').unwrap_or((&node.restart_policy, ""));
    let fine = match word {
        "" | "no" | "always" | "unless-stopped" => count.is_empty(),
        "on-failure" => count.is_empty() || count.parse::<u32>().is_ok(),
        _ => false,
    };
    if !fine {
        found.push(
            Diagnostic::error(
                "unknown-word",
                format!("`{}` is not a value of `restart-policy`", node.restart_policy),
            )
            .at(node.span_of("restart-policy"))
            .hint("it may be no, always, unless-stopped or on-failure[:N]"),
        );
    }
}
