//! The management network: a bridge with gateway addresses, the way out, and
//! the nodes' `eth0`.

mod attach;
pub mod forward;
pub mod nft;
mod publish;

pub use attach::{MgmtNode, attach_many};
pub use publish::{Published, publish, unpublish};

use crate::addr::{self, Cidr};
use crate::error::Result;
use crate::link::bridge::{self, BridgeSpec};
use crate::link::veth::{self, VethEnd, VethSpec};
use crate::link::{self, check_name};
use crate::netns::Netns;
use crate::socket::Socket;
use crate::sysctl::{self, Changed};

/// A management network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MgmtSpec {
    /// Name of the network; its nftables table is `netloom-net-<name>`.
    pub name: String,
    /// Name of the bridge with the addresses.
    pub bridge: String,
    /// Further bridges, for more nodes than one takes ports; each hangs on the first one.
    pub more: Vec<Further>,
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
    /// Nobody is on it yet: its bridges stay down until [`open`], because on bridges of a thousand
    /// ports every group report of a node that comes is copied to all who came before.
    pub quiet: bool,
}

/// A bridge beside the first one, and the pair between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    /// The bridge.
    pub bridge: String,
    /// The pair's end on the first bridge.
    pub up: String,
    /// Its end on this one.
    pub down: String,
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
        nft::check_name(&self.bridge)?;
        nft::check_name(&self.name)
    }

    fn bridge_spec(&self, name: String) -> BridgeSpec {
        // Without an address of its own a bridge takes the lowest of its ports', and changes it
        // under its neighbours whenever nodes come and go.
        let mac = Some(bridge_mac(&name));
        let mtu = Some(self.mtu);
        BridgeSpec { mtu, group: self.group, mac, up: !self.quiet, ..BridgeSpec::new(name) }
    }

    /// Bridges that are ours to set up, take down and remove.
    fn own_bridges(&self) -> impl Iterator<Item = &str> {
        let first = (!self.foreign).then_some(self.bridge.as_str());
        first.into_iter().chain(self.more.iter().map(|f| f.bridge.as_str()))
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
    }
    for further in &spec.more {
        ensure_further(host, &mut socket, spec, further)?;
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
    } else {
        nft::remove_table(host, &spec.name)?;
    }
    Ok(done)
}

fn ensure_further(
    host: &Netns,
    socket: &mut Socket,
    spec: &MgmtSpec,
    further: &Further,
) -> Result<()> {
    bridge::ensure(socket, &spec.bridge_spec(further.bridge.clone()))?;
    let end = |socket: &mut Socket, name: &str, bridge: &str| -> Result<VethEnd<'_>> {
        let mut end = VethEnd::new(host, name);
        end.master = Some(link::index(socket, bridge)?);
        end.group = spec.group;
        Ok(end)
    };
    let a = end(socket, &further.up, &spec.bridge)?;
    let b = end(socket, &further.down, &further.bridge)?;
    let pair = VethSpec { a, b, mtu: spec.mtu };
    if veth::ensure(&pair).is_err() {
        // Of another MTU, say: nobody is on it but the two bridges.
        link::ensure_absent(&mut Socket::open_in(host)?, &further.up)?;
        veth::create(&pair)?;
    }
    Ok(())
}

/// Removes the bridges that are ours and the nftables table, as far as they are there; says
/// whether anything was. Nodes still attached lose their bridge, not their
/// interfaces. Settings of the host are the caller's to restore.
pub fn remove(host: &Netns, spec: &MgmtSpec) -> Result<bool> {
    // What no kernel and no nftables takes as a name was never made.
    if spec.check().is_err() {
        return Ok(false);
    }
    let mut socket = Socket::open_in(host)?;
    let mut removed = false;
    for further in &spec.more {
        link::ensure_absent(&mut socket, &further.up)?;
        removed |= link::ensure_absent(&mut socket, &further.bridge)?;
    }
    if !spec.foreign {
        removed |= link::ensure_absent(&mut socket, &spec.bridge)?;
    }
    Ok(nft::remove_table(host, &spec.name)? | removed)
}

/// Takes the bridges that are ours down, so that what leaves them one by one floods nobody.
pub fn quiesce(host: &Netns, spec: &MgmtSpec) -> Result<()> {
    set_state(host, spec, link::set_down)
}

/// Sets the bridges that are ours up.
pub fn open(host: &Netns, spec: &MgmtSpec) -> Result<()> {
    set_state(host, spec, link::set_up)
}

fn set_state(
    host: &Netns,
    spec: &MgmtSpec,
    set: fn(&mut Socket, &str) -> Result<()>,
) -> Result<()> {
    if spec.check().is_err() {
        return Ok(());
    }
    let mut socket = Socket::open_in(host)?;
    for bridge in spec.own_bridges() {
        match set(&mut socket, bridge) {
            Err(error) if error.errno() == Some(nix::errno::Errno::ENODEV) => {}
            other => other?,
        }
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
