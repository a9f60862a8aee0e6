//! Management networks of nodes that Docker runs: Docker hands out their legs, so it must know the
//! network. The bridge stays ours, with everything on the host that belongs to it; Docker is given
//! a network over it and fixed addresses. A network of that name that Docker had before is taken as
//! it is, and stays.

use crate::{Engine, EngineError, Ledger};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_plan::{Network, runs};
use netloom_runtime::RuntimeError;
use netloom_runtime_docker::{BRIDGE, Daemon, DaemonNetwork, MTU, NewNetwork, Subnet};
use netloom_topology::Lab;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// How long a daemon may take over what it was asked for by a command that is gone.
pub const LATE: Duration = Duration::from_millis(300);

/// Docker's own network, on which it takes no addresses from anybody.
const DEFAULT: &str = "bridge";

/// Whether some node of a lab is to get its leg from Docker.
pub fn needed(lab: &Lab) -> bool {
    lab.nodes.iter().any(|n| n.managed() && runs(n).hands_out_legs())
}

/// A network that Docker has and nobody here has made.
pub fn adopted(name: &str, have: &DaemonNetwork, external_access: bool) -> Network {
    let subnets: Vec<(IpNet, Option<IpAddr>)> = have
        .subnets
        .iter()
        .filter_map(|s| {
            let gateway = s.gateway.as_deref().and_then(|g| g.split('/').next()?.parse().ok());
            Some((s.subnet.parse().ok()?, gateway))
        })
        .collect();
    let first = |net: IpNet| net.hosts().next();
    let family = |v4: bool| subnets.iter().find(|(net, _)| net.addr().is_ipv4() == v4);
    let gateway = |v4: bool| family(v4).and_then(|(net, g)| g.or_else(|| first(*net)));
    Network {
        name: name.into(),
        bridge: have.bridge.clone(),
        ipv4: family(true).and_then(|(n, _)| Ipv4Net::new(v4(n.addr())?, n.prefix_len()).ok()),
        ipv6: family(false).and_then(|(n, _)| Ipv6Net::new(v6(n.addr())?, n.prefix_len()).ok()),
        ipv4_gw: gateway(true),
        ipv6_gw: gateway(false),
        mtu: have.mtu.unwrap_or(1500),
        external_access,
        foreign_bridge: true,
        self_willed: name == DEFAULT,
        bridges: 1,
        users: BTreeMap::new(),
        daemons: BTreeMap::new(),
        given_away: BTreeSet::new(),
        strangers: BTreeMap::new(),
    }
}

fn v4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(a) => Some(a),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    match address {
        IpAddr::V6(a) => Some(a),
        IpAddr::V4(_) => None,
    }
}

/// What of a network that Docker has does not go with what the file asks for.
pub fn check(lab: &Lab, ledger: &Ledger, have: &DaemonNetwork, found: &mut Diagnostics) {
    let name = &lab.mgmt.network;
    for node in lab.nodes.iter().filter(|n| name == DEFAULT && n.managed()) {
        let fixed = ["mgmt-ipv4", "mgmt-ipv6"];
        let wished = [node.mgmt_ipv4.is_some(), node.mgmt_ipv6.is_some()];
        let key = fixed.into_iter().zip(wished).find(|(_, w)| *w).map(|(k, _)| k);
        let (what, at) = match key {
            _ if !runs(node).hands_out_legs() => (
                format!(
                    "Docker's network `{name}` takes only nodes that Docker runs, not `{}`",
                    node.name
                ),
                node.span_of("runtime"),
            ),
            Some(key) => (
                format!(
                    "Docker chooses the addresses on its network `{name}`, also that of `{}`",
                    node.name
                ),
                node.span_of(key),
            ),
            None => continue,
        };
        found.push(Diagnostic::error("network", what).at(at).hint("choose another `mgmt.network`"));
    }
    if have.driver != "bridge" {
        let what =
            format!("Docker's network `{name}` has no bridge, but the driver `{}`", have.driver);
        found.push(
            Diagnostic::error("network", what)
                .at(lab.mgmt.span)
                .hint("choose another `mgmt.network`: nodes are wired to a bridge"),
        );
    }
    let ours = ledger.networks.get(name).is_some_and(|n| !n.foreign_bridge);
    if let (true, Some(wanted), Some(mtu)) = (ours, lab.mgmt.mtu, have.mtu)
        && wanted != mtu
    {
        let what =
            format!("network `{name}` has an MTU of {mtu} in Docker, the file says {wanted}");
        found.push(
            Diagnostic::error("network", what)
                .at(lab.mgmt.span)
                .hint("Docker cannot change it: destroy the labs in it first (`redeploy` does)"),
        );
    }
}

/// Addresses that containers of others have in a network, and whose they are.
pub fn strangers(have: &DaemonNetwork, ours: impl Fn(&str) -> bool) -> BTreeMap<IpAddr, String> {
    let others = have.containers.iter().filter(|(name, _)| !ours(name));
    others
        .flat_map(|(name, addresses)| {
            let plain = |a: &String| a.split('/').next()?.parse::<IpAddr>().ok();
            addresses.iter().filter_map(plain).map(move |a| (a, format!("container `{name}`")))
        })
        .collect()
}

impl Engine {
    /// Makes a network known to the daemons that hand out legs in it.
    pub(crate) fn tell_daemons(&self, lab: &Lab, network: &Network) -> Result<(), EngineError> {
        // Others' daemons are no concern of a lab that has nothing there.
        for (runs, socket) in network.daemons.iter().filter(|_| needed(lab)) {
            let daemon = self.daemons.at(*runs, socket)?;
            match daemon.network(&network.name)? {
                None => make(&daemon, lab, network)?,
                Some(have) if have.bridge == network.bridge => {}
                Some(have) => {
                    let what = format!("network `{}`", network.name);
                    let why = format!(
                        "{} has one of that name over bridge {}, and labs here have theirs over {}; \
                         choose another `mgmt.network`",
                        daemon.program().title(),
                        have.bridge,
                        network.bridge
                    );
                    return Err(RuntimeError::Unsupported { what, why }.into());
                }
            }
        }
        Ok(())
    }

    /// Takes a network from the daemons that were told of it, once the last lab leaves that has
    /// nodes there. Who was killed may have asked for it a moment before.
    pub(crate) fn forget_network(
        &self,
        network: &mut Network,
        lab: &str,
        half_made: bool,
    ) -> Result<(), EngineError> {
        let gave = network.given_away.remove(lab);
        if !network.given_away.is_empty() {
            return Ok(());
        }
        for (runs, socket) in network.daemons.clone() {
            let forget = || -> Result<(), EngineError> {
                let daemon = self.daemons.at(runs, &socket)?;
                daemon.remove_network(&network.name)?;
                if half_made {
                    std::thread::sleep(LATE);
                    daemon.remove_network(&network.name)?;
                }
                Ok(())
            };
            match forget() {
                // One that was kept for others, of a daemon that is away: nothing of it works there.
                Err(_) if !gave => {}
                done => done?,
            }
            network.daemons.remove(&runs);
        }
        Ok(())
    }
}

fn make(daemon: &Daemon, lab: &Lab, network: &Network) -> Result<(), EngineError> {
    let families = [
        (network.ipv4.map(IpNet::from), network.ipv4_gw, &lab.mgmt.ipv4_range),
        (network.ipv6.map(IpNet::from), network.ipv6_gw, &lab.mgmt.ipv6_range),
    ];
    let subnets = families.into_iter().filter_map(|(net, gateway, range)| {
        Some(Subnet {
            subnet: net?.to_string(),
            gateway: gateway.map(|g| g.to_string()),
            range: range.clone(),
        })
    });
    let mut options = BTreeMap::from([
        (BRIDGE.to_owned(), network.bridge.clone()),
        (MTU.to_owned(), network.mtu.to_string()),
    ]);
    options.extend(lab.mgmt.driver_opts.clone());
    daemon.create_network(&NewNetwork {
        name: network.name.clone(),
        subnets: subnets.collect(),
        options,
        labels: BTreeMap::from([("containerlab".to_owned(), String::new())]),
    })?;
    Ok(())
}
