//! The management network: attaching, the way out, many bridges, removal.

use std::net::UdpSocket;
use std::time::Duration;

use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::link::{self, bridge, delete_group};
use netloom_datapath::mgmt::{self, Further, MgmtNode, MgmtSpec};
use netloom_datapath::netns::Netns;
use netloom_datapath::route::{self, Route};
use netloom_datapath::{Error, Socket, addr, observe, sysctl};

fn spec() -> MgmtSpec {
    MgmtSpec {
        name: "lab1".into(),
        bridge: "nl-lab1".into(),
        mtu: 1500,
        gateways: vec!["172.20.0.1/16".parse().unwrap(), "3fff:172:20:20::1/64".parse().unwrap()],
        external_access: true,
        group: 0,
        foreign: false,
        more: Vec::new(),
        quiet: true,
    }
}

/// Nodes of the first bridge in these tests.
const ON_THE_FIRST: usize = 1000;

fn node<'a>(spec: &MgmtSpec, netns: &'a Netns, i: usize, interface: &str) -> MgmtNode<'a> {
    let host = i + 2;
    MgmtNode {
        netns,
        host_interface: format!("nlm{i}"),
        host_group: 600,
        bridge: i / ON_THE_FIRST,
        interface: interface.into(),
        mac: [2, 0, 0, 0, (i >> 8) as u8, i as u8],
        addresses: vec![
            format!("172.20.{}.{}/16", host >> 8, host & 255).parse().unwrap(),
            format!("3fff:172:20:20::{host:x}/64").parse().unwrap(),
        ],
        gateways: spec.gateways.iter().map(|gateway| gateway.address).collect(),
    }
}

/// Sends a datagram and gives the address it came from.
fn reaches(from: &Netns, bind: &str, to: (&Netns, &str)) -> String {
    let server = to.0.run_in(|| UdpSocket::bind((to.1, 0)).unwrap()).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let client = from.run_in(|| UdpSocket::bind((bind, 0)).unwrap()).unwrap();
    let to = server.local_addr().unwrap();
    // The kernel joins IPv6 solicited-node groups in a worker, late under load.
    let received = (0..150).find_map(|_| {
        client.send_to(b"hello", to).unwrap();
        server.recv_from(&mut [0; 16]).ok()
    });
    received.unwrap().1.ip().to_string()
}

#[test]
fn nodes_reach_each_other_and_the_outside() {
    let host = Netns::create().unwrap().with_label("host");
    let outside = Netns::create().unwrap().with_label("outside");
    let uplink =
        VethSpec { a: VethEnd::new(&host, "up"), b: VethEnd::new(&outside, "up"), mtu: 1500 };
    veth::create(&uplink).unwrap();
    for (netns, last) in [(&host, 1), (&outside, 2)] {
        let mut socket = Socket::open_in(netns).unwrap();
        addr::add(&mut socket, "up", format!("192.0.2.{last}/24").parse().unwrap(), true).unwrap();
        let v6 = format!("2001:db8::{last}/64").parse().unwrap();
        addr::add(&mut socket, "up", v6, true).unwrap();
    }
    let spec = spec();
    let spaces = Netns::create_many(2).unwrap();
    let nodes: Vec<_> =
        spaces.iter().enumerate().map(|(i, netns)| node(&spec, netns, i, "eth0")).collect();
    assert!(matches!(mgmt::attach_many(&host, &spec, &nodes), Err(Error::NotFound { .. })));

    let done = mgmt::ensure(&host, &spec).unwrap();
    assert!(done.bridge && done.table && done.addresses.len() == 2);
    assert_eq!(done.sysctls.len(), 2);
    assert_eq!(mgmt::ensure(&host, &spec).unwrap(), mgmt::Ensured::default());
    let other = MgmtSpec { gateways: vec!["172.20.0.1/17".parse().unwrap()], ..spec.clone() };
    assert!(mgmt::ensure(&host, &other).is_err());

    let state =
        |name: &str| observe::link(&mut Socket::open_in(&host).unwrap(), name).unwrap().unwrap();
    assert!(!state("nl-lab1").up, "quiet until somebody is there");
    let made = mgmt::attach_many(&host, &spec, &nodes).unwrap();
    assert!(made.into_iter().all(|made| made.unwrap()));
    assert!(state("nl-lab1").up && state("nlm0").carrier);
    // Silenced by a destroy that was ended half-way, and mended by the next deploy.
    mgmt::quiesce(&host, &spec).unwrap();
    mgmt::ensure(&host, &MgmtSpec { quiet: false, ..spec.clone() }).unwrap();
    assert!(state("nl-lab1").up);
    // A default route of the node's own is not put back.
    let mut inside = Socket::open_in(&spaces[0]).unwrap();
    let own = Route::via("0.0.0.0/0".parse().unwrap(), "172.20.0.9".parse().unwrap());
    route::replace(&mut inside, &own).unwrap();
    let again = mgmt::attach_many(&host, &spec, &nodes).unwrap();
    assert!(again.into_iter().all(|made| !made.unwrap()));
    let default = |socket: &mut Socket| {
        let all = route::list(socket).unwrap();
        all.into_iter().find(|r| r.destination.prefix == 0 && r.destination.address.is_ipv4())
    };
    assert_eq!(default(&mut inside).unwrap().gateway, Some("172.20.0.9".parse().unwrap()));
    let gateway = Route::via("0.0.0.0/0".parse().unwrap(), "172.20.0.1".parse().unwrap());
    route::replace(&mut inside, &gateway).unwrap();

    let b = (&spaces[1], "172.20.0.3");
    assert_eq!(reaches(&spaces[0], "172.20.0.2", b), "172.20.0.2");
    let b = (&spaces[1], "3fff:172:20:20::3");
    assert_eq!(reaches(&spaces[0], "3fff:172:20:20::2", b), "3fff:172:20:20::2");
    // Outside, the host's address is seen.
    assert_eq!(reaches(&spaces[0], "172.20.0.2", (&outside, "192.0.2.2")), "192.0.2.1");
    let from = reaches(&spaces[0], "3fff:172:20:20::2", (&outside, "2001:db8::2"));
    assert_eq!(from, "2001:db8::1");
    // And the way in is open for those who have a route.
    let mut socket = Socket::open_in(&outside).unwrap();
    let back = Route::via("172.20.0.0/16".parse().unwrap(), "192.0.2.1".parse().unwrap());
    route::add(&mut socket, &back).unwrap();
    assert_eq!(reaches(&outside, "192.0.2.2", b_v4(&spaces)), "192.0.2.2");

    let mut socket = Socket::open_in(&host).unwrap();
    assert!(delete_group(&mut socket, 600).unwrap());
    assert!(mgmt::remove(&host, &spec).unwrap());
    assert!(!mgmt::remove(&host, &spec).unwrap());
    for changed in done.sysctls {
        sysctl::write(&host, &changed.key, &changed.before).unwrap();
    }
    let left: Vec<_> =
        observe::links(&mut socket).unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(left, ["lo", "up"]);
    assert_eq!(sysctl::read(&host, "ipv4/ip_forward").unwrap(), "0");
}

fn b_v4(spaces: &[Netns]) -> (&Netns, &str) {
    (&spaces[1], "172.20.0.3")
}

#[test]
fn a_second_bridge_takes_over_when_the_first_is_full() {
    let host = Netns::create().unwrap().with_label("host");
    let more = vec![Further { bridge: "more".into(), up: "up".into(), down: "down".into() }];
    let spec = MgmtSpec { external_access: false, more, ..spec() };
    mgmt::ensure(&host, &spec).unwrap();
    // One that was ended half-way is completed.
    link::delete(&mut Socket::open_in(&host).unwrap(), "up").unwrap();
    mgmt::ensure(&host, &spec).unwrap();
    let spaces = Netns::create_many(ON_THE_FIRST + 1).unwrap();
    let nodes: Vec<_> =
        spaces.iter().enumerate().map(|(i, netns)| node(&spec, netns, i, "eth0")).collect();
    let made = mgmt::attach_many(&host, &spec, &nodes).unwrap();
    assert!(made.into_iter().all(|made| made.unwrap()));
    let mut socket = Socket::open_in(&host).unwrap();
    let first = bridge::ports(&mut socket, "nl-lab1").unwrap();
    assert_eq!(first.len(), ON_THE_FIRST + 1);
    assert_eq!(bridge::ports(&mut socket, "more").unwrap(), ["down", "nlm1000"]);
    let from = nodes[0].addresses[0].address.to_string();
    let to = nodes[ON_THE_FIRST].addresses[0].address.to_string();
    assert_eq!(reaches(&spaces[0], &from, (&spaces[ON_THE_FIRST], &to)), from);
    assert!(delete_group(&mut socket, 600).unwrap());
    assert!(mgmt::remove(&host, &spec).unwrap());
    assert_eq!(observe::links(&mut socket).unwrap().len(), 1);
}
