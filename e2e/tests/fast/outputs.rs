//! What a lab leaves for people and other programs.

use netloom_e2e::Sandbox;
use serde_json::{Value, json};
use std::fs;

const TWO: &str = "
nodes:
  b: {kind: linux, image: e2e/busybox:latest, aliases: [second], ports: ['18201:80']}
  a: {kind: linux, image: e2e/busybox:latest, credentials: {username: me, identity-file: /keys/id}}
  alone: {kind: linux, image: e2e/busybox:latest, network-mode: none}
links:
  - {endpoints: ['a:eth1', 'b:eth1'], ipv4: [10.0.0.1/24, 10.0.0.2/24], vars: {cost: 5}}
  - {type: dummy, endpoint: {node: a, interface: dum0, mac: '02:00:00:00:00:07'}}
";

#[test]
fn names_ssh_and_data() {
    let mut s = Sandbox::new();
    let home = s.folders()[0].join("home/.ssh");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("id.pub"), "ssh-ed25519 AAAA me\n").unwrap();
    fs::write(home.join("authorized_keys"), "# mine\nssh-ed25519 AAAA me\nssh-rsa BBBB other\n")
        .unwrap();
    s.remember();
    let hosts = s.etc_dir().join("hosts");
    fs::write(&hosts, "127.0.0.1\tlocalhost\n192.0.2.9\tmine\n").unwrap();
    s.remember();
    let file = s.lab("out", TWO);
    s.deploy(&file);
    let id = |node: &str| -> String {
        let all = s.with("inspect", &file, &["--format", "json"]).run().ok().stdout;
        let all: Value = serde_json::from_str(&all).unwrap();
        let rows = all["out"].as_array().expect("nodes");
        let row = rows.iter().find(|r| r["name"] == format!("clab-out-{node}")).expect("the node");
        row["container_id"].as_str().expect("a number").to_owned()
    };
    let wanted = format!(
        "127.0.0.1\tlocalhost\n192.0.2.9\tmine\n###### CLAB-out-START ######\n\
         172.20.20.2\tclab-out-b second {b}\t# Kind: linux\n\
         172.20.20.3\tclab-out-a {a}\t# Kind: linux\n\
         3fff:172:20:20::2\tclab-out-b second {b}\t# Kind: linux\n\
         3fff:172:20:20::3\tclab-out-a {a}\t# Kind: linux\n\
         ###### CLAB-out-END ######\n",
        a = id("a"),
        b = id("b"),
    );
    assert_eq!(fs::read_to_string(&hosts).unwrap(), wanted);
    let ssh = fs::read_to_string(s.etc_dir().join("ssh/ssh_config.d/clab-out.conf")).unwrap();
    let of_a = format!(
        "Host clab-out-a {}\n\tUser me\n\tIdentityFile /keys/id\n\tStrictHostKeyChecking=no\n",
        id("a")
    );
    assert!(ssh.contains(&of_a), "{ssh}");
    let folder = s.lab_dir().join("clab-out");
    let keys = fs::read_to_string(folder.join("authorized_keys")).unwrap();
    assert_eq!(keys, "ssh-ed25519 AAAA me\nssh-rsa BBBB other\n");
    let data = fs::read_to_string(folder.join("topology-data.json")).unwrap();
    let data: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["clab"]["config"]["mgmt"]["ipv4-subnet"], "172.20.20.0/24");
    assert_eq!(data["nodes"]["a"]["index"], "0");
    assert_eq!(data["nodes"]["b"]["mgmt-ipv4-address"], "172.20.20.2");
    assert_eq!(data["nodes"]["alone"]["mgmt-ipv4-prefix-length"], 0);
    let open = json!({"host-ip": "0.0.0.0", "host-port": 18201, "port": 80, "protocol": "tcp"});
    assert_eq!(data["nodes"]["b"]["port-bindings"][0], open);
    let bridge = &data["clab"]["config"]["mgmt"]["bridge"];
    assert_eq!(data["nodes"]["b"]["labels"]["clab-mgmt-net-bridge"], *bridge);
    let first = &data["links"][0];
    assert_eq!(first["endpoints"]["a"]["ipv4"], "10.0.0.1/24");
    assert_eq!(first["endpoints"]["z"]["peer"], "a");
    assert_eq!(first["vars"]["cost"], 5);
    assert_eq!(data["links"][1]["endpoints"]["a"]["peer"], "dummy");
    assert_eq!(data["links"][1]["endpoints"]["a"]["mac"], "02:00:00:00:00:07");
    // A node goes with its names, and the lab with all of them.
    s.netloom(["destroy", "--name", "out", "--node-filter", "b"]).run().ok();
    let now = fs::read_to_string(&hosts).unwrap();
    assert!(now.contains("clab-out-a") && !now.contains("clab-out-b"), "{now}");
    let ssh = fs::read_to_string(s.etc_dir().join("ssh/ssh_config.d/clab-out.conf")).unwrap();
    assert!(!ssh.contains("clab-out-b"), "{ssh}");
    s.gone(&file);
}

#[test]
fn a_hosts_file_that_cannot_be_written() {
    let s = Sandbox::new();
    let hosts = s.etc_dir().join("hosts");
    // One that is mounted, as in a container, cannot be replaced: it is written.
    let other = s.file("other", "127.0.0.1\tlocalhost\n");
    s.sh(&format!("mount --bind {} {}", other.display(), hosts.display())).ok();
    let file = s.lab("out", TWO);
    s.deploy(&file);
    assert!(fs::read_to_string(&other).unwrap().contains("clab-out-a"));
    s.destroy(&file);
    assert_eq!(fs::read_to_string(&other).unwrap(), "127.0.0.1\tlocalhost\n");
    // One that cannot even be written is left, with a word.
    s.sh(&format!("mount -o remount,bind,ro {}", hosts.display())).ok();
    s.with("deploy", &file, &["--plain"]).within(60).run().ok().says("hosts is left as it is");
    s.with("destroy", &file, &["--cleanup"]).run().ok();
    s.sh(&format!("umount {}", hosts.display())).ok();
    s.assert_clean();
}

const SECURE: &str = "
nodes:
  a: {kind: linux, image: e2e/busybox:latest, certificate: {issue: true, sans: [other.test, 192.0.2.7], validity-duration: 48h}}
  b: {kind: linux, image: e2e/busybox:latest}
";

#[test]
fn certificates() {
    let s = Sandbox::new();
    let file = s.lab("secure", SECURE);
    s.deploy(&file);
    let tls = s.lab_dir().join("clab-secure/.tls");
    let at = tls.display();
    s.sh(&format!("openssl verify -CAfile {at}/ca/ca.pem {at}/a/a.pem")).ok().prints("OK");
    let shown = s.sh(&format!("openssl x509 -noout -text -in {at}/a/a.pem")).ok().stdout;
    for part in
        ["DNS:a, DNS:clab-secure-a, DNS:a.secure.io, DNS:other.test", "172.20.20.2", "192.0.2.7"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(s.sh(&format!("openssl x509 -noout -checkend 90000 -in {at}/a/a.pem")).code == 0);
    assert!(s.sh(&format!("openssl x509 -noout -checkend 180000 -in {at}/a/a.pem")).code != 0);
    let modes = s.sh(&format!("stat -c %a {at}/ca/ca.key {at}/a/a.key {at}/a/a.pem")).ok();
    assert_eq!(modes.stdout, "600\n600\n644\n");
    assert!(!tls.join("b").exists());
    let read = |name: &str| fs::read_to_string(tls.join(name)).unwrap();
    let before = (read("a/a.pem"), read("ca/ca.pem"));
    s.with("deploy", &file, &["--plain", "--dry-run"]).run().ok().prints("nothing to do");
    s.deploy(&file);
    assert_eq!((read("a/a.pem"), read("ca/ca.pem")), before);
    // One of somebody else is not good any more.
    fs::copy(tls.join("ca/ca.pem"), tls.join("a/a.pem")).unwrap();
    s.deploy(&file);
    s.sh(&format!("openssl verify -CAfile {at}/ca/ca.pem {at}/a/a.pem")).ok();
    s.destroy(&file);
    // An authority of the user's own.
    s.sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -days 3 -subj /CN=own").ok();
    let text = format!(
        "name: secure\nsettings: {{certificate-authority: {{cert: own.pem, key: own.key}}}}\ntopology:\n{}",
        SECURE.replace('\n', "\n  ")
    );
    let file = s.whole("secure", &text);
    s.deploy(&file);
    s.sh(&format!("openssl verify -CAfile own.pem {at}/a/a.pem")).ok().prints("OK");
    assert!(!tls.join("ca").exists());
    s.destroy(&file);
    s.sh("openssl genrsa -out own.key 2048").ok();
    let done = s.with("deploy", &file, &["--plain"]).run();
    assert_eq!(done.code, 3);
    done.says("the authority's key: it is not that of the certificate");
    s.assert_clean();
}

#[test]
fn words_that_would_be_lines_of_their_own() {
    let mut s = Sandbox::new();
    // What else is in the file need not be text of our kind, and it may be a link.
    let real = s.file("real-hosts", "");
    fs::write(&real, b"127.0.0.1\tlocalhost\n192.0.2.1\tmine # \xe9\n").unwrap();
    let hosts = s.etc_dir().join("hosts");
    fs::remove_file(&hosts).unwrap();
    std::os::unix::fs::symlink(&real, &hosts).unwrap();
    s.remember();
    let before = fs::read(&real).unwrap();
    let file = s.lab(
        "words",
        "
nodes:
  a:
    kind: linux
    image: e2e/busybox:latest
    aliases: [\"al\\n6.6.6.6 bank.example\", fine]
    credentials: {username: \"u\\n\\tProxyCommand touch /tmp/pwned\"}
",
    );
    s.deploy(&file);
    let now = String::from_utf8_lossy(&fs::read(&real).unwrap()).into_owned();
    assert!(!now.contains("bank.example"), "{now}");
    let ssh = fs::read_dir(s.etc_dir().join("ssh/ssh_config.d")).unwrap().flatten().next();
    let ssh = ssh.map(|e| fs::read_to_string(e.path()).unwrap()).unwrap_or_default();
    assert!(!ssh.contains("ProxyCommand"), "{ssh}");
    s.with("destroy", &file, &["--cleanup"]).run();
    assert_eq!(fs::read(&real).unwrap(), before);
    assert!(fs::symlink_metadata(&hosts).unwrap().is_symlink());
    // A lab directory that leads elsewhere.
    fs::create_dir(s.lab_dir().join("victim")).unwrap();
    std::os::unix::fs::symlink("victim", s.lab_dir().join("clab-out")).unwrap();
    let file = s.lab("out", TWO);
    let done = s.with("deploy", &file, &["--plain"]).within(60).run();
    assert_ne!(done.code, 0);
    done.says("clab-out is a link");
    assert_eq!(fs::read_dir(s.lab_dir().join("victim")).unwrap().count(), 0);
}
