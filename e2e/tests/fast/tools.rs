//! Tools for running labs, and what is said under the name of the program this one stands in for.

use netloom_e2e::images::SMALL;
use netloom_e2e::{Docker, Sandbox, binary};

fn pair(s: &Sandbox, name: &str) -> std::path::PathBuf {
    s.lab(
        name,
        &format!(
            "defaults: {{kind: linux, image: '{SMALL}'}}\nnodes: {{a: {{}}, b: {{cmd: 'sh -c \"while :; do nc -l -p 7 >/dev/null; done\"'}}}}\n\
             links:\n  - endpoints: ['a:eth1', 'b:eth1']\n    ipv4: [10.0.0.1/30, 10.0.0.2/30]\n"
        ),
    )
}

#[test]
fn impairments() {
    let s = Sandbox::new();
    let lab = pair(&s, "impaired");
    s.deploy(&lab);
    let netem = |args: &[&str]| s.netloom(["tools", "netem"]).args(args);
    let node = "clab-impaired-a";
    // Every kernel can limit a rate; what it lacks for the rest is said.
    netem(&["set", "-n", node, "-i", "eth1", "--rate", "1000"]).run().ok().prints("1000");
    let shown = netem(&["show", "-n", node, "-f", "json"]).run().ok().json();
    assert_eq!(shown[node][0]["interface"], "eth1", "{shown}");
    assert_eq!(shown[node][0]["rate"], 1000, "{shown}");
    let table = netem(&["show", "-n", node]).run().ok();
    assert!(table.stdout.contains("│ eth1") && table.stdout.contains("N/A"), "{}", table.stdout);
    // 100 kB at 1 Mbit/s take most of a second.
    let begun = std::time::Instant::now();
    s.exec(&lab, "a", "head -c 250000 /dev/zero | nc -w 5 10.0.0.2 7").ok();
    assert!(begun.elapsed().as_millis() > 1000, "it took {:?}", begun.elapsed());
    // A short name where the lab is named; a deploy leaves it.
    s.deploy(&lab);
    let reset = s.with("tools", &lab, &["netem", "reset", "-n", "a", "-i", "eth1"]).run().ok();
    assert!(reset.stderr.contains("Reset impairments on node \"a\", interface \"eth1\""));
    let shown = netem(&["show", "-n", node, "-f", "json"]).run().ok().json();
    assert_eq!(shown[node], serde_json::json!([]));
    netem(&["reset", "-n", node, "-i", "eth1"]).run().ok();

    netem(&["set", "-n", node, "-i", "eth7", "--rate", "1"]).run().fails().says("eth7");
    netem(&["set", "-n", "nobody", "-i", "eth1", "--rate", "1"]).run().code(4).says("nobody");
    netem(&["set", "-n", node, "-i", "eth1", "--jitter", "1ms"]).run().fails().says("--delay");
    netem(&["set", "-n", node, "-i", "eth1", "--loss", "101"]).run().code(2).says("percent");
    let delayed = netem(&["set", "-n", node, "-i", "eth1", "--delay", "10ms"]).run();
    let known =
        s.sh("ip link add t0 type veth && tc qdisc add dev t0 root netem delay 1ms").code == 0;
    s.sh("ip link del t0").ok();
    match known {
        true => drop(delayed.ok().prints("10ms")),
        false => drop(delayed.fails().says("sch_netem")),
    }
    s.gone(&lab);
}

#[test]
fn links_by_hand() {
    let s = Sandbox::new();
    let lab = pair(&s, "byhand");
    s.deploy(&lab);
    s.sh("ip link add br9 type bridge && ip link set br9 up").ok();
    let veth = |a: &str, b: &str| s.netloom(["tools", "veth", "create", "-a", a, "-b", b]).run();
    veth("clab-byhand-a:eth5", "clab-byhand-b:eth5").ok();
    veth("clab-byhand-a:eth6", "host:a6").ok();
    veth("bridge:br9:a7", "clab-byhand-a:eth7").ok();
    s.with(
        "tools",
        &lab,
        &["veth", "create", "-a", "a:a_very_long_name", "-b", "b:eth8", "-m", "1400"],
    )
    .run()
    .ok();
    let up = |node: &str, name: &str| s.exec(&lab, node, &format!("ip link show {name}")).ok();
    assert!(up("a", "eth5").stdout.contains("mtu 9500"));
    assert!(up("b", "eth8").stdout.contains("mtu 1400"));
    s.sh("ip -d link show a6").ok().prints("UP");
    s.sh("ip link show a7").ok().prints("master br9");
    // The kernel's name of this one is another; what stands is left alone.
    veth("clab-byhand-a:a_very_long_name", "clab-byhand-b:eth9").code(2).says("already");
    up("b", "eth8");
    veth("clab-byhand-a:same", "clab-byhand-a:same").code(2).says("already");
    veth("clab-byhand-a:x", "host:").code(2).says("no end of a link");
    veth("clab-byhand-a:eth5", "clab-byhand-b:eth9").code(2).says("`eth5` already");
    veth("clab-byhand-a", "clab-byhand-b:eth9").code(2).says("NODE:INTERFACE");
    veth("host:x1", "host:x2").code(2).says("node of a lab");
    veth("nobody:eth1", "host:x2").code(4).says("nobody");
    s.sh("ip link show x2").fails();
    // No file knows them, and no deploy minds; one that is lost comes back.
    s.with("deploy", &lab, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    s.sh("ip link del a6").ok();
    s.deploy(&lab);
    s.sh("ip link show a6").ok();
    s.netloom(["tools", "disable-tx-offload", "-c", "clab-byhand-a"]).run().ok();
    s.sh("ip link del br9").ok();
    s.gone(&lab);
}

#[test]
fn tunnels_by_hand() {
    let mut s = Sandbox::new();
    s.sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up && ip addr add 192.0.2.1/24 dev up0").ok();
    s.remember();
    let lab = s.lab(
        "tunnelled",
        &format!(
            "nodes:\n  a: {{kind: linux, image: '{SMALL}'}}\nlinks:\n  - endpoints: ['a:eth1', 'host:a-host']\n"
        ),
    );
    s.deploy(&lab);
    let vxlan = |args: &[&str]| s.netloom(["tools", "vxlan"]).args(args).run();
    vxlan(&["create", "--remote", "192.0.2.2", "--link", "a-host", "--id", "77"]).ok();
    let shown = s.sh("ip -d link show vx-a-host").ok().stdout;
    assert!(
        shown.contains("id 77 remote 192.0.2.2")
            && shown.contains("dstport 14789")
            && shown.contains("dev up0"),
        "{shown}"
    );
    s.sh("tc filter show dev a-host ingress").ok().prints("vx-a-host");
    vxlan(&["create", "--remote", "192.0.2.2", "--link", "a-host"]).code(2).says("already");
    vxlan(&["create", "--remote", "203.0.113.1", "--link", "a-host", "--id", "78"])
        .code(2)
        .says("no route");
    vxlan(&["create", "--remote", "192.0.2.2", "--link", "nosuch"]).fails().says("nosuch");
    vxlan(&["delete"]).code(2);
    vxlan(&["delete", "--name", "up0"]).code(2).says("was made here");
    vxlan(&["delete", "--prefix", "vx-"]).ok();
    s.sh("ip link show vx-a-host").fails();
    vxlan(&["delete", "--name", "vx-a-host"]).code(2);
    s.gone(&lab);
}

#[test]
fn certificates() {
    let s = Sandbox::new();
    let at = s.lab_dir().join("pki");
    let dir = at.display().to_string();
    s.netloom([
        "tools",
        "cert",
        "ca",
        "create",
        "--path",
        &dir,
        "--name",
        "root",
        "--expiry",
        "24h",
        "--locality",
        "Here",
    ])
    .run()
    .ok();
    let (ca, key) = (format!("{dir}/root.pem"), format!("{dir}/root.key"));
    s.netloom([
        "tools",
        "cert",
        "sign",
        "--ca-cert",
        &ca,
        "--ca-key",
        &key,
        "--hosts",
        "n.example,10.0.0.1,2001:db8::1",
        "--cn",
        "n.example",
        "--path",
        &dir,
        "--name",
        "n",
    ])
    .run()
    .ok();
    s.sh(&format!("openssl verify -CAfile {ca} {dir}/n.pem")).ok();
    let text = s.sh(&format!("openssl x509 -noout -text -in {dir}/n.pem")).ok().stdout;
    assert!(text.contains("DNS:n.example, IP Address:10.0.0.1, IP Address:2001:DB8:"), "{text}");
    assert!(
        s.sh(&format!("openssl x509 -noout -subject -in {ca}")).ok().stdout.contains("L = Here")
    );
    s.sh(&format!("stat -c %a {key} {dir}/n.key {ca}")).ok().prints("600\n600\n644");
    s.netloom([
        "tools",
        "cert",
        "sign",
        "--ca-cert",
        "/nonexistent",
        "--ca-key",
        &key,
        "--hosts",
        "a",
    ])
    .run()
    .fails()
    .says("/nonexistent");
}

#[test]
fn clos_networks() {
    let s = Sandbox::new();
    let text = s
        .netloom([
            "generate",
            "--name",
            "fabric",
            "--kind",
            "linux",
            "--image",
            SMALL,
            "--nodes",
            "2,3:srl:ixr-d3l,1",
        ])
        .run()
        .ok()
        .stdout;
    for line in [
        "node2-3:",
        "type: ixr-d3l",
        "group: tier-3",
        "node1-2:eth3",
        "node2-3:e1-2",
        "node2-3:e1-3",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    s.netloom(["generate", "--name", "x", "--nodes", "2:nosuch"])
        .run()
        .fails()
        .says("no kind `nosuch`");
    s.netloom(["generate", "--name", "x", "--nodes", "two"]).run().fails().says("NUMBER");
    s.netloom(["generate", "--nodes", "2"]).run().fails().says("--name");
    let file = s.lab_dir().join("small.clab.yml");
    s.netloom([
        "generate", "--name", "small", "--kind", "linux", "--image", SMALL, "--nodes", "1,2",
        "--deploy",
    ])
    .within(60)
    .run()
    .ok();
    assert!(file.is_file(), "it is written beside");
    s.exec(&file, "node1-1", "ip link show eth2").ok();
    s.gone(&file);
}

/// What scripts around containerlab look for.
#[test]
fn under_the_other_name() {
    let mut s = Sandbox::new();
    let clab = s.folders()[0].join("containerlab");
    std::os::unix::fs::symlink(binary::netloom(), &clab).expect("link");
    let docker = Docker::start(&mut s);
    let lab = s.lab(
        "named",
        "defaults: {kind: linux, image: 'e2e/busybox:latest'}\nnodes:\n  a:\n    exec: ['uname -n', 'false']\n  b: {}\n",
    );
    let run = |args: &[&str]| s.run(&clab).args(args).within(90).run();
    let file = lab.display().to_string();
    let made = run(&["deploy", "-t", &file]).ok();
    for record in [
        "INFO Executed command node=a command=\"uname -n\"\n  stdout=\n  │ a\n",
        "ERRO Failed to execute command node=a command=false rc=1",
    ] {
        assert!(made.stderr.contains(record), "{record}: {}", made.stderr);
    }
    assert!(
        made.stdout.starts_with('╭') && made.stdout.contains("│ clab-named-a │"),
        "{}",
        made.stdout
    );
    let done = run(&["exec", "-t", &file, "--label", "clab-node-name=b", "--cmd", "echo x y"]).ok();
    assert!(
        done.stderr.contains(
            "INFO Executed command node=clab-named-b command=\"echo x y\"\n  stdout=\n  │ x y\n"
        ),
        "{}",
        done.stderr
    );
    // Failing commands end nothing, a filter without a match does; all labs are looked at.
    run(&["exec", "--label", "clab-node-name=b", "--cmd", "false"]).ok();
    run(&["exec", "--label", "clab-node-name=zz", "--cmd", "ls"])
        .fails()
        .says("filter did not match any containers");
    let all = run(&["inspect", "--all"]).ok().stdout;
    let column = |line: usize, at: usize| {
        all.lines().nth(line).and_then(|l| l.split('│').nth(at)).map(str::trim)
    };
    assert_eq!(column(3, 1), Some("named.clab.yml"), "{all}");
    assert_eq!(column(6, 1), Some(""), "cells that say the same are one: {all}");
    assert_eq!(column(3, 6), Some("172.20.20.2"), "{all}");
    let details = run(&["inspect", "-t", &file, "--details"]).ok().json();
    let first = &details["named"][0];
    for key in [
        "Names",
        "ID",
        "ShortID",
        "Image",
        "State",
        "Status",
        "Labels",
        "Pid",
        "NetworkName",
        "NetworkSettings",
        "Mounts",
        "Ports",
    ] {
        assert!(!first[key].is_null(), "{key}: {first}");
    }
    assert_eq!(first["NetworkSettings"]["IPv4addr"], "172.20.20.2");
    assert_eq!(first["NetworkSettings"]["IPv4Gw"], "172.20.20.1");
    run(&["deploy", "-t", &file]).ok().says("Apply summary");
    run(&["destroy", "-t", &file, "--cleanup"]).ok();
    s.assert_clean();
    drop(docker);
}
