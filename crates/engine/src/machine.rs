//! Facts of this machine that plans depend on.

use crate::EngineError;
use ipnet::IpNet;
use netloom_datapath::{LinkInfo, Netns, Socket, observe, route};

/// The host's network as it is now.
pub struct Machine {
    /// The namespace commands run in.
    pub netns: Netns,
    /// Its interfaces.
    pub links: Vec<LinkInfo>,
    /// Subnets in use, and by what.
    pub subnets: Vec<(IpNet, String)>,
}

impl Machine {
    /// Looks at the host.
    pub fn observe() -> Result<Machine, EngineError> {
        let netns = Netns::current()?.with_label("the host");
        let mut socket = Socket::open_in(&netns)?;
        let links = observe::links(&mut socket)?;
        let mut subnets = Vec::new();
        for entry in route::list(&mut socket)? {
            let (address, prefix) = (entry.destination.address, entry.destination.prefix);
            let local = address.is_loopback() || address.is_multicast() || link_local(address);
            let host_route = prefix == if address.is_ipv4() { 32 } else { 128 };
            if prefix == 0 || local || host_route {
                continue;
            }
            let link = entry.interface.and_then(|i| links.iter().find(|l| l.index == i));
            let name = link.map_or("a route of the host", |l| l.name.as_str());
            subnets.extend(IpNet::new(address, prefix).ok().map(|n| (n, format!("{n} on {name}"))));
        }
        Ok(Machine { netns, links, subnets })
    }

    /// The host without a look at it.
    pub fn bare() -> Result<Machine, EngineError> {
        let netns = Netns::current()?.with_label("the host");
        Ok(Machine { netns, links: Vec::new(), subnets: Vec::new() })
    }

    /// Leaves an interface out, with the subnets on it.
    pub fn forget(&mut self, name: &str) {
        self.links.retain(|l| l.name != name);
        self.subnets.retain(|(_, what)| !what.ends_with(&format!(" on {name}")));
    }

    /// The interface of a name, alternative names included.
    pub fn link(&self, name: &str) -> Option<&LinkInfo> {
        self.links.iter().find(|l| l.name == name || l.altnames.iter().any(|a| a == name))
    }
}

fn link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(a) => a.is_link_local(),
        std::net::IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}
