//! Carrier that follows the cable where a cable is two pairs joined in a namespace of ours: when
//! one end loses carrier, the other one does.

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::{Socket, link, observe};
use netlink_sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Multicast groups of changes of interfaces, and of their queueing disciplines.
const LINK_GROUP: u32 = 1;
const QDISC_GROUP: u32 = 8;

/// Tells of changes of interfaces in a namespace.
pub struct Changes {
    socket: RawSocket,
}

impl Changes {
    /// Begins to listen.
    pub fn of(netns: &Netns) -> Result<Self> {
        Self::listen(netns, LINK_GROUP)
    }

    /// Begins to listen for changes of interfaces and of what impairs them.
    pub fn with_impairments(netns: &Netns) -> Result<Self> {
        Self::listen(netns, LINK_GROUP | QDISC_GROUP)
    }

    fn listen(netns: &Netns, groups: u32) -> Result<Self> {
        let open = || {
            let fail = |e: std::io::Error| Error::io("listen for", "changes of interfaces", &e);
            let mut socket = RawSocket::new(NETLINK_ROUTE).map_err(fail)?;
            socket.bind(&SocketAddr::new(0, groups)).map_err(fail)?;
            socket.set_non_blocking(true).map_err(fail)?;
            Ok(socket)
        };
        Ok(Changes { socket: netns.run_in(open)?? })
    }

    /// Takes what has been said away; says whether there was anything.
    pub fn take(&mut self) -> bool {
        let mut said = false;
        loop {
            match self.socket.recv_from_full() {
                Ok(_) => said = true,
                // Too much at once: something has been said all the same.
                Err(e) if e.raw_os_error() == Some(nix::libc::ENOBUFS) => said = true,
                Err(_) => return said,
            }
        }
    }

    /// Waits for a change, but no longer than this; says whether there was one.
    pub fn wait(&mut self, limit: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, limit), Ok(1..)) {
            return false;
        }
        // What is said does not matter: somebody looks. Too much at once is no reason to stop.
        while let Ok((_, _)) = self.socket.recv_from_full() {}
        true
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket lives as long as the borrow of it.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}

/// Makes both ends of every cable agree: an end is set down while the other one has no carrier, and
/// up when it has. Pairs that are not there are left out. Says how many were changed.
pub fn follow(socket: &mut Socket, cables: &[[String; 2]]) -> Result<usize> {
    let seen: HashMap<String, (bool, bool)> =
        observe::links(socket)?.into_iter().map(|l| (l.name, (l.up, l.carrier))).collect();
    let mut changed = 0;
    for [a, b] in cables {
        let (Some(at_a), Some(at_b)) = (seen.get(a), seen.get(b)) else { continue };
        let (want_a, want_b) = wanted(*at_a, *at_b);
        for (name, up, wanted) in [(a, at_a.0, want_a), (b, at_b.0, want_b)] {
            if up == wanted {
                continue;
            }
            let set = if wanted { link::set_up } else { link::set_down };
            match set(socket, name) {
                Ok(()) => changed += 1,
                // It went meanwhile.
                Err(e) if e.errno() == Some(nix::errno::Errno::ENODEV) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(changed)
}

/// Of two ends, each up or not and with carrier or not: which are to be up. At most one is down: of
/// that one nothing can be seen until the other one has carrier again.
fn wanted(a: (bool, bool), b: (bool, bool)) -> (bool, bool) {
    match (a, b) {
        ((true, false), _) => (true, false),
        (_, (true, false)) => (false, true),
        _ => (true, true),
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn one_end_tells_of_the_other() {
        let (fine, cut, down) = ((true, true), (true, false), (false, false));
        assert_eq!(wanted(fine, fine), (true, true));
        assert_eq!(wanted(cut, fine), (true, false));
        assert_eq!(wanted(cut, down), (true, false));
        assert_eq!(wanted(fine, down), (true, true));
        assert_eq!(wanted(fine, cut), (false, true));
        assert_eq!(wanted(down, cut), (false, true));
        assert_eq!(wanted(cut, cut), (true, false));
        assert_eq!(wanted(down, down), (true, true));
    }
}
