//! The management network: subnets, gateways, bridge, and who has which address.

use crate::address::{AddressError, Pool};
use crate::names::port_name;
use crate::objects::{NodeObject, Runs};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netloom_topology::{Lab, Mgmt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use thiserror::Error;

/// A management network as the host ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its bridge.
    pub bridge: String,
    /// IPv4 subnet.
    pub ipv4: Option<Ipv4Net>,
    /// IPv6 subnet.
    pub ipv6: Option<Ipv6Net>,
    /// Address of the bridge.
    pub ipv4_gw: Option<IpAddr>,
    /// Address of the bridge.
    pub ipv6_gw: Option<IpAddr>,
    /// MTU.
    pub mtu: u32,
    /// Whether nodes reach the world.
    pub external_access: bool,
    /// The bridge was there before us and stays.
    #[serde(default)]
    pub foreign_bridge: bool,
    /// How many bridges it has: one takes a thousand nodes.
    #[serde(default = "one")]
    pub bridges: usize,
    /// Docker hands out the addresses of its nodes by itself, and takes none from others.
    #[serde(default)]
    pub self_willed: bool,
    /// Addresses by lab and node.
    #[serde(default)]
    pub users: BTreeMap<String, BTreeMap<String, Reserved>>,
    /// Daemons that were told of it, and where they listen.
    #[serde(default)]
    pub daemons: BTreeMap<Runs, PathBuf>,
    /// Labs of which a daemon runs nodes in it.
    #[serde(default)]
    pub given_away: BTreeSet<String>,
    /// Addresses that others have in it at the moment, and whose they are.
    #[serde(skip)]
    pub strangers: BTreeMap<IpAddr, String>,
}

/// Addresses of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// IPv4.
    pub ipv4: Option<IpAddr>,
    /// IPv6.
    pub ipv6: Option<IpAddr>,
    /// Number of its bridge.
    #[serde(default)]
    pub bridge: usize,
    /// MAC address of its leg, once it is planned.
    #[serde(default)]
    pub mac: Option<[u8; 6]>,
}

fn one() -> usize {
    1
}

/// Nodes on one bridge; the rest of the kernel's 1,023 ports is left for links to the management
/// network and for the pairs between bridges.
const NODES_PER_BRIDGE: usize = 1000;

/// Names of a bridge beside the first one, and of the pair between the two: bridge, end on the
/// first, end on this one.
pub type FurtherBridge = (String, String, String);

/// A management network that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// Its subnet is another's.
    #[error("the management subnet {subnet} of network `{network}` overlaps {other}")]
    Overlap {
        /// The subnet.
        subnet: IpNet,
        /// The network.
        network: String,
        /// Whose subnet it overlaps.
        other: String,
    },
    /// It exists with other settings.
    #[error("management network `{network}` exists with {have}, this lab asks for {want}")]
    Differs {
        /// The network.
        network: String,
        /// What it has.
        have: String,
        /// What is asked for.
        want: String,
    },
    /// `auto` found nothing.
    #[error("no free subnet is left for management network `{0}`")]
    NoSubnet(String),
    /// An address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// MTU when the file names none.
const MTU: u32 = 1500;

impl Network {
    /// The network a lab asks for: the one that exists, or a new one. What only this lab uses takes
    /// on what its file says now, as far as nodes do not have to move. `others` are the subnets in
    /// use on this host, with whose they are.
    pub fn wanted(
        lab: &str,
        mgmt: &Mgmt,
        existing: Option<&Network>,
        others: &[(IpNet, String)],
    ) -> Result<Network, NetworkError> {
        if let Some(have) = existing {
            let mut have = have.clone();
            // Nobody else minds.
            if have.users.keys().all(|user| user == lab) {
                have.mtu = mgmt.mtu.unwrap_or(have.mtu);
                if mgmt.external_access_written {
                    have.external_access = mgmt.external_access;
                }
            }
            have.fits(mgmt)?;
            return Ok(have);
        }
        let ipv4 = subnet(mgmt, mgmt.ipv4_subnet.as_deref(), others, auto_v4)?;
        let ipv6 = subnet(mgmt, mgmt.ipv6_subnet.as_deref(), others, auto_v6)?;
        let ipv4 = ipv4.and_then(|n| match n {
            IpNet::V4(n) => Some(n),
            IpNet::V6(_) => None,
        });
        let ipv6 = ipv6.and_then(|n| match n {
            IpNet::V6(n) => Some(n),
            IpNet::V4(_) => None,
        });
        let gateway = |text: &Option<String>, first: Option<IpAddr>| {
            text.as_deref().and_then(|t| t.parse().ok()).or(first)
        };
        // Of a range the first is the gateway's, as Docker has it.
        let first = |net: IpNet, range: &Option<String>| {
            let range = range.as_deref().and_then(|r| r.parse::<IpNet>().ok());
            match range.filter(|r| r.prefix_len() != net.prefix_len()) {
                Some(range) => range.network().max(host(net, 1)),
                None => host(net, 1),
            }
        };
        Ok(Network {
            name: mgmt.network.clone(),
            bridge: mgmt.bridge.clone().unwrap_or_else(|| port_name("br-", &[&mgmt.network])),
            ipv4_gw: gateway(&mgmt.ipv4_gw, ipv4.map(|n| first(n.into(), &mgmt.ipv4_range))),
            ipv6_gw: gateway(&mgmt.ipv6_gw, ipv6.map(|n| first(n.into(), &mgmt.ipv6_range))),
            ipv4,
            ipv6,
            mtu: mgmt.mtu.unwrap_or(MTU),
            external_access: mgmt.external_access,
            foreign_bridge: false,
            self_willed: false,
            bridges: 1,
            users: BTreeMap::new(),
            daemons: BTreeMap::new(),
            given_away: BTreeSet::new(),
            strangers: BTreeMap::new(),
        })
    }

    fn fits(&self, mgmt: &Mgmt) -> Result<(), NetworkError> {
        let differs = |have: String, want: &str| {
            Err(NetworkError::Differs { network: self.name.clone(), have, want: want.to_string() })
        };
        let show = |n: Option<IpNet>| n.map_or_else(|| "no subnet".to_string(), |n| n.to_string());
        let subnets = [
            (&mgmt.ipv4_subnet, self.ipv4.map(IpNet::from)),
            (&mgmt.ipv6_subnet, self.ipv6.map(IpNet::from)),
        ];
        // A file that names none takes the network as it is.
        for (want, have) in subnets.into_iter().filter(|_| mgmt.subnets_written) {
            if let Some(want) = want.as_deref().filter(|w| *w != "auto")
                && want.parse::<IpNet>().ok().map(|n| n.trunc()) != have
            {
                return differs(show(have), want);
            }
        }
        if let Some(bridge) = mgmt.bridge.as_deref().filter(|b| *b != self.bridge) {
            return differs(format!("bridge {}", self.bridge), &format!("bridge {bridge}"));
        }
        if let Some(mtu) = mgmt.mtu.filter(|mtu| *mtu != self.mtu) {
            return differs(format!("an MTU of {}", self.mtu), &format!("{mtu}"));
        }
        if mgmt.external_access_written && mgmt.external_access != self.external_access {
            let word = |on: bool| if on { "external access" } else { "no external access" };
            return differs(word(self.external_access).into(), word(mgmt.external_access));
        }
        for (want, have) in [(&mgmt.ipv4_gw, self.ipv4_gw), (&mgmt.ipv6_gw, self.ipv6_gw)] {
            let Some(want) = want.as_deref().and_then(|w| w.parse::<IpAddr>().ok()) else {
                continue;
            };
            if have != Some(want) {
                let have = have.map_or_else(|| "no gateway".into(), |h| format!("gateway {h}"));
                return differs(have, &format!("gateway {want}"));
            }
        }
        Ok(())
    }

    /// Reserves an address of each family for every node of a lab that wants one. Nodes keep what
    /// they have; static addresses come first; automatic ones are the lowest free, in file order.
    pub fn reserve(&mut self, lab: &Lab) -> Result<(), NetworkError> {
        let mut mine = self.users.remove(&lab.name).unwrap_or_default();
        let names: HashSet<&str> =
            lab.nodes.iter().filter(|n| n.managed()).map(|n| n.name.as_str()).collect();
        mine.retain(|name, _| names.contains(name.as_str()));
        let had = mine.clone();
        let taken: BTreeMap<IpAddr, String> = self
            .users
            .iter()
            .flat_map(|(lab, nodes)| {
                nodes.iter().flat_map(move |(node, r)| {
                    let user = format!("lab `{lab}`, node `{node}`");
                    [r.ipv4, r.ipv6].into_iter().flatten().map(move |a| (a, user.clone()))
                })
            })
            .chain(self.strangers.clone())
            .collect();
        for v4 in [true, false] {
            self.reserve_family(lab, v4, &mut mine, &taken)?;
        }
        self.spread(&mut mine, &had);
        self.users.insert(lab.name.clone(), mine);
        Ok(())
    }

    /// MAC addresses other labs have on this network, and those after them: some systems take that
    /// one too.
    pub fn macs_of_others(&self, lab: &str) -> Vec<[u8; 6]> {
        let others =
            self.users.iter().filter(|(name, _)| *name != lab).flat_map(|(_, n)| n.values());
        let next = |m: [u8; 6]| [m[0], m[1], m[2], m[3], m[4], m[5].wrapping_add(1)];
        others.filter_map(|r| r.mac).flat_map(|m| [m, next(m)]).collect()
    }

    /// Notes which MAC addresses the nodes of a lab were given.
    pub fn note_macs(&mut self, lab: &str, nodes: &[NodeObject]) {
        let Some(mine) = self.users.get_mut(lab) else { return };
        for node in nodes {
            if let (Some(reserved), Some(leg)) = (mine.get_mut(&node.name), &node.mgmt) {
                reserved.mac = Some(leg.mac);
            }
        }
    }

    /// Keeps what nodes have that are there still, until they are gone: nobody else may be given
    /// their addresses before.
    pub fn hold(&mut self, lab: &str, before: &Network) {
        let (Some(mine), Some(had)) = (self.users.get_mut(lab), before.users.get(lab)) else {
            return;
        };
        for (name, reserved) in had {
            mine.entry(name.clone()).or_insert_with(|| reserved.clone());
        }
    }

    /// The bridges beside the first one.
    pub fn further(&self) -> Vec<FurtherBridge> {
        (1..self.bridges)
            .map(|n| {
                let n = n.to_string();
                let name = |word| port_name(word, &[&self.name, &n]);
                (name("nlb"), name("nlu"), name("nld"))
            })
            .collect()
    }

    /// Gives new nodes the first bridge with a free port; those that were there keep theirs.
    fn spread(&mut self, mine: &mut BTreeMap<String, Reserved>, had: &BTreeMap<String, Reserved>) {
        let mut nodes = vec![0; self.bridges];
        let kept = mine.iter().filter(|(name, _)| had.contains_key(*name)).map(|(_, r)| r);
        for reserved in self.users.values().flat_map(BTreeMap::values).chain(kept) {
            if let Some(count) = nodes.get_mut(reserved.bridge) {
                *count += 1;
            }
        }
        for (_, reserved) in mine.iter_mut().filter(|(name, _)| !had.contains_key(*name)) {
            let free = nodes.iter().position(|n| *n < NODES_PER_BRIDGE);
            reserved.bridge = free.unwrap_or(nodes.len());
            if reserved.bridge == nodes.len() {
                nodes.push(0);
            }
            nodes[reserved.bridge] += 1;
        }
        self.bridges = nodes.len();
    }

    fn reserve_family(
        &self,
        lab: &Lab,
        v4: bool,
        mine: &mut BTreeMap<String, Reserved>,
        taken: &BTreeMap<IpAddr, String>,
    ) -> Result<(), NetworkError> {
        let (net, gateway, range) = match v4 {
            true => (self.ipv4.map(IpNet::from), self.ipv4_gw, &lab.mgmt.ipv4_range),
            false => (self.ipv6.map(IpNet::from), self.ipv6_gw, &lab.mgmt.ipv6_range),
        };
        let Some(net) = net else {
            mine.values_mut().for_each(|r| *family(r, v4) = None);
            return Ok(());
        };
        let range: Option<IpNet> = range.as_deref().and_then(|r| r.parse().ok());
        let (first, last) = match range {
            Some(r) if r.prefix_len() != net.prefix_len() => (r.network(), r.broadcast()),
            _ => (host(net, 1), before_last(net)),
        };
        let mut pool = Pool::new(first, last);
        pool.take(net.network());
        pool.take(net.broadcast());
        gateway.map(|g| pool.take(g));
        taken.keys().for_each(|a| {
            pool.take(*a);
        });
        let nodes: Vec<_> = lab.nodes.iter().filter(|n| n.managed()).collect();
        if self.self_willed {
            for node in &nodes {
                mine.entry(node.name.clone()).or_default();
            }
            return Ok(());
        }
        for node in &nodes {
            let fixed =
                if v4 { node.mgmt_ipv4.map(IpAddr::V4) } else { node.mgmt_ipv6.map(IpAddr::V6) };
            if let Some(address) = fixed {
                if let Some(user) = taken.get(&address) {
                    let node = node.name.clone();
                    return Err(AddressError::Taken { address, node, user: user.clone() }.into());
                }
                if !net.contains(&address) {
                    let node = node.name.clone();
                    return Err(AddressError::Outside { address, node, net }.into());
                }
                if Some(address) == gateway {
                    let (node, user) = (node.name.clone(), "the bridge itself".to_string());
                    return Err(AddressError::Taken { address, node, user }.into());
                }
                pool.take(address);
                *family(mine.entry(node.name.clone()).or_default(), v4) = Some(address);
            }
        }
        let fixed = |n: &netloom_topology::Node| {
            if v4 { n.mgmt_ipv4.is_some() } else { n.mgmt_ipv6.is_some() }
        };
        for node in nodes.iter().filter(|n| !fixed(n)) {
            let have = family(mine.entry(node.name.clone()).or_default(), v4);
            if have.is_some_and(|a| !net.contains(&a) || !pool.take(a)) {
                *have = None;
            }
        }
        for node in nodes.iter().filter(|n| !fixed(n)) {
            let have = family(mine.entry(node.name.clone()).or_default(), v4);
            if have.is_none() {
                let node = node.name.clone();
                *have = Some(pool.lowest().ok_or(AddressError::Exhausted { node })?);
            }
        }
        Ok(())
    }
}

fn family(r: &mut Reserved, v4: bool) -> &mut Option<IpAddr> {
    if v4 { &mut r.ipv4 } else { &mut r.ipv6 }
}

/// The n-th address of a subnet.
fn host(net: IpNet, n: u32) -> IpAddr {
    match net {
        IpNet::V4(v) => IpAddr::V4((u32::from(v.network()) + n).into()),
        IpNet::V6(v) => IpAddr::V6((u128::from(v.network()) + u128::from(n)).into()),
    }
}

fn before_last(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(v) => {
            IpAddr::V4((u32::from(v.broadcast()) - u32::from(v.prefix_len() < 31)).into())
        }
        IpNet::V6(v) => IpAddr::V6(v.broadcast()),
    }
}

fn overlaps(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn subnet(
    mgmt: &Mgmt,
    text: Option<&str>,
    others: &[(IpNet, String)],
    auto: fn(u32) -> Option<IpNet>,
) -> Result<Option<IpNet>, NetworkError> {
    let Some(text) = text else { return Ok(None) };
    let clash = |net: IpNet| others.iter().find(|(o, _)| overlaps(net, *o));
    if text == "auto" {
        return (0..)
            .map_while(auto)
            .find(|n| clash(*n).is_none())
            .map(Some)
            .ok_or_else(|| NetworkError::NoSubnet(mgmt.network.clone()));
    }
    let Some(net) = text.parse::<IpNet>().ok().map(|n| n.trunc()) else { return Ok(None) };
    match clash(net) {
        Some((_, other)) => Err(NetworkError::Overlap {
            subnet: net,
            network: mgmt.network.clone(),
            other: other.clone(),
        }),
        None => Ok(Some(net)),
    }
}

/// Candidates for `auto`: 172.20.30.0/24 upward.
fn auto_v4(n: u32) -> Option<IpNet> {
    let base = u32::from(std::net::Ipv4Addr::new(172, 20, 30, 0));
    let last = u32::from(std::net::Ipv4Addr::new(172, 31, 255, 0));
    let at = base + n * 256;
    (at <= last).then(|| Ipv4Net::new(at.into(), 24).ok().map(IpNet::V4))?
}

/// Candidates for `auto`: 3fff:172:20:30::/64 upward.
fn auto_v6(n: u32) -> Option<IpNet> {
    let n = u16::try_from(n).ok().filter(|n| *n < 4096)?;
    let at = std::net::Ipv6Addr::new(0x3fff, 0x172, 0x20, 0x30 + n, 0, 0, 0, 0);
    Ipv6Net::new(at, 64).ok().map(IpNet::V6)
}
