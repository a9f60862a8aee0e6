//! What went wrong earlier is made good, and what is not ours stays as it is.

use netloom_e2e::images::SMALL;
use netloom_e2e::wait::eventually;
use netloom_e2e::{Sandbox, processes::kill_nine};

fn lines(nodes: &str) -> String {
    format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n{nodes}")
}

#[test]
fn a_name_does_not_lead_out_of_the_state_folder() {
    let s = Sandbox::new();
    for name in ["..", "../..", "a/b", ".hidden"] {
        let text = format!(
            "name: \"{name}\"\ntopology: {{nodes: {{a: {{kind: linux, image: {SMALL}}}}}}}\n"
        );
        let lab = s.file("bad.clab.yml", &text);
        let done = s.with("destroy", &lab, &["--cleanup"]).run().fails();
        assert!([3, 4].contains(&done.code), "{done}");
        s.netloom(["destroy", "--name", name]).run().fails();
        assert!(s.state().join("images").exists(), "the state folder is whole after `{name}`");
    }
    s.assert_clean();
}

#[test]
fn a_lab_directory_that_was_there_survives_a_failed_deploy() {
    let s = Sandbox::new();
    let good = lines("  a: {}\n");
    let lab = s.lab("kept", &good);
    s.deploy(&lab);
    let saved = s.lab_dir().join("clab-kept/saved.cfg");
    std::fs::write(&saved, "precious").expect("write into the lab directory");
    s.with("destroy", &lab, &[]).run().ok();
    assert!(saved.exists(), "destroy without --cleanup keeps it");
    s.lab("kept", &lines("  a: {cmd: no-such-program}\n"));
    s.with("deploy", &lab, &["--plain"]).run().fails();
    assert!(saved.exists(), "what users saved outlives a deploy that failed");
    s.lab("kept", &good);
    s.deploy(&lab);
    s.gone(&lab);
}

#[test]
fn interfaces_of_others_stay() {
    let s = Sandbox::new();
    let base = s.lab("base", &lines("  a: {}\n"));
    s.deploy(&base);
    let guest = s.lab(
        "guest",
        &(lines("  g: {network-mode: container:clab-base-a}\n  b: {}\n")
            + "links: [{endpoints: [\"g:eth0\", \"b:eth1\"]}]\n"),
    );
    s.with("deploy", &guest, &["--plain"]).run().fails();
    s.exec(&base, "a", "ip link show eth0").ok();
    s.with("destroy", &guest, &["--cleanup"]).run();
    s.exec(&base, "a", "ip link show eth0 && ping -c1 -W2 172.20.20.1").ok();
    s.gone(&base);
}

#[test]
fn nodes_of_an_unfinished_deploy_are_not_forgotten() {
    let s = Sandbox::new();
    let lab = s.lab("torn", &lines("  a: {}\n  b: {}\n  c: {cmd: no-such-program}\n"));
    s.with("deploy", &lab, &["--plain", "--keep-failed"]).run().fails();
    s.lab("torn", &lines("  a: {}\n"));
    s.deploy(&lab);
    let idle = s.processes().iter().filter(|p| p.command.contains("/bin/idle")).count();
    assert_eq!(idle, 1, "b left the file and is gone");
    s.gone(&lab);
}

#[test]
fn one_file_two_labs() {
    let s = Sandbox::new();
    let lab = s.lab("demo", &lines("  a: {network-mode: none}\n"));
    s.deploy(&lab);
    s.with("deploy", &lab, &["--plain", "--name", "aaa"]).run().ok();
    s.with("destroy", &lab, &["--cleanup"]).run().ok().says("lab demo is gone");
    let left = s.netloom(["inspect", "--all", "-f", "json"]).run().ok();
    assert!(left.json().get("aaa").is_some(), "the other lab of that file stays\n{left}");
    s.netloom(["destroy", "--name", "aaa", "--cleanup"]).run().ok();
    s.assert_clean();
}

#[test]
fn a_quieted_network_comes_back() {
    let s = Sandbox::new();
    let lab = s.lab("quiet", &lines("  a: {}\n  b: {}\n"));
    s.deploy(&lab);
    // What a destroy that was killed after its first step leaves.
    s.sh("for b in $(ls /sys/class/net | grep ^br-); do ip link set $b down; done").ok();
    s.deploy(&lab);
    s.exec(&lab, "a", "ping -c1 -W2 b").ok();
    s.gone(&lab);
}

#[test]
fn ports_of_a_running_lab_change() {
    let s = Sandbox::new();
    let with = |ports: &str| lines(&format!("  a: {{ports: [{ports}]}}\n"));
    let lab = s.lab("ports", &with(""));
    s.deploy(&lab);
    let rules = |wanted: &str| {
        let seen = s.sh("nft list ruleset").ok();
        assert_eq!(seen.stdout.contains("dnat ip to"), !wanted.is_empty(), "{seen}");
        assert!(seen.stdout.contains(wanted), "{seen}");
    };
    s.lab("ports", &with("\"18080:80\""));
    s.deploy(&lab);
    rules("tcp dport 18080");
    s.lab("ports", &with("\"18081:80/udp\""));
    s.deploy(&lab);
    rules("udp dport 18081");
    s.lab("ports", &with(""));
    s.deploy(&lab);
    rules("");
    s.gone(&lab);
}

#[test]
fn a_bridge_of_the_users_is_given_back() {
    let mut s = Sandbox::new();
    s.sh("ip link add br-own address 02:00:00:00:00:99 type bridge && ip link add own0 type veth peer name own1 && ip link set own0 master br-own up && ip link set own1 up && ip link set br-own up && ip addr add 198.51.100.1/24 dev br-own").ok();
    s.remember();
    let text = format!(
        "name: foreign\nmgmt: {{network: own, bridge: br-own, ipv4-subnet: 10.66.0.0/24}}\ntopology:\n  defaults: {{kind: linux, image: {SMALL}}}\n  nodes: {{a: {{ports: [\"18082:80\"]}}}}\n"
    );
    let lab = s.whole("foreign", &text);
    s.deploy(&lab);
    s.sh("ip -o addr show dev br-own").ok().prints("10.66.0.1/24");
    s.exec(&lab, "a", "ping -c1 -W2 10.66.0.1").ok();
    s.gone(&lab);
    let left = s
        .sh("ip -o -4 addr show dev br-own; cat /proc/sys/net/ipv4/conf/br-own/route_localnet")
        .ok();
    assert!(!left.stdout.contains("10.66.0.1"), "our address is gone: {left}");
    assert!(
        left.stdout.contains("198.51.100.1") && left.stdout.trim_end().ends_with('0'),
        "{left}"
    );
}

#[test]
fn forwarding_comes_back_as_it_was() {
    let mut s = Sandbox::new();
    s.sh("ip link add up0 type veth peer name up1
        sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.up0.forwarding=1")
        .ok();
    s.remember();
    let lab = s.lab("forward", &lines("  a: {}\n"));
    s.deploy(&lab);
    s.sh("cat /proc/sys/net/ipv4/ip_forward").ok().prints("1");
    s.gone(&lab);
    let now = s
        .sh("cd /proc/sys/net/ipv4; cat ip_forward conf/all/accept_redirects conf/up0/forwarding")
        .ok();
    assert_eq!(now.text().split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"], "{now}");
}

#[test]
fn a_base_whose_processes_died_is_made_anew() {
    let s = Sandbox::new();
    let base = s.lab("ground", &lines("  a: {}\n"));
    s.deploy(&base);
    let guest = s.lab("lodger", &lines("  g: {network-mode: container:clab-ground-a}\n"));
    s.deploy(&guest);
    let holder = s
        .processes()
        .into_iter()
        .find(|p| p.command.contains("__holder") && p.command.contains("labs/ground/"));
    kill_nine(holder.expect("the holder of the base").pid);
    eventually("the base's nodes are gone", 10, || {
        !s.processes()
            .iter()
            .any(|p| p.command.contains("__supervisor") && p.command.contains("labs/ground/"))
    });
    s.deploy(&base);
    s.exec(&base, "a", "ping -c1 -W2 172.20.20.1").ok();
    s.with("destroy", &guest, &["--cleanup"]).run().ok();
    s.gone(&base);
}

#[test]
fn what_a_node_adds_to_its_hosts_stays() {
    let s = Sandbox::new();
    let lab = s.lab("names", &lines("  a: {}\n  b: {}\n"));
    s.deploy(&lab);
    s.exec(&lab, "a", "echo 192.0.2.9 friend >> /etc/hosts").ok();
    s.deploy(&lab);
    s.exec(&lab, "a", "cat /etc/hosts").ok().prints("friend");
    assert_eq!(s.asks(&lab, "b", "grep -c friend /etc/hosts; true"), "0", "it is the node's own");
    // Tools that write a new file and rename it work too.
    s.exec(&lab, "a", "sed -i s/friend/foe/ /etc/hosts && grep foe /etc/hosts").ok();
    s.with("restart", &lab, &["--node", "a"]).run().ok();
    s.exec(&lab, "a", "grep foe /etc/hosts").ok();
    s.lab("names", &lines("  a: {}\n  b: {}\n  c: {}\n  off: {network-mode: none}\n"));
    s.deploy(&lab);
    for node in ["a", "b", "c"] {
        s.exec(&lab, node, "ping -c1 -W2 c && test -f /etc/resolv.conf").ok();
        assert_eq!(s.asks(&lab, node, "cat /etc/hostname"), node);
    }
    let files = |node| s.asks(&lab, node, "stat -c '%U %a' /etc /etc/hosts /etc/resolv.conf");
    assert_eq!(files("b"), files("off"), "owners and modes are those of a file of its own");
    assert!(s.asks(&lab, "off", "cat /etc/hosts").contains("127.0.1.1\toff off"));
    s.gone(&lab);
}
