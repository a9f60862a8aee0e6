//! Links of every type, with their addresses and names.

use netloom_e2e::images::SMALL;
use netloom_e2e::{OpenVSwitch, Sandbox, eventually};
use serde_json::Value;

/// One interface of a node, as `inspect interfaces` shows it.
#[track_caller]
fn interface(s: &Sandbox, lab: &std::path::Path, node: &str, name: &str) -> Value {
    let done = s
        .netloom(["inspect", "interfaces", "-f", "json", "--node", node, "-t"])
        .args([lab])
        .run()
        .ok();
    let nodes = done.json();
    let list = nodes[0]["interfaces"].as_array().expect("interfaces").clone();
    let found = list.into_iter().find(|i| i["name"] == name);
    found.unwrap_or_else(|| panic!("node {node} has no interface {name}: {nodes}"))
}

#[track_caller]
fn has_address(interface: &Value, address: &str) {
    let list = interface["addresses"].as_array().expect("addresses");
    assert!(list.iter().any(|a| a == address), "{address} should be on {interface}");
}

#[test]
fn addresses_macs_mtus_and_names() {
    let s = Sandbox::new();
    let lab = s.lab(
        "wires",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, network-mode: none}}
nodes: {{a: {{}}, b: {{}}, c: {{}}}}
links:
  - endpoints: ["a:eth1", "b:eth1"]
    ipv4: [10.1.0.1/30, 10.1.0.2/30]
    ipv6: ["2001:db8:1::1/64", "2001:db8:1::2/64"]
  - type: veth
    mtu: 1400
    endpoints:
      - {{node: b, interface: eth2, mac: "02:00:00:00:00:b2", ipv4: 10.2.0.1/30}}
      - {{node: c, interface: a-rather-long-interface-name, ipv4: 10.2.0.2/30, ipv6: "2001:db8:2::2/64"}}
  - endpoints: ["a:eth2", "c:eth1"]
"#
        ),
    );
    s.deploy(&lab);
    let a1 = interface(&s, &lab, "a", "eth1");
    assert_eq!(a1["mtu"], 9500, "the default MTU");
    assert_eq!(a1["state"], "up");
    has_address(&a1, "10.1.0.1/30");
    has_address(&a1, "2001:db8:1::1/64");
    s.exec(&lab, "a", "ping -c1 -W2 10.1.0.2").ok();
    eventually("IPv6 of a link answers", 5, || {
        s.exec(&lab, "a", "ping -6 -c1 -W1 2001:db8:1::2").code == 0
    });
    let b2 = interface(&s, &lab, "b", "eth2");
    assert_eq!((&b2["mac"], &b2["mtu"]), (&Value::from("02:00:00:00:00:b2"), &Value::from(1400)));
    let c = s.asks(&lab, "c", "ip -o -4 addr | grep 10.2.0.2");
    assert!(c.contains("10.2.0.2/30"), "the end with the long name is addressed: {c}");
    s.exec(&lab, "c", "ping -c1 -W2 10.2.0.1").ok();
    let pid = s.asks(&lab, "c", "readlink /proc/self/ns/net");
    assert!(pid.starts_with("net:["), "{pid}");
    let named = s.sh("ip -n \"$(readlink -f $NETLOOM_NETNS_DIR/clab-wires-c)\" -o link 2>/dev/null || nsenter --net=$NETLOOM_NETNS_DIR/clab-wires-c ip link show dev a-rather-long-interface-name");
    named.ok().prints("a-rather-long-interface-name");

    // Deterministic: the same MACs after it is made anew.
    let macs = |s: &Sandbox| s.asks(&lab, "a", "cat /sys/class/net/eth*/address");
    let before = macs(&s);
    s.destroy(&lab);
    s.deploy(&lab);
    assert_eq!(macs(&s), before, "MACs are the same every time");
    s.gone(&lab);
}

#[test]
fn host_bridge_and_management_ends() {
    let mut s = Sandbox::new();
    s.sh("ip link add br-lab address 02:00:00:00:00:05 type bridge; ip link set br-lab up
        ip addr add 10.5.0.254/24 dev br-lab
        ip link add own type veth peer name own-peer; ip link set own master br-lab
        ip link set own up; ip link set own-peer up; sleep 0.2")
        .ok();
    s.remember();
    let lab = s.lab(
        "ends",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, network-mode: none}}
nodes:
  br-lab: {{kind: bridge}}
  me: {{kind: host, exec: ["touch host-command-ran"]}}
  a: {{}}
  b: {{}}
  m: {{}}
  sw|m: {{kind: bridge, network-mode: "container:m"}}
links:
  - {{endpoints: ["a:eth1", "br-lab:a-port"], ipv4: [10.5.0.1/24]}}
  - {{endpoints: ["b:eth1", "br-lab:b-port"], ipv4: [10.5.0.2/24]}}
  - {{endpoints: ["a:eth2", "host:to-a"], ipv4: [10.6.0.1/30, 10.6.0.2/30]}}
  - type: host
    endpoint: {{node: b, interface: eth2, ipv4: 10.6.1.1/30}}
    host-interface: to-b
  - type: mgmt-net
    endpoint: {{node: b, interface: eth3, ipv4: 172.20.20.77/24}}
    host-interface: mgmt-b
  - {{endpoints: ["a:eth9", "me:to-me"], ipv4: [10.6.9.1/30, 10.6.9.2/30]}}
  - {{type: veth-stitch, endpoints: [{{node: a, interface: eth8, ipv4: 10.6.8.1/30}}, {{node: b, interface: eth8, ipv4: 10.6.8.2/30}}]}}
  - {{endpoints: ["a:eth3", "sw|m:p1"], ipv4: [10.7.0.1/24]}}
  - {{endpoints: ["b:eth4", "sw|m:p2"], ipv4: [10.7.0.2/24]}}
"#
        ),
    );
    s.deploy(&lab);
    s.exec(&lab, "a", "ping -c1 -W2 10.5.0.2").ok();
    s.sh("ping -c1 -W2 10.5.0.1").ok();
    s.sh("bridge link show | grep -c 'br-lab'").ok().prints("3");
    s.sh("ping -c1 -W2 10.6.0.1 && ip addr show dev to-a").ok().prints("10.6.0.2/30");
    s.sh("ip addr add 10.6.1.2/30 dev to-b && ping -c1 -W2 10.6.1.1").ok();
    s.exec(&lab, "b", "ping -c1 -W2 172.20.20.1").ok();
    s.exec(&lab, "a", "ping -c1 -W2 10.7.0.2").ok();
    s.exec(&lab, "a", "ping -c1 -W2 10.6.8.2").ok();
    s.sh("ping -c1 -W2 10.6.9.1").ok();
    assert!(
        s.lab_dir().join("host-command-ran").exists(),
        "commands of a node of kind `host` run on the host, in the folder of the file"
    );
    assert_eq!(s.asks(&lab, "m", "ls /sys/class/net/sw/brif | sort"), "p1\np2");
    s.gone(&lab);
}

#[test]
fn macvlan_dummy_and_shared_namespace() {
    let mut s = Sandbox::new();
    s.sh("ip link add up0 type veth peer name far0 && ip link set up0 up && ip link set far0 up && ip addr add 10.8.0.254/24 dev far0").ok();
    s.remember();
    let lab = s.lab(
        "odd",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{network-mode: none}}
  b: {{network-mode: "container:a"}}
  h: {{network-mode: host}}
links:
  - type: macvlan
    endpoint: {{node: a, interface: eth1, mac: "02:00:00:00:00:08", ipv4: 10.8.0.1/24}}
    host-interface: up0
    mode: bridge
  - type: dummy
    endpoint: {{node: a, interface: dum0, ipv4: 10.9.0.1/32}}
  - endpoints: ["a:eth5", "b:eth6"]
"#
        ),
    );
    s.deploy(&lab);
    let a1 = interface(&s, &lab, "a", "eth1");
    assert_eq!(
        (a1["type"].as_str(), a1["mac"].as_str()),
        (Some("macvlan"), Some("02:00:00:00:00:08"))
    );
    s.exec(&lab, "a", "ping -c1 -W2 10.8.0.254").ok();
    s.exec(&lab, "b", "ping -c1 -W2 10.9.0.1").ok();
    let a = s.asks(&lab, "a", "readlink /proc/self/ns/net; ls /sys/class/net");
    assert_eq!(
        s.asks(&lab, "b", "readlink /proc/self/ns/net; ls /sys/class/net"),
        a,
        "one namespace"
    );
    assert!(a.contains("eth5") && a.contains("eth6") && a.contains("dum0"), "{a}");
    let host = s.sh("readlink /proc/self/ns/net").ok();
    assert_eq!(s.asks(&lab, "h", "readlink /proc/self/ns/net"), host.text(), "network-mode host");
    s.gone(&lab);
}

#[test]
fn vxlan_between_two_hosts() {
    // Two tunnels end to end: one in the lab's node, the other made by hand on the far side.
    let mut s = Sandbox::new();
    s.sh("ip link add wire type veth peer name far && ip addr add 192.0.2.1/24 dev wire && ip link set wire up").ok();
    let far = s.run("unshare").args(["-n", "sleep", "300"]).start();
    let pid = far.pid();
    s.remember();
    s.sh(&format!(
        "ip link set far netns {pid} && nsenter -t {pid} -n sh -ec '
            ip link set lo up; ip addr add 192.0.2.2/24 dev far; ip link set far up
            ip link add t1 type vxlan id 100 remote 192.0.2.1 dstport 14788 dev far
            ip addr add 10.20.0.2/24 dev t1; ip link set t1 up
            ip link add t2 type vxlan id 200 remote 192.0.2.1 dstport 14789 dev far
            ip addr add 10.21.0.2/24 dev t2; ip link set t2 up'"
    ))
    .ok();
    s.remember();
    let lab = s.lab(
        "tunnels",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, network-mode: none}}
nodes: {{a: {{}}, b: {{}}}}
links:
  - type: vxlan
    endpoint: {{node: a, interface: eth1, ipv4: 10.20.0.1/24}}
    remote: 192.0.2.2
    vni: 100
    dst-port: 14788
    mtu: 1450
  - type: vxlan-stitch
    endpoint: {{node: b, interface: eth1, ipv4: 10.21.0.1/24}}
    remote: 192.0.2.2
    vni: 200
    mtu: 1450
  - {{type: vxlan, endpoint: {{node: a, interface: eth2}}, remote: localhost, vni: 300, mtu: 1450}}
"#
        ),
    );
    s.deploy(&lab);
    s.exec(&lab, "a", "ping -c1 -W3 10.20.0.2").ok();
    s.exec(&lab, "b", "ping -c1 -W3 10.21.0.2").ok();
    assert_eq!(interface(&s, &lab, "a", "eth1")["type"], "vxlan");
    let looked_up = s.sh("nsenter --net=$NETLOOM_NETNS_DIR/clab-tunnels-a ip -d link show eth2");
    assert!(looked_up.ok().text().contains("remote 127.0.0.1"), "names are looked up");
    assert_eq!(interface(&s, &lab, "b", "eth1")["type"], "veth", "a stitched end is a veth");
    s.gone(&lab);
    let nowhere = std::fs::read_to_string(&lab).unwrap().replace("localhost", "no-such.invalid");
    let lab = s.whole("tunnels", &nowhere);
    s.with("deploy", &lab, &[]).run().code(3).says("`no-such.invalid` leads to no address");
    far.signal(nix::sys::signal::Signal::SIGKILL);
    far.finish();
}

#[test]
fn open_vswitch_bridge() {
    let mut s = Sandbox::new();
    let switch = OpenVSwitch::start(&s);
    s.sh("ovs-vsctl --timeout=10 add-br ovs-lab -- set bridge ovs-lab datapath_type=netdev
        ovs-vsctl --timeout=10 add-br ovs-two -- set bridge ovs-two datapath_type=netdev
        ip link add own type veth peer name own-peer; ip link set own up; ip link set own-peer up
        for b in ovs-lab ovs-two; do ovs-vsctl --timeout=10 set Interface $b mtu_request=1500; done
        ovs-vsctl --timeout=10 add-port ovs-lab own; sleep 0.2")
        .ok();
    s.remember();
    let text = |links: &str| {
        format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, network-mode: none}}
nodes:
  ovs-lab: {{kind: ovs-bridge}}
  ovs-two: {{kind: ovs-bridge}}
  a: {{}}
  b: {{}}
links:
  - {{endpoints: ["a:eth1", "ovs-lab:a-port"], ipv4: [10.5.0.1/24]}}
{links}
  - endpoints: ["ovs-lab:patch-a", "ovs-two:patch-b"]
"#
        )
    };
    let b = r#"  - {endpoints: ["b:eth1", "ovs-two:b-port"], ipv4: [10.5.0.2/24]}"#;
    let lab = s.lab("switched", &text(b));
    s.deploy(&lab);
    let ports = |s: &Sandbox, bridge: &str| {
        s.sh(&format!("ovs-vsctl --timeout=10 list-ports {bridge}")).ok().text().replace('\n', " ")
    };
    assert_eq!(ports(&s, "ovs-lab"), "a-port own patch-a");
    assert_eq!(ports(&s, "ovs-two"), "b-port patch-b");
    let reaches = || s.exec(&lab, "a", "ping -c1 -W1 10.5.0.2").code == 0;
    eventually("the switches forward", 5, reaches);
    // The switch sees frames as they are: none may wait for a card to finish its checksum.
    let server = s
        .with("exec", &lab, &["b", "--", "sh", "-c", "while :; do seq 20000 | nc -l -p 80; done"])
        .start();
    let last = || s.exec(&lab, "a", "sleep 2 | nc -w 5 10.5.0.2 80 | tail -n 1").text() == "20000";
    eventually("TCP passes", 10, last);
    s.exec(&lab, "b", "killall sh nc");
    server.finish();

    // What others took out comes back.
    s.sh("ovs-vsctl --timeout=10 del-port a-port").ok();
    s.deploy(&lab);
    assert_eq!(ports(&s, "ovs-lab"), "a-port own patch-a");
    eventually("the switches forward again", 5, reaches);

    // A link that is no longer in the file leaves the switch.
    let lab = s.lab("switched", &text(""));
    s.deploy(&lab);
    assert_eq!(ports(&s, "ovs-two"), "patch-b");

    // A name that is somebody else's stays theirs.
    let clash = s.lab("clash", &text(b).replace("a-port", "own").replace("patch-", "other-"));
    s.with("deploy", &clash, &[])
        .run()
        .code(3)
        .says("interface `own` exists on this machine already");
    s.sh(
        "ovs-vsctl --timeout=10 --no-wait add-port ovs-lab stale -- set Interface stale type=dummy",
    )
    .ok();
    let clash = s.lab("clash", &text(b).replace("a-port", "stale").replace("patch-", "other-"));
    s.with("deploy", &clash, &[]).run().code(3).says("Open vSwitch has a port `stale` already");
    s.sh("ovs-vsctl --timeout=10 --no-wait del-port stale").ok();

    s.gone(&lab);
    assert_eq!((ports(&s, "ovs-lab").as_str(), ports(&s, "ovs-two").as_str()), ("own", ""));

    // While the switch is away its ports cannot be taken out, and the record stays.
    s.deploy(&lab);
    switch.stop();
    s.with("deploy", &lab, &[]).run().code(3).says("is the service `openvswitch-switch` running?");
    s.with("destroy", &lab, &["--cleanup"]).run().fails().says("what is left stays recorded");
    let switch = OpenVSwitch::start(&s);
    s.destroy(&lab);
    assert_eq!((ports(&s, "ovs-lab").as_str(), ports(&s, "ovs-two").as_str()), ("own", ""));
    assert!(s.lab_files().iter().all(|f| !f.contains("/clab-")), "nothing is left of the lab");
    switch.stop();
}

#[test]
fn what_open_vswitch_does_not_take_is_said() {
    let s = Sandbox::new();
    let switch = OpenVSwitch::start(&s);
    s.sh("ovs-vsctl --timeout=10 add-br sw0 -- set bridge sw0 datapath_type=netdev").ok();
    let lab = s.lab(
        "untaken",
        &format!(
            r#"
nodes:
  sw0: {{kind: ovs-bridge}}
  a: {{kind: linux, image: {SMALL}, network-mode: none}}
links:
  - endpoints: ["a:eth1", "sw0:p1"]
  - {{type: dummy, endpoint: {{node: sw0, interface: d1}}}}
"#
        ),
    );
    s.deploy(&lab);
    let ports = s.sh("ovs-vsctl --timeout=10 list-ports sw0").ok();
    assert_eq!(ports.text(), "d1\np1", "interfaces of every kind of link");
    s.with("deploy", &lab, &["--dry-run"]).run().ok().prints("nothing to do");
    // A port that the switch has lost is no port, whatever its database says.
    s.sh("ovs-vsctl --timeout=10 set Interface p1 type=nosuchtype; sleep 0.3").ok();
    s.deploy(&lab);
    s.sh("ovs-vsctl --timeout=10 get Interface p1 ofport type").ok().prints("\"\"");
    s.destroy(&lab);

    // The database answers and the switch itself does not.
    switch.stop_switch();
    let done = s.with("deploy", &lab, &["--plain"]).run().code(1);
    assert!(done.stderr.contains("is ovs-vswitchd running?"), "{done}");
    let left = s.sh("ovs-vsctl --timeout=10 --no-wait list-ports sw0").ok();
    assert_eq!(left.text(), "", "nothing is left in the database");
    s.sh("ip link show d1").fails();
}
