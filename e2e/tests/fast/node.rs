//! What a node is made of: environment, files, user, limits, names.

use netloom_e2e::Sandbox;
use netloom_e2e::images::SMALL;

#[test]
fn environment_and_command() {
    let s = Sandbox::new();
    s.file("more.env", "FROM_FILE=file\nSHARED=file\n");
    let lab = s.lab(
        "env",
        &format!(
            r#"
defaults:
  kind: linux
  image: {SMALL}
  env: {{SHARED: default, LEVEL: default}}
kinds:
  linux:
    env: {{LEVEL: kind}}
nodes:
  a:
    env-files: [more.env]
    env: {{OWN: "with space"}}
  b:
    cmd: sh -c 'echo "arguments $0 $1"; exec /bin/idle' zero one
  c:
    entrypoint: /bin/sh -c
    cmd: '"echo from the entry point; exec /bin/idle"'
"#
        ),
    );
    s.deploy(&lab);
    let env = s.asks(&lab, "a", "tr '\\0' '\\n' </proc/1/environ");
    for line in ["OWN=with space", "FROM_FILE=file", "LEVEL=kind", "SHARED=default"] {
        assert!(env.lines().any(|l| l == line), "`{line}` should be in the environment:\n{env}");
    }
    let inside = s.asks(&lab, "a", "echo $OWN/$LEVEL");
    assert_eq!(inside, "with space/kind", "commands see the node's environment");
    s.with("logs", &lab, &["b"]).run().ok().prints("arguments zero one");
    s.with("logs", &lab, &["c"]).run().ok().prints("from the entry point");
    s.gone(&lab);
}

#[test]
fn binds_and_memory_file_systems() {
    let s = Sandbox::new();
    s.file("shown.txt", "shown\n");
    s.file("dir/inner.txt", "inner\n");
    let lab = s.lab(
        "binds",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a:
    binds:
      - shown.txt:/etc/shown.txt:ro
      - dir:/data
      - dir:/read:ro
    tmpfs: {{/scratch: "size=1m,mode=1700"}}
    shm-size: 8MiB
    volumes: [keep:/keep]
  b:
    volumes: [keep:/keep]
"#
        ),
    );
    s.deploy(&lab);
    assert_eq!(s.asks(&lab, "a", "cat /etc/shown.txt"), "shown");
    s.exec(&lab, "a", "echo no > /etc/shown.txt").fails();
    s.exec(&lab, "a", "touch /read/x").fails();
    s.exec(&lab, "a", "echo written > /data/out.txt").ok();
    let out =
        std::fs::read_to_string(s.lab_dir().join("dir/out.txt")).expect("written by the node");
    assert_eq!(out, "written\n");
    let size = s.asks(&lab, "a", "df -k /dev/shm | awk 'END {print $2}'");
    assert_eq!(size, "8192", "size of /dev/shm in KiB");
    let size = s.asks(&lab, "a", "df -k /scratch | awk 'END {print $2}'");
    assert_eq!(size, "1024", "size of the memory file system in KiB");
    assert_eq!(s.asks(&lab, "a", "stat -c %a /scratch"), "1700");
    s.exec(&lab, "a", "echo kept > /keep/x").ok();
    assert_eq!(s.asks(&lab, "b", "cat /keep/x"), "kept", "a volume is the same in both nodes");
    s.destroy(&lab);
    let volume = s.state().join("volumes/keep");
    let kept = std::fs::read_to_string(volume.join("x")).expect("a named volume outlives its lab");
    assert_eq!(kept, "kept\n");
    std::fs::remove_dir_all(volume).expect("remove the volume");
    s.assert_clean();
}

#[test]
fn user_sysctls_limits_and_names() {
    let s = Sandbox::new();
    let lab = s.lab(
        "who",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{user: web, cmd: sleep 100000, labels: {{role: edge, site: "1"}}}}
  b:
    hostname: other-name
    sysctls: {{net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: "1"}}
    labels: {{role: core}}
  c:
    memory: 64MiB
    cpu: 0.5
    cpu-set: "0"
    network-mode: none
"#
        ),
    );
    s.deploy(&lab);
    assert_eq!(s.asks(&lab, "a", "id -u; id -g; id -G"), "33\n33\n33 44");
    assert_eq!(s.asks(&lab, "a", "stat -c %u /proc/1"), "33", "user of the first process");
    assert_eq!(s.asks(&lab, "a", "hostname"), "a");
    assert_eq!(s.asks(&lab, "b", "hostname; cat /etc/hostname"), "other-name\nother-name");
    assert_eq!(s.asks(&lab, "b", "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(s.asks(&lab, "b", "cat /proc/sys/net/ipv6/conf/all/forwarding"), "1");
    assert_eq!(s.asks(&lab, "a", "cat /proc/sys/net/ipv4/ip_forward"), "0");
    assert_eq!(s.asks(&lab, "c", "grep Cpus_allowed_list /proc/self/status | cut -f2"), "0");
    let limit = s.sh(
        "cat $(find /sys/fs/cgroup -path '*clab-who-c*' \\( -name memory.limit_in_bytes -o -name memory.max \\))",
    );
    assert_eq!(limit.text(), "67108864", "memory limit");
    assert_eq!(s.asks(&lab, "c", "ip -o link | wc -l"), "1", "network-mode none has only lo");

    let edge = s.with("exec", &lab, &["--label", "role=edge", "--cmd", "hostname", "-f", "json"]);
    let edge = edge.run().ok().json();
    let names: Vec<&String> = edge.as_object().expect("nodes by name").keys().collect();
    assert_eq!(names, ["clab-who-a"], "only the node with the label");
    assert_eq!(edge["clab-who-a"][0]["return-code"], 0);
    assert_eq!(edge["clab-who-a"][0]["stdout"].as_str().map(str::trim), Some("a"));
    let both = s.with("exec", &lab, &["--label", "role", "--cmd", "true", "-f", "json"]).run().ok();
    assert_eq!(both.json().as_object().map(|o| o.len()), Some(2), "every node that has the label");
    s.gone(&lab);
}

#[test]
fn names_resolve_over_the_management_network() {
    let s = Sandbox::new();
    let lab = s.lab(
        "hosts",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{aliases: [router-a]}}
  b: {{mgmt-ipv4: 172.20.20.99, mgmt-ipv6: "3fff:172:20:20::99"}}
  c: {{image: host, cmd: sleep infinity, dns: {{servers: [192.0.2.53], search: [lab.example]}}}}
"#
        ),
    );
    s.deploy(&lab);
    for (from, to) in [("a", "b"), ("b", "clab-hosts-a"), ("b", "router-a"), ("a", "c"), ("b", "c")]
    {
        s.exec(&lab, from, &format!("ping -4 -c1 -W2 {to}")).ok();
        s.exec(&lab, from, &format!("ping -6 -c1 -W2 {to}")).ok();
    }
    s.exec(&lab, "c", "ping -4 -c1 -W2 b && ping -6 -c1 -W2 b").ok();
    let b = s.asks(&lab, "b", "ip -o addr show eth0");
    assert!(b.contains("172.20.20.99/24") && b.contains("3fff:172:20:20::99/64"), "fixed: {b}");
    let dns = s.asks(&lab, "c", "cat /etc/resolv.conf");
    assert!(dns.contains("nameserver 192.0.2.53") && dns.contains("lab.example"), "dns: {dns}");
    let routes = s.asks(&lab, "a", "ip route; ip -6 route");
    assert!(routes.contains("default via 172.20.20.1 dev eth0"), "default route: {routes}");
    assert!(routes.contains("default via 3fff:172:20:20::1 dev eth0"), "default route: {routes}");
    s.sh("ping -c1 -W2 172.20.20.99 && ping -c1 -W2 3fff:172:20:20::99").ok();
    s.gone(&lab);
}

/// A router of several cards, each a container, after the example of the vendors'.
const CHASSIS: &str = r#"
schema: 1
names: [e2e_chassis]
description: cards that share one network namespace
class: container
interfaces: {pattern: 'e\d+-\d+'}
env:
  default:
    SLOT: "{{ .Slot }}"
    CARD: "{{ .Component.Type }}"
    ALL: same
  lines: |
    {{- range .Component.MDA }}
    MDA_{{ .Slot }}={{ .Type }}
    {{- end }}
late:
  env: {ADDRESS: "{{ .MgmtIPv4Address }}"}
  binds: ['{{ if eq .Slot "A" }}{{ .NodeDir }}/flash:/flash{{ end }}']
directories: ['{{ if eq .Slot "A" }}flash{{ end }}']
parts:
  from: components
  name: "{{ .Node }}-{{ .Slot | ToLower }}"
  least: 2
"#;

#[test]
fn a_node_of_several_containers() {
    let s = Sandbox::new();
    s.file("netloom-kinds/e2e_chassis/kind.yml", CHASSIS);
    let lab = s.lab(
        "chassis",
        &format!(
            r#"
defaults: {{image: {SMALL}}}
nodes:
  r:
    kind: e2e_chassis
    env: {{ALL: mine}}
    ports: ["18083:80"]
    exec: ["touch /once"]
    components:
      - {{slot: 1, type: iom, env: {{EXTRA: "yes"}}, mda: [{{slot: 1, type: me6}}]}}
      - {{slot: B, type: cpm}}
      - {{slot: A, type: cpm}}
  h: {{kind: linux, stages: {{create: {{wait-for: [{{node: r, stage: create}}]}}}}}}
links:
  - {{endpoints: ["r:e1-1", "h:eth1"], ipv4: [10.0.0.1/30, 10.0.0.2/30]}}
"#
        ),
    );
    s.deploy(&lab);
    let env = |node: &str| {
        s.asks(
            &lab,
            node,
            "env | grep -e SLOT -e CARD -e MDA -e ALL -e EXTRA -e '^ADDRESS' | grep -v CLAB | sort",
        )
    };
    assert_eq!(env("r-1"), "ADDRESS=172.20.20.2\nALL=mine\nCARD=iom\nEXTRA=yes\nMDA_1=me6\nSLOT=1");
    assert_eq!(env("r-a"), "ADDRESS=172.20.20.2\nALL=mine\nCARD=cpm\nSLOT=A");
    assert_eq!(env("r"), env("r-a"), "the control card answers to the node's name");
    let namespace = |node: &str| s.asks(&lab, node, "readlink /proc/self/ns/net");
    assert_eq!(namespace("r-1"), namespace("r-a"), "one network namespace");
    s.exec(&lab, "h", "ping -c1 -W2 10.0.0.1 && ping -c1 -W2 r && ping -c1 -W2 r-a").ok();
    s.exec(&lab, "r-a", "test -d /flash && test -e /once").ok();
    s.exec(&lab, "r-b", "test -d /flash || test -e /once").fails();
    let rows = s.with("inspect", &lab, &["-f", "json"]).run().ok().json();
    assert_eq!(rows["chassis"].as_array().map(Vec::len), Some(4), "{rows}");

    // A card more, and one less: the others run on.
    s.exec(&lab, "r-a", "touch /mine").ok();
    let text = std::fs::read_to_string(&lab).expect("the file");
    std::fs::write(&lab, text.replace("slot: B, type", "slot: 2, type")).expect("write the file");
    s.deploy(&lab);
    s.exec(&lab, "r-2", "true").ok();
    s.exec(&lab, "r-b", "true").code(4);
    s.exec(&lab, "r-a", "test -e /mine").ok();
    s.with("stop", &lab, &["--node", "r"]).run().ok();
    s.with("deploy", &lab, &[]).run().ok();
    s.exec(&lab, "r-1", "true").ok();
    s.with("destroy", &lab, &["--node-filter", "r"]).run().ok();
    s.exec(&lab, "r-1", "true").code(4);
    s.exec(&lab, "h", "ip link show eth1").fails();

    // What is wrong with the node is said once.
    std::fs::write(&lab, text.replace("kind: e2e_chassis", "kind: e2e_chassis, image: no/such"))
        .expect("write the file");
    let done = s.with("deploy", &lab, &[]).run().code(3);
    assert_eq!(done.stderr.matches("error[").count(), 1, "{done}");
    s.gone(&lab);
}

#[test]
fn names_are_there_whatever_lies_over_them() {
    let s = Sandbox::new();
    s.file("etcd/own", "mine\n");
    let lab = s.lab(
        "covered",
        &format!(
            "defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n  a: {{binds: [\"etcd:/etc\"]}}\n  b: {{tmpfs: {{/etc: \"\"}}}}\n  c: {{}}\n"
        ),
    );
    s.deploy(&lab);
    for node in ["a", "b", "c"] {
        s.exec(&lab, node, "ping -c1 -W2 c && test -f /etc/resolv.conf && test -f /etc/hostname")
            .ok();
    }
    s.exec(&lab, "a", "test -f /etc/own").ok();
    s.gone(&lab);
}
