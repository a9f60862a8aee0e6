//! Measures namespaces, ring links, addresses and the management network, in
//! ms each: `bench_veth [N] [mgmt]`; `bench_veth N floor` measures bare requests,
//! alone because namespaces that are being cleaned up slow everything else.

use std::time::Instant;

use netloom_datapath::addr::{self, AddrSpec, Cidr};
use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::mgmt::{self, MgmtNode, MgmtSpec};
use netloom_datapath::{Netns, Result, observe, offload};

fn timed<T>(what: &str, n: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let value = work()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    println!("{what:<44} {ms:>9.1} ms {:>8.3} ms each", ms / n as f64);
    Ok(value)
}

fn main() -> Result<()> {
    let n: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(500);
    let mode = std::env::args().nth(2).unwrap_or_default();
    if mode == "floor" {
        return floor(n);
    }
    let spaces = timed("netns with lo up", n, || Netns::create_many(n))?;
    let ring: Vec<VethSpec> = (0..n)
        .map(|i| VethSpec {
            a: VethEnd::new(&spaces[i], "eth1").mac(mac(i, 1)),
            b: VethEnd::new(&spaces[(i + 1) % n], "eth2").mac(mac(i, 2)),
            mtu: 9500,
        })
        .collect();
    timed("ring veths, both ends up", n, || all(veth::create_many(&ring)?))?;
    let addresses: Vec<AddrSpec> = (0..n)
        .flat_map(|i| {
            let next = (i + 1) % n;
            [(i, "eth1", 1), (next, "eth2", 2)].map(|(at, interface, host)| AddrSpec {
                netns: &spaces[at],
                interface: interface.into(),
                cidr: format!("10.{}.{}.{host}/30", i >> 8, i & 255)
                    .parse()
                    .unwrap_or(Cidr::DEFAULT_V4),
                nodad: true,
            })
        })
        .collect();
    timed("v4 address on both ends", n, || all(addr::add_many(&addresses)?))?;
    let ends: Vec<(&Netns, &str)> =
        spaces.iter().flat_map(|space| [(space, "eth1"), (space, "eth2")]).collect();
    timed("checksum offload off on both ends", n, || {
        all(offload::disable_tx_checksum_many(&ends)?)
    })?;
    timed("ensure (all there)", n, || ring.iter().map(veth::ensure).collect::<Result<Vec<_>>>())?;
    timed("observe all", n, || spaces.iter().map(observe::links_in).collect::<Result<Vec<_>>>())?;
    let host = Netns::create()?.with_label("host");
    if mode == "mgmt" {
        mgmt_network(&host, &spaces)?;
    }
    drop((ring, addresses, ends));
    timed("drop all namespaces (asynchronous)", n, || {
        drop(host);
        drop(spaces);
        Ok(())
    })
}

/// Bare creation requests, both ends down: what no caller can do without.
fn floor(n: usize) -> Result<()> {
    let down = |netns, name: String| VethEnd { up: false, ..VethEnd::new(netns, name) };
    let one = Netns::create()?;
    let pairs: Vec<VethSpec> = (0..n)
        .map(|i| VethSpec {
            a: down(&one, format!("a{i}")),
            b: down(&one, format!("b{i}")),
            mtu: 9500,
        })
        .collect();
    timed("floor: bare NEWLINK, one netns", n, || all(veth::create_many(&pairs)?))?;
    let spaces = Netns::create_many(n)?;
    let ring: Vec<VethSpec> = (0..n)
        .map(|i| VethSpec {
            a: down(&spaces[i], "eth1".into()),
            b: down(&spaces[(i + 1) % n], "eth2".into()),
            mtu: 9500,
        })
        .collect();
    timed("floor: bare NEWLINK, ring over netns", n, || all(veth::create_many(&ring)?))
}

fn mgmt_network(host: &Netns, spaces: &[Netns]) -> Result<()> {
    let spec = MgmtSpec {
        name: "bench".into(),
        bridge: "nl-bench".into(),
        mtu: 1500,
        gateways: vec!["172.20.0.1/16".parse()?, "3fff:172:20::1/64".parse()?],
        external_access: true,
        group: 0,
        foreign: false,
        more: Vec::new(),
        quiet: true,
    };
    timed("mgmt network", 1, || mgmt::ensure(host, &spec))?;
    let nodes: Vec<MgmtNode> = spaces
        .iter()
        .enumerate()
        .map(|(i, netns)| {
            let (high, low) = ((i + 2) >> 8, (i + 2) & 255);
            let v4 = format!("172.20.{high}.{low}/16").parse();
            let v6 = format!("3fff:172:20::{:x}/64", i + 2).parse();
            MgmtNode {
                netns,
                host_interface: format!("nlm{i}"),
                host_group: 99,
                interface: "eth0".into(),
                mac: mac(i, 3),
                addresses: [v4, v6].into_iter().flatten().collect(),
                gateways: spec.gateways.iter().map(|gateway| gateway.address).collect(),
                bridge: 0,
            }
        })
        .collect();
    timed("mgmt attach", nodes.len(), || all(mgmt::attach_many(host, &spec, &nodes)?))?;
    timed("mgmt attach again", nodes.len(), || all(mgmt::attach_many(host, &spec, &nodes)?))?;
    timed("mgmt detach by group", nodes.len(), || {
        netloom_datapath::link::delete_group(&mut netloom_datapath::Socket::open_in(host)?, 99)
    })?;
    mgmt::remove(host, &spec).map(drop)
}

fn all<T>(results: Vec<Result<T>>) -> Result<()> {
    results.into_iter().try_for_each(|result| result.map(drop))
}

fn mac(i: usize, end: u8) -> [u8; 6] {
    [2, end, 0, (i >> 16) as u8, (i >> 8) as u8, i as u8]
}
