//! What happens in labs is told.

use netloom_e2e::images::SMALL;
use netloom_e2e::{Docker, Sandbox};
use nix::sys::signal::Signal;
use serde_json::Value as Json;
use std::time::Duration;

fn lab(s: &Sandbox, name: &str, more: &str) -> std::path::PathBuf {
    s.lab(
        name,
        &format!(
            "defaults: {{kind: linux, image: '{SMALL}'{more}}}\nnodes: {{a: {{}}, b: {{}}}}\nlinks:\n  - endpoints: ['a:eth1', 'b:eth1']\n"
        ),
    )
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn told(list: &[Json], what: &str, action: &str, name: &str) -> usize {
    let is = |j: &&Json| j["type"] == what && j["action"] == action && j["actor_name"] == name;
    list.iter().filter(is).count()
}

fn moment() {
    std::thread::sleep(Duration::from_millis(700));
}

#[test]
fn of_native_nodes() {
    let s = Sandbox::new();
    let file = lab(&s, "told", "");
    let all = s
        .netloom([
            "events",
            "--format",
            "json",
            "--interface-stats",
            "--interface-stats-interval=1s",
        ])
        .within(60)
        .start();
    moment();
    s.deploy(&file);
    moment();
    s.exec(&file, "a", "ip link set eth1 mtu 1400").ok();
    s.netloom(["tools", "netem", "set", "-n", "clab-told-a", "-i", "eth1", "--rate", "2000"])
        .run()
        .ok();
    s.exec(&file, "a", "ip link add gone0 type veth").ok();
    moment();
    s.exec(&file, "a", "ip link del gone0").ok();
    moment();
    let late = s.netloom(["events", "-f", "json", "-i"]).within(60).start();
    std::thread::sleep(Duration::from_secs(1));
    late.signal(Signal::SIGINT);
    let late = lines(&late.finish().ok().stdout);
    assert_eq!(told(&late, "container", "running", "clab-told-a"), 1, "{late:?}");
    assert_eq!(told(&late, "interface", "snapshot", "clab-told-b"), 3, "lo, eth0, eth1: {late:?}");
    let of_a = late
        .iter()
        .find(|j| j["attributes"]["ifname"] == "eth1" && j["actor_name"] == "clab-told-a");
    let of_a = &of_a.expect("eth1 of a")["attributes"];
    assert_eq!(
        (&of_a["netem_rate"], &of_a["mtu"], &of_a["lab"]),
        (&"2000kbit".into(), &"1400".into(), &"told".into())
    );
    s.with("restart", &file, &["--node", "b"]).run().ok();
    moment();
    s.destroy(&file);
    moment();
    all.signal(Signal::SIGINT);
    let all = lines(&all.finish().ok().stdout);
    for (what, action, name) in [
        ("container", "create", "clab-told-a"),
        ("container", "start", "clab-told-a"),
        ("interface", "update", "clab-told-a"),
        ("interface", "create", "clab-told-a"),
        ("interface", "delete", "clab-told-a"),
        ("interface", "stats", "clab-told-b"),
        ("container", "die", "clab-told-b"),
        ("container", "destroy", "clab-told-b"),
    ] {
        assert!(told(&all, what, action, name) > 0, "{what} {action} {name}: {all:#?}");
    }
    assert_eq!(told(&all, "container", "start", "clab-told-b"), 2, "once more by `restart`");
    let first = &all[0];
    for key in ["timestamp", "actor_id", "actor_full_id"] {
        assert!(first[key].is_string(), "{key}: {first}");
    }
    let strings =
        |j: &Json| j["attributes"].as_object().is_some_and(|m| m.values().all(Json::is_string));
    assert!(all.iter().all(strings), "all attributes are text");
    s.assert_clean();
}

#[test]
fn of_docker_nodes() {
    let mut s = Sandbox::new();
    let daemon = Docker::start(&mut s);
    let file = lab(&s, "heard", ", runtime: docker");
    let all = s.netloom(["events"]).within(120).start();
    moment();
    s.deploy(&file);
    moment();
    s.destroy(&file);
    moment();
    all.signal(Signal::SIGINT);
    let text = all.finish().ok().stdout;
    for part in [
        "container create ",
        "container start ",
        "container die ",
        "interface create ",
        "origin=netlink",
        "clab-node-name=a",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("interface stats"), "{text}");
    assert!(!text.contains("netloom-spec"), "{text}");
    s.assert_clean();
    drop(daemon);
}
