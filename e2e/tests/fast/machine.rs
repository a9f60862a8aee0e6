//! What the machine does to a lab: a restart, a full disk, a user without rights.

use netloom_e2e::images::SMALL;
use netloom_e2e::processes::kill_nine;
use netloom_e2e::{Sandbox, eventually};
use std::path::PathBuf;

fn pair(s: &Sandbox, name: &str) -> PathBuf {
    s.lab(
        name,
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{memory: 64MiB}}
  b: {{}}
links:
  - {{endpoints: ["a:eth1", "b:eth1"], ipv4: [10.0.0.1/30, 10.0.0.2/30]}}
  - endpoints: ["a:eth2", "host:{name}0"]
"#
        ),
    )
}

/// What a restart of the machine leaves: the state on disk, and nothing else.
fn restart(s: &Sandbox) {
    for process in s.processes() {
        kill_nine(process.pid);
    }
    eventually("every process is gone", 5, || s.processes().is_empty());
    s.sh("nft flush ruleset
        ip -o link show type bridge | cut -d: -f2 | xargs -rn1 ip link del
        ip -o link show type veth | cut -d: -f2 | cut -d@ -f1 | xargs -rn1 ip link del
        echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
        rm -rf \"$NETLOOM_RUN_DIR\" \"$NETLOOM_NETNS_DIR\"")
        .ok();
}

#[test]
fn after_a_restart_of_the_machine() {
    let s = Sandbox::new();
    let lab = pair(&s, "boot");
    s.deploy(&lab);
    restart(&s);
    s.with("inspect", &lab, &[]).run();
    s.deploy(&lab);
    s.exec(&lab, "a", "ping -c1 -W2 10.0.0.2 && ping -c1 -W2 b").ok();
    s.gone(&lab);
    s.deploy(&lab);
    restart(&s);
    s.gone(&lab);
}

#[test]
fn a_full_disk_is_said_and_undone() {
    let s = Sandbox::new();
    let lab = pair(&s, "full");
    // State on a disk of its own, which only this mount namespace sees.
    let state = s.state();
    s.sh("cp -a \"$NETLOOM_STATE_DIR\" \"$NETLOOM_STATE_DIR.copy\"
        mount -t tmpfs -o size=1m,nr_inodes=10k none \"$NETLOOM_STATE_DIR\"
        cp -a \"$NETLOOM_STATE_DIR.copy/.\" \"$NETLOOM_STATE_DIR\"; rm -r \"$NETLOOM_STATE_DIR.copy\"
        dd if=/dev/zero of=\"$NETLOOM_STATE_DIR/ballast\" bs=1k 2>/dev/null; true")
        .ok();
    let done = s.with("deploy", &lab, &["--plain"]).run().fails();
    let wanted = format!(
        "error: {}/labs/full/lab.json cannot be written: No space left on device (os error 28); \
         make room on that file system, or name another with NETLOOM_STATE_DIR\n",
        state.display()
    );
    assert_eq!(done.stderr, wanted);
    std::fs::remove_file(state.join("ballast")).expect("remove the ballast");
    let left = s.netloom(["inspect", "--all", "-f", "json"]).run().ok();
    assert_eq!(left.text(), "{}", "no lab is left");
    assert_eq!(s.sh("ls -A \"$NETLOOM_STATE_DIR\"/labs").ok().text(), "");
    s.sh("rm -rf \"$NETLOOM_STATE_DIR\"/locks \"$NETLOOM_STATE_DIR\"/labs; ls -A \"$NETLOOM_STATE_DIR\"; umount \"$NETLOOM_STATE_DIR\"").ok();
    s.assert_clean();
    s.deploy(&lab);
    s.gone(&lab);
}

#[test]
fn a_user_without_rights_is_told() {
    let s = Sandbox::new();
    let lab = pair(&s, "rights");
    let program = netloom_e2e::binary::netloom().display().to_string();
    for (verb, what) in
        [("deploy", "deploying a lab"), ("destroy --name rights", "destroying a lab")]
    {
        let file = if verb == "deploy" { format!("-t {}", lab.display()) } else { String::new() };
        let line = format!(
            "export NETLOOM_STATE_DIR=/tmp/none-$$ NETLOOM_RUN_DIR=/tmp/none-$$; exec setpriv --reuid 65534 --regid 65534 --clear-groups {program} {verb} {file}"
        );
        let done = s.sh(&line).code(6);
        let wanted = format!(
            "error: {what} needs root: namespaces and mounts are made with the rights of root; run it with sudo\n"
        );
        assert_eq!(done.stderr, wanted, "{done}");
    }
    s.assert_clean();
}

/// More nodes than one bridge takes, under the names an ordinary lab has. In the long tier as many
/// as are promised; in the fast one enough to see a mount that escapes.
#[test]
fn a_large_lab_leaves_the_mount_table_alone() {
    let s = Sandbox::new();
    let count = if netloom_e2e::full() { 1003 } else { 24 };
    let nodes: String = (0..count).map(|i| format!("    n{i}: {{}}\n")).collect();
    let text = format!(
        "name: large\nmgmt: {{ipv4-subnet: 172.20.0.0/16, ipv6-subnet: \"3fff:172:20::/64\"}}\ntopology:\n  defaults: {{kind: linux, image: {SMALL}}}\n  nodes:\n{nodes}"
    );
    let lab = s.whole("large", &text);
    let mounts =
        || std::fs::read_to_string("/proc/self/mounts").expect("the mount table").lines().count();
    let before = mounts();
    s.with("deploy", &lab, &["--plain"]).within(180).run().ok();
    assert_eq!(mounts(), before, "no mount of a node's is the host's");
    let last = format!("n{}", count - 1);
    s.exec(&lab, "n0", &format!("ping -4 -c1 -W5 {last} && ping -6 -c1 -W5 {last}")).ok();
    let running = s.with("inspect", &lab, &["-f", "json"]).run().ok().json();
    assert_eq!(running["large"].as_array().map(Vec::len), Some(count));
    let done = s.with("destroy", &lab, &["--cleanup"]).within(60).run().ok();
    println!("{count} nodes, destroyed in {:?}", done.took);
    s.assert_clean();
}
