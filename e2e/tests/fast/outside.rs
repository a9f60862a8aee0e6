//! Containers that are no nodes of the lab: Docker's own, and those of others.

use netloom_e2e::images::SMALL;
use netloom_e2e::{Docker, Sandbox, eventually};

fn docker(s: &Sandbox, line: &str) -> String {
    s.run("docker").args(line.split(' ')).within(60).run().ok().stdout
}

#[test]
fn containers_of_somebody_else() {
    let mut s = Sandbox::new();
    let daemon = Docker::start(&mut s);
    docker(&s, "run -d --name ext1 --network none --cap-add NET_ADMIN e2e/busybox:latest");
    docker(&s, "run -d --name ext2 --network none --cap-add NET_ADMIN e2e/busybox:latest");
    s.remember();
    let file = s.lab(
        "around",
        &format!(
            "
nodes:
  ext1: {{kind: ext-container, exec: ['ip addr add 10.0.0.1/24 dev eth1']}}
  n1: {{kind: linux, image: '{SMALL}'}}
  d1: {{kind: linux, image: 'e2e/busybox:latest', runtime: docker, network-mode: 'container:ext2'}}
  n2: {{kind: linux, image: '{SMALL}', network-mode: 'container:ext2'}}
links:
  - type: veth
    endpoints:
      - {{node: ext1, interface: eth1}}
      - {{node: n1, interface: eth1, ipv4: 10.0.0.2/24}}
  - type: veth
    endpoints:
      - {{node: d1, interface: eth2, ipv4: 10.0.1.1/24}}
      - {{node: n1, interface: eth2, ipv4: 10.0.1.2/24}}
"
        ),
    );
    s.deploy(&file);
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    let ping = |from: &str, to: &str| {
        let seen = s.asks(&file, from, &format!("ping -c1 -W2 {to}"));
        assert!(seen.contains("1 packets received"), "{from} to {to}: {seen}");
    };
    ping("n1", "10.0.0.1");
    for node in ["d1", "n2"] {
        s.exec(&file, node, "ip link show eth2").ok();
        ping(node, "10.0.1.2");
    }
    assert!(s.asks(&file, "ext1", "hostname").len() > 3, "commands run there");
    let rows = s.with("inspect", &file, &["-f", "json"]).run().ok().json();
    let names: Vec<&str> = rows["around"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert!(names.contains(&"ext1"), "{names:?}");

    // It is started again by hand: the link is back, without a command.
    docker(&s, "restart -t 0 ext1");
    eventually("the link is back", 5, || s.exec(&file, "ext1", "ip link show eth1").code == 0);
    s.exec(&file, "ext1", "ip addr add 10.0.0.1/24 dev eth1").ok();
    ping("n1", "10.0.0.1");
    // What shares a namespace that is gone is started again with it, whoever runs it.
    docker(&s, "restart -t 0 ext2");
    for node in ["d1", "n2"] {
        eventually("the sharer is back", 15, || {
            s.exec(&file, node, "ip addr show eth2").stdout.contains("10.0.1.1")
                && s.exec(&file, node, "ping -c1 -W1 10.0.1.2").code == 0
        });
    }
    s.with("restart", &file, &["--node", "n2"]).run().ok();
    ping("n2", "10.0.1.2");
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");

    // A link by hand to such a container: deploys leave it, restarts bring it back.
    s.netloom(["tools", "veth", "create", "-a", "clab-around-n1:eth9", "-b", "ext1:eth9"])
        .run()
        .ok();
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    docker(&s, "restart -t 0 ext1");
    eventually("it is back", 10, || s.exec(&file, "ext1", "ip link show eth9").code == 0);
    s.exec(&file, "n1", "ip link show eth9").ok();

    s.destroy(&file);
    docker(&s, "exec ext1 ip link show lo");
    s.run("docker").args(["exec", "ext1", "ip", "link", "show", "eth1"]).run().fails();
    assert_eq!(docker(&s, "ps -q").lines().count(), 2, "they stay");
    docker(&s, "rm -f ext1 ext2");
    // Without them nothing is made.
    s.with("deploy", &file, &[]).run().code(3).says("there is no container `ext1`");
    s.assert_clean();
    drop(daemon);
}

#[test]
fn dockers_own_network() {
    let mut s = Sandbox::new();
    let daemon = Docker::start(&mut s);
    // The bridge has carrier from now on.
    docker(&s, "run -d --name stays e2e/busybox:latest");
    s.remember();
    let file = s.whole(
        "own",
        "name: own\nmgmt: {network: bridge}\ntopology:\n  nodes:\n    a: {kind: linux, image: 'e2e/busybox:latest', runtime: docker}\n    b: {kind: linux, image: 'e2e/busybox:latest', runtime: docker}\n  links:\n    - endpoints: ['a:eth1', 'b:eth1']\n      ipv6: ['2001:db8::1/64', '2001:db8::2/64']\n",
    );
    s.deploy(&file);
    let rows = s.with("inspect", &file, &["-f", "json"]).run().ok().json();
    let address = rows["own"][0]["ipv4_address"].as_str().expect("an address").to_owned();
    let seen = docker(&s, "inspect -f {{.NetworkSettings.IPAddress}} clab-own-a");
    assert_eq!(address.split('/').next(), Some(seen.trim()));
    assert!(s.sh("cat ../etc/hosts").ok().stdout.contains(seen.trim()), "the host knows it");
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    // Where Docker has switched IPv6 off, an interface with such an address has it all the same.
    assert!(s.asks(&file, "b", "ip -6 addr show eth1").contains("2001:db8::2/64"));
    let native = std::fs::read_to_string(&file).expect("the file").replacen(
        "runtime: docker",
        "mgmt-ipv4: 172.20.20.9, runtime: docker",
        1,
    );
    std::fs::write(&file, native).expect("write the file");
    s.with("deploy", &file, &[]).run().code(3).says("chooses the addresses");
    s.destroy(&file);
    assert_eq!(docker(&s, "network ls -q --filter name=bridge").lines().count(), 1, "it stays");
    s.assert_clean();
    drop(daemon);
}

/// Bridges of the file are let through where Docker lets nothing through, and no longer than that.
#[test]
fn bridges_are_let_through() {
    let mut s = Sandbox::new();
    let daemon = Docker::start(&mut s);
    s.sh("sysctl -q -w net.ipv4.ip_forward=1 && iptables -P FORWARD DROP").ok();
    // With carrier of its own.
    s.sh("ip link add br7 address 02:00:00:00:00:07 type bridge && ip link set br7 up && ip link add p7 type veth peer name q7 && ip link set q7 up && ip link set p7 master br7 up").ok();
    s.remember();
    let file = s.lab(
        "bridged",
        &format!(
            "nodes:\n  br7: {{kind: bridge}}\n  a: {{kind: linux, image: '{SMALL}'}}\nlinks:\n  - endpoints: ['a:eth1', 'br7:a1']\n"
        ),
    );
    s.deploy(&file);
    let rules = s.sh("iptables -S FORWARD").ok().stdout;
    for rule in ["-A FORWARD -i br7", "-A FORWARD -o br7"] {
        assert!(rules.contains(rule), "{rule}: {rules}");
    }
    s.destroy(&file);
    s.assert_clean();
    drop(daemon);
}

/// Does with Docker what the program of this name does, as far as a lab sees it.
const KIND: &str = r#"#!/bin/sh
echo "$@" >>"$KIND_LOG"
name=$(echo "$@" | sed -n 's/.*--name \([^ ]*\).*/\1/p')
case "$1 $2" in
'get clusters') docker ps -a --filter label=io.x-k8s.kind.cluster --format '{{.Label "io.x-k8s.kind.cluster"}}' | sort -u ;;
'create cluster')
    case "$*" in *no-such-image*) echo 'ERROR: failed to create cluster: no image' >&2; exit 1 ;; esac
    for role in control-plane worker; do
        [ -z "$KIND_SLEEP" ] || sleep "$KIND_SLEEP"
        docker run -d --network none --name "$name-$role" --label "io.x-k8s.kind.cluster=$name" e2e/busybox:latest sleep infinity >/dev/null || exit 1
    done ;;
'delete cluster') docker rm -f $(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$name") >/dev/null 2>&1; true ;;
esac
"#;

#[test]
fn clusters_of_kind() {
    let mut s = Sandbox::new();
    let bin = s.folders()[0].join("bin");
    let program = s.file("../bin/kind", KIND);
    s.sh(&format!("chmod 755 {}", program.display())).ok();
    let log = s.lab_dir().join("kind.log");
    s.set("KIND_LOG", log.display().to_string());
    let _docker = Docker::start(&mut s);
    let text = "
nodes:
  k1:
    kind: k8s-kind
    image: kindest/node:v1.33.1
    startup-config: \"kind: Cluster\\napiVersion: kind.x-k8s.io/v1alpha4\\n\"
    extras: {k8s_kind: {deploy: {kubeconfig: k1.conf, wait: 0s}}}
  k1-worker: {kind: ext-container}
  n1: {kind: linux, image: 'e2e/busybox:latest'}
links:
  - type: veth
    endpoints:
      - {node: k1-worker, interface: eth1, ipv4: 10.0.0.1/24}
      - {node: n1, interface: eth1, ipv4: 10.0.0.2/24}
";
    let file = s.lab("kube", text);
    // Without the program nothing is begun.
    let refused = s.with("deploy", &file, &["--plain"]).run().code(3);
    assert!(refused.stderr.contains("`kind` is not installed"), "{}", refused.stderr);
    s.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    // Nor with something else wrong.
    let wrong = s.lab("kube", &text.replace("n1: {kind: linux", "n1: {kind: linus"));
    s.with("deploy", &wrong, &["--plain"]).run().code(3);
    let made = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(!made().contains("create"), "{}", made());
    let wrong = s.lab("kube", &text.replace("k1-worker", "k1-wroker"));
    let refused = s.with("deploy", &wrong, &["--plain"]).run().code(3);
    assert!(refused.stderr.contains("there is no container `k1-wroker`"), "{}", refused.stderr);
    assert!(!made().contains("create"), "{}", made());
    // One that cannot be made leaves nothing.
    let wrong = s.lab("kube", &text.replace("kindest/node:v1.33.1", "no-such-image"));
    let failed = s.with("deploy", &wrong, &["--plain"]).run().code(1);
    assert!(failed.stderr.contains("failed to create cluster: no image"), "{}", failed.stderr);
    s.netloom(["inspect", "--name", "kube"]).run().code(4);

    let file = s.lab("kube", text);
    s.deploy(&file);
    assert!(
        made().contains("create cluster --name k1 --image kindest/node:v1.33.1 --config"),
        "{}",
        made()
    );
    assert!(made().contains("k1.conf --wait 0s"), "{}", made());
    let pings = || s.asks(&file, "n1", "ping -c1 -W2 10.0.0.1").contains("1 packets received");
    assert!(pings());
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    s.deploy(&file);
    assert_eq!(made().matches("create cluster --name k1 --image kindest").count(), 1);
    let plan = s.with("deploy", &file, &["--dry-run"]).run().ok();
    assert!(!plan.stderr.contains("makes nothing of"), "{}", plan.stderr);
    // Killed while it is made: it is made anew, by name where it is not known to be whole.
    s.with("destroy", &file, &[]).run().ok();
    let deploy = || s.with("deploy", &file, &["--plain"]).env("KIND_SLEEP", "2").start();
    let running = deploy();
    let there = |name: &str| {
        s.run("docker").args(["ps", "-aq", "--filter", &format!("name={name}")]).run().ok().stdout
    };
    eventually("half of it is there", 20, || !there("k1-control-plane").is_empty());
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.finish();
    assert!(there("k1-worker").is_empty());
    s.deploy(&file);
    assert!(pings());
    assert!(made().matches("delete cluster --name k1").count() >= 2, "{}", made());
    s.with("destroy", &file, &[]).run().ok();
    // Nothing is left of one that is destroyed half-made.
    let running = deploy();
    eventually("half of it is there", 20, || !there("k1-control-plane").is_empty());
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.finish();
    s.with("destroy", &file, &[]).run().ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(there("k1-").is_empty());
    s.deploy(&file);
    // A cluster of somebody else is left alone.
    let other = s.lab("other", &text.replace("k1.conf", "k2.conf"));
    let refused = s.with("deploy", &other, &["--plain"]).run().code(3);
    assert!(refused.stderr.contains("is not this lab's"), "{}", refused.stderr);
    s.gone(&file);
    assert_eq!(s.run("docker").args(["ps", "-aq"]).run().ok().stdout, "");
}
