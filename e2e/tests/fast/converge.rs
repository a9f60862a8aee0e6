//! Deploy on a running lab: changes, healing, nothing to do.

use netloom_e2e::images::SMALL;
use netloom_e2e::processes::{alive, kill_nine};
use netloom_e2e::{Sandbox, eventually};
use std::path::{Path, PathBuf};

/// Three nodes in a row; `more` is added below the nodes, `env` to node b.
fn row(s: &Sandbox, name: &str, env: &str, more: &str, last: bool) -> PathBuf {
    let last = if last {
        r#"  - {endpoints: ["b:eth2", "c:eth1"], ipv4: [10.0.2.1/30, 10.0.2.2/30]}"#
    } else {
        ""
    };
    s.lab(
        name,
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{}}
  b: {{env: {{WORD: {env}}}}}
  c: {{}}
{more}
links:
  - {{endpoints: ["a:eth1", "b:eth1"], ipv4: [10.0.1.1/30, 10.0.1.2/30]}}
{last}
"#
        ),
    )
}

/// When the node's first process was born: another time for every life.
fn life(s: &Sandbox, lab: &Path, node: &str) -> String {
    s.asks(lab, node, "cut -d' ' -f22 /proc/1/stat")
}

#[test]
fn twice_is_nothing_to_do() {
    let s = Sandbox::new();
    let lab = row(&s, "again", "one", "", true);
    let dry = s.with("deploy", &lab, &["--dry-run"]).run().ok();
    assert!(dry.stdout.contains("+ node a") && dry.stdout.contains("+ link"), "{dry}");
    s.assert_clean();
    s.deploy(&lab);
    let lives: Vec<String> = ["a", "b", "c"].map(|n| life(&s, &lab, n)).into();
    s.deploy(&lab).says("is as its file says");
    s.with("deploy", &lab, &["--dry-run"]).run().ok().prints("nothing to do");
    assert_eq!(lives, ["a", "b", "c"].map(|n| life(&s, &lab, n)), "nobody was started anew");
    s.gone(&lab);
}

#[test]
fn changes_of_the_file_reach_the_lab() {
    let s = Sandbox::new();
    let lab = row(&s, "grow", "one", "", true);
    s.deploy(&lab);
    let (a, c) = (life(&s, &lab, "a"), life(&s, &lab, "c"));

    row(&s, "grow", "one", "  d: {}", true);
    let dry = s.with("deploy", &lab, &["--dry-run"]).run().ok();
    assert!(dry.stdout.contains("+ node d") && !dry.stdout.contains("node a"), "{dry}");
    s.deploy(&lab);
    s.exec(&lab, "d", "ping -c1 -W2 a").ok();
    s.exec(&lab, "a", "ping -c1 -W2 d").ok();
    assert_eq!((life(&s, &lab, "a"), life(&s, &lab, "c")), (a.clone(), c.clone()), "untouched");

    row(&s, "grow", "one", "  d: {}", false);
    s.deploy(&lab);
    s.exec(&lab, "c", "ip link show eth1").fails();
    s.exec(&lab, "b", "ip link show eth2").fails();
    s.exec(&lab, "a", "ping -c1 -W2 10.0.1.2").ok();

    row(&s, "grow", "two", "", false);
    s.deploy(&lab);
    assert_eq!(s.asks(&lab, "b", "echo $WORD"), "two", "node b is made anew");
    s.exec(&lab, "b", "ping -c1 -W2 10.0.1.1 && ping -c1 -W2 c").ok();
    s.exec(&lab, "d", "true").code(4);
    s.exec(&lab, "a", "ping -c1 -W1 clab-grow-d").fails();
    assert_eq!((life(&s, &lab, "a"), life(&s, &lab, "c")), (a, c), "untouched");
    s.gone(&lab);
}

#[test]
fn dead_nodes_and_lost_links_are_healed() {
    let s = Sandbox::new();
    let lab = row(&s, "heal", "one", "  z: {restart-policy: \"no\"}", true);
    s.deploy(&lab);
    let (a, b) = (life(&s, &lab, "a"), life(&s, &lab, "b"));
    s.exec(&lab, "b", "ip link del eth2").ok();
    s.exec(&lab, "z", "kill -TERM 1");
    eventually("node z has ended", 5, || {
        s.with("inspect", &lab, &["-f", "csv"]).run().ok().stdout.contains("exited")
    });
    s.deploy(&lab);
    s.exec(&lab, "z", "ping -c1 -W2 a").ok();
    s.exec(&lab, "c", "ping -c1 -W2 10.0.2.1").ok();
    assert_eq!((life(&s, &lab, "a"), life(&s, &lab, "b")), (a, b), "the others live on");
    s.deploy(&lab).says("is as its file says");
    s.gone(&lab);
}

#[test]
fn only_some_nodes() {
    let s = Sandbox::new();
    let lab = row(&s, "some", "one", "", true);
    s.with("deploy", &lab, &["--node-filter", "a,nobody"]).run().code(4).says("nobody");
    s.assert_clean();
    s.with("deploy", &lab, &["--node-filter", "a,b"]).run().ok();
    s.exec(&lab, "a", "ping -c1 -W2 10.0.1.2").ok();
    s.exec(&lab, "b", "ip link show eth2").fails();
    s.exec(&lab, "c", "true").code(4);
    s.deploy(&lab);
    s.exec(&lab, "c", "ping -c1 -W2 10.0.2.1").ok();
    s.gone(&lab);
}

#[test]
fn a_killed_supervisor_and_a_killed_holder() {
    let s = Sandbox::new();
    let lab = row(&s, "survive", "one", "", true);
    s.deploy(&lab);
    let a = life(&s, &lab, "a");
    let supervisor = s.server("__supervisor");
    kill_nine(supervisor);
    eventually("there is a new supervisor", 10, || {
        let new = s.processes().into_iter().find(|p| p.command.contains("__supervisor"));
        new.is_some_and(|p| p.pid != supervisor)
    });
    assert_eq!(life(&s, &lab, "a"), a, "no node has noticed");
    s.deploy(&lab).says("is as its file says");
    s.with("restart", &lab, &["--node", "b"]).run().ok();
    s.exec(&lab, "b", "ping -c1 -W2 10.0.1.1").ok();

    let holder = s.server("__holder");
    kill_nine(holder);
    eventually("the holder is gone", 5, || !alive(holder));
    s.deploy(&lab);
    s.exec(&lab, "a", "ping -c1 -W2 10.0.1.2 && ping -c1 -W2 c").ok();
    s.exec(&lab, "c", "ping -c1 -W2 10.0.2.1").ok();
    let holder = s.server("__holder");
    kill_nine(holder);
    eventually("the holder is gone", 5, || !alive(holder));
    s.gone(&lab);
}
