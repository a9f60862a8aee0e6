//! Tap interfaces: Ethernet frames through a descriptor, for virtual machines.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;

use super::{Change, check_name};
use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::socket::Socket;
use crate::{MacAddr, link};

const DEVICE: &str = "/dev/net/tun";

nix::ioctl_readwrite_bad!(
    /// Attaches the descriptor to an interface, and says which one it became.
    tun_set_iff,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_int_bad!(
    /// Keeps the interface when the descriptor is closed.
    tun_set_persist,
    libc::TUNSETPERSIST
);
nix::ioctl_write_int_bad!(
    /// Who else may attach.
    tun_set_owner,
    libc::TUNSETOWNER
);

/// A tap interface; it is set up.
#[derive(Debug, Clone)]
pub struct TapSpec<'a> {
    /// Namespace of the interface.
    pub netns: &'a Netns,
    /// Name, at most 15 characters.
    pub name: String,
    /// Ethernet address of the host's side; none lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// MTU.
    pub mtu: Option<u32>,
    /// Frames carry a virtio header (needed for offloads and vhost).
    pub vnet_header: bool,
    /// Many descriptors, one per queue.
    pub multi_queue: bool,
    /// The interface stays when all descriptors are closed.
    pub persist: bool,
    /// User that may attach to a persistent tap.
    pub owner: Option<u32>,
    /// Group, 0 for none: deleting by group first makes closing cheap.
    pub group: u32,
}

impl<'a> TapSpec<'a> {
    /// A tap that lives as long as its descriptor, with nothing else set.
    pub fn new(netns: &'a Netns, name: impl Into<String>) -> Self {
        Self {
            netns,
            name: name.into(),
            mac: None,
            mtu: None,
            vnet_header: false,
            multi_queue: false,
            persist: false,
            owner: None,
            group: 0,
        }
    }

    fn flags(&self) -> libc::c_int {
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
        if self.vnet_header {
            flags |= libc::IFF_VNET_HDR;
        }
        if self.multi_queue {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        flags
    }

    fn attach(&self) -> Result<OwnedFd> {
        let failed = |action: &str, errno| {
            Error::kernel(action, format!("{} in {}", self.name, self.netns.label()), errno)
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map_err(|error| Error::io("open", DEVICE, &error))?;
        let mut request = interface_request(&self.name, self.flags());
        // SAFETY: the descriptor is open and `request` is a whole `ifreq` that
        // lives until the call returns; the kernel writes the name back into it.
        unsafe { tun_set_iff(file.as_raw_fd(), &raw mut request) }
            .map_err(|errno| failed("create tap", errno))?;
        if let Some(owner) = self.owner {
            // SAFETY: the descriptor is open; the argument is a plain number.
            unsafe { tun_set_owner(file.as_raw_fd(), owner.cast_signed()) }
                .map_err(|errno| failed("set owner of tap", errno))?;
        }
        if self.persist {
            // SAFETY: as above.
            unsafe { tun_set_persist(file.as_raw_fd(), 1) }
                .map_err(|errno| failed("keep tap", errno))?;
        }
        Ok(file.into())
    }
}

/// An `ifreq` with a name of at most 15 bytes and flags.
fn interface_request(name: &str, flags: libc::c_int) -> libc::ifreq {
    // SAFETY: `ifreq` is plain old data; all zeroes is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(link::MAX_NAME)) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    request
}

/// Makes a tap, or attaches to a persistent one, and gives its descriptor.
pub fn create(spec: &TapSpec<'_>) -> Result<OwnedFd> {
    check_name(&spec.name)?;
    let (fd, socket) = spec.netns.run_in(|| (spec.attach(), Socket::open()))?;
    let (fd, mut socket) = (fd?, socket?.with_label(spec.netns.label()));
    let change = Change {
        up: Some(true),
        mac: spec.mac,
        mtu: spec.mtu,
        group: (spec.group != 0).then_some(spec.group),
        ..Change::default()
    };
    link::change(&mut socket, &spec.name, change)?;
    Ok(fd)
}
