//! Namespaces, links and the management network.

use super::netlink::{self, End, Message, Socket};
use crate::topology::Lab;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// The group of all ports of the management bridges.
const GROUP: u32 = 4711;
const MTU: u32 = 9500;
const MGMT_MTU: u32 = 1500;
/// A bridge takes 1,023 ports; some are for the links between bridges.
const PORTS: usize = 1000;

/// How new interfaces of the host's namespace, here the run's own, get a link-local address.
const ADDRESSES: &str = "/proc/sys/net/ipv6/conf/default/addr_gen_mode";

/// One namespace a node.
pub struct Namespaces(Vec<OwnedFd>);

impl Namespaces {
    /// Descriptor of a node's namespace.
    pub fn fd(&self, node: usize) -> i32 {
        self.0[node].as_raw_fd()
    }
}

/// Threads worth having.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

fn panicked<T>(_: T) -> io::Error {
    io::Error::other("a thread panicked")
}

/// Makes namespaces with `lo` up.
pub fn namespaces(count: usize) -> io::Result<Namespaces> {
    let make = || -> io::Result<OwnedFd> {
        // SAFETY: a plain number.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let file = File::open("/proc/thread-self/ns/net")?;
        Socket::open()?.talk(&mut [netlink::loopback()])?;
        Ok(file.into())
    };
    let workers = threads();
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|worker| {
                let share = count / workers + usize::from(worker < count % workers);
                scope.spawn(move || (0..share).map(|_| make()).collect::<io::Result<Vec<_>>>())
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for thread in started {
            all.extend(thread.join().map_err(panicked)??);
        }
        Ok(Namespaces(all))
    })
}

/// What is left to do inside each namespace.
pub struct Ends(Vec<Vec<&'static str>>);

impl Ends {
    /// Nothing yet.
    pub fn new(nodes: usize) -> Self {
        Ends(vec![Vec::new(); nodes])
    }

    /// Sets second ends up and gives management interfaces addresses and routes. An interface
    /// that is asked for has its carrier in force at once.
    pub fn finish(&self, lab: &Lab, namespaces: &Namespaces) -> io::Result<()> {
        let work = || -> io::Result<()> {
            for (node, names) in self.0.iter().enumerate() {
                // SAFETY: plain numbers; this thread is only for this.
                if unsafe { libc::setns(namespaces.fd(node), libc::CLONE_NEWNET) } < 0 {
                    return Err(io::Error::last_os_error());
                }
                finish_one(lab, node, names)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| scope.spawn(work).join().map_err(panicked)?)
    }
}

fn finish_one(lab: &Lab, node: usize, names: &[&'static str]) -> io::Result<()> {
    let mut socket = Socket::open()?;
    let mut messages: Vec<Message> = names.iter().map(|name| netlink::up(name)).collect();
    let all = ["eth1", "eth2", "eth3", "eth4"];
    messages.extend(lab.mgmt.then(|| netlink::get("eth0")));
    messages.extend(all.iter().map(|name| netlink::get(name)));
    let indices = socket.talk(&mut messages)?;
    if !lab.mgmt {
        return Ok(());
    }
    let Some(&eth0) = indices.first() else { return Err(io::Error::other("no eth0")) };
    let mut rest = Vec::new();
    for (address, gateway) in Lab::addresses(node).into_iter().zip(Lab::GATEWAYS) {
        rest.push(netlink::address(eth0, &bytes(address), prefix(address)));
        rest.push(netlink::default_route(eth0, &bytes(gateway)));
    }
    socket.talk(&mut rest).map(drop)
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 16 } else { 64 }
}

fn mac(node: usize, interface: u8) -> [u8; 6] {
    let [.., a, b, c] = (node as u32).to_be_bytes();
    [2, 0xbe, a, b, c, interface]
}

/// Makes all links, straight into both namespaces.
pub fn links(lab: &Lab, namespaces: &Namespaces, ends: &mut Ends) -> io::Result<()> {
    let mut messages = Vec::new();
    for link in lab.links() {
        let end = |(node, number): (usize, u8)| End {
            name: Lab::INTERFACES[usize::from(number)],
            mac: mac(node, number),
            netns: Some(namespaces.fd(node)),
            port: None,
        };
        messages.push(netlink::pair(&end(link.0), &end(link.1), MTU));
        let (peer, number) = link.1;
        ends.0[peer].push(Lab::INTERFACES[usize::from(number)]);
    }
    Socket::open()?.talk(&mut messages).map(drop)
}

fn bridge(number: usize) -> String {
    if number == 0 { "nlfloor".into() } else { format!("nlfloor-{number}") }
}

fn bridges(lab: &Lab) -> usize {
    lab.nodes.div_ceil(PORTS)
}

fn port(name: &str, mac: [u8; 6], master: u32) -> End<'_> {
    End { name, mac, netns: None, port: Some((master, GROUP)) }
}

/// Makes bridges, still down, and a leg for each node.
pub fn management(lab: &Lab, namespaces: &Namespaces, ends: &mut Ends) -> io::Result<()> {
    // Ports need no address; asking for none once is cheaper than once a port.
    std::fs::write(ADDRESSES, "1")?;
    let mut socket = Socket::open()?;
    let names: Vec<String> = (0..bridges(lab)).map(bridge).collect();
    let mut messages: Vec<Message> =
        names.iter().map(|name| netlink::bridge(name, MGMT_MTU)).collect();
    messages.extend(names.iter().map(|name| netlink::get(name)));
    let masters = socket.talk(&mut messages)?;
    let mut messages: Vec<Message> = Lab::GATEWAYS
        .into_iter()
        .map(|gateway| netlink::address(masters[0], &bytes(gateway), prefix(gateway)))
        .collect();
    for (number, &master) in masters.iter().enumerate().skip(1) {
        let (up, down) = (format!("{}u", names[number]), format!("{}d", names[number]));
        let (a, b) = (mac(number, 100), mac(number, 101));
        messages.push(netlink::pair(&port(&up, a, masters[0]), &port(&down, b, master), MGMT_MTU));
        messages.push(netlink::up(&down));
    }
    for node in 0..lab.nodes {
        let name = format!("nlf{node}");
        let host = port(&name, mac(node, 10), masters[node / PORTS]);
        let netns = Some(namespaces.fd(node));
        let inside = End { name: "eth0", mac: mac(node, 0), netns, port: None };
        messages.push(netlink::pair(&host, &inside, MGMT_MTU));
        ends.0[node].push("eth0");
    }
    socket.talk(&mut messages).map(drop)
}

/// Sets the bridges up: last, because every group report and neighbour solicitation of a node
/// would be copied to every port.
pub fn open(lab: &Lab) -> io::Result<()> {
    let mut messages: Vec<Message> =
        (0..bridges(lab)).map(|number| netlink::up(&bridge(number))).collect();
    Socket::open()?.talk(&mut messages).map(drop)
}

/// Removes ports as a group, then the bridges.
pub fn remove(lab: &Lab) -> io::Result<()> {
    std::fs::write(ADDRESSES, "0")?;
    let mut messages = vec![netlink::delete_group(GROUP)];
    messages.extend((0..bridges(lab)).map(|number| netlink::delete(&bridge(number))));
    Socket::open()?.talk(&mut messages).map(drop)
}

/// Sets `lo` up in the caller's namespace.
pub fn loopback() -> io::Result<()> {
    Socket::open()?.talk(&mut [netlink::loopback()]).map(drop)
}

/// Waits until every namespace that was let go of is gone: they go in order, so one with a veth
/// into this one, made and let go of now, takes its veth along last.
pub fn barrier() -> io::Result<()> {
    const NAME: &str = "nlbarrier";
    let space = namespaces(1)?;
    let here = End { name: NAME, mac: mac(0, 200), netns: None, port: None };
    let there = End { name: "there", mac: mac(0, 201), netns: Some(space.fd(0)), port: None };
    let mut socket = Socket::open()?;
    socket.talk(&mut [netlink::pair(&here, &there, 1500)])?;
    drop(space);
    for _ in 0..60_000 {
        match socket.talk(&mut [netlink::get(NAME)]) {
            Ok(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
