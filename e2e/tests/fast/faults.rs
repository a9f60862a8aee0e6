//! Deploys that fail, are interrupted or killed: the host is as before.

use netloom_e2e::images::SMALL;
use netloom_e2e::processes::kill_nine;
use netloom_e2e::{Sandbox, eventually};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::time::Duration;

/// Six nodes in a ring; the last one is slow to start.
fn ring(s: &Sandbox, name: &str, delay: u32) -> PathBuf {
    let mut text = format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n");
    for i in 0..5 {
        text.push_str(&format!("  n{i}: {{memory: 64MiB}}\n"));
    }
    text.push_str(&format!("  n5: {{startup-delay: {delay}}}\nlinks:\n"));
    for i in 0..6 {
        text.push_str(&format!("  - {{endpoints: [\"n{i}:eth1\", \"n{}:eth2\"]}}\n", (i + 1) % 6));
    }
    text.push_str(&format!("  - {{endpoints: [\"n0:eth3\", \"host:{name}0\"]}}\n"));
    s.lab(name, &text)
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_made() {
    let s = Sandbox::new();
    let lab = s.lab(
        "refuse",
        r#"
defaults: {kind: linux}
nodes:
  a: {image: no/such:image}
  b: {image: host, binds: ["no-such-file:/x"]}
  c: {image: host, network-mode: "container:nobody"}
links:
  - endpoints: ["b:eth1", "host:lo"]
"#,
    );
    let done = s.with("deploy", &lab, &[]).run().code(3);
    for word in ["no/such:image", "no-such-file", "`nobody`", "`lo`"] {
        assert!(done.stderr.contains(word), "all errors at once, `{word}` too\n{done}");
    }
    assert!(done.stderr.contains("refuse.clab.yml:6:16"), "with their place\n{done}");
    s.assert_clean();
}

#[test]
fn a_deploy_that_fails_half_way_is_undone() {
    let s = Sandbox::new();
    let text = format!(
        r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{}}
  b: {{cmd: no-such-program}}
  c: {{}}
links:
  - endpoints: ["a:eth1", "b:eth1"]
  - endpoints: ["a:eth2", "host:fail0"]
"#
    );
    let lab = s.lab("fails", &text);
    let done = s.with("deploy", &lab, &["--plain"]).run();
    assert!(done.code != 0 && done.stderr.contains("node b"), "says what failed\n{done}");
    assert!(done.stderr.contains("no-such-program"), "and why\n{done}");
    s.assert_clean();
    assert_eq!(s.lab_files(), ["./fails.clab.yml"], "no lab directory is left");
    let kept = s.with("deploy", &lab, &["--plain", "--keep-failed"]).run();
    assert_ne!(kept.code, 0, "{kept}");
    s.exec(&lab, "a", "ip link show eth1").ok();
    // Once the file is right, deploy mends it.
    s.lab("fails", &text.replace("no-such-program", "/bin/idle"));
    s.deploy(&lab);
    s.exec(&lab, "b", "ping -c1 -W2 a && ping -c1 -W2 c").ok();
    s.gone(&lab);
}

#[test]
fn a_node_that_ends_at_once_ends_the_deploy() {
    let s = Sandbox::new();
    let lab = s.lab(
        "brief",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, restart-policy: "no"}}
nodes:
  a: {{}}
  b: {{cmd: "sh -c 'echo last words; exit 3'"}}
"#
        ),
    );
    let done = s.with("deploy", &lab, &["--plain"]).run().fails();
    for word in ["node b", "exit code 3", "last words"] {
        assert!(done.stderr.contains(word), "`{word}` should be said\n{done}");
    }
    s.assert_clean();
}

#[test]
fn a_stage_that_is_never_reached_ends_the_deploy() {
    let s = Sandbox::new();
    let lab = s.lab(
        "never",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{healthcheck: {{test: [CMD, "false"], interval: 1, timeout: 1, retries: 99}}}}
  b: {{stages: {{create: {{wait-for: [{{node: a, stage: healthy}}]}}}}}}
"#
        ),
    );
    let done = s.with("deploy", &lab, &["--plain", "--timeout", "3s"]).run();
    let done = done.code(7);
    assert!(done.stderr.contains("healthy") && done.stderr.contains("node a"), "{done}");
    assert!(done.took < Duration::from_secs(15), "the time is kept: {done}");
    s.assert_clean();
}

#[test]
fn control_c_undoes() {
    let s = Sandbox::new();
    let lab = ring(&s, "stopme", 30);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let running = s.with("deploy", &lab, &["--plain"]).start();
        eventually("the first nodes run", 10, || {
            s.processes().iter().filter(|p| p.command.contains("/bin/idle")).count() >= 5
        });
        running.signal(signal);
        let done = running.finish().code(130);
        assert!(done.took < Duration::from_secs(10), "at once, not after the delay: {done}");
        s.assert_clean();
        assert_eq!(s.lab_files(), ["./stopme.clab.yml"], "no lab directory is left");
    }
}

#[test]
fn a_killed_deploy_can_be_destroyed_or_repeated() {
    let s = Sandbox::new();
    let lab = ring(&s, "killed", 0);
    let whole = s.deploy(&lab).took;
    s.gone(&lab);
    let rounds = if netloom_e2e::full() { 200 } else { 16 };
    for round in 0..rounds {
        // Spread evenly from before anything is made until after it is done, in mixed order, and
        // not at the same moments every time.
        let jitter = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.subsec_micros() % 10);
        let moment = whole * ((round * 7 % 16) * 10 + jitter) / 150;
        let running = s.with("deploy", &lab, &["--plain"]).start();
        std::thread::sleep(moment);
        kill_nine(running.pid());
        running.finish();
        let when = format!("killed after {:.3} s", moment.as_secs_f64());
        if round % 2 == 0 {
            let again = s.with("deploy", &lab, &["--plain"]).run();
            assert!(again.code == 0, "{when}, the second deploy should do it\n{again}");
            for node in 0..6 {
                let all = "ping -4 -c1 -W2 n0 && ping -6 -c1 -W2 n1 && ip link show eth1 && ip link show eth2";
                let seen = s.exec(&lab, &format!("n{node}"), all);
                let state = s.exec(&lab, &format!("n{node}"), "ip addr; ip route");
                assert!(
                    seen.code == 0,
                    "{when}, then deployed: n{node} is not whole\n{seen}\n{state}"
                );
            }
            s.destroy(&lab);
        } else {
            // Killed early enough there is no lab yet.
            let done = s.with("destroy", &lab, &["--cleanup"]).run();
            assert!([0, 4].contains(&done.code), "{when}: {done}");
        }
        println!("{when}");
        s.assert_clean();
    }
}

#[test]
fn a_killed_destroy_can_be_repeated() {
    let s = Sandbox::new();
    let lab = ring(&s, "halfgone", 0);
    for round in 0..if netloom_e2e::full() { 60 } else { 6_u32 } {
        s.deploy(&lab);
        let running = s.with("destroy", &lab, &["--cleanup"]).start();
        let moment = Duration::from_millis(10 + 23 * u64::from(round) % 140);
        std::thread::sleep(moment);
        kill_nine(running.pid());
        running.finish();
        if round % 2 == 1 {
            let again = s.with("deploy", &lab, &["--plain"]).run();
            assert!(again.code == 0, "a destroy killed after {moment:?}, then deployed: {again}");
            s.exec(&lab, "n0", "ping -4 -c1 -W2 n1").ok();
        }
        let done = s.with("destroy", &lab, &["--cleanup"]).run();
        assert!([0, 4].contains(&done.code), "killed after {moment:?}: {done}");
        println!("killed after {moment:?}");
        s.assert_clean();
    }
}

#[test]
fn a_killed_change_can_be_repeated() {
    let s = Sandbox::new();
    let other = s.lab("beside", &format!("nodes: {{x: {{kind: linux, image: {SMALL}}}}}\n"));
    s.deploy(&other);
    let text = |extra: &str, word: u32| {
        format!(
            "defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n  a: {{}}\n  b: {{env: {{WORD: w{word}}}}}\n{extra}links:\n  - {{endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/30, 10.0.0.2/30]}}\n"
        )
    };
    let lab = s.lab("change", &text("", 0));
    s.deploy(&lab);
    for round in 1..=if netloom_e2e::full() { 60 } else { 8_u32 } {
        let extra = if round % 2 == 0 { "" } else { "  c: {}\n  d: {}\n" };
        s.lab("change", &text(extra, round));
        let running = s.with("deploy", &lab, &["--plain"]).start();
        let moment = Duration::from_millis(u64::from(round * 37 % 200));
        std::thread::sleep(moment);
        kill_nine(running.pid());
        running.finish();
        let again = s.with("deploy", &lab, &["--plain"]).run();
        assert!(
            again.code == 0,
            "killed after {moment:?}, the second deploy should do it\n{again}"
        );
        let whole =
            "ping -c1 -W2 10.0.0.1 && ping -c1 -W2 a && ping -c1 -W2 172.20.20.2 && echo $WORD";
        let seen = s.exec(&lab, "b", whole);
        let word = format!("w{round}");
        assert!(seen.code == 0 && seen.stdout.contains(&word), "killed after {moment:?}: {seen}");
        let more = s.exec(&lab, "c", "ping -c1 -W2 b && ping -c1 -W2 d");
        assert_eq!(
            more.code,
            if round % 2 == 0 { 4 } else { 0 },
            "killed after {moment:?}: {more}"
        );
        s.exec(&other, "x", "ping -c1 -W2 172.20.20.1").ok();
    }
    s.destroy(&other);
    s.gone(&lab);
}
