//! The management network: its settings, the way out, and what clashes with it.

use netloom_e2e::Sandbox;
use netloom_e2e::command::Running;
use netloom_e2e::images::SMALL;
use std::path::PathBuf;

/// A lab of some nodes with this `mgmt` section, one line of flow style.
fn managed(s: &Sandbox, name: &str, mgmt: &str, nodes: &str) -> PathBuf {
    s.whole(
        name,
        &format!(
            "name: {name}\nmgmt: {mgmt}\ntopology:\n  defaults: {{kind: linux, image: {SMALL}}}\n  nodes: {nodes}\n"
        ),
    )
}

/// A network namespace beyond the host, and the process that keeps it.
fn world(s: &Sandbox) -> (Running, i32) {
    let world = s.run("unshare").args(["-n", "sleep", "300"]).start();
    let pid = world.pid();
    s.sh("sleep 0.2").ok();
    (world, pid)
}

fn leave(world: Running) {
    world.signal(nix::sys::signal::Signal::SIGKILL);
    world.finish();
}

#[test]
fn settings_of_the_network() {
    let s = Sandbox::new();
    let lab = managed(
        &s,
        "tuned",
        "{network: mine, bridge: br-mine, ipv4-subnet: 10.99.0.0/24, ipv6-subnet: \"2001:db8:99::/64\", ipv4-gw: 10.99.0.254, ipv4-range: 10.99.0.128/28, mtu: 1400}",
        "{a: {}, b: {mgmt-ipv4: 10.99.0.5}}",
    );
    s.deploy(&lab);
    s.sh("ip -o addr show dev br-mine").ok().prints("10.99.0.254/24");
    let a = s.asks(&lab, "a", "ip -o addr show eth0; ip link show eth0; ip route");
    assert!(a.contains("10.99.0.128/24") || a.contains("10.99.0.129/24"), "from the range: {a}");
    assert!(a.contains("mtu 1400") && a.contains("default via 10.99.0.254"), "{a}");
    assert!(a.contains("2001:db8:99::"), "{a}");
    s.exec(&lab, "a", "ping -c1 -W2 10.99.0.5 && ping -c1 -W2 b").ok();
    s.gone(&lab);
}

#[test]
fn nodes_reach_the_world_unless_forbidden() {
    let mut s = Sandbox::new();
    // A world that knows no way back: only an address of the host's own gets an answer.
    let (world, pid) = world(&s);
    s.sh(&format!(
        "ip link add up0 type veth peer name far0 && ip link set far0 netns {pid}
         ip addr add 198.51.100.1/24 dev up0; ip addr add 2001:db8:51::1/64 dev up0 nodad; ip link set up0 up
         nsenter -t {pid} -n sh -c 'ip addr add 198.51.100.2/24 dev far0; ip addr add 2001:db8:51::2/64 dev far0 nodad; ip link set far0 up'
         sleep 1"
    ))
    .ok();
    s.remember();
    let open = managed(&s, "open", "{network: open}", "{a: {}}");
    s.deploy(&open);
    s.exec(&open, "a", "ping -c1 -W3 198.51.100.2").ok();
    s.exec(&open, "a", "ping -6 -c1 -W3 2001:db8:51::2").ok();
    s.gone(&open);
    let shut = managed(&s, "shut", "{network: shut, external-access: false}", "{a: {}, b: {}}");
    s.deploy(&shut);
    s.exec(&shut, "a", "ping -c1 -W1 198.51.100.2").fails();
    s.exec(&shut, "a", "ping -c1 -W2 b").ok();
    s.gone(&shut);
    leave(world);
}

#[test]
fn published_ports_are_reached_from_the_host_and_from_outside() {
    let mut s = Sandbox::new();
    let (world, pid) = world(&s);
    s.sh(&format!(
        "ip link add up0 type veth peer name far0 && ip link set far0 netns {pid}
         ip addr add 198.51.100.1/24 dev up0; ip link set up0 up
         nsenter -t {pid} -n sh -c 'ip addr add 198.51.100.2/24 dev far0; ip link set far0 up'"
    ))
    .ok();
    s.remember();
    s.file("www/index.html", "served\n");
    let lab = managed(
        &s,
        "ports",
        "{}",
        "{a: {cmd: httpd -f -p 80 -h /www, binds: [\"www:/www\"], ports: [\"18080:80\"]}, b: {}}",
    );
    s.deploy(&lab);
    let get = |address: &str, port: u16, from: &str| {
        let line = format!(
            "exec 3<>/dev/tcp/{address}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        );
        s.sh(&format!("{from} timeout 3 bash -c \"{line}\"")).ok().prints("served");
    };
    get("172.20.20.2", 80, "");
    get("198.51.100.1", 18080, "");
    get("127.0.0.1", 18080, "");
    get("198.51.100.1", 18080, &format!("nsenter -t {pid} -n"));
    let clash = managed(&s, "ports2", "{}", "{x: {ports: [\"18080:80\"]}}");
    s.with("deploy", &clash, &[]).run().fails().says("18080");
    s.gone(&lab);
    leave(world);
}

#[test]
fn a_host_that_drops_what_it_forwards_lets_labs_through() {
    let mut s = Sandbox::new();
    let (world, pid) = world(&s);
    // Docker's way, an administrator's, and one that rejects at its end.
    s.sh(&format!(
        "ip link add up0 type veth peer name far0 && ip link set far0 netns {pid}
         ip addr add 198.51.100.1/24 dev up0; ip link set up0 up
         nsenter -t {pid} -n sh -c 'ip addr add 198.51.100.2/24 dev far0; ip link set far0 up'
         iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
         iptables -A FORWARD -j DOCKER-USER
         nft add table inet filter
         nft 'add chain inet filter forward {{ type filter hook forward priority 0; policy drop; }}'
         nft add table inet wall
         nft 'add chain inet wall through {{ type filter hook forward priority 10; policy accept; }}'
         nft add rule inet wall through ct state established,related accept
         nft add chain inet wall refuse
         nft add rule inet wall refuse counter log prefix wall reject with icmpx type admin-prohibited
         nft add rule inet wall through counter jump refuse
         iptables -P FORWARD DROP; iptables -N NOWHERE"
    ))
    .ok();
    s.remember();
    let shut = managed(&s, "shut", "{network: shut, external-access: false}", "{a: {}}");
    s.deploy(&shut);
    assert_eq!(s.exec(&shut, "a", "ping -c1 -W1 198.51.100.2").code, 1, "nobody opened the way");
    s.gone(&shut);
    let lab = managed(&s, "open", "{}", "{a: {}}");
    s.deploy(&lab);
    let outward = || s.exec(&lab, "a", "ping -c1 -W2 198.51.100.2").ok();
    outward();
    s.sh("iptables -S DOCKER-USER").ok().prints("-j ACCEPT");
    // What others flush comes back with the next deploy, and once only.
    s.sh("iptables -F DOCKER-USER; iptables -A DOCKER-USER -j RETURN").ok();
    s.deploy(&lab);
    outward();
    s.deploy(&lab);
    let rules = s.sh("nft list ruleset | grep -c 'comment \"netloom clab\"'").ok();
    assert_eq!(rules.text(), "6", "two rules in each of three chains");
    // A second lab on the network keeps the way open when the first goes.
    let second = managed(&s, "second", "{}", "{b: {}}");
    s.deploy(&second);
    s.destroy(&lab);
    s.exec(&second, "b", "ping -c1 -W2 198.51.100.2").ok();
    s.gone(&second);
    // A chain that nobody goes through any more opens nothing.
    s.sh("iptables -D FORWARD -j DOCKER-USER").ok();
    s.remember();
    s.deploy(&lab);
    s.exec(&lab, "a", "ping -c1 -W2 198.51.100.2").ok();
    s.gone(&lab);
    leave(world);
}

#[test]
fn nodes_reach_each_other_where_bridges_are_filtered() {
    let mut s = Sandbox::new();
    s.sh("iptables -P FORWARD DROP; iptables -A FORWARD -m state --state INVALID -j DROP
        echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables")
        .ok();
    s.remember();
    let shut = managed(&s, "within", "{network: within, external-access: false}", "{a: {}, b: {}}");
    s.deploy(&shut);
    s.exec(&shut, "a", "ping -4 -c1 -W2 b").ok();
    s.gone(&shut);
}

#[test]
fn two_networks_on_one_bridge_of_the_users() {
    let mut s = Sandbox::new();
    s.sh("ip link add brx address 02:00:00:00:00:0a type bridge; ip link set brx up
        ip link add own type veth peer name own-peer; ip link set own master brx
        ip link set own up; ip link set own-peer up
        echo 1 > /proc/sys/net/ipv4/conf/brx/route_localnet; sleep 0.2")
        .ok();
    s.remember();
    let mgmt = |name: &str, net: u8| {
        format!(
            "{{network: {name}, bridge: brx, ipv4-subnet: 10.{net}.0.0/24, ipv6-subnet: \"fd00:{net}::/64\"}}"
        )
    };
    let na = managed(&s, "na", &mgmt("na", 81), "{a: {}}");
    let nb = managed(&s, "nb", &mgmt("nb", 82), "{b: {ports: [\"18099:80\"]}}");
    let localnet =
        || s.sh("cat /proc/sys/net/ipv4/conf/brx/route_localnet").ok().text().to_string();
    s.deploy(&nb);
    s.deploy(&na);
    s.destroy(&na);
    s.sh("ip -o addr show dev brx").ok().prints("10.82.0.1/24");
    s.destroy(&nb);
    assert_eq!(localnet(), "1", "as the user had it");
    s.deploy(&na);
    assert_eq!(localnet(), "1", "nobody's to change without published ports");
    s.gone(&na);
}

#[test]
fn redeploy_takes_another_network() {
    let s = Sandbox::new();
    let lab = managed(&s, "moved", "{ipv4-subnet: 172.31.1.0/24}", "{a: {}}");
    s.deploy(&lab);
    let lab = managed(&s, "moved", "{ipv4-subnet: 172.31.1.0/25}", "{a: {}}");
    s.with("deploy", &lab, &[]).run().code(3).says("exists with 172.31.1.0/24");
    s.with("redeploy", &lab, &["--dry-run"]).run().ok();
    s.with("redeploy", &lab, &["--plain"]).run().ok();
    s.exec(&lab, "a", "ip -o addr show eth0").ok().prints("/25");
    s.gone(&lab);
}

#[test]
fn a_network_that_cannot_be_is_refused() {
    let mut s = Sandbox::new();
    s.sh("ip link add used type veth peer name used-peer && ip addr add 172.20.20.9/24 dev used && ip link set used up").ok();
    s.remember();
    let taken = managed(&s, "taken", "{}", "{a: {}}");
    let done = s.with("deploy", &taken, &[]).run().fails();
    assert!(done.stderr.contains("172.20.20.0/24") && done.stderr.contains("used"), "{done}");
    s.assert_clean();
    let small = managed(&s, "small", "{network: n, ipv4-subnet: 10.0.0.0/30}", "{a: {}, b: {}}");
    let done = s.with("deploy", &small, &[]).run().fails();
    assert!(done.stderr.contains("10.0.0.0/30"), "{done}");
    s.assert_clean();
    let twice = managed(
        &s,
        "twice",
        "{network: n, ipv4-subnet: 10.0.0.0/24}",
        "{a: {mgmt-ipv4: 10.0.0.7}, b: {mgmt-ipv4: 10.0.0.7}}",
    );
    s.with("deploy", &twice, &[]).run().code(3).says("10.0.0.7");
    s.assert_clean();
    let outside = managed(
        &s,
        "outside",
        "{network: n, ipv4-subnet: 10.0.0.0/24}",
        "{a: {mgmt-ipv4: 10.0.1.7}}",
    );
    s.with("deploy", &outside, &[]).run().fails().says("10.0.1.7");
    s.assert_clean();
    // `auto` finds a free one.
    let auto = managed(&s, "auto", "{network: n, ipv4-subnet: auto}", "{a: {}, b: {}}");
    s.deploy(&auto);
    s.exec(&auto, "a", "ping -c1 -W2 b").ok();
    s.gone(&auto);
}

#[test]
fn what_others_removed_from_the_host_comes_back() {
    let s = Sandbox::new();
    let lab = managed(&s, "broken", "{bridge: br-broken}", "{a: {}, b: {}}");
    // Destroy does not mind.
    s.deploy(&lab);
    s.sh("nft flush ruleset && ip link del br-broken").ok();
    s.gone(&lab);
    // Deploy makes it again.
    s.deploy(&lab);
    s.sh("nft flush ruleset && ip link del br-broken").ok();
    s.deploy(&lab);
    s.sh("nft list ruleset").ok().prints("172.20.20.0/24");
    s.exec(&lab, "a", "ping -c1 -W2 b && ping -c1 -W2 172.20.20.1").ok();
    s.gone(&lab);
}

#[test]
fn another_mtu_reaches_every_leg() {
    let s = Sandbox::new();
    let lab = managed(&s, "sized", "{}", "{a: {}}");
    s.deploy(&lab);
    s.exec(&lab, "a", "touch /mine").ok();
    let lab = managed(&s, "sized", "{mtu: 1400}", "{a: {}}");
    s.deploy(&lab);
    assert_eq!(s.asks(&lab, "a", "cat /sys/class/net/eth0/mtu"), "1400");
    let ports =
        s.sh("ip -o link | grep -e ' br-' -e ' nlm' | grep -o 'mtu [0-9]*' | sort | uniq -c");
    assert_eq!(ports.text(), "2 mtu 1400", "the bridge and its port");
    s.exec(&lab, "a", "test -e /mine").ok();
    s.with("deploy", &lab, &[]).run().ok().says("is as its file says");
    s.gone(&lab);
}

#[test]
fn a_kept_network_is_nobody_elses_to_remove() {
    let s = Sandbox::new();
    let kept = managed(&s, "kept", "{}", "{a: {}}");
    s.deploy(&kept);
    s.with("destroy", &kept, &["--keep-mgmt-net", "--cleanup"]).run().ok();
    let alone = managed(&s, "alone", "{}", "{a: {network-mode: none}}");
    s.deploy(&alone);
    s.destroy(&alone);
    s.sh("ip -o link show type bridge").ok().prints("br-");
    s.deploy(&kept);
    s.gone(&kept);
}

#[test]
fn settings_of_the_host_are_of_one_start_of_the_machine() {
    let mut s = Sandbox::new();
    // The host's own bridge, by which it learns its routes.
    s.sh("ip link add br-own address 02:00:00:00:00:09 type bridge; ip link set br-own up
        ip link add own type veth peer name own-peer; ip link set own master br-own
        ip link set own up; ip link set own-peer up; sleep 0.2")
        .ok();
    s.remember();
    let mgmt =
        "{network: own, bridge: br-own, ipv4-subnet: 10.9.0.0/24, ipv6-subnet: \"fd09::/64\"}";
    let lab = managed(&s, "host", mgmt, "{a: {ports: [\"18082:80\"]}, b: {}}");
    s.deploy(&lab);
    let setting = |key: &str| s.sh(&format!("cat /proc/sys/net/{key}")).ok().text().to_string();
    assert_eq!(setting("ipv6/conf/br-own/accept_ra"), "2", "what routers say still counts");
    assert_eq!(setting("ipv4/conf/br-own/route_localnet"), "1");
    // The last published port closes the way to what listens on the loopback address.
    s.with("destroy", &lab, &["--node-filter", "a"]).run().ok();
    assert_eq!(setting("ipv4/conf/br-own/route_localnet"), "0");
    s.gone(&lab);

    s.deploy(&lab);
    let ledger = s.state().join("ledger.json");
    let text = std::fs::read_to_string(&ledger).expect("the ledger");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a start");
    assert!(text.contains(boot.trim()), "{text}");
    std::fs::write(&ledger, text.replace(boot.trim(), "another-start")).expect("write it");
    s.destroy(&lab);
    assert_eq!(setting("ipv4/ip_forward"), "1", "as whoever started the machine wants it");
}

#[test]
fn inventories_for_those_who_configure_nodes() {
    let s = Sandbox::new();
    let lab = managed(
        &s,
        "stock",
        "{}",
        "{a: {labels: {ansible-group: spines, nornir-group: core}}, b: {credentials: {username: me, password: \"it's #1\"}}, off: {network-mode: none}, hidden: {labels: {ansible-no-host-var: \"true\"}}}",
    );
    s.deploy(&lab);
    let folder = s.lab_dir().join("clab-stock");
    // Read by a reader of YAML, as those do who use them.
    let read = |name: &str| {
        let program =
            "import sys, json, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
        s.run("python3").args(["-c", program]).args([folder.join(name)]).run().ok().json()
    };
    let groups = read("ansible-inventory.yml")["all"]["children"].clone();
    assert_eq!(groups["linux"]["hosts"]["clab-stock-a"]["ansible_host"], "172.20.20.2");
    assert_eq!(groups["spines"]["hosts"]["clab-stock-a"]["ansible_host"], "172.20.20.2");
    let b = &groups["linux"]["hosts"]["clab-stock-b"];
    assert_eq!((&b["ansible_user"], &b["ansible_password"]), (&"me".into(), &"it's #1".into()));
    assert!(groups["linux"]["hosts"]["clab-stock-off"]["ansible_host"].is_null());
    assert!(groups["linux"]["hosts"]["clab-stock-hidden"].is_null());
    let nornir = read("nornir-simple-inventory.yml");
    assert_eq!(nornir["a"]["groups"], serde_json::json!(["core"]));
    assert_eq!(
        (&nornir["b"]["password"], &nornir["b"]["platform"]),
        (&"it's #1".into(), &"linux".into())
    );
    let mode = s.sh(&format!("stat -c %a {}/ansible-inventory.yml", folder.display()));
    assert_eq!(mode.text(), "600", "there are passwords in it");
    s.gone(&lab);
}
