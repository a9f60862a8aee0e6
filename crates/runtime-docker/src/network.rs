//! Networks a daemon keeps.

use crate::daemon::{Daemon, status};
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::InspectNetworkOptions;
use netloom_runtime::RuntimeError;
use std::collections::{BTreeMap, HashMap};

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// In CIDR form.
    pub subnet: String,
    /// Address of the bridge.
    pub gateway: Option<String>,
    /// Part of the subnet addresses are handed out from.
    pub range: Option<String>,
}

/// A network to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Driver's options.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A network that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonNetwork {
    /// Number.
    pub id: String,
    /// Driver (`bridge`).
    pub driver: String,
    /// Its bridge.
    pub bridge: String,
    /// MTU, when it has one of its own.
    pub mtu: Option<u32>,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Containers in it and their addresses.
    pub containers: BTreeMap<String, Vec<String>>,
}

/// Option of the driver that names the bridge.
pub const BRIDGE: &str = "com.docker.network.bridge.name";
/// Option of the driver that sets the MTU.
pub const MTU: &str = "com.docker.network.driver.mtu";

impl Daemon {
    /// The network of a name.
    pub fn network(&self, name: &str) -> Result<Option<DaemonNetwork>, RuntimeError> {
        let what = format!("look for network {name}");
        let answer = self.ask(&what, async {
            match self.docker.inspect_network(name, None::<InspectNetworkOptions>).await {
                Err(e) if status(&e) == Some(404) => Ok(None),
                other => other.map(Some),
            }
        })?;
        // It also takes the beginning of a number for a name.
        let Some(answer) = answer.filter(|n| n.name.as_deref() == Some(name)) else {
            return Ok(None);
        };
        let id = answer.id.unwrap_or_default();
        let options = answer.options.unwrap_or_default();
        let short = id.get(..12).unwrap_or(&id);
        let subnet = |c: IpamConfig| {
            let (gateway, range) = (c.gateway, c.ip_range);
            c.subnet.map(|subnet| Subnet { subnet, gateway, range })
        };
        let of = |e: bollard::models::EndpointResource| {
            let all = [e.ipv4_address, e.ipv6_address].into_iter().flatten();
            (e.name.unwrap_or_default(), all.filter(|a| !a.is_empty()).collect())
        };
        Ok(Some(DaemonNetwork {
            driver: answer.driver.unwrap_or_default(),
            bridge: options.get(BRIDGE).cloned().unwrap_or_else(|| format!("br-{short}")),
            mtu: options.get(MTU).and_then(|m| m.parse().ok()).filter(|m| *m > 0),
            subnets: answer
                .ipam
                .and_then(|i| i.config)
                .unwrap_or_default()
                .into_iter()
                .filter_map(subnet)
                .collect(),
            labels: answer.labels.unwrap_or_default().into_iter().collect(),
            containers: answer.containers.unwrap_or_default().into_values().map(of).collect(),
            id,
        }))
    }

    /// Makes a network.
    pub fn create_network(&self, new: &NewNetwork) -> Result<(), RuntimeError> {
        let config = new.subnets.iter().map(|s| IpamConfig {
            subnet: Some(s.subnet.clone()),
            gateway: s.gateway.clone(),
            ip_range: s.range.clone(),
            auxiliary_addresses: None,
        });
        let six = new.subnets.iter().any(|s| s.subnet.contains(':'));
        let request = NetworkCreateRequest {
            name: new.name.clone(),
            driver: Some("bridge".into()),
            enable_ipv6: Some(six),
            attachable: Some(false),
            internal: Some(false),
            ipam: Some(Ipam { config: Some(config.collect()), ..Ipam::default() }),
            options: Some(new.options.clone().into_iter().collect::<HashMap<_, _>>()),
            labels: Some(new.labels.clone().into_iter().collect::<HashMap<_, _>>()),
            ..NetworkCreateRequest::default()
        };
        let what = format!("make network {}", new.name);
        self.ask(&what, self.docker.create_network(request)).map(drop)
    }

    /// Removes a network; one that is not there is fine.
    pub fn remove_network(&self, name: &str) -> Result<(), RuntimeError> {
        self.ask(&format!("remove network {name}"), async {
            match self.docker.remove_network(name).await {
                Err(e) if status(&e) == Some(404) => Ok(()),
                other => other,
            }
        })
    }
}
