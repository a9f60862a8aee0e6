//! Offloads of interfaces, by the ethtool ioctl.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Error, Result};
use crate::link::check_name;
use crate::netns::{Netns, work_in_each};

const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;

nix::ioctl_readwrite_bad!(
    /// Runs an ethtool command.
    ethtool,
    libc::SIOCETHTOOL,
    libc::ifreq
);

/// The kernel's `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Whether the interface leaves checksums of what it sends to the hardware,
/// which a veth has not: receivers that check them see them wrong.
pub fn tx_checksum(netns: &Netns, interface: &str) -> Result<bool> {
    let value = netns.run_in(|| command(&open()?, netns, interface, ETHTOOL_GTXCSUM, 0))??;
    Ok(value != 0)
}

/// Turns the offload of checksums of one interface on or off.
pub fn set_tx_checksum(netns: &Netns, interface: &str, on: bool) -> Result<()> {
    let data = u32::from(on);
    netns.run_in(|| command(&open()?, netns, interface, ETHTOOL_STXCSUM, data))??;
    Ok(())
}

/// Turns the offload of checksums off on many interfaces; answers for each.
pub fn disable_tx_checksum_many(interfaces: &[(&Netns, &str)]) -> Result<Vec<Result<()>>> {
    work_in_each(interfaces.iter().copied(), |_, netns, items| match open() {
        Ok(fd) => items
            .into_iter()
            .map(|(i, name)| (i, command(&fd, netns, name, ETHTOOL_STXCSUM, 0).map(drop)))
            .collect(),
        Err(error) => items.into_iter().map(|(i, _)| (i, Err(error.clone()))).collect(),
    })
}

/// Turns the offload of checksums off on interfaces of the calling thread's namespace.
pub(crate) fn disable_tx_checksum_here(netns: &Netns, interfaces: &[&str]) -> Result<()> {
    let fd = open()?;
    interfaces.iter().try_for_each(|name| command(&fd, netns, name, ETHTOOL_STXCSUM, 0).map(drop))
}

fn open() -> Result<OwnedFd> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| Error::kernel("open", "a socket for ioctls", errno))
}

fn command(fd: &OwnedFd, netns: &Netns, interface: &str, code: u32, data: u32) -> Result<u32> {
    check_name(interface)?;
    let mut value = EthtoolValue { command: code, data };
    // SAFETY: `ifreq` is plain old data; all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the descriptor is open, the name ends with a zero (it has at most
    // 15 bytes), and `value` outlives the call and is what both codes expect.
    unsafe { ethtool(fd.as_raw_fd(), &raw mut request) }.map_err(|errno| {
        let subject = format!("{interface} in {}", netns.label());
        Error::kernel("set checksum offload of", subject, errno)
    })?;
    Ok(value.data)
}
