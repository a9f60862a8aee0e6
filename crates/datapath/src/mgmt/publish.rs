//! Ports of nodes that the host answers for: one nftables table a lab, replaced as a whole.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::nft;
use crate::error::Result;
use crate::netns::Netns;
use crate::sysctl;

/// A port of the host that leads to a port of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Address of the host; none for all.
    pub host: Option<IpAddr>,
    /// Port of the host.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Where it leads.
    pub to: SocketAddr,
}

/// The name of the table of a lab.
fn table(lab: &str) -> String {
    format!("netloom-ports-{lab}")
}

/// Makes the ports of a lab what `list` says, in one transaction. `bridge` is where the nodes are;
/// programs of the host itself reach the ports too, by way of the loopback address.
pub fn publish(host: &Netns, lab: &str, bridge: &str, list: &[Published]) -> Result<()> {
    nft::check_name(lab)?;
    if list.is_empty() {
        unpublish(host, lab)?;
        return Ok(());
    }
    let table = table(lab);
    let mut rules = String::new();
    for p in list {
        let (family, to) = match p.to {
            SocketAddr::V4(to) => ("ip", to.to_string()),
            SocketAddr::V6(to) => ("ip6", to.to_string()),
        };
        let at = match p.host {
            Some(address) => format!("{family} daddr {address}"),
            None => "fib daddr type local".into(),
        };
        let nf = if family == "ip" { "ipv4" } else { "ipv6" };
        let _ = writeln!(
            rules,
            "meta nfproto {nf} {at} {} dport {} dnat {family} to {to}",
            p.protocol, p.port
        );
    }
    let script = format!(
        "table inet {table}\n\
         delete table inet {table}\n\
         table inet {table} {{\n\
         chain guard {{\ntype filter hook prerouting priority raw; policy accept;\n\
         iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop\n}}\n\
         chain prerouting {{\ntype nat hook prerouting priority dstnat; policy accept;\n{rules}}}\n\
         chain output {{\ntype nat hook output priority -100; policy accept;\n{rules}}}\n\
         chain postrouting {{\ntype nat hook postrouting priority srcnat; policy accept;\n\
         oifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade\n\
         iifname \"{bridge}\" oifname \"{bridge}\" ct status dnat masquerade\n}}\n\
         }}\n"
    );
    nft::run(host, "publish ports", &["-f", "-"], &script)?;
    // Packets of the host itself keep their loopback source until they are masqueraded. What lets
    // them out would let packets of nodes in to what listens on the loopback address only: the
    // guard drops these.
    sysctl::write(host, &format!("ipv4/conf/{bridge}/route_localnet"), "1")
}

/// Removes the ports of a lab, if it has any; says whether it had.
pub fn unpublish(host: &Netns, lab: &str) -> Result<bool> {
    nft::check_name(lab)?;
    nft::remove(host, &table(lab))
}
