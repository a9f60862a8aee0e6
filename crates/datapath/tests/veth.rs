//! Veth pairs between scratch namespaces, with real traffic.

use std::net::UdpSocket;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, State};
use netloom_datapath::link::veth::{VethEnd, VethSpec};
use netloom_datapath::link::{self, veth};
use netloom_datapath::netns::Netns;
use netloom_datapath::{Socket, addr, observe};

fn pair<'a>(a: &'a Netns, b: &'a Netns) -> VethSpec<'a> {
    VethSpec {
        a: VethEnd::new(a, "eth1").mac([2, 0, 0, 0, 0, 1]),
        b: VethEnd::new(b, "eth1").mac([2, 0, 0, 0, 0, 2]),
        mtu: 9500,
    }
}

#[test]
fn both_ends_are_final_at_once() {
    let spaces = Netns::create_many(2).unwrap();
    let mut spec = pair(&spaces[0], &spaces[1]);
    spec.a.alias = Some("ethernet-1/1".into());
    spec.b.alias = Some("ethernet-1/2".into());
    spec.b.altnames = vec!["a-name-of-more-than-fifteen-characters".into(), "e1-1".into()];
    spec.a.group = 77;
    assert!(veth::ensure(&spec).unwrap());
    assert!(!veth::ensure(&spec).unwrap());

    let a = &observe::links_in(&spaces[0]).unwrap()[1];
    let b = &observe::links_in(&spaces[1]).unwrap()[1];
    assert_eq!((a.name.as_str(), a.kind.as_str(), a.mtu), ("eth1", "veth", 9500));
    assert_eq!((a.mac, b.mac), (Some([2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 2])));
    assert_eq!(a.alias.as_deref(), Some("ethernet-1/1"));
    assert_eq!(b.alias.as_deref(), Some("ethernet-1/2"));
    assert_eq!(b.altnames.len(), 2);
    assert_eq!((a.group, b.group), (77, 0));
    assert!(a.up && a.carrier && b.up && b.carrier);
    assert_eq!(a.peer.unwrap().index, b.index);
    let mut at_b = Socket::open_in(&spaces[1]).unwrap();
    let long = observe::link(&mut at_b, "a-name-of-more-than-fifteen-characters").unwrap();
    assert_eq!(long.unwrap().index, b.index);

    spec.mtu = 1500;
    let error = veth::ensure(&spec).unwrap_err().to_string();
    assert!(error.contains("MTU is 9500, wanted 1500"), "{error}");
}

#[test]
fn traffic_passes() {
    let spaces = Netns::create_many(2).unwrap();
    veth::create(&pair(&spaces[0], &spaces[1])).unwrap();
    for (space, cidr) in spaces.iter().zip(["10.0.0.1/24", "10.0.0.2/24"]) {
        let mut socket = Socket::open_in(space).unwrap();
        assert!(addr::ensure(&mut socket, "eth1", cidr.parse().unwrap(), true).unwrap());
        assert!(!addr::ensure(&mut socket, "eth1", cidr.parse().unwrap(), true).unwrap());
    }
    let server = spaces[1].run_in(|| UdpSocket::bind("10.0.0.2:7").unwrap()).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let client = spaces[0].run_in(|| UdpSocket::bind("10.0.0.1:0").unwrap()).unwrap();
    let frame = [7u8; 9000];
    client.send_to(&frame, "10.0.0.2:7").unwrap();
    let mut buffer = [0; 9500];
    assert_eq!(server.recv(&mut buffer).unwrap(), 9000);
}

#[test]
fn v6_without_dad_can_be_bound_at_once() {
    let spaces = Netns::create_many(2).unwrap();
    veth::create(&pair(&spaces[0], &spaces[1])).unwrap();
    let specs: Vec<_> = spaces
        .iter()
        .zip(["fd00::1/64", "fd00::2/64"])
        .map(|(netns, cidr)| addr::AddrSpec {
            netns,
            interface: "eth1".into(),
            cidr: cidr.parse().unwrap(),
            nodad: true,
        })
        .collect();
    for result in addr::add_many(&specs).unwrap() {
        result.unwrap();
    }
    let server = spaces[1].run_in(|| UdpSocket::bind("[fd00::2]:7").unwrap()).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let client = spaces[0].run_in(|| UdpSocket::bind("[fd00::1]:0").unwrap()).unwrap();
    // The kernel joins the solicited-node group in a worker, late under load.
    let arrives = |_: u32| {
        client.send_to(b"hello", "[fd00::2]:7").unwrap();
        server.recv(&mut [0; 16]).is_ok()
    };
    assert!((0..150).any(arrives));
}

#[test]
fn each_pair_answers_for_itself() {
    let spaces = Netns::create_many(2).unwrap();
    let mut specs: Vec<_> = (0..200)
        .map(|i| VethSpec {
            a: VethEnd::new(&spaces[0], format!("a{i}")),
            b: VethEnd::new(&spaces[1], format!("b{i}")),
            mtu: 1500,
        })
        .collect();
    specs[7].b.name = "a-name-that-is-too-long".into();
    specs[70].a.name = "a0".into();
    specs[150].mtu = 3;
    let results = veth::create_many(&specs).unwrap();
    for (i, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), [7, 70, 150].contains(&i), "{i}: {result:?}");
    }
    let text = |i: usize| results[i].as_ref().unwrap_err().to_string();
    assert!(text(7).contains("longer than 15"), "{}", text(7));
    assert!(text(70).contains("the name is taken"), "{}", text(70));
    assert!(text(150).contains("check the MTU"), "{}", text(150));
    assert_eq!(observe::links_in(&spaces[0]).unwrap().len(), 198);
    assert!(observe::links_in(&spaces[1]).unwrap()[1..].iter().all(|l| l.up && l.carrier));
}

#[test]
fn a_pair_that_cannot_be_finished_is_removed() {
    let spaces = Netns::create_many(2).unwrap();
    let mut spec = pair(&spaces[0], &spaces[1]);
    spec.b.altnames = vec!["lo".into()];
    let error = veth::create(&spec).unwrap_err().to_string();
    assert!(error.contains("eth1 in net:["), "{error}");
    assert_eq!(observe::links_in(&spaces[0]).unwrap().len(), 1);
}

#[test]
fn a_group_goes_in_one_message() {
    let host = Netns::create().unwrap();
    let node = Netns::create().unwrap();
    let specs: Vec<_> = (0..20)
        .map(|i| {
            let mut a = VethEnd::new(&host, format!("h{i}"));
            a.group = 4242;
            VethSpec { a, b: VethEnd::new(&node, format!("n{i}")), mtu: 1500 }
        })
        .collect();
    veth::create_many(&specs).unwrap().into_iter().for_each(|r| r.unwrap());
    let mut socket = Socket::open_in(&host).unwrap();
    assert!(link::delete_group(&mut socket, 0).is_err());
    assert!(link::delete_group(&mut socket, 4242).unwrap());
    assert!(!link::delete_group(&mut socket, 4242).unwrap());
    assert_eq!(observe::links_in(&host).unwrap().len(), 1);
    assert_eq!(observe::links_in(&node).unwrap().len(), 1);
}

#[test]
fn an_interrupted_pair_is_completed() {
    let spaces = Netns::create_many(2).unwrap();
    let mut half = pair(&spaces[0], &spaces[1]);
    half.b.up = false;
    veth::create(&half).unwrap();
    let mut whole = pair(&spaces[0], &spaces[1]);
    whole.b.alias = Some("ethernet-1/2".into());
    whole.b.altnames = vec!["e1-1".into()];
    assert!(veth::ensure(&whole).unwrap());
    assert!(!veth::ensure(&whole).unwrap());
    assert!(observe::links_in(&spaces[0]).unwrap()[1].carrier);
    assert!(veth::ensure(&half).unwrap_err().to_string().contains("state up is true"));

    let third = Netns::create().unwrap();
    let elsewhere = pair(&spaces[0], &third);
    let error = veth::ensure(&elsewhere).unwrap_err().to_string();
    assert!(error.contains("peer is another interface"), "{error}");
}

/// The kernel's own worker would take seconds for that many.
#[test]
fn every_link_works_when_creation_returns() {
    const LINKS: usize = 400;
    let spaces = Netns::create_many(2).unwrap();
    let specs: Vec<_> = (0..LINKS)
        .map(|i| {
            let mut a = VethEnd::new(&spaces[0], format!("a{i}"));
            a.link_local = false;
            VethSpec { a, b: VethEnd::new(&spaces[1], format!("b{i}")), mtu: 1500 }
        })
        .collect();
    veth::create_many(&specs).unwrap().into_iter().for_each(|r| r.unwrap());
    let mut socket = Socket::open_in(&spaces[0]).unwrap();
    let dump = socket.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).unwrap();
    let up = |message: &&RouteNetlinkMessage| match message {
        RouteNetlinkMessage::NewLink(link) => {
            link.attributes.contains(&LinkAttribute::OperState(State::Up))
        }
        _ => false,
    };
    assert_eq!(dump.iter().filter(up).count(), LINKS);
    // Without link-local addresses on one side.
    let links = observe::links(&mut socket).unwrap();
    assert!(links[1..].iter().all(|link| link.addresses.is_empty()));
}
