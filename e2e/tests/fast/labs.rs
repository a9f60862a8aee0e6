//! Labs beside each other: shared networks, names, namespaces.

use netloom_e2e::Sandbox;
use netloom_e2e::images::SMALL;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn idle(s: &Sandbox, name: &str, nodes: usize) -> PathBuf {
    let mut text = format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n");
    for i in 0..nodes {
        text.push_str(&format!("  n{i}: {{}}\n"));
    }
    s.lab(name, &text)
}

fn addresses(s: &Sandbox, lab: &Path) -> Vec<String> {
    let rows = s.with("inspect", lab, &["-f", "json"]).run().ok().json();
    let rows = rows.as_object().and_then(|o| o.values().next()).expect("the lab").clone();
    let rows = rows.as_array().expect("rows").clone();
    rows.iter()
        .flat_map(|r| {
            ["ipv4_address", "ipv6_address"].map(|k| r[k].as_str().unwrap_or("?").to_string())
        })
        .collect()
}

#[test]
fn two_labs_at_once_never_share_an_address() {
    let s = Sandbox::new();
    let labs = [idle(&s, "left", 8), idle(&s, "right", 8)];
    let running: Vec<_> =
        labs.iter().map(|l| s.with("deploy", l, &["--plain"]).within(60).start()).collect();
    for r in running {
        r.finish().ok();
    }
    let all: Vec<String> = labs.iter().flat_map(|l| addresses(&s, l)).collect();
    let different: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), different.len()), (32, 32), "an address of each family a node: {all:?}");
    s.exec(&labs[0], "n0", "ping -c1 -W2 $(echo 172.20.20.17)").ok();
    s.destroy(&labs[0]);
    s.sh("nft list ruleset; ip link").ok().prints("172.20.20.0/24");
    s.exec(&labs[1], "n0", "ping -c1 -W2 n7 && ping -c1 -W2 172.20.20.1").ok();
    s.gone(&labs[1]);
}

#[test]
fn a_lab_does_not_notice_others_that_come_and_go() {
    let s = Sandbox::new();
    let (stays, comes) = (idle(&s, "stays", 1), idle(&s, "comes", 5));
    s.deploy(&stays);
    let gateway =
        |s: &Sandbox| s.sh("ip -o link show type bridge | grep -o 'link/ether [^ ]*'").stdout;
    let before = gateway(&s);
    let reach = "ping -4 -c1 -W1 172.20.20.1 && ping -6 -c1 -W1 3fff:172:20:20::1";
    for _ in 0..4 {
        s.exec(&stays, "n0", reach).ok();
        s.deploy(&comes);
        assert_eq!(gateway(&s), before, "the bridge keeps its MAC when nodes come");
        s.exec(&stays, "n0", reach).ok();
        s.destroy(&comes);
        assert_eq!(gateway(&s), before, "the bridge keeps its MAC when nodes go");
    }
    s.exec(&stays, "n0", reach).ok();
    s.gone(&stays);
}

#[test]
fn labs_that_come_and_go_at_once_leave_nothing() {
    let s = Sandbox::new();
    let labs: Vec<PathBuf> = ["one", "two", "three"].iter().map(|n| idle(&s, n, 3)).collect();
    for _ in 0..3 {
        let all = |verb: &str, flag: &str| {
            let running: Vec<_> = labs.iter().map(|l| s.with(verb, l, &[flag]).start()).collect();
            for r in running {
                r.finish().ok();
            }
        };
        all("deploy", "--plain");
        s.exec(&labs[0], "n0", "ping -c1 -W2 n2 && ping -c1 -W2 172.20.20.1").ok();
        all("destroy", "--cleanup");
        s.assert_clean();
    }
}

#[test]
fn an_interface_on_the_host_belongs_to_one_lab() {
    let s = Sandbox::new();
    let with = |name: &str| {
        let text = format!(
            "nodes:\n  a: {{kind: linux, image: {SMALL}}}\nlinks:\n  - endpoints: [\"a:eth1\", \"host:shared0\"]\n"
        );
        s.lab(name, &text)
    };
    let (first, second) = (with("first"), with("second"));
    s.deploy(&first);
    s.with("deploy", &second, &[]).run().code(3).says("`shared0`");
    s.exec(&first, "a", "ip link show eth1").ok();
    s.destroy(&first);
    s.assert_clean();
    s.deploy(&second);
    s.gone(&second);
}

#[test]
fn the_name_of_a_lab_belongs_to_its_file() {
    let s = Sandbox::new();
    let lab = idle(&s, "mine", 1);
    s.deploy(&lab);
    let text = std::fs::read_to_string(&lab).expect("the file");
    let other = s.file("other/mine.clab.yml", &text);
    s.with("deploy", &other, &[]).run().code(5).says("deployed already");
    // Same container names from another lab name: the prefix is the same.
    let clash = s.whole(
        "clash",
        &format!("name: clash\nprefix: clab-mine\ntopology:\n  nodes:\n    x: {{kind: linux, image: {SMALL}}}\n"),
    );
    s.with("deploy", &clash, &["--dry-run"]).run().ok();
    s.with("deploy", &other, &["--name", "yours"]).run().ok();
    s.destroy(&lab);
    s.netloom(["destroy", "--name", "yours", "--cleanup"]).run().ok();
    s.assert_clean();
}

#[test]
fn destroy_by_name_when_the_file_is_gone() {
    let s = Sandbox::new();
    let lab = idle(&s, "lost", 2);
    s.deploy(&lab);
    std::fs::remove_file(&lab).expect("remove the file");
    s.netloom(["exec", "--name", "lost", "n0", "--", "ping", "-c1", "-W2", "n1"]).run().ok();
    s.netloom(["destroy", "--name", "lost", "--cleanup"]).run().ok();
    s.netloom(["destroy", "--name", "lost"]).run().code(4).says("no lab `lost`");
    s.assert_clean();
}

#[test]
fn a_lab_others_live_in_stays() {
    let s = Sandbox::new();
    let base = s.whole(
        "base",
        &format!("name: base\nprefix: \"\"\ntopology:\n  nodes:\n    shared-node: {{kind: linux, image: {SMALL}}}\n"),
    );
    let guest = s.lab(
        "guest",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{network-mode: "container:shared-node"}}
  b: {{network-mode: none}}
links:
  - {{endpoints: ["a:net0", "b:eth1"], ipv4: [10.3.0.1/30, 10.3.0.2/30]}}
"#
        ),
    );
    s.with("deploy", &guest, &[]).run().code(3).says("shared-node");
    s.deploy(&base);
    s.deploy(&guest);
    s.exec(&base, "shared-node", "ping -c1 -W2 10.3.0.2").ok();
    s.with("destroy", &base, &[]).run().code(5).says("lab `guest`");
    s.exec(&base, "shared-node", "ping -c1 -W2 10.3.0.2").ok();
    s.destroy(&guest);
    s.exec(&base, "shared-node", "ip link show net0").fails();
    s.deploy(&guest);
    // Both at once, the guest first.
    s.netloom(["destroy", "--all", "--yes", "--cleanup"]).run().ok();
    s.assert_clean();
}
