//! MAC addresses: derived from lab, node and interface, so that they survive a redeploy.

use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// First three bytes of derived addresses: locally administered, and what users of existing labs
/// filter on.
pub(crate) const OUI: [u8; 3] = [0xaa, 0xc1, 0xab];

/// Hands out addresses that are unique within a lab.
#[derive(Debug, Default)]
pub struct Macs {
    used: HashSet<[u8; 6]>,
}

impl Macs {
    /// Marks an address as taken (given in the file, or in use already).
    pub fn take(&mut self, mac: [u8; 6]) {
        self.used.insert(mac);
    }

    /// Marks an address as given, and with `pair` the one after it.
    pub fn keep(&mut self, mac: [u8; 6], pair: bool) {
        self.used.insert(mac);
        if pair {
            self.used.insert([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5].wrapping_add(1)]);
        }
    }

    /// The address of an interface. Should two interfaces meet in one, the later gets the next
    /// derivation; `oui` replaces the first three bytes. With `pair`, the address after it stays
    /// free too (some systems use MAC+1 as their own).
    pub fn derive(
        &mut self,
        lab: &str,
        node: &str,
        interface: &str,
        oui: Option<[u8; 3]>,
        pair: bool,
    ) -> [u8; 6] {
        let first = oui.unwrap_or(OUI);
        for counter in 0u32.. {
            let mut hash = Sha256::new();
            for part in [lab, node, interface] {
                hash.update(part.as_bytes());
                hash.update([0]);
            }
            hash.update(counter.to_be_bytes());
            let hash = hash.finalize();
            // Even last byte: MAC+1 never carries into the next byte.
            let last = if pair { hash[2] & 0xfe } else { hash[2] };
            let mac = [first[0], first[1], first[2], hash[0], hash[1], last];
            let next = [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5].wrapping_add(1)];
            if self.used.contains(&mac) || (pair && self.used.contains(&next)) {
                continue;
            }
            self.used.insert(mac);
            if pair {
                self.used.insert(next);
            }
            return mac;
        }
        first_and_zero(first)
    }
}

/// Only reached after 2^32 collisions.
fn first_and_zero(first: [u8; 3]) -> [u8; 6] {
    [first[0], first[1], first[2], 0, 0, 0]
}

/// Reads `aa:bb:cc:dd:ee:ff`.
pub fn parse(text: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut out {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Reads `aa:bb:cc`.
pub fn parse_oui(text: &str) -> Option<[u8; 3]> {
    parse(&format!("{text}:00:00:00")).map(|m| [m[0], m[1], m[2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_unique() {
        let one = Macs::default().derive("l", "n", "eth1", None, false);
        assert_eq!(one, Macs::default().derive("l", "n", "eth1", None, false));
        assert_eq!(one[..3], OUI);
        let mut macs = Macs::default();
        macs.take(one);
        assert_ne!(one, macs.derive("l", "n", "eth1", None, false));
        let mut macs = Macs::default();
        let all: HashSet<_> = (0..40_000)
            .map(|i| macs.derive("l", "n", &format!("e{i}"), None, i % 5 == 0))
            .collect();
        assert_eq!(all.len(), 40_000);
    }
}
