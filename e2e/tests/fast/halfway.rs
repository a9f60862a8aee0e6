//! Deploys that fail half-way on a lab that runs, and what the next one makes of it.

use netloom_e2e::Sandbox;
use netloom_e2e::images::SMALL;
use std::path::PathBuf;

/// A lab with these nodes and links on the usual management network.
fn lab(s: &Sandbox, name: &str, nodes: &str, links: &str) -> PathBuf {
    let text =
        format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n{nodes}\nlinks:\n{links}");
    s.lab(name, &text)
}

/// A node whose deploy fails.
const ENDS: &str = "  e: {cmd: \"false\", restart-policy: \"no\"}";

#[test]
fn links_that_were_rewired_come_back() {
    let s = Sandbox::new();
    let nodes = "  a: {}\n  b: {}\n  c: {}\n  d: {}\n";
    let old = "  - {endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.1.0.1/30, 10.1.0.2/30]}\n  - endpoints: [\"c:eth1\", \"d:eth1\"]\n";
    let new = "  - endpoints: [\"a:eth1\", \"c:eth1\"]\n  - endpoints: [\"b:eth1\", \"d:eth1\"]\n  - endpoints: [\"a:eth2\", \"host:h2\"]\n";
    let file = lab(&s, "wired", nodes, old);
    s.deploy(&file);
    lab(&s, "wired", &format!("{nodes}{ENDS}"), new);
    s.with("deploy", &file, &["--plain"]).run().code(1).says("node e: it ended at once");
    // A second failure forgets nothing of the first.
    lab(&s, "wired", &format!("{nodes}{ENDS}"), old);
    s.with("deploy", &file, &["--plain"]).run().code(1);
    lab(&s, "wired", nodes, old);
    s.deploy(&file);
    s.exec(&file, "a", "ping -c1 -W2 10.1.0.2").ok();
    for node in ["c", "d"] {
        s.exec(&file, node, "ip link show eth1").ok();
    }
    s.exec(&file, "a", "ip link show eth2").fails();
    s.sh("ip link show h2").fails();
    s.with("deploy", &file, &[]).run().ok().says("is as its file says");
    s.gone(&file);
}

#[test]
fn what_a_node_made_of_its_leg_stays() {
    let s = Sandbox::new();
    let file = lab(&s, "leg", "  a: {}\n", "");
    s.deploy(&file);
    s.sh("nsenter --net=$NETLOOM_NETNS_DIR/clab-leg-a ip link set eth0 alias office").ok();
    s.exec(&file, "a", "ip route add 192.0.2.0/24 via 172.20.20.1").ok();
    let index = s.asks(&file, "a", "cat /sys/class/net/eth0/ifindex");
    lab(&s, "leg", &format!("  a: {{}}\n{ENDS}"), "");
    s.with("deploy", &file, &["--plain"]).run().code(1);
    lab(&s, "leg", "  a: {}\n", "");
    s.deploy(&file);
    assert_eq!(s.asks(&file, "a", "cat /sys/class/net/eth0/ifindex"), index, "the same interface");
    assert_eq!(s.asks(&file, "a", "cat /sys/class/net/eth0/ifalias"), "office");
    assert!(s.asks(&file, "a", "ip route").contains("192.0.2.0/24"), "and the same routes");
    s.gone(&file);
}

#[test]
fn names_are_those_of_the_file_again() {
    let s = Sandbox::new();
    let file = lab(&s, "named", "  a: {}\n  b: {mgmt-ipv4: 172.20.20.20}", "");
    s.deploy(&file);
    lab(&s, "named", &format!("  a: {{}}\n  b: {{mgmt-ipv4: 172.20.20.30}}\n{ENDS}"), "");
    s.with("deploy", &file, &["--plain"]).run().code(1);
    lab(&s, "named", "  a: {}\n  b: {mgmt-ipv4: 172.20.20.20}", "");
    s.deploy(&file);
    let hosts = s.asks(&file, "a", "cat /etc/hosts");
    assert!(hosts.contains("172.20.20.20\t") && !hosts.contains("172.20.20.30"), "{hosts}");
    assert!(!hosts.contains("clab-named-e"), "{hosts}");
    s.gone(&file);
}

#[test]
fn a_port_is_taken_until_nothing_leads_there() {
    let s = Sandbox::new();
    let file = lab(&s, "first", "  a: {ports: [\"18081:80\"]}", "");
    s.deploy(&file);
    lab(&s, "first", &format!("  a: {{}}\n{ENDS}"), "");
    // It fails before ports are looked at.
    let hosts = s.state().join("labs/first/nodes/e/hostname");
    std::fs::create_dir_all(&hosts).expect("stand in the way of a file");
    s.with("deploy", &file, &["--plain"]).run().fails();
    std::fs::remove_dir_all(&hosts).expect("step aside");
    let other = lab(&s, "second", "  a: {ports: [\"18081:80\"]}", "");
    s.with("deploy", &other, &[]).run().code(3).says("is in use by lab `first`");
    lab(&s, "first", "  a: {}", "");
    s.deploy(&file);
    s.deploy(&other);
    s.destroy(&other);
    s.gone(&file);
}
