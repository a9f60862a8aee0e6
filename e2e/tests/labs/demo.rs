//! The demo lab: from deploy to routes and ping in under ten seconds.

use netloom_e2e::{Sandbox, images, until};
use std::time::Instant;

const SUMMARY: &str = "show bgp ipv4 unicast summary json";

#[test]
fn the_demo_lab() {
    images::recipes(&["router", "host"]);
    let _alone = super::alone();
    let s = Sandbox::new();
    let folder = s.copy("demo");
    let file = folder.join("demo.clab.yml");
    let begun = Instant::now();
    s.deploy(&file);
    let deployed = begun.elapsed().as_secs_f64();
    for router in ["r1", "r2", "r3", "r4"] {
        until(&format!("both sessions of {router} are established"), 20, || {
            let done = s.with("exec", &file, &[router, "--", "vtysh", "-c", SUMMARY]).run();
            let up = serde_json::from_str::<serde_json::Value>(&done.stdout).is_ok_and(|v| {
                let peers = v["peers"].as_object();
                peers.is_some_and(|p| {
                    p.len() == 2 && p.values().all(|p| p["state"] == "Established")
                })
            });
            if up { Ok(()) } else { Err(done.to_string()) }
        });
    }
    let sessions = begun.elapsed().as_secs_f64();
    until("h1 reaches h2", 20, || {
        let done = s.exec(&file, "h1", "ping -c1 -W1 10.1.4.10");
        if done.code == 0 { Ok(()) } else { Err(done.to_string()) }
    });
    let all = begun.elapsed().as_secs_f64();
    println!("demo: deployed {deployed:.2} s, sessions {sessions:.2} s, ping {all:.2} s");
    assert!(all < 10.0, "from deploy to ping took {all:.2} s, 10 s are allowed");
    println!("{}", s.checks(&file, &folder.join("checks.yml")).stdout);
    s.gone(&file);
}
