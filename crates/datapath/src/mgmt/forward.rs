//! A way through other people's forwarding rules: Docker, firewalls and careful administrators let a
//! host drop what it forwards, and a packet lives only if every table accepts it. Where a chain would
//! drop, two rules at its head let a network's bridge through, marked with the network's name.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::nft::{self, NFT};
use crate::error::{Error, Result};
use crate::netns::Netns;

/// Where Docker keeps rules of users; it goes through it before its own.
const FOR_USERS: &str = "DOCKER-USER";

/// What looking is called in errors.
const LOOK: &str = "look at the host's forwarding rules";

/// A chain of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    family: String,
    table: String,
    name: String,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

impl std::str::FromStr for Chain {
    type Err = Error;

    fn from_str(text: &str) -> Result<Chain> {
        let words: Vec<&str> = text.split(' ').collect();
        let [family, table, name] = words[..] else {
            let reason = "family, table and name are needed".into();
            return Err(Error::Invalid { what: "chain", value: text.into(), reason });
        };
        Ok(Chain { family: family.into(), table: table.into(), name: name.into() })
    }
}

/// Which chain a rule goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The one its owner keeps for others' rules, where there is one.
    ForUsers,
    /// The one packets come to first.
    First,
}

/// Chains that would drop what is forwarded, each as the chain a rule for it belongs in. None where
/// there is no `nft`.
///
/// # Errors
/// The program does not answer, or not in JSON.
pub fn closed(host: &Netns, entry: Entry) -> Result<BTreeSet<Chain>> {
    if nft::program().is_none() {
        return Ok(BTreeSet::new());
    }
    let listing = json(&NFT.run(host, LOOK, &["-j", "list", "chains"], "")?)?;
    let chains: Vec<&Value> = objects(&listing, "chain").collect();
    let mut out = BTreeSet::new();
    for chain in chains.iter().filter(|c| text(c, "hook") == "forward") {
        let Some(at) = of(chain) else { continue };
        let routed = matches!(at.family.as_str(), "ip" | "ip6" | "inet");
        if !routed || text(chain, "type") != "filter" || at.table.starts_with("netloom-") {
            continue;
        }
        let rules = Rules::of(host, &at)?;
        if text(chain, "policy") != "drop" && !rules.end_closed(host, DEEPEST)? {
            continue;
        }
        // One that nobody goes through any more is left behind by a Docker that has gone.
        out.insert(match entry == Entry::ForUsers && rules.jump_to(FOR_USERS) {
            true => Chain { name: FOR_USERS.into(), ..at },
            false => at,
        });
    }
    Ok(out)
}

/// Which way a network's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the world and from there.
    OutAndIn,
    /// From node to node.
    Within,
}

impl Way {
    fn rules(self, bridge: &str) -> Vec<String> {
        match self {
            Way::OutAndIn => ["iifname", "oifname"].map(|w| format!("{w} \"{bridge}\"")).into(),
            Way::Within => vec![format!("iifname \"{bridge}\" oifname \"{bridge}\"")],
        }
    }
}

/// Lets bridges through a chain; says whether anything was done.
///
/// # Errors
/// The rules cannot be added, as in a table that its owner keeps to itself.
pub fn open(
    host: &Netns,
    chain: &Chain,
    network: &str,
    bridges: &[&str],
    way: Way,
) -> Result<bool> {
    nft::check_name(network)?;
    bridges.iter().try_for_each(|bridge| nft::check_name(bridge))?;
    let wanted: Vec<String> = bridges.iter().flat_map(|bridge| way.rules(bridge)).collect();
    let have = handles(host, chain, network)?;
    if have.len() == wanted.len() {
        return Ok(false);
    }
    let mut script = deletions(chain, &have);
    for rule in wanted {
        script += &format!("insert rule {chain} {rule} accept comment \"{}\"\n", mark(network));
    }
    nft::run(host, "let the management network through", &["-f", "-"], &script)?;
    Ok(true)
}

/// Takes the rules of a network out of a chain, if both are there.
///
/// # Errors
/// The rules cannot be removed.
pub fn close(host: &Netns, chain: &Chain, network: &str) -> Result<()> {
    // Without the program no rule was made with it.
    let have = match nft::program() {
        Some(_) => handles(host, chain, network)?,
        None => Vec::new(),
    };
    if have.is_empty() {
        return Ok(());
    }
    nft::run(host, "take rules out of a chain", &["-f", "-"], &deletions(chain, &have))
}

fn mark(network: &str) -> String {
    format!("netloom {network}")
}

fn deletions(chain: &Chain, handles: &[u64]) -> String {
    handles.iter().map(|h| format!("delete rule {chain} handle {h}\n")).collect()
}

/// Rules of a network in a chain.
fn handles(host: &Netns, chain: &Chain, network: &str) -> Result<Vec<u64>> {
    let rules = Rules::of(host, chain)?;
    let mark = mark(network);
    let mine = rules.list.iter().filter(|r| text(r, "comment") == mark);
    Ok(mine.filter_map(|r| r.get("handle")?.as_u64()).collect())
}

/// How far jumps are followed.
const DEEPEST: usize = 8;

/// The rules of a chain; none if it is not there.
struct Rules {
    chain: Chain,
    list: Vec<Value>,
}

/// What a rule does with everything that comes to it.
enum Verdict<'r> {
    Stop,
    /// To another chain, and back if that has no answer.
    Jump(&'r str),
    /// Something else, or not with everything.
    Other,
}

impl Rules {
    fn of(host: &Netns, chain: &Chain) -> Result<Rules> {
        let listing = list(host, chain)?;
        let list = listing.iter().flat_map(|l| objects(l, "rule")).cloned().collect();
        Ok(Rules { chain: chain.clone(), list })
    }

    fn jump_to(&self, name: &str) -> bool {
        self.list.iter().any(|rule| matches!(verdict(rule), Verdict::Jump(to) if to == name))
    }

    /// Whether nothing that comes to the end of the chain gets through.
    fn end_closed(&self, host: &Netns, deepest: usize) -> Result<bool> {
        match self.list.last().map(verdict) {
            Some(Verdict::Stop) => Ok(true),
            Some(Verdict::Jump(to)) if deepest > 0 => {
                let chain = Chain { name: to.to_owned(), ..self.chain.clone() };
                Rules::of(host, &chain)?.end_closed(host, deepest - 1)
            }
            _ => Ok(false),
        }
    }
}

fn verdict(rule: &Value) -> Verdict<'_> {
    let parts = rule.get("expr").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // What only notes that something passed is no condition.
    let notes = |part: &&Value| {
        let target = part.get("xt").is_some_and(|xt| text(xt, "name") == "LOG");
        part.get("counter").is_some() || part.get("log").is_some() || target
    };
    let rest: Vec<&Value> = parts.iter().filter(|part| !notes(part)).collect();
    let [only] = rest[..] else { return Verdict::Other };
    let refused = only.get("xt").is_some_and(|xt| text(xt, "name") == "REJECT");
    if refused || only.get("drop").is_some() || only.get("reject").is_some() {
        return Verdict::Stop;
    }
    let jump = only.get("jump").or_else(|| only.get("goto"));
    jump.map_or(Verdict::Other, |to| Verdict::Jump(text(to, "target")))
}

/// A chain with its rules, if it is there.
fn list(host: &Netns, chain: &Chain) -> Result<Option<Value>> {
    let Chain { family, table, name } = chain;
    let output = NFT.spawn(host, LOOK, &["-j", "-a", "list", "chain", family, table, name], "")?;
    match output.status.success() {
        true => json(&String::from_utf8_lossy(&output.stdout)).map(Some),
        false if nft::says_absent(&output) => Ok(None),
        false => Err(NFT.failed(LOOK, &output)),
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| Error::Answer {
        action: "read".into(),
        subject: "the listing of nftables".into(),
        reason: e.to_string(),
    })
}

fn objects<'v>(listing: &'v Value, kind: &'static str) -> impl Iterator<Item = &'v Value> {
    let list = listing.get("nftables").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(move |o| o.get(kind))
}

fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn of(chain: &Value) -> Option<Chain> {
    let part = |key| {
        let word = text(chain, key);
        // Others are nobody's that we know of, and would have to be quoted.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!word.is_empty() && word.chars().all(plain)).then(|| word.to_owned())
    };
    Some(Chain { family: part("family")?, table: part("table")?, name: part("name")? })
}
