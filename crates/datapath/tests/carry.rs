//! Interfaces carried to another namespace keep what they had, and their neighbours notice nothing.

use netloom_datapath::carry::carry;
use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::netns::Netns;
use netloom_datapath::{Socket, carrier, link, stitch};
use std::process::Command;

/// Output of a command in a namespace, which must succeed.
fn run(netns: &Netns, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let out = netns.run_in(|| Command::new(words[0]).args(&words[1..]).output()).unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{line}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// What `ip` shows of an interface, without the numbers that belong to the place.
fn shown(netns: &Netns, command: &str) -> String {
    let text = run(netns, command);
    let each = |line: &str| {
        let words = line.split_whitespace().skip_while(|w| w.ends_with(':') && w.len() < 5);
        words.filter(|w| !w.starts_with("eth1@")).collect::<Vec<_>>().join(" ")
    };
    let lines = text.lines().map(each).filter(|l| !l.contains("fe80:") && !l.contains("_lft"));
    lines.collect::<Vec<_>>().join("\n")
}

fn pair(a: (&Netns, &str), b: (&Netns, &str)) {
    let spec = VethSpec { a: VethEnd::new(a.0, a.1), b: VethEnd::new(b.0, b.1), mtu: 1600 };
    veth::create(&spec).unwrap();
}

#[test]
fn everything_comes_along() {
    let [old, new, peer] = [(); 3].map(|()| Netns::create().unwrap());
    pair((&old, "eth1"), (&peer, "p1"));
    pair((&old, "eth2"), (&peer, "p2"));
    pair((&old, "stays"), (&peer, "p3"));
    run(&peer, "ip addr add 10.1.0.2/24 dev p1");
    for line in [
        "ip addr add 10.1.0.1/24 dev eth1",
        "ip addr add 10.1.0.9/32 dev eth1 noprefixroute",
        "ip addr add 2001:db8:1::1/64 dev eth1 nodad",
        "ip addr add 10.3.0.1/24 dev stays",
        "ip link set eth1 mtu 1550 address 02:00:00:00:00:aa alias A_name",
        "ip link property add dev eth1 altname ethernet-1-1",
        "ip route add 192.0.2.0/24 via 10.1.0.2 metric 7",
        "ip route add 198.51.100.0/24 via 10.1.0.2 dev eth1 table 42",
        "ip route add 203.0.113.0/24 via 10.3.0.2 dev stays",
        "ip -6 route add 2001:db8:9::/48 via 2001:db8:1::2",
        "ip route add 10.77.0.0/16 proto bird via 10.1.0.2",
        "tc qdisc add dev eth1 root handle 1: tbf rate 10mbit burst 20k latency 50ms",
        "ip link add br0 type bridge",
        "ip link set eth2 master br0",
    ] {
        run(&old, line);
    }
    run(&new, "ip link add br0 type bridge");
    let before = (
        shown(&old, "ip addr show dev eth1"),
        run(&old, "ip route show dev eth1 proto boot"),
        run(&old, "ip -6 route show dev eth1 proto boot"),
        run(&old, "ip route show table 42"),
        run(&old, "tc qdisc show dev eth1"),
    );
    let neighbour = run(&peer, "ip -o link show dev p1").split(" mtu").next().unwrap().to_owned();
    let carried = carry(&old, &new, &["eth1", "eth2", "absent"]).unwrap();
    assert_eq!(carried.names, ["eth1", "eth2"]);
    assert_eq!(carried.failures, []);
    let after = (
        shown(&new, "ip addr show dev eth1"),
        run(&new, "ip route show dev eth1 proto boot"),
        run(&new, "ip -6 route show dev eth1 proto boot"),
        run(&new, "ip route show table 42"),
        run(&new, "tc qdisc show dev eth1"),
    );
    assert_eq!(after, before);
    assert!(before.4.contains("tbf 1: root") && before.1.contains("192.0.2.0/24"), "{before:?}");
    assert!(run(&new, "ip -d link show dev eth1").contains("altname ethernet-1-1"));
    assert!(run(&new, "ip link show dev eth2").contains("master br0"));
    assert!(!run(&new, "ip route").contains("10.77."), "a daemon brings its own routes back");
    assert!(run(&old, "ip -o link").contains("stays"));
    assert!(!run(&old, "ip -o link").contains("eth1"));
    run(&new, "ping -c1 -W2 10.1.0.2");
    let now = run(&peer, "ip -o link show dev p1").split(" mtu").next().unwrap().to_owned();
    assert_eq!(now.split('@').next(), neighbour.split('@').next());
    // And back again.
    assert_eq!(carry(&new, &old, &["eth1"]).unwrap().names, ["eth1"]);
    assert_eq!(shown(&old, "ip addr show dev eth1"), before.0);
    // One whose name is taken stays, and the others are carried.
    run(&new, "ip link add eth1 type bridge");
    run(&old, "ip addr add 10.4.0.1/24 dev stays");
    let carried = carry(&old, &new, &["eth1", "stays"]).unwrap();
    assert_eq!((carried.left, carried.names), (vec!["eth1".into()], vec!["stays".to_owned()]));
    assert!(carried.failures[0].to_string().contains("eth1"), "{:?}", carried.failures);
    run(&old, "ip link show dev eth1");
    assert!(run(&new, "ip addr show dev stays").contains("10.4.0.1/24"));
    // What has classes is said to be lost, and no reason to fail.
    run(&new, "tc qdisc add dev stays root handle 1: htb");
    let carried = carry(&new, &old, &["stays"]).unwrap();
    assert_eq!(carried.failures, []);
    assert!(carried.lost[0].contains("htb"), "{:?}", carried.lost);
}

#[test]
fn where_ipv6_is_switched_off() {
    let [old, new, peer] = [(); 3].map(|()| Netns::create().unwrap());
    pair((&old, "eth1"), (&peer, "p1"));
    pair((&old, "eth2"), (&peer, "p2"));
    run(&old, "ip addr add 2001:db8:1::1/64 dev eth1 nodad");
    run(&old, "ip addr add 10.1.0.1/24 dev eth2");
    for which in ["all", "default"] {
        run(&new, &format!("sysctl -qw net.ipv6.conf.{which}.disable_ipv6=1"));
    }
    let carried = carry(&old, &new, &["eth1", "eth2"]).unwrap();
    assert_eq!(carried.failures, []);
    assert!(run(&new, "ip addr show dev eth1").contains("2001:db8:1::1/64"));
    let other = run(&new, "ip addr show dev eth2");
    assert!(other.contains("10.1.0.1/24") && other.contains("UP") && !other.contains("inet6"));
}

#[test]
fn a_cable_of_two_pairs_carries_carrier() {
    let [a, wiring, b] = [(); 3].map(|()| Netns::create().unwrap());
    pair((&a, "eth1"), (&wiring, "pa"));
    pair((&b, "eth1"), (&wiring, "pb"));
    run(&a, "ip addr add 10.1.0.1/24 dev eth1");
    run(&b, "ip addr add 10.1.0.2/24 dev eth1");
    let mut socket = Socket::open_in(&wiring).unwrap();
    stitch::ensure(&mut socket, "pa", "pb").unwrap();
    run(&a, "ping -c1 -W2 10.1.0.2");
    let cables = [["pa".to_owned(), "pb".to_owned()], ["gone".to_owned(), "pb".to_owned()]];
    let mut changes = carrier::Changes::of(&wiring).unwrap();
    let mut settle = || {
        // The kernel may keep such news to itself for a second.
        while changes.wait(1300u16.into()) {
            carrier::follow(&mut socket, &cables).unwrap();
        }
    };
    let up = |netns: &Netns| run(netns, "ip -o link show dev eth1").contains("LOWER_UP");
    settle();
    assert!(up(&a) && up(&b));
    link::set_down(&mut Socket::open_in(&a).unwrap(), "eth1").unwrap();
    settle();
    assert!(!up(&b));
    // While one end is down, the other one goes and comes without a word about the first.
    run(&b, "ip link set eth1 down");
    run(&b, "ip link set eth1 up");
    settle();
    assert!(!up(&b));
    run(&a, "ip link set eth1 up");
    settle();
    assert!(up(&a) && up(&b));
    run(&b, "ip link set eth1 down");
    settle();
    assert!(!up(&a));
    run(&b, "ip link set eth1 up");
    settle();
    assert!(up(&a));
    run(&a, "ping -c1 -W2 10.1.0.2");
}
