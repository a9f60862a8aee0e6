//! The form in which two records are compared: leaves by path, with what is random or belongs to
//! the machine replaced as the recordings have it.

use regex::Regex;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Parts of a record that are compared.
const PARTS: [&str; 6] =
    ["exit_code", "containers", "interfaces", "lab_dir", "ssh_config", "fake_cli_received"];

/// The leaves of a record.
pub fn fields(record: &Json) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for part in PARTS {
        match (part, &record[part]) {
            ("interfaces", Json::Object(nodes)) => {
                for (node, list) in nodes {
                    for interface in list.as_array().into_iter().flatten() {
                        let name = interface["ifname"].as_str().unwrap_or_default();
                        let name = super::cli::steady(name);
                        flatten(&format!("interfaces.{node}.{name}"), interface, &mut out);
                    }
                }
            }
            ("lab_dir", Json::Object(files)) => {
                for (name, file) in files {
                    of_file(&format!("lab_dir.{name}"), file, &mut out);
                }
            }
            ("ssh_config", Json::Array(lines)) => hosts(lines, &mut out),
            ("fake_cli_received", Json::Object(nodes)) => {
                for (node, lines) in nodes {
                    let lines: Vec<&str> =
                        lines.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
                    for order in super::received::orders(&lines) {
                        out.insert(format!("received.{node}.{order}"), "there".into());
                    }
                }
            }
            (_, value) => flatten(part, value, &mut out),
        }
    }
    for (name, command) in record.as_object().into_iter().flatten() {
        if let (Some(failed), stdout) = (command.get("failed"), &command["stdout"]) {
            out.insert(format!("cli.{name}.failed"), failed.to_string());
            flatten(&format!("cli.{name}.stdout"), stdout, &mut out);
        }
    }
    // What the image brought is no doing of anybody's.
    out.retain(|path, _| !path.contains(".image_config."));
    out
}

/// What a field is, whatever node and file it is of.
pub fn family(path: &str) -> String {
    static NODE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"clab-[a-z0-9]+-(n\d)").expect("a good expression"));
    static INDEX: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[\d+\]").expect("a good expression"));
    INDEX.replace_all(&NODE.replace_all(path, "$1"), "[]").into_owned()
}

fn of_file(path: &str, file: &Json, out: &mut BTreeMap<String, String>) {
    let Json::Object(facts) = file else { return };
    for (fact, value) in facts {
        let path = format!("{path}:{fact}");
        let text = || {
            let lines = value.as_array().into_iter().flatten().filter_map(Json::as_str);
            // Whose a text is belongs to the text, and ours are ours.
            let words = |l: &&str| {
                !["Copyright", "Licensed under", "SPDX-License"].iter().any(|w| l.contains(w))
            };
            lines.filter(words).collect::<Vec<_>>().join("\n")
        };
        match fact.as_str() {
            // What JSON says counts, not how it is laid out.
            "text" if path.ends_with(".json:text") => match serde_json::from_str(&text()) {
                Ok(json) => flatten(&path, &json, out),
                Err(_) => drop(out.insert(path, plain(&text()))),
            },
            "text" if path.contains(".state.clab.yaml") => drop(out.insert(path, plain(&text()))),
            "text" if path.contains(".yml:") || path.contains(".yaml:") => {
                match serde_saphyr::from_str::<Json>(&text()) {
                    Ok(yaml) => flatten(&path, &yaml, out),
                    Err(_) => drop(out.insert(path, plain(&text()))),
                }
            }
            // Which of the keys comes first is chance there.
            "text" if path.contains("authorized_keys") => {
                let text = plain(&text());
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                out.insert(path, lines.join("\n"));
            }
            "text" => lines(&path, &plain(&text()), out),
            // It follows from the text.
            "size" => {}
            "certificate" => certificate(&path, value, out),
            _ => flatten(&path, value, out),
        }
    }
}

/// A configuration by its lines, a script as a whole: comments, empty lines and how far lines are
/// indented say nothing to a machine.
fn lines(path: &str, text: &str, out: &mut BTreeMap<String, String>) {
    let says = |l: &&str| !(l.is_empty() || l.starts_with(['!', '#']) || l.starts_with("echo "));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(says).collect();
    if text.starts_with("#!") {
        out.insert(path.into(), lines.join("\n"));
        return;
    }
    for line in lines {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        out.insert(format!("{path}.{line}"), "there".into());
    }
}

/// A certificate by what it says: `name=value` and `name:` with indented values below.
fn certificate(path: &str, facts: &Json, out: &mut BTreeMap<String, String>) {
    for (fact, value) in facts.as_object().into_iter().flatten() {
        if fact != "text" {
            flatten(&format!("{path}.{fact}"), value, out);
            continue;
        }
        let mut name = String::new();
        for line in value.as_array().into_iter().flatten().filter_map(Json::as_str) {
            if line.starts_with(' ') {
                let said: &mut String = out.entry(format!("{path}.{name}")).or_default();
                *said = format!("{said} {}", plain(line.trim())).trim().to_owned();
            } else if let Some((word, value)) = line.split_once('=') {
                out.insert(format!("{path}.{word}"), plain(value));
            } else {
                name = line.split(':').next().unwrap_or_default().to_owned();
                let critical = line.ends_with("critical");
                out.insert(format!("{path}.{name}"), if critical { "critical" } else { "" }.into());
            }
        }
    }
}

/// Blocks of ssh configuration by host: their order is random there.
fn hosts(lines: &[Json], out: &mut BTreeMap<String, String>) {
    let mut host = String::new();
    for line in lines.iter().filter_map(Json::as_str).filter(|l| !l.trim().is_empty()) {
        if let Some(names) = line.strip_prefix("Host ") {
            host = plain(names);
            out.insert(format!("ssh_config.{host}"), "Host".into());
        } else if !line.starts_with('#') {
            let (key, value) = line.trim().split_once([' ', '=']).unwrap_or((line.trim(), ""));
            out.insert(format!("ssh_config.{host}.{key}"), value.into());
        }
    }
}

fn flatten(path: &str, value: &Json, out: &mut BTreeMap<String, String>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{}", plain(key)), value, out);
            }
        }
        Json::Array(list) if list.iter().all(Json::is_string) && !list.is_empty() => {
            for word in list.iter().filter_map(Json::as_str) {
                // Variables and binds are known by their names; of other lists the words count.
                let (name, value) = match path.rsplit('.').next().unwrap_or_default() {
                    "Env" => word.split_once('=').unwrap_or((word, "")),
                    "Cmd" | "Entrypoint" | "path_args" => {
                        let all: Vec<&str> = list.iter().filter_map(Json::as_str).collect();
                        out.insert(path.into(), words(&all));
                        return;
                    }
                    _ => (word, "there"),
                };
                out.insert(format!("{path}.{}", plain(name)), plain(value));
            }
        }
        Json::Array(list) if !list.is_empty() => {
            for (i, value) in list.iter().enumerate() {
                // Mounts are known by their place, others by their names.
                let names = [&value["Destination"], &value["name"], &value["Names"][0]];
                let name = match names.into_iter().find_map(Json::as_str) {
                    Some(name) => plain(name),
                    None => i.to_string(),
                };
                flatten(&format!("{path}[{name}]"), value, out);
            }
        }
        // Missing, empty and zero are the same to the daemon.
        Json::Null | Json::Bool(false) | Json::Array(_) => {
            drop(out.insert(path.into(), String::new()))
        }
        Json::Number(n) if n.as_f64() == Some(0.0) && !path.ends_with("exit_code") => {
            out.insert(path.into(), String::new());
        }
        Json::String(s) => drop(out.insert(path.into(), plain(s))),
        other => drop(out.insert(path.into(), other.to_string())),
    }
}

/// The words of a command; those that are a map's there come in any order.
fn words(list: &[&str]) -> String {
    let joined = plain(&list.join(" "));
    if !joined.contains("systemd.setenv=") {
        return joined;
    }
    // One of theirs is cut at a space inside it.
    let bare = joined.replace(['"', '\\', '\''], "");
    let mut words: Vec<&str> = bare.split_whitespace().collect();
    words.sort_unstable();
    words.join(" ")
}

/// A text without what is random or the machine's.
pub fn plain(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"(^|[^:0-9a-f])(aa:c1:ab|1a|1c|00:1c:73)(:[0-9a-f]{2})+\b", "$1$2:<MAC>"),
            (r"\bbr-[0-9a-f]{11,12}\b", "br-<NETID12>"),
            (r"\b[0-9a-f]{64}\b", "<ID64>"),
            (r"\b[0-9a-f]{12}\b", "<ID12>"),
            (r"\bclab-o-(<HEX>|[0-9a-f]+)", "clab-o-<HEX>"),
            (r"\bMII[A-Za-z0-9+/=]{60,}", "<BASE64 DER>"),
            // Salts are random.
            (r"\$6\$[A-Za-z0-9./]+\$[A-Za-z0-9./]+", "<HASH>"),
            (r#"ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( [^\s"]+)?"#, "ssh-$1 <KEY>"),
            (r"\bAAAA[A-Za-z0-9+/=]{16,}", "<KEY>"),
        ]
        .into_iter()
        .map(|(from, to)| (Regex::new(from).expect("a good expression"), to))
        .collect()
    });
    let mut text = text.to_owned();
    for (from, to) in RULES.iter() {
        text = from.replace_all(&text, *to).into_owned();
    }
    text
}
