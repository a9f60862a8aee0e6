//! Environment every node has: proxies to leave alone, and labels as variables.

use crate::lab::{Mgmt, Node};
use std::collections::{BTreeMap, BTreeSet};

/// Value of `NO_PROXY`: the lab's own addresses and names.
pub fn no_proxy<'a>(
    mgmt: &Mgmt,
    names: impl Iterator<Item = &'a str>,
    addresses: impl Iterator<Item = String>,
) -> String {
    let subnets = || mgmt.ipv4_subnet.iter().chain(&mgmt.ipv6_subnet).cloned();
    let mut words: BTreeSet<String> = names.map(str::to_string).collect();
    words.extend(addresses);
    words.extend(subnets());
    let list: Vec<String> = words.into_iter().collect();
    let all = list.join(",");
    // The kernel takes no variable of 128 KiB, and every node has two of these.
    if all.len() > LONGEST { subnets().collect::<Vec<_>>().join(",") } else { all }
}

/// Longest list of a lab's own names; in larger labs the subnets have to do.
const LONGEST: usize = 16 << 10;

/// Places that are never reached through a proxy.
const LOCAL: [&str; 4] = ["localhost", "127.0.0.1", "::1", "*.local"];

/// Sets both spellings: whatever the user has, what is local, and the lab's own.
pub fn add_no_proxy(env: &mut BTreeMap<String, String>, value: &str) {
    let users = env.get("NO_PROXY").or(env.get("no_proxy")).cloned();
    let users = users.unwrap_or_default();
    let mut words: Vec<&str> = users.split(',').filter(|w| !w.is_empty()).collect();
    words.extend(LOCAL.iter().filter(|l| !users.contains(**l)).copied().collect::<Vec<_>>());
    words.push(value);
    let all = words.join(",");
    env.insert("NO_PROXY".into(), all.clone());
    env.insert("no_proxy".into(), all);
}

/// `CLAB_LABEL_<LABEL>` variables of a node's labels.
pub fn label_variables(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.iter().map(|(k, v)| (label_variable(k), v.clone())).collect()
}

fn label_variable(label: &str) -> String {
    let name: String = label
        .chars()
        .map(|c| if "-+./".contains(c) { '_' } else { c.to_ascii_uppercase() })
        .collect();
    format!("CLAB_LABEL_{name}")
}

impl Node {
    /// The whole environment of the node's first process, apart from what the image brings:
    /// the topology's and the kind's, the labels, and the number of interfaces.
    pub fn environment(&self, interfaces: usize) -> BTreeMap<String, String> {
        let mut env = label_variables(&self.labels);
        env.insert("CLAB_INTFS".into(), interfaces.to_string());
        env.extend(self.env.clone());
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_variables() {
        assert_eq!(label_variable("clab-node-kind"), "CLAB_LABEL_CLAB_NODE_KIND");
        assert_eq!(label_variable("a.b/c+d"), "CLAB_LABEL_A_B_C_D");
    }
}
