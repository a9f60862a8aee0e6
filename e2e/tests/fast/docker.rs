//! Nodes that Docker runs, beside and instead of native ones.

use netloom_e2e::{Docker, Sandbox, eventually};
use std::path::Path;
use std::time::{Duration, Instant};

const MIXED: &str = "
nodes:
  d1: {kind: linux, image: e2e/busybox:latest, runtime: docker}
  d2: {kind: linux, image: e2e/busybox:latest, runtime: docker}
  n1: {kind: linux, image: e2e/busybox:latest}
links:
  - type: veth
    endpoints:
      - {node: d1, interface: eth1, ipv4: 10.0.0.1/24, ipv6: 2001:db8::1/64}
      - {node: n1, interface: eth1, ipv4: 10.0.0.2/24, ipv6: 2001:db8::2/64}
  - type: veth
    endpoints:
      - {node: d1, interface: eth2, ipv4: 10.0.1.1/24, ipv6: 2001:db8:1::1/64}
      - {node: d2, interface: eth2, ipv4: 10.0.1.2/24}
  - endpoints: ['d1:eth3', 'host:d1-eth3']
";

fn docker(s: &Sandbox, line: &str) -> String {
    s.run("docker").args(line.split(' ')).within(60).run().ok().stdout
}

/// Output of a command in a node's namespace, as the host sees it.
fn within(s: &Sandbox, container: &str, line: &str) -> String {
    let netns = s.netns_dir().join(container);
    s.sh(&format!("nsenter --net={} {line}", netns.display())).ok().stdout
}

/// When the process of a container was started, and when its link answers.
fn back_in_time(s: &Sandbox, file: &Path, container: &str, node: &str, to: &str) {
    eventually("it runs", 20, || {
        docker(s, &format!("inspect -f {{{{.State.Running}}}} {container}")) == "true\n"
    });
    let begun = Instant::now();
    eventually("the link is back", 5, || {
        s.exec(file, node, &format!("ping -c1 -W1 {to}")).code == 0
    });
    assert!(begun.elapsed() < Duration::from_millis(1500), "it took {:?}", begun.elapsed());
}

#[test]
fn links_come_back_and_neighbours_notice_nothing() {
    let mut s = Sandbox::new();
    let mut docker_daemon = Docker::start(&mut s);
    let file = s.lab("mixed", MIXED);
    s.deploy(&file);
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.1.2").contains("1 packets received"));
    for (from, to) in [("n1", "d1"), ("d1", "n1"), ("d1", "d2"), ("n1", "clab-mixed-d2")] {
        let seen = s.asks(&file, from, &format!("ping -c1 -W2 {to}"));
        assert!(seen.contains("1 packets received"), "{from} to {to}: {seen}");
    }
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    // What somebody did in the node and at its neighbour.
    for line in [
        "ip addr add 192.0.2.1/24 dev eth1",
        "ip route add 198.51.100.0/24 via 10.0.0.2",
        "tc qdisc add dev eth1 root tbf rate 5mbit burst 10k latency 40ms",
    ] {
        within(&s, "clab-mixed-d1", line);
    }
    within(&s, "clab-mixed-n1", "ip route add 203.0.113.0/24 via 10.0.0.1");
    within(&s, "clab-mixed-n1", "tc qdisc add dev eth1 root tbf rate 7mbit burst 10k latency 40ms");
    let tentative = || {
        let host = s.sh("ip addr show dev d1-eth3").ok().stdout;
        (within(&s, "clab-mixed-n1", "ip addr") + &host).contains("tentative")
    };
    eventually("addresses are settled", 5, || !tentative());
    let look = |container: &str| {
        ["ip -d addr show dev eth1", "ip route show dev eth1", "tc qdisc show dev eth1"]
            .map(|line| within(&s, container, line))
    };
    let host = || s.sh("ip -d addr show dev d1-eth3").ok().stdout;
    let (neighbour, here, on_host) = (look("clab-mixed-n1"), look("clab-mixed-d1"), host());
    let same = |why: &str| {
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(look("clab-mixed-n1"), neighbour, "{why}");
        assert_eq!(host(), on_host, "{why}");
        let now = look("clab-mixed-d1");
        assert_eq!(now[1..], here[1..], "{why}");
        for address in ["10.0.0.1/24", "192.0.2.1/24", "2001:db8::1/64"] {
            assert!(now[0].contains(address), "{why}: {}", now[0]);
        }
    };
    docker(&s, "restart -t 0 clab-mixed-d1");
    back_in_time(&s, &file, "clab-mixed-d1", "d1", "10.0.0.2");
    same("restarted by hand");
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.1.2").contains("1 packets received"));
    // By its restart policy, and without the supervisor that was there.
    let supervisor = s.server("__supervisor");
    netloom_e2e::processes::kill_nine(supervisor);
    let pid = docker(&s, "inspect -f {{.State.Pid}} clab-mixed-d1").trim().parse().unwrap();
    netloom_e2e::processes::kill_nine(pid);
    eventually("another process", 10, || {
        let now = docker(&s, "inspect -f {{.State.Pid}} clab-mixed-d1");
        !["0", &pid.to_string()].contains(&now.trim())
    });
    back_in_time(&s, &file, "clab-mixed-d1", "d1", "10.0.0.2");
    same("its process was killed");
    // With the daemon itself.
    docker_daemon.daemon.restart();
    back_in_time(&s, &file, "clab-mixed-d1", "d1", "10.0.0.2");
    back_in_time(&s, &file, "clab-mixed-d2", "d2", "10.0.1.1");
    same("the daemon was started again");
    // Carrier follows the cable.
    within(&s, "clab-mixed-d1", "ip link set eth1 down");
    let carrier = || within(&s, "clab-mixed-n1", "ip -o link show dev eth1").contains("LOWER_UP");
    eventually("no carrier", 5, || !carrier());
    within(&s, "clab-mixed-d1", "ip link set eth1 up");
    eventually("carrier", 5, carrier);
    // And by the program's own commands.
    s.netloom(["stop", "--name", "mixed", "d1"]).run().ok();
    assert!(s.with("inspect", &file, &[]).run().ok().stdout.contains("exited"));
    s.netloom(["start", "--name", "mixed", "d1"]).run().ok();
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
    s.netloom(["restart", "--name", "mixed", "d1"]).run().ok();
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
    s.destroy(&file);
    assert_eq!(docker(&s, "ps -aq"), "");
    // Docker has written its own rules anew, in another order.
    let left = s.sh("ip -o link; nft list ruleset; ls $NETLOOM_NETNS_DIR").ok().stdout;
    assert!(!left.contains("br-") && !left.contains("nl") && !left.contains("clab"), "{left}");
    assert_eq!(docker(&s, "network ls -q --filter name=clab"), "");
}

#[test]
fn a_lab_changes_on_docker() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let file = s.lab("change", MIXED);
    s.with("deploy", &file, &["--plain", "--runtime", "docker"]).within(60).run().ok();
    assert_eq!(docker(&s, "ps -q").lines().count(), 3);
    let id = |name: &str| docker(&s, &format!("inspect -f {{{{.Id}}}} clab-change-{name}"));
    let before = [id("d1"), id("d2"), id("n1")];
    s.with("deploy", &file, &["--plain", "--runtime", "docker", "--dry-run"])
        .run()
        .ok()
        .prints("nothing to do");
    // One node is made anew, one link goes, one comes; nothing else is touched.
    let changed = MIXED
        .replace("d2: {kind: linux,", "d2: {kind: linux, env: {NEW: value},")
        .replace("['d1:eth3', 'host:d1-eth3']", "['n1:eth3', 'd2:eth3']");
    let file = s.lab("change", &changed);
    s.with("deploy", &file, &["--plain", "--runtime", "docker"]).within(60).run().ok();
    assert_eq!([id("d1"), id("n1")], [before[0].clone(), before[2].clone()]);
    assert_ne!(id("d2"), before[1]);
    assert_eq!(s.asks(&file, "d2", "echo $NEW").trim(), "value");
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.1.2").contains("1 packets received"));
    assert!(s.asks(&file, "d2", "ip link show eth3").contains("UP"));
    assert_ne!(s.sh("ip link show d1-eth3").code, 0);
    // A node changes what runs it.
    let moved = changed.replace("n1: {kind: linux,", "n1: {kind: linux, runtime: native,");
    let file = s.lab("change", &moved);
    s.with("deploy", &file, &["--plain", "--runtime", "docker"]).within(60).run().ok();
    assert_eq!(docker(&s, "ps -q").lines().count(), 2);
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
    // One goes.
    s.netloom(["destroy", "--name", "change", "--node-filter", "d2"]).run().ok();
    assert_eq!(docker(&s, "ps -aq").lines().count(), 1);
    s.gone(&file);
}

#[test]
fn everything_a_node_can_ask_of_docker() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    s.file("given", "of the host");
    s.file("more.env", "FROM_FILE=yes\n");
    let text = "
name: keys
mgmt: {network: other, ipv4-subnet: 172.30.7.0/24, ipv6-subnet: '3fff:30:7::/64', mtu: 1400}
topology:
  defaults: {kind: linux, image: 'e2e/busybox:latest', runtime: docker}
  nodes:
    all:
      mgmt-ipv4: 172.30.7.77
      mgmt-ipv6: '3fff:30:7::77'
      cmd: sh -c 'sleep 4321'
      user: nobody
      env: {A: 'b c'}
      env-files: [more.env]
      labels: {my: label}
      binds: ['given:/given:ro']
      volumes: ['kept:/kept']
      tmpfs: {/scratch: 'size=2m'}
      shm-size: 8MiB
      sysctls: {net.ipv4.ip_forward: '1'}
      cpu: 0.5
      memory: 64MiB
      privileged: false
      cap-add: [NET_ADMIN]
      devices: ['/dev/net/tun:/dev/tunnel']
      restart-policy: unless-stopped
      hostname: renamed
      aliases: [nickname]
      dns: {servers: [192.0.2.1], search: [example.test], options: ['ndots:2']}
      ports: ['127.0.0.1:18081:81', '18082:82/udp']
      healthcheck: {test: [CMD, 'true'], interval: 1}
    shares: {network-mode: 'container:all'}
    bare: {network-mode: none}
    host: {network-mode: host}
    native: {runtime: native}
  links:
    - endpoints: ['bare:eth0', 'native:eth5']
    - endpoints: ['all:eth1', 'native:eth1']
";
    let file = s.whole("keys", text);
    s.deploy(&file);
    let ask = |format: &str| docker(&s, &format!("inspect -f {format} clab-keys-all"));
    assert_eq!(ask("{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped\n");
    assert_eq!(ask("{{.HostConfig.Memory}}"), format!("{}\n", 64 << 20));
    assert_eq!(ask("{{.HostConfig.CpuQuota}}"), "50000\n");
    assert_eq!(ask("{{.NetworkSettings.Networks.other.IPAddress}}"), "172.30.7.77\n");
    assert_eq!(ask("{{.NetworkSettings.Networks.other.GlobalIPv6Address}}"), "3fff:30:7::77\n");
    assert_eq!(ask("{{.Config.Labels.containerlab}}"), "keys\n");
    assert!(ask("{{.HostConfig.PortBindings}}").contains("18081"));
    let seen = s.asks(
        &file,
        "all",
        "echo \"$A $FROM_FILE\"; hostname; cat /given; echo; id -u; cat /proc/sys/net/ipv4/ip_forward; \
         df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
    );
    assert_eq!(seen, "b c yes\nrenamed\nof the host\n65534\n1\n2048\n8192");
    let resolv = s.asks(&file, "all", "cat /etc/resolv.conf");
    assert!(resolv.contains("search example.test") && resolv.contains("ndots:2"), "{resolv}");
    assert_eq!(s.asks(&file, "all", "cat /sys/class/net/eth0/mtu"), "1400");
    assert!(s.asks(&file, "native", "ping -c1 -W2 nickname").contains("1 packets received"));
    assert!(s.asks(&file, "shares", "ip addr").contains("172.30.7.77"));
    assert!(s.asks(&file, "shares", "ip link show eth1").contains("UP"));
    let bare = s.asks(&file, "bare", "ip -o link");
    assert!(bare.lines().count() == 2 && bare.contains("eth0@"), "{bare}");
    assert_eq!(
        s.asks(&file, "host", "readlink /proc/self/ns/net"),
        s.sh("readlink /proc/self/ns/net").ok().text()
    );
    assert!(s.asks(&file, "all", "ls /dev/tunnel").contains("tunnel"));
    eventually("it is healthy", 10, || {
        s.with("inspect", &file, &[]).run().ok().stdout.contains("healthy")
    });
    let network = docker(&s, "network inspect other -f {{.Labels}}{{.EnableIPv6}}");
    assert_eq!(network, "map[containerlab:]true\n");
    s.gone(&file);
    assert_eq!(docker(&s, "network ls -q --filter name=other"), "");
    docker(&s, "volume rm kept");
}

#[test]
fn started_under_another_name() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let clab = s.folders()[0].join("containerlab");
    std::os::unix::fs::symlink(netloom_e2e::binary::netloom(), &clab).unwrap();
    s.remember();
    let file = s.lab("named", "\nnodes: {a: {kind: linux, image: e2e/busybox:latest}}\n");
    s.run(&clab).args(["deploy", "-t"]).args([&file]).within(60).run().ok();
    assert_eq!(docker(&s, "ps --format {{.Names}}"), "clab-named-a\n");
    s.run(&clab).args(["destroy", "-c", "-t"]).args([&file]).run().ok();
    let native = ["deploy", "--runtime", "native", "-t"];
    s.run(&clab).args(native).args([&file]).within(60).run().ok();
    assert_eq!(docker(&s, "ps -aq"), "");
    s.gone(&file);
}

#[test]
fn a_network_docker_had_before() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    docker(&s, "network create --subnet 10.99.0.0/24 theirs");
    docker(&s, "run -d --network theirs --ip 10.99.0.2 --name stranger e2e/busybox:latest");
    s.remember();
    let text = "
name: guest
mgmt: {network: theirs}
topology:
  nodes:
    d: {kind: linux, image: 'e2e/busybox:latest', runtime: docker}
    n: {kind: linux, image: 'e2e/busybox:latest'}
";
    let file = s.whole("guest", text);
    s.deploy(&file);
    let address = s.asks(&file, "d", "ip -o -4 addr show eth0");
    assert!(address.contains("10.99.0.3/24"), "{address}");
    for node in ["d", "n"] {
        let seen = s.asks(&file, node, "ping -c1 -W2 10.99.0.2");
        assert!(seen.contains("1 packets received"), "{node}: {seen}");
    }
    s.gone(&file);
    assert_eq!(docker(&s, "ps --format {{.Names}}"), "stranger\n");
    assert!(docker(&s, "network ls").contains("theirs"));
    // With another subnet it is not what the file asks for.
    let wrong = text.replace("network: theirs", "network: theirs, ipv4-subnet: 10.98.0.0/24");
    let file = s.whole("guest", &wrong);
    let done = s.with("deploy", &file, &["--plain"]).run();
    assert_eq!(done.code, 3);
    done.says("10.99.0.0/24");
    s.assert_clean();
    docker(&s, "rm -f stranger");
    docker(&s, "network rm theirs");
}

#[test]
fn what_goes_wrong_is_said_and_leaves_nothing() {
    let mut s = Sandbox::new();
    let file = s.lab("mixed", MIXED);
    let done = s.with("deploy", &file, &["--plain"]).run();
    assert_eq!(done.code, 3, "{done:?}");
    done.says("Docker does not answer at /nonexistent/docker.sock").says("d1");
    s.assert_clean();
    let mut daemon = Docker::start(&mut s);
    // A name that is somebody else's, who may use the same label.
    docker(&s, "run -d --name clab-mixed-d2 --label containerlab=mixed e2e/busybox:latest");
    s.remember();
    let done = s.with("deploy", &file, &["--plain"]).within(60).run();
    assert_ne!(done.code, 0);
    done.says("clab-mixed-d2").says("taken by another container");
    s.assert_clean();
    assert_eq!(docker(&s, "ps -a --format {{.Names}}"), "clab-mixed-d2\n");
    docker(&s, "rm -f clab-mixed-d2");
    s.remember();
    // An image nobody has, and that may not be fetched.
    let absent = MIXED.replacen(
        "image: e2e/busybox:latest",
        "image: no/such:1, image-pull-policy: never",
        1,
    );
    let absent = s.lab("absent", &absent);
    let done = s.with("deploy", &absent, &["--plain"]).run();
    assert_eq!(done.code, 3);
    done.says("no/such:1");
    s.assert_clean();
    // A program that is not in the image.
    let wrong = s.lab(
        "wrong",
        &MIXED.replacen("runtime: docker", "runtime: docker, cmd: no-such-program", 1),
    );
    let done = s.with("deploy", &wrong, &["--plain"]).within(60).run();
    assert_ne!(done.code, 0);
    done.says("no-such-program");
    s.assert_clean();
    // A daemon that is away when the lab is to go: it stays recorded until that can be done.
    s.deploy(&file);
    daemon.daemon.kill();
    let done = s.with("destroy", &file, &["--cleanup"]).within(60).run();
    assert_ne!(done.code, 0);
    done.says("does not answer");
    daemon.daemon.restart();
    s.with("destroy", &file, &["--cleanup"]).within(60).run().ok();
    assert_eq!(docker(&s, "ps -aq"), "");
}

#[test]
fn a_deploy_that_is_killed_is_taken_up_or_taken_back() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let file = s.lab("mixed", MIXED);
    for moment in [60, 150, 250, 350, 450, 600] {
        let running = s.with("deploy", &file, &["--plain"]).start();
        std::thread::sleep(Duration::from_millis(moment));
        running.signal(nix::sys::signal::Signal::SIGKILL);
        running.finish();
        if moment % 100 == 0 {
            s.deploy(&file);
            assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
            s.gone(&file);
        } else {
            s.netloom(["destroy", "--name", "mixed", "--cleanup"]).run();
            s.assert_clean();
        }
        assert_eq!(docker(&s, "ps -aq"), "");
    }
}

#[test]
fn a_stopped_node_is_started_as_it_is() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let file = s.lab("mixed", MIXED);
    s.deploy(&file);
    let id = docker(&s, "inspect -f {{.Id}} clab-mixed-d1");
    s.asks(&file, "d1", "echo kept > /kept");
    docker(&s, "stop -t 0 clab-mixed-d1");
    let more = MIXED.replace(
        "links:\n",
        "  n2: {kind: linux, image: e2e/busybox:latest}\nlinks:\n  - endpoints: ['d1:eth7', 'n2:eth7']\n",
    );
    let file = s.lab("mixed", &more);
    s.deploy(&file);
    assert_eq!(docker(&s, "inspect -f {{.Id}} clab-mixed-d1"), id);
    assert_eq!(s.asks(&file, "d1", "cat /kept"), "kept");
    assert!(s.asks(&file, "d1", "ip link show eth7").contains("LOWER_UP"));
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
    // A native one is, too.
    s.netloom(["stop", "--name", "mixed", "n1"]).run().ok();
    let fewer = s.lab("mixed", MIXED);
    s.deploy(&fewer);
    assert!(s.asks(&file, "n1", "ping -c1 -W2 10.0.0.1").contains("1 packets received"));
    s.gone(&file);
}

#[test]
fn what_is_in_the_way_is_waited_for() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let file = s.lab("mixed", MIXED);
    s.deploy(&file);
    s.netloom(["stop", "--name", "mixed", "d2"]).run().ok();
    // The container makes an interface of its own before its link comes back.
    let supervisor = s.server("__supervisor");
    let stop = nix::sys::signal::Signal::SIGSTOP;
    let supervisor = nix::unistd::Pid::from_raw(supervisor);
    nix::sys::signal::kill(supervisor, stop).unwrap();
    docker(&s, "restart -t 0 clab-mixed-d1");
    let pid = docker(&s, "inspect -f {{.State.Pid}} clab-mixed-d1").trim().to_owned();
    s.sh(&format!("nsenter --net=/proc/{pid}/ns/net ip link add eth2 type bridge")).ok();
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGCONT).unwrap();
    // The other link is there all the same.
    eventually("the other link is back", 5, || {
        s.exec(&file, "d1", "ping -c1 -W1 10.0.0.2").code == 0
    });
    s.sh(&format!("nsenter --net=/proc/{pid}/ns/net ip link del eth2")).ok();
    s.netloom(["start", "--name", "mixed", "d2"]).run().ok();
    s.deploy(&file);
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.1.2").contains("1 packets received"));
    s.gone(&file);
}

#[test]
fn routes_guests_and_input() {
    let mut s = Sandbox::new();
    let _docker = Docker::start(&mut s);
    let text = MIXED.replace(
        "links:\n",
        "  guest: {kind: linux, image: e2e/busybox:latest, runtime: docker, network-mode: 'container:d1'}\nlinks:\n",
    );
    let file = s.lab("mixed", &text);
    s.deploy(&file);
    s.asks(&file, "d1", "ip route replace default via 10.0.0.2 dev eth1");
    docker(&s, "restart -t 0 clab-mixed-d1");
    eventually("the route is back", 5, || {
        within(&s, "clab-mixed-d1", "ip route show default").contains("via 10.0.0.2 dev eth1")
    });
    eventually("who shares its network is there again", 10, || {
        s.exec(&file, "guest", "ip addr show eth1").stdout.contains("10.0.0.1/24")
    });
    // Much in and much out at once.
    let line = format!(
        "head -c 3000000 /dev/zero | {} exec --topo={} d1 -- sh -c 'head -c 3000000 /dev/zero; wc -c >&2' | wc -c",
        netloom_e2e::binary::netloom().display(),
        file.display()
    );
    let done = s.run("sh").args(["-c", &line]).within(30).run().ok();
    assert_eq!(done.stdout.trim(), "3000000");
    assert!(done.stderr.contains("3000000"), "{}", done.stderr);
    let done = s.exec(&file, "d1", "exit 5");
    assert_eq!(done.code, 5);
    let none = s.with("exec", &file, &["d1", "--", "no-such-program"]).run();
    assert_eq!(none.code, 127, "{none}");
    s.gone(&file);
    // A node Docker runs cannot share what Docker has not made.
    let wrong = text.replace("container:d1", "container:n1");
    let file = s.lab("mixed", &wrong);
    let done = s.with("deploy", &file, &["--plain"]).run();
    assert_eq!(done.code, 3);
    done.says("Docker cannot have node `guest` share the network of `n1`");
    s.assert_clean();
}

#[test]
fn labs_without_docker_nodes_need_no_docker() {
    let mut s = Sandbox::new();
    let mut daemon = Docker::start(&mut s);
    let both = s.lab("mixed", MIXED);
    s.deploy(&both);
    daemon.daemon.kill();
    let alone = s.lab(
        "alone",
        "
nodes: {a: {kind: linux, image: e2e/busybox:latest}, b: {kind: linux, image: e2e/busybox:latest}}
",
    );
    s.deploy(&alone);
    assert!(s.asks(&alone, "a", "ping -c1 -W2 b").contains("1 packets received"));
    let all = s.netloom(["inspect", "--all"]).run().ok().stdout;
    assert!(all.contains("unknown") && all.contains("clab-alone-a"), "{all}");
    s.destroy(&alone);
    daemon.daemon.restart();
    s.with("destroy", &both, &["--cleanup"]).within(60).run().ok();
    assert_eq!(docker(&s, "ps -aq"), "");
    assert_eq!(docker(&s, "network ls -q --filter name=clab"), "");
}

#[test]
fn images_go_both_ways() {
    let mut s = Sandbox::new();
    let _docker = Docker::empty(&mut s, &[]);
    // What is in our store is given to Docker.
    let file = s.lab("mixed", MIXED);
    s.deploy(&file);
    assert!(docker(&s, "images").contains("e2e/busybox"));
    assert!(s.asks(&file, "d1", "ping -c1 -W2 10.0.0.2").contains("1 packets received"));
    s.destroy(&file);
    // What Docker has is taken from there.
    docker(&s, "tag e2e/busybox:latest only.test/in-docker:7");
    let taken = s.lab("taken", "\nnodes: {a: {kind: linux, image: 'only.test/in-docker:7'}}\n");
    s.deploy(&taken).says("taken from Docker");
    s.asks(&taken, "a", "true");
    s.destroy(&taken);
    s.netloom(["image", "remove", "only.test/in-docker:7"]).run().ok();
    // And by file.
    s.netloom(["image", "save", "e2e/busybox:latest", "-o", "saved.tar"]).run().ok();
    docker(&s, "image rm -f e2e/busybox:latest only.test/in-docker:7");
    docker(&s, "load -i saved.tar");
    assert!(docker(&s, "images").contains("e2e/busybox"));
}
