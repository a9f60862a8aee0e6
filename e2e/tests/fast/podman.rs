//! Nodes that Podman runs, in namespaces of ours.

use netloom_e2e::processes::kill_nine;
use netloom_e2e::{Docker, Podman, Sandbox, eventually};

/// Links of both labs, below their nodes.
const LINKS: &str = "\
links:
  - type: veth
    endpoints:
      - {node: p1, interface: eth1, ipv4: 10.0.0.1/24}
      - {node: n1, interface: eth1, ipv4: 10.0.0.2/24}
  - type: veth
    endpoints:
      - {node: p1, interface: eth2, ipv4: 10.0.1.1/24}
      - {node: p2, interface: eth2, ipv4: 10.0.1.2/24}
";

const LAB: &str = "
defaults: {kind: linux, image: 'e2e/busybox:latest'}
nodes:
  p1: {runtime: podman, env: {A: 'b c'}, sysctls: {net.ipv4.ip_forward: '1'}, privileged: false, cap-add: [NET_ADMIN, NET_RAW]}
  p2: {runtime: podman, ports: ['18091:80'], aliases: [nick], hostname: other}
  n1: {}
  s1: {runtime: podman, network-mode: 'container:p1'}
";

fn podman(s: &Sandbox, p: &Podman, line: &str) -> String {
    let socket = format!("unix://{}", p.service.socket().display());
    s.run("docker").env("DOCKER_HOST", socket).args(line.split(' ')).within(60).run().ok().stdout
}

#[test]
fn a_lab_on_podman() {
    let mut s = Sandbox::new();
    let p = Podman::start(&mut s);
    let file = s.lab("pods", &format!("{LAB}{LINKS}"));
    s.deploy(&file);
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    let ping = |from: &str, to: &str| {
        let seen = s.asks(&file, from, &format!("ping -c1 -W2 {to}"));
        assert!(seen.contains("1 packets received"), "{from} to {to}: {seen}");
    };
    for (from, to) in
        [("p1", "10.0.0.2"), ("p1", "10.0.1.2"), ("n1", "p2"), ("p2", "n1"), ("p1", "nick")]
    {
        ping(from, to);
    }
    let seen = s.asks(&file, "p1", "echo $A; cat /proc/sys/net/ipv4/ip_forward; ip link show eth1");
    assert!(seen.starts_with("b c\n1\n") && seen.contains("LOWER_UP"), "{seen}");
    assert_eq!(s.asks(&file, "p2", "hostname"), "other");
    assert!(s.asks(&file, "s1", "ip addr").contains("10.0.0.1/24"));
    let running = podman(&s, &p, "ps --format {{.Names}}");
    assert_eq!(running.lines().count(), 3, "{running}");
    // The namespace outlives the process: nothing has to be brought back.
    let before = s.asks(&file, "p1", "ip addr");
    let pid = podman(&s, &p, "inspect -f {{.State.Pid}} clab-pods-p1").trim().parse().unwrap();
    kill_nine(pid);
    eventually("another process", 15, || {
        let now = podman(&s, &p, "inspect -f {{.State.Pid}} clab-pods-p1");
        !["0", &pid.to_string()].contains(&now.trim())
    });
    assert_eq!(s.asks(&file, "p1", "ip addr"), before);
    podman(&s, &p, "restart -t 0 clab-pods-p1");
    ping("p1", "10.0.0.2");
    s.netloom(["stop", "--name", "pods", "p2"]).run().ok();
    s.netloom(["start", "--name", "pods", "p2"]).run().ok();
    ping("p2", "10.0.1.1");
    // A node changes: it alone is made anew, in the namespace it has.
    let changed = format!("{LAB}{LINKS}").replace("A: 'b c'", "A: 'new'");
    let file = s.lab("pods", &changed);
    s.deploy(&file);
    assert_eq!(s.asks(&file, "p1", "echo $A"), "new");
    ping("p1", "10.0.1.2");
    s.gone(&file);
    assert_eq!(podman(&s, &p, "ps -aq"), "");
}

#[test]
fn three_runtimes_in_one_lab() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let _podman = Podman::start(&mut s);
    let file = s.lab(
        "three",
        "
defaults: {kind: linux, image: 'e2e/busybox:latest'}
nodes: {a: {}, b: {runtime: docker}, c: {runtime: podman}}
links:
  - {endpoints: ['a:eth1', 'b:eth1'], ipv4: [10.0.1.1/24, 10.0.1.2/24]}
  - {endpoints: ['b:eth2', 'c:eth2'], ipv4: [10.0.2.1/24, 10.0.2.2/24]}
  - {endpoints: ['c:eth3', 'a:eth3'], ipv4: [10.0.3.1/24, 10.0.3.2/24]}
",
    );
    s.deploy(&file);
    for from in ["a", "b", "c"] {
        for to in ["a", "b", "c"] {
            let seen = s.asks(&file, from, &format!("ping -c1 -W2 {to}"));
            assert!(seen.contains("1 packets received"), "{from} to {to}: {seen}");
        }
    }
    for (from, to) in [("a", "10.0.1.2"), ("b", "10.0.2.2"), ("c", "10.0.3.2")] {
        assert!(s.asks(&file, from, &format!("ping -c1 -W2 {to}")).contains("1 packets received"));
    }
    s.gone(&file);
}

const ROOTLESS: &str = "
defaults: {kind: linux, image: 'e2e/busybox:latest', privileged: false, cap-add: [NET_ADMIN, NET_RAW]}
nodes:
  p1: {runtime: podman, env: {A: 'b c'}, ports: ['18092:80'], cmd: 'sh -c \"while :; do echo hello | nc -l -p 80; done\"'}
  p2: {runtime: podman}
  n1: {}
  s1: {runtime: podman, network-mode: 'container:p1'}
";

/// Namespaces are the user's, and new at every start: links and the leg in the management network
/// are brought there, and brought back.
#[test]
fn the_podman_of_an_ordinary_user() {
    let mut s = Sandbox::new();
    let p = Podman::rootless(&mut s);
    let file = s.lab("user", &format!("{ROOTLESS}{LINKS}"));
    s.deploy(&file);
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    let answers = |from: &str, to: &str| {
        let seen = s.with("exec", &file, &["--node", from, "--cmd", &format!("ping -c1 -W1 {to}")]);
        seen.run().stdout.contains("1 packets received")
    };
    for (from, to) in [("p1", "10.0.0.2"), ("p1", "10.0.1.2"), ("n1", "p2"), ("p2", "n1")] {
        assert!(answers(from, to), "{from} to {to}");
    }
    let pid = podman(&s, &p, "inspect -f {{.State.Pid}} clab-user-p1");
    let owner = s.sh(&format!("stat -c %u /proc/{}", pid.trim())).ok().stdout;
    assert_eq!(owner.trim(), "12345");
    assert!(s.asks(&file, "s1", "ip addr").contains("10.0.0.1/24"));
    let said = s.sh("busybox nc -w 3 127.0.0.1 18092 </dev/null").ok().stdout.trim().to_owned();
    assert_eq!(said, "hello");
    let details = s.with("inspect", &file, &["--details"]).run().ok();
    assert_eq!(details.json()["user"][0]["Netloom"]["runtime"], "native");
    assert_eq!(details.json()["user"][1]["Netloom"]["runtime"], "podman-rootless");
    let neighbour = |command: &str| s.asks(&file, "n1", command);
    let before = (neighbour("ip addr"), neighbour("ip route"));
    let leg = s.asks(&file, "p1", "ip -o -4 addr show eth0; ip route show default");
    // By hand, and by the restart policy.
    podman(&s, &p, "restart -t 0 clab-user-p1");
    eventually("the links are back", 10, || answers("p1", "10.0.0.2") && answers("p1", "10.0.1.2"));
    let pid = podman(&s, &p, "inspect -f {{.State.Pid}} clab-user-p1").trim().parse().unwrap();
    kill_nine(pid);
    eventually("another process", 15, || {
        let now = podman(&s, &p, "inspect -f {{.State.Pid}} clab-user-p1");
        !["0", &pid.to_string()].contains(&now.trim())
    });
    eventually("the links are back", 10, || answers("p1", "10.0.0.2") && answers("n1", "p1"));
    assert_eq!((neighbour("ip addr"), neighbour("ip route")), before);
    assert_eq!(s.asks(&file, "p1", "ip -o -4 addr show eth0; ip route show default"), leg);
    // One that lends its namespace is made anew, with who shares it.
    let file = s.lab("user", &format!("{ROOTLESS}{LINKS}").replace("A: 'b c'", "A: new"));
    s.deploy(&file);
    assert_eq!(s.asks(&file, "p1", "echo $A"), "new");
    assert!(s.asks(&file, "s1", "ip addr").contains("10.0.0.1/24"));
    s.with("destroy", &file, &["--node-filter", "s1,p1"]).run().ok();
    s.deploy(&file);
    assert!(answers("p1", "10.0.1.2"));
    s.gone(&file);
    assert_eq!(podman(&s, &p, "ps -aq"), "");
}
