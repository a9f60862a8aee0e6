//! Inventories in the lab directory, for those who configure its nodes.

use crate::deploy::DeployOptions;
use crate::{EngineError, files, labdir};
use netloom_plan::Objects;
use netloom_topology::{Lab, PLATFORM_NAMES, inventories};
use std::net::IpAddr;

/// Writes `ansible-inventory.yml` and `nornir-simple-inventory.yml`. They hold passwords: only who
/// owns the folder of the topology file may read them.
pub fn write(lab: &Lab, objects: &Objects, options: &DeployOptions) -> Result<(), EngineError> {
    let address = |v4: bool, n: &netloom_plan::NodeObject| -> Option<IpAddr> {
        let mut all = n.mgmt.iter().flat_map(|m| &m.addresses).map(|a| a.addr());
        all.find(|a| a.is_ipv4() == v4)
    };
    let addresses: Vec<Option<IpAddr>> =
        objects.nodes.iter().map(|n| address(true, n).or_else(|| address(false, n))).collect();
    let names = options.environment.get(PLATFORM_NAMES).map(String::as_str).unwrap_or_default();
    let (ansible, nornir) = inventories(lab, &addresses, &options.home, names)
        .map_err(|why| EngineError::Io(std::io::Error::other(why)))?;
    labdir::make(&lab.dir)?;
    let owner = lab.topology_file.parent().and_then(|folder| std::fs::metadata(folder).ok());
    for (name, text) in
        [("ansible-inventory.yml", ansible), ("nornir-simple-inventory.yml", nornir)]
    {
        let path = lab.dir.join(name);
        if !std::fs::read_to_string(&path).is_ok_and(|have| have == text) {
            files::replace(&path, text.as_bytes(), 0o600, owner.as_ref())?;
        }
    }
    Ok(())
}
