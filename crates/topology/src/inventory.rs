//! Inventories for Ansible and Nornir: which nodes there are, and how one logs in.

use crate::lab::{Lab, Node};
use crate::template_data::{self, Place};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

/// Variable that chooses whose platform names Nornir gets: `napalm`, `scrapli`, or the kind's own.
pub const PLATFORM_NAMES: &str = "CLAB_NORNIR_PLATFORM_NAME_SCHEMA";

/// A node as inventories have it.
struct Host<'a> {
    node: &'a Node,
    /// Its IPv4 address in the management network, or else the IPv6 one.
    address: Option<IpAddr>,
    /// Its Ansible group.
    group: String,
    /// Variables of that group.
    vars: BTreeMap<String, String>,
}

/// The inventories of a lab: Ansible's and Nornir's text. `addresses` are those of the nodes, in
/// order; `names` is whose platform names Nornir uses. The error names the template.
pub fn inventories(
    lab: &Lab,
    addresses: &[Option<IpAddr>],
    home: &Path,
    names: &str,
) -> Result<(String, String), String> {
    let place = Place {
        lab: &lab.name,
        prefix: &lab.prefix,
        dir: &lab.dir,
        topo_dir: lab.topology_file.parent().unwrap_or(Path::new("/")),
        home,
        mgmt: &lab.mgmt,
    };
    let mut hosts = Vec::with_capacity(lab.nodes.len());
    for (node, address) in lab.nodes.iter().zip(addresses) {
        let inventory = &node.kind_data.inventory;
        let fill = |text: &str| match text.contains("{{") {
            false => Ok(text.to_string()),
            true => template_data::fill(text, &template_data::data(node, place, &[]))
                .map_err(|e| format!("kind `{}`: {e} in {text}", node.kind)),
        };
        let own = inventory.group.as_deref().map(fill).transpose()?;
        let mut vars = BTreeMap::new();
        for (name, value) in &inventory.ansible {
            vars.insert(name.clone(), fill(value)?);
        }
        let group = own.filter(|g| !g.is_empty()).unwrap_or_else(|| node.kind.clone());
        hosts.push(Host { node, address: *address, group, vars });
    }
    hosts.sort_by(|a, b| (&a.node.kind, &a.node.name).cmp(&(&b.node.kind, &b.node.name)));
    Ok((ansible(&hosts), nornir(&hosts, names)))
}

const HEAD: &str = "all:
  vars:
    # Whoever uses this works on the machine of the lab: no proxy stands between it and the nodes,
    # and Ansible's http module must not look for one.
    ansible_httpapi_use_proxy: false
  children:
";

fn ansible(hosts: &[Host<'_>]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Host<'_>>> = BTreeMap::new();
    for host in hosts {
        groups.entry(&host.group).or_default().push(host);
        if let Some(extra) = host.node.labels.get("ansible-group") {
            groups.entry(extra).or_default().push(host);
        }
    }
    let mut out = String::from(HEAD);
    for (group, members) in groups {
        let _ = writeln!(out, "    {}:", scalar(group));
        let own = members.iter().all(|host| host.group == group);
        let first = members[0];
        let (user, password) = (&first.node.credentials.username, &first.node.credentials.password);
        let login = |host: &Host<'_>| {
            let it = &host.node.credentials;
            (&it.username, &it.password) == (user, password)
        };
        if own {
            let mut vars = first.vars.clone();
            if members.iter().all(|host| login(host)) {
                let mut add = |name: &str, value: &str| {
                    if !value.is_empty() {
                        vars.insert(name.into(), value.into());
                    }
                };
                add("ansible_user", user);
                add("ansible_password", password);
            }
            if !vars.is_empty() {
                out.push_str("      vars:\n");
            }
            for (name, value) in &vars {
                let _ = writeln!(out, "        {}: {}", scalar(name), scalar(value));
            }
        }
        out.push_str("      hosts:\n");
        for host in &members {
            let _ = writeln!(out, "        {}:", scalar(&host.node.long_name));
            if host.node.labels.get("ansible-no-host-var").is_none_or(|v| v != "true") {
                let address = host.address.map(|a| a.to_string()).unwrap_or_default();
                let _ = writeln!(out, "          ansible_host: {}", scalar_or_nothing(&address));
            }
            // Who does not log in as the others of the group do.
            if own && !members.iter().all(|other| login(other)) {
                let it = &host.node.credentials;
                for (name, value) in
                    [("ansible_user", &it.username), ("ansible_password", &it.password)]
                {
                    if !value.is_empty() {
                        let _ = writeln!(out, "          {name}: {}", scalar(value));
                    }
                }
            }
        }
    }
    out
}

fn nornir(hosts: &[Host<'_>], names: &str) -> String {
    let mut out = String::from("---\n");
    for Host { node, address, .. } in hosts {
        let platform = node.kind_data.inventory.platforms.get(names).unwrap_or(&node.kind);
        let address = address.map(|a| a.to_string()).unwrap_or_default();
        let _ = writeln!(out, "{}:", scalar(&node.name));
        for (key, value) in [
            ("username", &node.credentials.username),
            ("password", &node.credentials.password),
            ("platform", platform),
            ("hostname", &address),
        ] {
            let _ = writeln!(out, "    {key}: {}", scalar_or_nothing(value));
        }
        let groups = node.labels.iter().filter(|(key, _)| key.starts_with("nornir-group"));
        let groups: Vec<&String> = groups.map(|(_, value)| value).collect();
        if !groups.is_empty() {
            out.push_str("    groups:\n");
        }
        for group in groups {
            let _ = writeln!(out, "      - {}", scalar(group));
        }
    }
    out
}

fn scalar_or_nothing(text: &str) -> String {
    if text.is_empty() { String::new() } else { scalar(text) }
}

/// A text in YAML: as it is where that is read as the same text, quoted otherwise.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@!/+".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let number =
        text.parse::<f64>().is_ok() || text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let special = number || word.contains(&text.to_lowercase().as_str());
    match begins && text.chars().all(plain) && !special {
        true => text.to_string(),
        // Text in JSON's quotes is text in YAML's.
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn what_would_be_read_as_something_else_is_quoted() {
        for text in ["admin", "NokiaSrl1!", "clab@123", "172.20.20.2", "cisco_xrd", "a-b"] {
            assert_eq!(scalar(text), text);
        }
        for text in [
            "", "123", "1.5", "yes", "Null", "a: b", "#x", "!tag", "@at", "fd00::1", "a b", "1e5",
            "\"q",
        ] {
            assert_eq!(scalar(text), serde_json::Value::from(text).to_string(), "{text}");
        }
    }
}
