//! The seed lab: BGP, keepalived and conntrackd, from its own topology file.

use netloom_e2e::{Sandbox, binary, images, until};
use std::path::{Path, PathBuf};
use std::time::Instant;

const SHARED: &str = "10.227.0.254";

/// The lab and the two stand-in clusters it lives in.
struct Snat {
    s: Sandbox,
    clusters: PathBuf,
    file: PathBuf,
    checks: PathBuf,
    hold: String,
}

impl Snat {
    fn new() -> Snat {
        images::recipes(&["host", "netshoot", "frr-8.2.2", "frr-8.5.3", "echo-server", "ceos"]);
        let s = Sandbox::new();
        let source = s.copy("snat");
        let ready = s.lab_dir().join("ready");
        s.run(source.join("prepare")).args([&ready]).run().ok();
        let file = ready.join("clab-k8s-conntrack-bgp.yml");
        let same = |path: &Path| std::fs::read(path).expect("a topology file");
        let original = binary::root().join("labs/snat/clab-k8s-conntrack-bgp.yml");
        assert!(same(&file) == same(&original), "the topology file is used unchanged");
        let hold = std::fs::read_to_string(source.join("hold-connection")).expect("the script");
        let clusters = source.join("clusters.clab.yml");
        let checks = source.join("checks.yml");
        Snat { s, clusters, file, checks, hold }
    }

    fn exec(&self, node: &str, command: &str) -> String {
        self.s.asks(&self.file, node, command)
    }

    /// Holds a connection over the failure of the master; returns exit code and output.
    fn switch_over(&self, synced: bool) -> (i32, String) {
        let route = self.exec("intbgp2", "ip route show 10.237.0.0/24");
        assert!(route.contains("eth1"), "the backup has a route of its own before: {route}");
        for router in ["intbgp1", "intbgp2"] {
            self.exec(router, "sysctl -w net.netfilter.nf_conntrack_tcp_loose=0");
            if !synced {
                self.exec(router, "conntrackd -k");
            }
        }
        let argv = ["inthost4", "--", "bash", "-c", &self.hold, "_", "10.237.0.8", "8080", "8"];
        let mut held = self.s.with("exec", &self.file, &argv).start();
        let open = held.line("open ", 10);
        let (address, port) = open.trim_start_matches("open ").rsplit_once(':').expect("a port");
        assert_eq!(address, SHARED, "the echo server sees the shared address");
        if synced {
            until("the flow is in the backup's external cache", 5, || {
                let cache = self.exec("intbgp2", "conntrackd -e");
                let flow = cache.lines().any(|l| {
                    l.contains("ESTABLISHED")
                        && l.split_whitespace().any(|w| w == format!("sport={port}"))
                });
                if flow { Ok(()) } else { Err(cache) }
            });
        } else {
            let dead = self.s.exec(&self.file, "intbgp2", "conntrackd -e").fails();
            assert!(!dead.stdout.contains("sport="), "conntrackd is stopped: {dead}");
        }
        self.exec("intbgp1", "kill $(cat /run/keepalived.pid)");
        self.holds("intbgp2", 10);
        let done = held.finish();
        (done.code, done.stdout)
    }

    /// Waits until a router has the shared address, and the other has not.
    fn holds(&self, router: &str, seconds: u64) {
        let other = if router == "intbgp1" { "intbgp2" } else { "intbgp1" };
        until(&format!("{router} alone holds the shared address"), seconds, || {
            let has = |n: &str| self.exec(n, "ip -4 -o addr show dev eth4").contains(SHARED);
            if has(router) && !has(other) {
                Ok(())
            } else {
                Err(format!("{router}: {}", has(router)))
            }
        });
    }

    /// Brings the master back.
    fn back(&self) {
        self.exec("intbgp1", "pgrep conntrackd || conntrackd -d");
        self.exec("intbgp1", "keepalived -f /etc/keepalived/keepalived.conf");
        self.holds("intbgp1", 20);
    }

    fn once(&self) {
        let begun = Instant::now();
        let done = self.s.deploy(&self.file);
        let deployed = begun.elapsed().as_secs_f64();
        let checks = self.s.checks(&self.file, &self.checks);
        println!(
            "snat: deployed in {deployed:.2} s, checked after {:.2} s",
            begun.elapsed().as_secs_f64()
        );
        drop((done, checks));
        let (code, text) = self.switch_over(true);
        assert!(
            code == 0 && text.contains("kept: "),
            "with conntrackd the connection survives: {text}"
        );
        println!("snat: {}", text.trim().replace('\n', "; "));
        self.back();
        let (code, text) = self.switch_over(false);
        assert!(code == 1 && text.contains("lost: "), "without conntrackd it does not: {text}");
    }
}

#[test]
fn the_seed_lab() {
    let _alone = super::alone();
    let lab = Snat::new();
    lab.s.deploy(&lab.clusters);
    let times = if netloom_e2e::full() { 20 } else { 1 };
    for round in 1..=times {
        println!("snat: round {round} of {times}");
        lab.once();
        if round == 1 {
            let refused = lab.s.with("destroy", &lab.clusters, &["--cleanup"]).run();
            refused.code(5).says("lab `k8s`");
            lab.exec("inthost0", "ip link show net0");
        }
        lab.s.destroy(&lab.file);
    }
    lab.s.gone(&lab.clusters);
}
