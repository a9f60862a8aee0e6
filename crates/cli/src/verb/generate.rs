//! `netloom generate`: the topology file of a Clos network.

use crate::say::show_text;
use crate::verb::deploy;
use crate::{Global, context};
use anyhow::{Context, Result, anyhow, bail};
use netloom_diag::did_you_mean;
use netloom_kinds::Catalogue;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Flags of `generate`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Tiers, from the top: NUMBER, NUMBER:KIND or NUMBER:KIND:TYPE each.
    #[arg(long, required = true, value_delimiter = ',', env = "CLAB_GENERATE_NODES")]
    nodes: Vec<String>,
    /// Kind of nodes for which none is named.
    #[arg(long, default_value = "srl", env = "CLAB_GENERATE_KIND")]
    kind: String,
    /// Image, or KIND=IMAGE (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',', env = "CLAB_GENERATE_IMAGE")]
    image: Vec<String>,
    /// Licence, or KIND=FILE (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',', env = "CLAB_GENERATE_LICENSE")]
    license: Vec<String>,
    /// How names of nodes begin.
    #[arg(long, default_value = "node", env = "CLAB_GENERATE_NODE_PREFIX")]
    node_prefix: String,
    /// How names of groups begin.
    #[arg(long, default_value = "tier", env = "CLAB_GENERATE_GROUP_PREFIX")]
    group_prefix: String,
    /// Name of the management network.
    #[arg(long, env = "CLAB_GENERATE_NETWORK")]
    network: Option<String>,
    /// IPv4 subnet of the management network.
    #[arg(short = '4', long, env = "CLAB_GENERATE_IPV4_SUBNET")]
    ipv4_subnet: Option<String>,
    /// IPv6 subnet of the management network.
    #[arg(short = '6', long, env = "CLAB_GENERATE_IPV6_SUBNET")]
    ipv6_subnet: Option<String>,
    /// Write it to this file instead of standard output.
    #[arg(long, env = "CLAB_GENERATE_FILE")]
    file: Option<PathBuf>,
    /// Deploy it at once; a running lab of that name is unmade first.
    #[arg(long, env = "CLAB_GENERATE_DEPLOY")]
    deploy: bool,
    /// Most nodes started at once; 0 chooses.
    #[arg(long, default_value_t = 0, env = "CLAB_GENERATE_MAX_WORKERS")]
    max_workers: usize,
    /// Write the file that is deployed as it is after templates and variables.
    #[arg(long, value_name = "FILE", env = "CLAB_GENERATE_EXPORT_RENDERED")]
    export_rendered: Option<PathBuf>,
    /// Owner of the lab.
    #[arg(long, env = "CLAB_GENERATE_OWNER")]
    owner: Option<String>,
}

/// Most links of a file.
const MOST: usize = 1_000_000;

#[derive(Serialize)]
struct File {
    name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mgmt: BTreeMap<&'static str, String>,
    topology: Topology,
}

#[derive(Serialize)]
struct Topology {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    kinds: BTreeMap<String, BTreeMap<&'static str, String>>,
    nodes: BTreeMap<String, BTreeMap<&'static str, String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Link {
    endpoints: [String; 2],
}

/// A tier: how many nodes, of which kind and type.
struct Tier {
    count: usize,
    kind: String,
    kind_type: Option<String>,
}

/// Generates.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let Some(name) = global.name.clone() else { bail!("the lab needs a name: give --name") };
    if name.contains('/') || name.starts_with('.') {
        bail!("`{name}` is no name of a lab: it becomes the name of a file");
    }
    let kinds = context::own_kinds()?;
    let text = serde_saphyr::to_string(&clos(&name, &a, &kinds)?)?;
    let path = match (&a.file, a.deploy) {
        (Some(path), _) => Some(path.clone()),
        (None, true) => Some(PathBuf::from(format!("{name}.clab.yml"))),
        (None, false) => None,
    };
    match &path {
        Some(path)
            if a.file.is_none() && std::fs::read_to_string(path).is_ok_and(|t| t != text) =>
        {
            bail!("{} is there already, and is another; name a file with --file", path.display())
        }
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?
        }
        None => show_text(&text),
    }
    if !a.deploy {
        return Ok(0);
    }
    let global = Global { topo: path, name: None, ..global.clone() };
    let options = deploy::Arguments::anew(a.max_workers, a.owner, a.export_rendered);
    deploy::run(&global, options)
}

fn clos(name: &str, a: &Arguments, kinds: &Catalogue) -> Result<File> {
    let tiers = a.nodes.iter().map(|t| tier(t, &a.kind, kinds)).collect::<Result<Vec<_>>>()?;
    let links: usize = tiers.windows(2).map(|p| p[0].count * p[1].count).sum();
    if links > MOST {
        bail!("that would be {links} links; at most {MOST} can be asked for");
    }
    let mut topology =
        Topology { kinds: BTreeMap::new(), nodes: BTreeMap::new(), links: Vec::new() };
    for (key, list) in [("image", &a.image), ("license", &a.license)] {
        for text in list {
            let (kind, value) = text.split_once('=').unwrap_or((&a.kind, text));
            known(kind, kinds)?;
            topology.kinds.entry(kind.into()).or_default().insert(key, value.into());
        }
    }
    let node = |tier: usize, n: usize| format!("{}{}-{}", a.node_prefix, tier + 1, n + 1);
    for (t, tier) in tiers.iter().enumerate() {
        for n in 0..tier.count {
            let mut keys = BTreeMap::from([
                ("kind", tier.kind.clone()),
                ("group", format!("{}-{}", a.group_prefix, t + 1)),
            ]);
            keys.extend(tier.kind_type.clone().map(|t| ("type", t)));
            topology.nodes.insert(node(t, n), keys);
        }
    }
    // Every node of a tier with every one of the next; interfaces upwards come first.
    for (t, pair) in tiers.windows(2).enumerate() {
        let [upper, lower] = pair else { continue };
        let above = if t == 0 { 0 } else { tiers[t - 1].count };
        for i in 0..upper.count {
            for j in 0..lower.count {
                let ends = [(t, i, &upper.kind, above + j), (t + 1, j, &lower.kind, i)];
                let endpoints = ends.map(|(t, n, kind, at)| {
                    let numbered = kinds.get(kind).and_then(|k| k.interfaces.numbered.as_deref());
                    format!("{}:{}", node(t, n), interface(numbered.unwrap_or("eth{n}"), at + 1))
                });
                topology.links.push(Link { endpoints });
            }
        }
    }
    let mut mgmt = BTreeMap::new();
    let keys =
        [("network", &a.network), ("ipv4-subnet", &a.ipv4_subnet), ("ipv6-subnet", &a.ipv6_subnet)];
    mgmt.extend(keys.into_iter().filter_map(|(k, v)| Some((k, v.clone()?))));
    Ok(File { name: name.into(), mgmt, topology })
}

fn interface(numbered: &str, n: usize) -> String {
    numbered.replace("{n}", &n.to_string()).replace("{n-1}", &(n - 1).to_string())
}

fn tier(text: &str, usual: &str, kinds: &Catalogue) -> Result<Tier> {
    let mut parts = text.split(':');
    let count = parts.next().unwrap_or_default();
    let wrong = || anyhow!("`{text}` is no tier; write NUMBER, NUMBER:KIND or NUMBER:KIND:TYPE");
    let count: usize = count.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(wrong)?;
    let kind = parts.next().filter(|k| !k.is_empty()).unwrap_or(usual);
    known(kind, kinds)?;
    let kind_type = parts.next().map(str::to_owned);
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(Tier { count, kind: kind.into(), kind_type })
}

fn known(kind: &str, kinds: &Catalogue) -> Result<()> {
    if kinds.get(kind).is_some() {
        return Ok(());
    }
    match did_you_mean(kind, kinds.names()) {
        Some(near) => bail!("there is no kind `{kind}`; did you mean `{near}`?"),
        None => bail!("there is no kind `{kind}`; `netloom kind list` shows them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_interfaces() {
        assert_eq!(interface("e1-{n}", 3), "e1-3");
        assert_eq!(interface("Gi0-0-0-{n-1}", 1), "Gi0-0-0-0");
    }
}
