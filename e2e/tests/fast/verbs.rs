//! Ways to name a lab, and commands that meet each other.

use netloom_e2e::images::SMALL;
use netloom_e2e::{Sandbox, eventually};

const TWO: &str = "nodes:\n  a: {}\n  b: {}\n";

fn two(s: &Sandbox, name: &str) -> std::path::PathBuf {
    s.lab(name, &format!("defaults: {{kind: linux, image: {SMALL}}}\n{TWO}"))
}

#[test]
fn a_lab_is_found_in_the_folder_or_read_from_standard_input() {
    let s = Sandbox::new();
    let lab = two(&s, "found");
    s.netloom(["deploy", "--plain"]).run().ok();
    s.netloom(["exec", "a", "--", "hostname"]).run().ok().prints("a");
    s.netloom(["destroy", "--cleanup"]).run().ok();
    s.assert_clean();
    let text = std::fs::read_to_string(&lab).expect("the file");
    s.netloom(["deploy", "--plain", "-t", "-"]).input(text).run().ok();
    s.netloom(["exec", "--name", "found", "b", "--", "hostname"]).run().ok().prints("b");
    s.netloom(["destroy", "--name", "found", "--cleanup"]).run().ok();
    s.assert_clean();
    two(&s, "second");
    s.netloom(["deploy"]).run().fails().says("second.clab.yml");
    s.assert_clean();
}

#[test]
fn flags_come_from_the_environment_too() {
    let s = Sandbox::new();
    let lab = two(&s, "vars");
    s.netloom(["deploy", "--plain"])
        .env("CLAB_TOPO", &lab)
        .env("CLAB_DEPLOY_NODE_FILTER", "a")
        .run()
        .ok();
    s.with("exec", &lab, &["b", "--", "true"]).run().code(4);
    s.netloom(["inspect"])
        .env("CLAB_NAME", "vars")
        .env("CLAB_INSPECT_FORMAT", "json")
        .run()
        .ok()
        .prints("\"clab-vars-a\"");
    s.gone(&lab);
}

#[test]
fn reconfigure_starts_from_nothing() {
    let s = Sandbox::new();
    let lab = two(&s, "anew");
    s.deploy(&lab);
    s.exec(&lab, "a", "touch /mine").ok();
    s.with("deploy", &lab, &["--plain", "--reconfigure"]).run().ok();
    s.exec(&lab, "a", "test -e /mine").fails();
    s.exec(&lab, "a", "ping -c1 -W2 b").ok();
    s.gone(&lab);
}

#[test]
fn two_commands_on_one_lab_do_not_mix() {
    let s = Sandbox::new();
    let lab = s.lab(
        "busy",
        &format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n  a: {{}}\n  b: {{startup-delay: 3}}\n"),
    );
    let running = s.with("deploy", &lab, &["--plain"]).start();
    eventually("the lab is being made", 5, || s.state().join("labs/busy/lab.json").exists());
    s.with("deploy", &lab, &["--plain"])
        .run()
        .code(5)
        .says("another command is working on lab `busy`");
    s.with("destroy", &lab, &[]).run().code(5).says("another command");
    eventually("the lab can be looked at meanwhile", 20, || {
        s.with("inspect", &lab, &[]).run().ok().stdout.contains("clab-busy-a")
    });
    running.finish().ok();
    s.with("destroy", &lab, &["--graceful", "--cleanup"]).run().ok();
    s.assert_clean();
}

#[test]
fn doctor_version_and_completion_answer() {
    let s = Sandbox::new();
    s.netloom(["doctor"]).run();
    let report = s.netloom(["doctor", "-f", "json"]).run();
    assert!(report.json().is_array() || report.json().is_object(), "{report}");
    s.netloom(["version"]).run().ok().prints("0.");
    for shell in ["bash", "zsh", "fish"] {
        s.netloom(["completion", shell]).run().ok().prints("netloom");
    }
    s.assert_clean();
}

#[test]
fn output_into_a_closed_pipe_is_no_panic() {
    let s = Sandbox::new();
    let program = netloom_e2e::binary::netloom().display().to_string();
    let line = format!("(sleep 0.3; {program} validate --schema; echo code $? >&2) | true");
    let done = s.sh(&line);
    assert!(!done.stderr.contains("panicked"), "{done}");
}

#[test]
fn some_nodes_go_and_the_others_stay() {
    let s = Sandbox::new();
    let lab = s.lab(
        "part",
        &format!(
            "defaults: {{kind: linux, image: {SMALL}}}\nnodes: {{a: {{}}, b: {{}}, c: {{}}}}\nlinks:\n  - endpoints: [\"a:eth1\", \"b:eth1\"]\n  - endpoints: [\"b:eth2\", \"c:eth1\"]\n"
        ),
    );
    s.deploy(&lab);
    let before = s.asks(&lab, "b", "cat /sys/class/net/eth1/ifindex");
    s.with("destroy", &lab, &["--node-filter", "c", "--cleanup"]).run().code(2);
    s.with("destroy", &lab, &["--node-filter", "nobody"]).run().code(4);
    s.with("destroy", &lab, &["--node-filter", "c"]).run().ok();
    s.exec(&lab, "c", "true").code(4);
    s.exec(&lab, "b", "ip link show eth2").fails();
    s.exec(&lab, "b", "ping -c1 -W2 a").ok();
    assert_eq!(s.asks(&lab, "b", "cat /sys/class/net/eth1/ifindex"), before, "untouched");
    // The file still has it: deploy brings it back.
    s.deploy(&lab);
    s.exec(&lab, "c", "ping -c1 -W2 a && ip link show eth1").ok();
    s.gone(&lab);
}

#[test]
fn redeploy_makes_anew_and_keeps_what_was_saved() {
    let s = Sandbox::new();
    let lab = s.lab("again", &format!("nodes: {{a: {{kind: linux, image: {SMALL}}}}}\n"));
    s.deploy(&lab);
    s.exec(&lab, "a", "touch /marked").ok();
    let saved = s.lab_dir().join("clab-again/saved.cfg");
    std::fs::write(&saved, "precious").expect("write into the lab directory");
    s.with("redeploy", &lab, &["--plain"]).run().ok();
    s.exec(&lab, "a", "test -e /marked").fails();
    assert!(saved.exists(), "the lab directory stays");
    s.with("redeploy", &lab, &["--plain", "-c"]).run().ok();
    assert!(!saved.exists(), "-c removes it");
    let details = s.with("inspect", &lab, &["--details"]).run().ok().json();
    assert_eq!(details["again"][0]["State"], "running", "{details}");
    s.with("deploy", &lab, &["--plain", "-c", "--owner", "somebody"]).run().ok();
    let rows = s.with("inspect", &lab, &["-f", "json"]).run().ok().json();
    assert_eq!(rows["again"][0]["owner"], "somebody");
    let out = s.lab_dir().join("rendered.yml");
    let text = out.to_string_lossy().into_owned();
    s.with("deploy", &lab, &["--plain", "--export-rendered", &text]).run().ok();
    assert!(std::fs::read_to_string(out).expect("written").contains("name: again"));
    s.gone(&lab);
}

#[test]
fn redeploy_unmakes_nothing_that_it_cannot_make() {
    let s = Sandbox::new();
    let lab = two(&s, "sure");
    s.deploy(&lab);
    s.exec(&lab, "a", "touch /mine").ok();
    let good = std::fs::read_to_string(&lab).expect("the file");
    s.with("redeploy", &lab, &["--node-filter", "aa"]).run().code(4).says("has no node `aa`");
    std::fs::write(&lab, good.replace(SMALL, "no/such:image")).expect("write the file");
    s.with("redeploy", &lab, &[]).run().code(3).says("nothing was changed");
    std::fs::write(&lab, &good).expect("write the file");
    s.with("redeploy", &lab, &["--dry-run"]).run().ok().prints("- everything that is there");
    s.exec(&lab, "a", "test -e /mine").ok();
    // Standard input is read once.
    s.netloom(["redeploy", "--plain", "-t", "-", "--name", "piped"]).input(good).run().ok();
    s.netloom(["destroy", "--name", "piped", "--cleanup"]).run().ok();
    s.gone(&lab);
}

#[test]
fn removing_nodes_takes_along_what_hangs_on_them_and_nobody_else() {
    let s = Sandbox::new();
    let lab = s.lab(
        "hangs",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{}}
  "br5|a": {{kind: bridge, network-mode: "container:a"}}
  c: {{pid-mode: "container:a", restart-policy: "no"}}
  d: {{}}
links:
  - endpoints: ["d:eth1", "br5|a:p1"]
"#
        ),
    );
    s.deploy(&lab);
    s.with("destroy", &lab, &["--node-filter", "br5|a"]).run().ok();
    s.exec(&lab, "a", "ip link show br5").fails();
    let guest = "node `c` lives among the processes of `a`";
    s.with("destroy", &lab, &["--node-filter", "a"]).run().code(5).says(guest);
    s.exec(&lab, "c", "true").ok();
    // A node that is made anew takes those along who live among its processes.
    let text = std::fs::read_to_string(&lab).expect("the file");
    std::fs::write(&lab, text.replace("  a: {}", "  a: {env: {NEW: \"1\"}}")).expect("write it");
    s.deploy(&lab);
    s.exec(&lab, "c", "true").ok();
    let holder = s.server("__holder");
    netloom_e2e::processes::kill_nine(holder);
    eventually("the lab's processes are gone", 10, || {
        s.with("exec", &lab, &["a", "--", "true"]).run().stderr.contains("are gone (a reboot")
    });
    s.with("destroy", &lab, &["--node-filter", "a"]).run().code(4).says("makes it anew");
    s.gone(&lab);
}

#[test]
fn many_nodes_with_limits_start_together() {
    let s = Sandbox::new();
    let node =
        "{network-mode: none, cpu: 0.5, memory: 64MiB, cpu-set: \"0\", cgroup-parent: PARENT}";
    let nodes: String = (0..16)
        .map(|n| {
            // Half of them in groups of the user's that are not there yet.
            let own = format!("{}/sub", s.cgroup_parent().replace("netloom", "user"));
            let parent = if n % 2 == 0 { "\"\"".into() } else { own };
            format!("  n{n}: {}\n", node.replace("PARENT", &parent))
        })
        .collect();
    let lab =
        s.lab("tight", &format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes:\n{nodes}"));
    for _ in 0..5 {
        s.deploy(&lab);
        s.destroy(&lab);
    }
    s.assert_clean();
    let left = s.sh(&format!(
        "ls -d /sys/fs/cgroup/*/{} 2>/dev/null",
        s.cgroup_parent().replace("netloom", "user")
    ));
    assert_eq!(left.text(), "", "groups that were made for the lab go with it");
}

#[test]
fn groups_of_the_users_belong_to_who_made_them() {
    let s = Sandbox::new();
    let group = s.cgroup_parent().replace("netloom", "user");
    let lab = |name: &str| {
        let node = format!(
            "{{kind: linux, image: {SMALL}, network-mode: none, cgroup-parent: {group}, memory: 64MiB}}"
        );
        s.lab(name, &format!("nodes: {{a: {node}, b: {node}}}\n"))
    };
    let there = || s.sh(&format!("ls -d /sys/fs/cgroup/memory/{group}")).code == 0;
    let (first, second) = (lab("first"), lab("second"));
    s.deploy(&first);
    s.deploy(&second);
    s.destroy(&first);
    assert!(there());
    s.destroy(&second);
    assert!(!there(), "the last lab takes along what the first made");
    s.sh(&format!("mkdir /sys/fs/cgroup/memory/{group}")).ok();
    s.deploy(&first);
    s.destroy(&first);
    assert!(there(), "one that was there before stays");
    s.sh(&format!("rmdir /sys/fs/cgroup/memory/{group}")).ok();
    s.assert_clean();
}

#[test]
fn a_topology_is_drawn() {
    let s = Sandbox::new();
    let lab = two(&s, "drawn");
    let draw = |flags: &[&str]| s.with("graph", &lab, flags).run();
    draw(&["--mermaid", "--mermaid-direction", "LR"])
        .ok()
        .says("clab-drawn/graph/drawn.clab.mermaid");
    let file = |name: &str| {
        let path = s.lab_dir().join("clab-drawn/graph").join(name);
        std::fs::read_to_string(path).expect("a drawing")
    };
    assert!(file("drawn.clab.mermaid").starts_with("---\ntitle: drawn\n---\ngraph LR\n"));
    draw(&["--dot", "--offline"]).ok();
    assert!(file("drawn.clab.dot").contains("graph \"drawn\" {"));
    draw(&["--drawio"]).ok().prints("Diagram created successfully.");
    let parse = "import sys, xml.dom.minidom as d; d.parse(sys.argv[1])";
    let path = s.lab_dir().join("clab-drawn/graph/drawn.clab.drawio");
    s.run("python3").args(["-c", parse]).args([&path]).run().ok();
    draw(&["--dot", "--out", "-"]).ok().prints("\"a\"");
    draw(&["--dot", "--node-filter", "zz"]).code(4);
    draw(&["--dot", "--mermaid"]).code(2);
    draw(&[]).code(2);
    draw(&["--mermaid", "--mermaid-direction", "XX"]).code(2).says("one of TB, TD, BT, RL and LR");
    s.with("destroy", &lab, &["--cleanup"]).run();
}
