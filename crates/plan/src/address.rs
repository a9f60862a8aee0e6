//! Management addresses: static ones as written, automatic ones the same every time.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thiserror::Error;

/// An address that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nothing left.
    #[error("the management network has no address left for node `{node}`")]
    Exhausted {
        /// The node.
        node: String,
    },
    /// Another lab has it.
    #[error("the management address {address} of node `{node}` is in use by {user}")]
    Taken {
        /// The address.
        address: IpAddr,
        /// The node.
        node: String,
        /// `lab X, node Y`.
        user: String,
    },
    /// It is not one of the network's.
    #[error("the management address {address} of node `{node}` is outside of the network's {net}")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The node.
        node: String,
        /// The subnet.
        net: ipnet::IpNet,
    },
}

/// The free addresses of one subnet.
#[derive(Debug, Clone)]
pub struct Pool {
    first: u128,
    last: u128,
    v4: bool,
    used: HashSet<u128>,
    next: u128,
}

impl Pool {
    /// The addresses from `first` to `last`.
    pub fn new(first: IpAddr, last: IpAddr) -> Self {
        let (a, b) = (number(first), number(last));
        Pool { first: a, last: b, v4: first.is_ipv4(), used: HashSet::new(), next: a }
    }

    /// Marks an address as taken; says whether it was free.
    pub fn take(&mut self, address: IpAddr) -> bool {
        self.used.insert(number(address))
    }

    /// The lowest free address.
    pub fn lowest(&mut self) -> Option<IpAddr> {
        let mut n = self.next.max(self.first);
        while n <= self.last && self.used.contains(&n) {
            n += 1;
        }
        if n > self.last {
            return None;
        }
        self.used.insert(n);
        self.next = n + 1;
        Some(match self.v4 {
            true => IpAddr::V4(Ipv4Addr::from(n as u32)),
            false => IpAddr::V6(Ipv6Addr::from(n)),
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_first() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let mut p = Pool::new(ip("10.0.0.2"), ip("10.0.0.4"));
        assert!(p.take(ip("10.0.0.2")));
        assert!(!p.take(ip("10.0.0.2")));
        assert_eq!(p.lowest(), Some(ip("10.0.0.3")));
        assert_eq!(p.lowest(), Some(ip("10.0.0.4")));
        assert_eq!(p.lowest(), None);
    }
}
