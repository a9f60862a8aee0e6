//! Stitches pass every frame: two taps joined through a veth and two stitches.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use netloom_datapath::link::tap::{self, TapSpec};
use netloom_datapath::link::veth::{self, VethEnd, VethSpec};
use netloom_datapath::link::vxlan::{self, VxlanSpec};
use netloom_datapath::netns::Netns;
use netloom_datapath::{Socket, addr, link, stitch, sysctl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn quiet_netns() -> Netns {
    let netns = Netns::create().unwrap();
    sysctl::write(&netns, "ipv6/conf/default/disable_ipv6", "1").unwrap();
    netns
}

fn tap_in(netns: &Netns, name: &str) -> File {
    let mut spec = TapSpec::new(netns, name);
    spec.mtu = Some(9500);
    let fd: OwnedFd = tap::create(&spec).unwrap();
    File::from(fd)
}

fn frame(destination: [u8; 6], rest: &[u8], length: usize) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(rest);
    frame.resize(length, 0x5a);
    frame
}

/// Frames that bridges drop, tagged frames and jumbo frames.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let group = |last| [0x01, 0x80, 0xc2, 0, 0, last];
    vec![
        ("STP", frame(group(0x00), &[0, 38, 0x42, 0x42, 3], 60)),
        ("PAUSE", frame(group(0x01), &[0x88, 0x08, 0, 1], 60)),
        ("LACP", frame(group(0x02), &[0x88, 0x09, 1, 1], 124)),
        ("LLDP", frame(group(0x0e), &[0x88, 0xcc, 2, 7], 100)),
        ("802.1Q", frame([2, 0, 0, 0, 0, 8], &[0x81, 0, 0, 100, 8, 0], 90)),
        ("802.1ad", frame([2, 0, 0, 0, 0, 8], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0], 90)),
        ("broadcast", frame([0xff; 6], &[8, 6], 60)),
        ("jumbo", frame([2, 0, 0, 0, 0, 8], &[8, 0], 9014)),
    ]
}

fn receive(tap: &mut File) -> Option<Vec<u8>> {
    let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::from(3000u16)).unwrap() == 0 {
        return None;
    }
    let mut buffer = vec![0; 10_000];
    let length = tap.read(&mut buffer).unwrap();
    buffer.truncate(length);
    Some(buffer)
}

fn all_pass(from: &mut File, to: &mut File) {
    for (name, frame) in frames() {
        from.write_all(&frame).unwrap();
        assert_eq!(receive(to).as_ref(), Some(&frame), "{name}");
    }
}

#[test]
fn every_frame_passes_both_ways() {
    let (left, right) = (quiet_netns(), quiet_netns());
    let mut left_tap = tap_in(&left, "tap1");
    let mut right_tap = tap_in(&right, "tap1");
    let pair =
        VethSpec { a: VethEnd::new(&left, "eth1"), b: VethEnd::new(&right, "eth1"), mtu: 9500 };
    veth::create(&pair).unwrap();
    for netns in [&left, &right] {
        let mut socket = Socket::open_in(netns).unwrap();
        assert_eq!(stitch::target(&mut socket, "eth1").unwrap(), None);
        assert!(stitch::ensure(&mut socket, "tap1", "eth1").unwrap());
        assert!(!stitch::ensure(&mut socket, "tap1", "eth1").unwrap());
        let eth1 = link::index(&mut socket, "eth1").unwrap();
        assert_eq!(stitch::target(&mut socket, "tap1").unwrap(), Some(eth1));
        assert!(stitch::ensure(&mut socket, "tap1", "lo").is_err());
    }
    all_pass(&mut left_tap, &mut right_tap);
    all_pass(&mut right_tap, &mut left_tap);

    let mut socket = Socket::open_in(&left).unwrap();
    assert!(stitch::remove(&mut socket, "tap1", "eth1").unwrap());
    assert!(!stitch::remove(&mut socket, "tap1", "eth1").unwrap());
    assert_eq!(stitch::target(&mut socket, "tap1").unwrap(), None);
    stitch::create(&mut socket, "tap1", "eth1").unwrap();
    all_pass(&mut left_tap, &mut right_tap);
}

#[test]
fn every_frame_passes_a_vxlan_stitch() {
    let (left, right) = (quiet_netns(), quiet_netns());
    let underlay =
        VethSpec { a: VethEnd::new(&left, "under"), b: VethEnd::new(&right, "under"), mtu: 9600 };
    veth::create(&underlay).unwrap();
    let mut taps = Vec::new();
    for (netns, ours, remote) in
        [(&left, "10.9.0.1/24", "10.9.0.2"), (&right, "10.9.0.2/24", "10.9.0.1")]
    {
        let mut socket = Socket::open_in(netns).unwrap();
        addr::add(&mut socket, "under", ours.parse().unwrap(), true).unwrap();
        let mut spec = VxlanSpec::new(netns, "vx100", 100, remote.parse().unwrap());
        spec.device = Some("under".into());
        spec.mtu = Some(9500);
        spec.source_ports = Some((50_000, 50_100));
        assert!(vxlan::ensure(&mut socket, &spec).unwrap());
        assert!(!vxlan::ensure(&mut socket, &spec).unwrap());
        taps.push(tap_in(netns, "tap1"));
        stitch::create(&mut socket, "tap1", "vx100").unwrap();
    }
    let mut right_tap = taps.pop().unwrap();
    let mut left_tap = taps.pop().unwrap();
    all_pass(&mut left_tap, &mut right_tap);
    all_pass(&mut right_tap, &mut left_tap);
}
