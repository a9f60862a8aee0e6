//! Namespaces, sysctls, routes, offloads and the probe.

use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::netns::Netns;
use netloom_datapath::probe::{self, Area};
use netloom_datapath::route::{self, Route};
use netloom_datapath::stitch::Classifier;
use netloom_datapath::{Cidr, Error, Socket, addr, observe, offload, sysctl};

#[test]
fn namespaces_are_told_apart() {
    let spaces = Netns::create_many(5).unwrap();
    let current = Netns::current().unwrap();
    for (i, space) in spaces.iter().enumerate() {
        assert!(space.same(&space.try_clone().unwrap()));
        assert!(!space.same(&current));
        assert!(spaces[..i].iter().all(|other| !other.same(space)));
        let inside = space.run_in(Netns::current).unwrap().unwrap();
        assert!(inside.same(space));
        let links = observe::links_in(space).unwrap();
        assert_eq!(links.len(), 1);
        assert!(links[0].name == "lo" && links[0].up);
        assert_eq!(links[0].addresses.len(), 2);
    }
    assert!(Netns::current().unwrap().same(&current));
    assert!(Netns::from_pid(std::process::id()).unwrap().same(&current));
    let path = Netns::from_path("/proc/self/ns/net").unwrap();
    assert_eq!(path.inode(), current.inode());
    assert!(Netns::from_path("/nonexistent").unwrap_err().to_string().contains("/nonexistent"));
    assert!(Netns::from_path("/dev/null").unwrap().run_in(|| ()).is_err());
}

#[test]
fn sysctls_hit_their_namespace() {
    let spaces = Netns::create_many(2).unwrap();
    let key = "ipv4/ip_forward";
    let outside = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    for (netns, value) in [(&spaces[0], "0"), (&spaces[1], "1")] {
        sysctl::write(netns, key, value).unwrap();
    }
    assert_eq!(sysctl::read(&spaces[0], key).unwrap(), "0");
    assert_eq!(sysctl::read(&spaces[1], key).unwrap(), "1");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), outside);
    let changed = sysctl::ensure(&spaces[0], key, "1").unwrap().unwrap();
    assert_eq!((changed.before.as_str(), changed.after.as_str()), ("0", "1"));
    assert!(sysctl::ensure(&spaces[0], key, "1").unwrap().is_none());
    assert!(sysctl::read(&spaces[0], "../kernel/hostname").is_err());

    // Interface directories are those of the namespace, too.
    let pair = VethSpec {
        a: VethEnd::new(&spaces[0], "eth0.5"),
        b: VethEnd::new(&spaces[1], "eth7"),
        mtu: 1500,
    };
    veth::create(&pair).unwrap();
    sysctl::write(&spaces[0], "ipv4/conf/eth0.5/rp_filter", "2").unwrap();
    assert_eq!(sysctl::read(&spaces[0], "ipv4/conf/eth0.5/rp_filter").unwrap(), "2");
    assert!(sysctl::read(&spaces[1], "ipv4/conf/eth0.5/rp_filter").is_err());
}

#[test]
fn routes_are_verified() {
    let spaces = Netns::create_many(2).unwrap();
    let pair = VethSpec {
        a: VethEnd::new(&spaces[0], "eth1"),
        b: VethEnd::new(&spaces[1], "eth1"),
        mtu: 1500,
    };
    veth::create(&pair).unwrap();
    let mut socket = Socket::open_in(&spaces[0]).unwrap();
    for cidr in ["10.0.0.1/24", "fd00::1/64"] {
        addr::replace(&mut socket, "eth1", cidr.parse().unwrap(), true).unwrap();
    }
    let routes = [
        Route::default_via("10.0.0.254".parse().unwrap()),
        Route::default_via("fd00::fe".parse().unwrap()).on("eth1"),
        Route::via("192.168.7.0/24".parse().unwrap(), "10.0.0.7".parse().unwrap()),
        Route::via("fd07::/48".parse().unwrap(), "fd00::7".parse().unwrap()),
    ];
    for route in &routes {
        assert!(route::ensure(&mut socket, route).unwrap(), "{route}");
        assert!(!route::ensure(&mut socket, route).unwrap(), "{route}");
        assert!(route::add(&mut socket, route).is_err(), "{route}");
    }
    let other = Route::default_via("10.0.0.1".parse().unwrap());
    assert!(route::ensure(&mut socket, &other).is_err());
    let entries = route::list(&mut socket).unwrap();
    let default = entries.iter().find(|entry| entry.destination == Cidr::DEFAULT_V6).unwrap();
    assert_eq!(default.gateway, Some("fd00::fe".parse().unwrap()));
    for route in &routes {
        assert!(route::ensure_absent(&mut socket, route).unwrap(), "{route}");
        assert!(!route::ensure_absent(&mut socket, route).unwrap(), "{route}");
    }
    let far = Route::via("192.168.7.0/24".parse().unwrap(), "172.16.0.1".parse().unwrap());
    let error = route::add(&mut socket, &far).unwrap_err().to_string();
    assert!(error.contains("not on a network of an interface that is up"), "{error}");
    let cidr = "10.0.0.1/24".parse().unwrap();
    assert!(addr::ensure(&mut socket, "eth1", "10.0.0.1/25".parse().unwrap(), true).is_err());
    assert!(addr::ensure_absent(&mut socket, "eth1", cidr).unwrap());
    assert!(!addr::ensure_absent(&mut socket, "eth1", cidr).unwrap());
}

#[test]
fn cidrs_parse_and_mask() {
    let network = |text: &str| text.parse::<Cidr>().unwrap().network().to_string();
    assert_eq!(network("172.20.20.5/24"), "172.20.20.0/24");
    assert_eq!(network("10.1.2.3/0"), "0.0.0.0/0");
    assert_eq!(network("10.1.2.3/32"), "10.1.2.3/32");
    assert_eq!(network("3fff:172:20:20::5/64"), "3fff:172:20:20::/64");
    assert_eq!(network("fd00::1/0"), "::/0");
    assert_eq!(network("fd00::1/128"), "fd00::1/128");
    for bad in ["10.0.0.1", "10.0.0.1/33", "fd00::1/129", "x/8", "10.0.0.1/x"] {
        assert!(matches!(bad.parse::<Cidr>(), Err(Error::Invalid { .. })), "{bad}");
    }
}

#[test]
fn checksum_offload_goes_off() {
    let spaces = Netns::create_many(2).unwrap();
    let pair = VethSpec {
        a: VethEnd::new(&spaces[0], "eth1"),
        b: VethEnd::new(&spaces[1], "eth1"),
        mtu: 1500,
    };
    veth::create(&pair).unwrap();
    assert!(offload::tx_checksum(&spaces[0], "eth1").unwrap());
    let interfaces = [(&spaces[0], "eth1"), (&spaces[0], "nope"), (&spaces[1], "eth1")];
    let results = offload::disable_tx_checksum_many(&interfaces).unwrap();
    let outcome: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(outcome, [true, false, true]);
    assert!(!offload::tx_checksum(&spaces[0], "eth1").unwrap());
    assert!(!offload::tx_checksum(&spaces[1], "eth1").unwrap());
    offload::set_tx_checksum(&spaces[0], "eth1", true).unwrap();
    assert!(offload::tx_checksum(&spaces[0], "eth1").unwrap());
}

#[test]
fn the_probe_finds_what_the_tests_need() {
    assert!(probe::link_kind("veth").unwrap().is_yes());
    let unknown = probe::link_kind("no-such-kind").unwrap();
    assert_eq!(unknown.to_string(), "missing in this kernel");
    let u32_works = probe::classifier(Classifier::U32).unwrap().is_yes();
    let findings = probe::run().unwrap();
    assert_eq!(findings.has(Area::Classifier, "u32"), u32_works);
    for finding in &findings.list {
        println!("{finding}");
    }
    for kind in ["veth", "bridge", "macvlan", "vxlan"] {
        assert!(findings.has(Area::Link, kind), "{kind}");
    }
    assert!(findings.has(Area::Qdisc, "clsact"));
    let redirects = findings.list.iter().filter(|f| f.area == Area::Classifier);
    assert!(redirects.filter(|f| f.support.is_yes()).count() > 0);
}
