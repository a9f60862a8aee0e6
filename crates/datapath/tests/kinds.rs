//! Bridge, macvlan, vxlan, dummy and tap in scratch namespaces.

use std::net::UdpSocket;
use std::time::Duration;

use netloom_datapath::link::bridge::{self, BridgeSpec};
use netloom_datapath::link::dummy::{self, DummySpec, Made, Parking};
use netloom_datapath::link::macvlan::{self, MacvlanSpec, Mode};
use netloom_datapath::link::tap::{self, TapSpec};
use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::link::vxlan::{self, VxlanSpec};
use netloom_datapath::link::{self, set_alias};
use netloom_datapath::netns::Netns;
use netloom_datapath::observe::KindData;
use netloom_datapath::probe::{self, Area};
use netloom_datapath::{Error, Socket, addr, observe};

/// Sends a datagram from one namespace to another.
fn reaches(from: (&Netns, &str), to: (&Netns, &str)) {
    let server = to.0.run_in(|| UdpSocket::bind((to.1, 7)).unwrap()).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let client = from.0.run_in(|| UdpSocket::bind((from.1, 0)).unwrap()).unwrap();
    // The kernel joins IPv6 solicited-node groups in a worker, late under load.
    let arrives = |_: u32| {
        client.send_to(b"hello", (to.1, 7)).unwrap();
        server.recv(&mut [0; 16]).is_ok()
    };
    assert!((0..150).any(arrives), "nothing arrived at {}", to.1);
}

#[test]
fn bridge_joins_its_ports() {
    let host = Netns::create().unwrap().with_label("host");
    let nodes = Netns::create_many(2).unwrap();
    let mut socket = Socket::open_in(&host).unwrap();
    let spec =
        BridgeSpec { mtu: Some(9000), mac: Some([2, 0, 0, 0, 0, 1]), ..BridgeSpec::new("br0") };
    assert!(bridge::ensure(&mut socket, &spec).unwrap());
    assert!(!bridge::ensure(&mut socket, &spec).unwrap());
    let found = observe::link(&mut socket, "br0").unwrap().unwrap();
    assert_eq!(found.data, KindData::Bridge { group_fwd_mask: 16384, stp: false });
    assert_eq!((found.mtu, found.mac), (9000, spec.mac));

    let pairs: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(i, node)| {
            let mut a = VethEnd::new(&host, format!("port{i}"));
            a.master = Some(found.index).filter(|_| i == 0);
            VethSpec { a, b: VethEnd::new(node, "eth1"), mtu: 9000 }
        })
        .collect();
    veth::create_many(&pairs).unwrap().into_iter().for_each(|r| r.unwrap());
    assert!(!bridge::ensure_port(&mut socket, "br0", "port0").unwrap());
    assert!(bridge::ensure_port(&mut socket, "br0", "port1").unwrap());
    assert_eq!(bridge::ports(&mut socket, "br0").unwrap(), ["port0", "port1"]);
    for (node, cidr) in nodes.iter().zip(["10.0.0.1/24", "10.0.0.2/24"]) {
        let mut inside = Socket::open_in(node).unwrap();
        addr::add(&mut inside, "eth1", cidr.parse().unwrap(), true).unwrap();
    }
    reaches((&nodes[0], "10.0.0.1"), (&nodes[1], "10.0.0.2"));

    // One that was left down, or lost its MTU, is mended.
    link::set_down(&mut socket, "br0").unwrap();
    link::set_mtu(&mut socket, "br0", 1500).unwrap();
    assert!(!bridge::ensure(&mut socket, &spec).unwrap());
    let mended = observe::link(&mut socket, "br0").unwrap().unwrap();
    assert!(mended.up && mended.mtu == 9000);
    let other = BridgeSpec { group_fwd_mask: 0, ..spec.clone() };
    assert!(matches!(bridge::ensure(&mut socket, &other), Err(Error::Differs { .. })));
    assert!(bridge::ensure(&mut socket, &BridgeSpec::new("port0")).is_err());
    let refused = BridgeSpec { group_fwd_mask: 0xffff, ..BridgeSpec::new("br1") };
    assert!(bridge::create(&mut socket, &refused).is_err());
    let most = BridgeSpec { group_fwd_mask: bridge::FORWARD_ALL, ..BridgeSpec::new("br1") };
    bridge::create(&mut socket, &most).unwrap();
    assert!(bridge::ensure_port(&mut socket, "br1", "port0").is_err());
    assert!(link::ensure_absent(&mut socket, "br0").unwrap());
    assert!(!link::ensure_absent(&mut socket, "br0").unwrap());
}

#[test]
fn macvlans_of_a_parent_reach_each_other() {
    let host = Netns::create().unwrap().with_label("host");
    let nodes = Netns::create_many(2).unwrap();
    let uplink =
        VethSpec { a: VethEnd::new(&host, "up0"), b: VethEnd::new(&host, "up1"), mtu: 3000 };
    veth::create(&uplink).unwrap();
    let mut socket = Socket::open_in(&host).unwrap();
    for (i, (node, cidr)) in nodes.iter().zip(["10.0.0.1/24", "10.0.0.2/24"]).enumerate() {
        let spec = MacvlanSpec {
            netns: node,
            name: "eth1".into(),
            parent: "up0".into(),
            mode: Mode::Bridge,
            mac: Some([2, 0, 0, 0, 1, i as u8]),
            mtu: None,
        };
        assert!(macvlan::ensure(&mut socket, &spec).unwrap());
        assert!(!macvlan::ensure(&mut socket, &spec).unwrap());
        let private = MacvlanSpec { mode: Mode::Private, ..spec };
        assert!(macvlan::ensure(&mut socket, &private).is_err());
        let mut inside = Socket::open_in(node).unwrap();
        assert_eq!(observe::link(&mut inside, "eth1").unwrap().unwrap().mtu, 3000);
        addr::add(&mut inside, "eth1", cidr.parse().unwrap(), true).unwrap();
    }
    reaches((&nodes[0], "10.0.0.1"), (&nodes[1], "10.0.0.2"));
    for (i, mode) in [Mode::Private, Mode::Vepa, Mode::Source, Mode::Passthru].iter().enumerate() {
        let spec = MacvlanSpec {
            netns: &nodes[0],
            name: format!("m{i}"),
            parent: "up1".into(),
            mode: *mode,
            mac: None,
            mtu: None,
        };
        // A passthru macvlan must be alone on its parent.
        assert_eq!(macvlan::ensure(&mut socket, &spec).is_ok(), *mode != Mode::Passthru);
    }
    let orphan = MacvlanSpec {
        netns: &nodes[0],
        name: "eth9".into(),
        parent: "nowhere".into(),
        mode: Mode::Bridge,
        mac: None,
        mtu: None,
    };
    let error = macvlan::create(&mut socket, &orphan).unwrap_err().to_string();
    assert_eq!(error, "nowhere in host does not exist");
}

#[test]
fn vxlan_in_a_node_keeps_its_underlay_outside() {
    let hosts = Netns::create_many(2).unwrap();
    let nodes = Netns::create_many(2).unwrap();
    let underlay = VethSpec {
        a: VethEnd::new(&hosts[0], "under"),
        b: VethEnd::new(&hosts[1], "under"),
        mtu: 1600,
    };
    veth::create(&underlay).unwrap();
    for i in 0..2usize {
        let mut socket = Socket::open_in(&hosts[i]).unwrap();
        let (ours, theirs) = (format!("fd01::{}", i + 1), format!("fd01::{}", 2 - i));
        addr::add(&mut socket, "under", format!("{ours}/64").parse().unwrap(), true).unwrap();
        let mut spec = VxlanSpec::new(&nodes[i], "eth1", 4000, theirs.parse().unwrap());
        spec.local = Some(ours.parse().unwrap());
        spec.port = 14_789;
        spec.mac = Some([2, 0, 0, 0, 2, i as u8]);
        spec.mtu = Some(1500);
        assert!(vxlan::ensure(&mut socket, &spec).unwrap());
        assert!(!vxlan::ensure(&mut socket, &spec).unwrap());
        spec.id = 1 << 24;
        assert!(matches!(vxlan::create(&mut socket, &spec), Err(Error::Invalid { .. })));
        let mut inside = Socket::open_in(&nodes[i]).unwrap();
        let cidr = format!("10.0.0.{}/24", i + 1);
        addr::add(&mut inside, "eth1", cidr.parse().unwrap(), true).unwrap();
    }
    reaches((&nodes[0], "10.0.0.1"), (&nodes[1], "10.0.0.2"));
}

#[test]
fn dummy_or_its_stand_in() {
    let node = Netns::create().unwrap();
    let parking = Netns::create().unwrap();
    let spec = DummySpec {
        netns: &node,
        name: "dummy0".into(),
        mtu: Some(2000),
        mac: Some([2, 0, 0, 0, 0, 1]),
    };
    let parking = Parking { netns: &parking, name: "parked0" };
    let (made, new) = dummy::ensure(&spec, parking).unwrap();
    assert!(new);
    assert_eq!(dummy::ensure(&spec, parking).unwrap(), (made, false));
    let has_dummy = probe::run().unwrap().has(Area::Link, "dummy");
    assert_eq!(made, if has_dummy { Made::Dummy } else { Made::ParkedVeth });
    let mut socket = Socket::open_in(&node).unwrap();
    let found = observe::link(&mut socket, "dummy0").unwrap().unwrap();
    assert!(found.up && found.carrier);
    assert_eq!((found.mtu, found.mac), (2000, spec.mac));
}

#[test]
fn tap_lives_with_its_descriptor_unless_it_persists() {
    let node = Netns::create().unwrap();
    let mut socket = Socket::open_in(&node).unwrap();
    let spec = TapSpec { mac: Some([2, 0, 0, 0, 0, 5]), group: 9, ..TapSpec::new(&node, "tap0") };
    let fd = tap::create(&spec).unwrap();
    let found = observe::link(&mut socket, "tap0").unwrap().unwrap();
    assert_eq!((found.kind.as_str(), found.mac, found.group), ("tun", spec.mac, 9));
    assert!(found.up && found.carrier);
    assert!(tap::create(&spec).is_err());
    drop(fd);
    assert!(observe::link(&mut socket, "tap0").unwrap().is_none());

    let spec = TapSpec { persist: true, owner: Some(0), ..spec };
    drop(tap::create(&spec).unwrap());
    assert!(!observe::link(&mut socket, "tap0").unwrap().unwrap().carrier);
    drop(tap::create(&spec).unwrap());
    link::delete(&mut socket, "tap0").unwrap();
}

#[test]
fn shared_changes_read_back() {
    let node = Netns::create().unwrap().with_label("r1");
    let pair = VethSpec { a: VethEnd::new(&node, "a"), b: VethEnd::new(&node, "b"), mtu: 1500 };
    veth::create(&pair).unwrap();
    assert!(!veth::ensure(&pair).unwrap());
    let mut socket = Socket::open_in(&node).unwrap();
    link::set_mtu(&mut socket, "a", 1400).unwrap();
    link::set_mac(&mut socket, "a", [2, 1, 1, 1, 1, 1]).unwrap();
    set_alias(&mut socket, "a", "to the north").unwrap();
    link::set_group(&mut socket, "a", 5).unwrap();
    link::add_altnames(&mut socket, "a", &["a-long-alternative-name".into()]).unwrap();
    link::set_down(&mut socket, "a-long-alternative-name").unwrap();
    let a = observe::link(&mut socket, "a").unwrap().unwrap();
    assert_eq!((a.mtu, a.mac, a.group, a.up), (1400, Some([2, 1, 1, 1, 1, 1]), 5, false));
    assert_eq!(a.alias.as_deref(), Some("to the north"));
    assert!(!observe::link(&mut socket, "b").unwrap().unwrap().carrier);
    link::set_up(&mut socket, "a").unwrap();
    assert!(observe::link(&mut socket, "b").unwrap().unwrap().carrier);
    let error = link::set_up(&mut socket, "nope").unwrap_err().to_string();
    assert!(error.starts_with("cannot set up nope in r1: No such device"), "{error}");
}
