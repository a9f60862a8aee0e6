//! The management network: a bridge with gateway addresses, the way out, and
//! the nodes' `eth0`.

mod attach;
pub mod nft;
mod publish;

pub use attach::{MgmtNode, attach_many};
pub use publish::{Published, publish, unpublish};

use std::net::IpAddr;

use crate::addr::{self, Cidr};
use crate::error::{Error, Result};
use crate::link::bridge::{self, BridgeSpec};
use crate::link::{self, check_name};
use crate::netns::Netns;
use crate::observe::{self, LinkInfo};
use crate::socket::Socket;
use crate::sysctl::{self, Changed};

/// Ports one bridge is filled with; the rest of the kernel's 1,023 is left for
/// the links between bridges.
pub const PORTS_PER_BRIDGE: usize = 1000;

/// A management network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MgmtSpec {
    /// Name of the network; its nftables table is `netloom-<name>`.
    pub name: String,
    /// Name of the bridge; further ones are `<bridge>-1`, `<bridge>-2`, …
    pub bridge: String,
    /// MTU of bridge and ports.
    pub mtu: u32,
    /// Address of the bridge in each subnet, with the subnet's prefix.
    pub gateways: Vec<Cidr>,
    /// Whether nodes reach what is outside the host.
    pub external_access: bool,
    /// Group of the bridges, 0 for none.
    pub group: u32,
    /// The bridge is somebody else's: it is used as it is.
    pub foreign: bool,
}

/// What [`ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ensured {
    /// The bridge was made.
    pub bridge: bool,
    /// Gateway addresses that were added.
    pub addresses: Vec<Cidr>,
    /// Settings of the host that were changed; the caller records them.
    pub sysctls: Vec<Changed>,
    /// The nftables table was made.
    pub table: bool,
}

impl MgmtSpec {
    fn check(&self) -> Result<()> {
        check_name(&self.bridge)?;
        nft::check_name(&self.name)
    }

    fn bridge_spec(&self, name: String) -> BridgeSpec {
        // Without an address of its own a bridge takes the lowest of its ports', and changes it
        // under its neighbours whenever nodes come and go.
        let mac = Some(bridge_mac(&name));
        BridgeSpec { mtu: Some(self.mtu), group: self.group, mac, ..BridgeSpec::new(name) }
    }

    /// The name of the bridge of that number; 0 is the one with the addresses.
    fn bridge_name(&self, number: usize) -> String {
        match number {
            0 => self.bridge.clone(),
            n => format!("{}-{n}", self.bridge),
        }
    }

    /// The numbers and indices of the bridges that are there.
    fn bridges(&self, links: &[LinkInfo]) -> Vec<u32> {
        (0..)
            .map(|number| self.bridge_name(number))
            .map_while(|name| links.iter().find(|l| l.name == name).map(|l| l.index))
            .collect()
    }

    fn has(&self, v4: bool) -> bool {
        self.gateways.iter().any(|gateway| gateway.address.is_ipv4() == v4)
    }
}

/// Makes the bridge, its addresses, forwarding and the nftables table in the
/// host's namespace, as far as they are missing.
pub fn ensure(host: &Netns, spec: &MgmtSpec) -> Result<Ensured> {
    spec.check()?;
    let mut socket = Socket::open_in(host)?;
    let mut done = Ensured::default();
    if spec.foreign {
        link::index(&mut socket, &spec.bridge)?;
    } else {
        done.bridge = bridge::ensure(&mut socket, &spec.bridge_spec(spec.bridge.clone()))?;
        // It may have been taken down by a destroy that was ended half-way.
        link::set_up(&mut socket, &spec.bridge)?;
    }
    for gateway in &spec.gateways {
        if addr::ensure(&mut socket, &spec.bridge, *gateway, true)? {
            done.addresses.push(*gateway);
        }
    }
    if spec.external_access {
        for (v4, key) in [(true, "ipv4/ip_forward"), (false, "ipv6/conf/all/forwarding")] {
            if spec.has(v4) {
                done.sysctls.extend(sysctl::ensure(host, key, "1")?);
            }
        }
        done.table = nft::ensure_table(host, spec)?;
    }
    Ok(done)
}

/// Removes the bridges and the nftables table, as far as they are there; says
/// whether anything was. Nodes still attached lose their bridge, not their
/// interfaces. Settings of the host are the caller's to restore.
pub fn remove(host: &Netns, spec: &MgmtSpec) -> Result<bool> {
    spec.check()?;
    let mut socket = Socket::open_in(host)?;
    let mut removed = nft::remove_table(host, &spec.name)?;
    let count = spec.bridges(&observe::links(&mut socket)?).len();
    for number in (0..count).rev() {
        if number > 0 {
            let (up, _) = attach::uplink_names(&spec.bridge_name(number));
            link::ensure_absent(&mut socket, &up)?;
        }
        removed |= link::ensure_absent(&mut socket, &spec.bridge_name(number))?;
    }
    Ok(removed)
}

/// Takes the bridges down, so that what leaves them one by one floods nobody.
pub fn quiesce(host: &Netns, spec: &MgmtSpec) -> Result<()> {
    spec.check()?;
    let mut socket = Socket::open_in(host)?;
    let count = spec.bridges(&observe::links(&mut socket)?).len();
    for number in 0..count {
        link::set_down(&mut socket, &spec.bridge_name(number))?;
    }
    Ok(())
}

/// A locally administered address made from a name (FNV-1a).
fn bridge_mac(name: &str) -> crate::MacAddr {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    [0x02, 0x42, a, b, c, d]
}

/// The gateways of a spec as next hops.
pub fn next_hops(spec: &MgmtSpec) -> Vec<IpAddr> {
    spec.gateways.iter().map(|gateway| gateway.address).collect()
}

fn missing(host: &Netns, spec: &MgmtSpec) -> Error {
    Error::NotFound { subject: format!("{} in {}", spec.bridge, host.label()) }
}
