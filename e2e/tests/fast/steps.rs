//! What a kind does in a started node: until it is ready, to configure it, to save.

use netloom_e2e::Sandbox;
use netloom_e2e::images::SMALL;

const ROUTER: &str = r##"
schema: 1
names: [e2e_router]
description: answers like a router
class: container
credentials: {username: admin, password: "s3cret!"}
directories: [conf]
binds: ["{{ .NodeDir }}/conf:/conf"]
saved: conf/startup
ready:
  timeout: 20s
  steps:
    - name: it boots
      wait: {file: /booted}
      retry: {every: 100ms, for: 10s}
configure:
  timeout: 20s
  steps:
    - name: version
      exec: {argv: [sh, -c, "echo v7"], capture: version, expect: "v\\d"}
    - name: addresses
      when: "{{ if .Fresh }}yes{{ end }}"
      exec:
        argv: [sh, -c, "cat >/conf/running"]
        stdin: |
          hostname {{ .Node }} {{ .Captured.version }}
          {{- range .Interfaces }}
          interface {{ .Name }} {{ .IPv4 }}
          {{- end }}
    - name: never there
      exec: {argv: [nosuchprogram]}
      ignore-errors: true
    - name: asks
      exec: {argv: [sh, -c, "cat /conf/running"], expect: "{{ .Env.WANTED }}"}
save:
  steps:
    - exec: {argv: [sh, -c, "cat /conf/running"], into: "conf/startup"}
"##;

fn lab(s: &Sandbox, name: &str, cmd: &str) -> std::path::PathBuf {
    s.file("netloom-kinds/e2e_router/kind.yml", ROUTER);
    s.lab(
        name,
        &format!(
            "
nodes:
  r1:
    kind: e2e_router
    image: '{SMALL}'
    cmd: {cmd}
    env: {{WANTED: hostname}}
    exec: ['cat /conf/running']
  h1: {{kind: linux, image: '{SMALL}'}}
links:
  - endpoints: ['r1:eth1', 'h1:eth1']
    ipv4: [10.0.0.1/30, 10.0.0.2/30]
"
        ),
    )
}

#[test]
fn a_node_is_configured_and_saves() {
    let s = Sandbox::new();
    let file = lab(&s, "routed", "sh -c 'sleep 1; touch /booted; sleep 100000'");
    let done = s.deploy(&file);
    // The node's own commands come after all that.
    let text = "hostname r1 v7\n    interface eth1 10.0.0.1/30";
    assert!(done.stderr.contains(text), "{}", done.stderr);
    assert!(done.stderr.contains("never there: "), "{}", done.stderr);
    let copies = s.lab_dir().join("kept");
    let copy = copies.display().to_string();
    let saved = s.with("save", &file, &["--copy", &copy]).run().ok();
    assert!(saved.stderr.contains("saved configuration of node r1"), "{}", saved.stderr);
    let kept = s.lab_dir().join("clab-routed/r1/conf/startup");
    let kept = std::fs::read_to_string(kept).expect("what was saved");
    assert_eq!(kept, "hostname r1 v7\ninterface eth1 10.0.0.1/30\n");
    let copied = std::fs::read_to_string(copies.join("clab-routed/r1/startup")).expect("a copy");
    assert_eq!(copied, kept);
    s.with("save", &file, &["--node-filter", "zz"]).run().code(4);
    s.with("stop", &file, &["--node", "r1"]).run().ok();
    s.with("save", &file, &[]).run().code(1).says("does not run");
    // What was saved is there when the lab is made anew: it is not configured again.
    s.sh("echo 'hostname mine' >clab-routed/r1/conf/running").ok();
    let again = s.with("redeploy", &file, &["--plain"]).within(60).run().ok();
    assert!(again.stderr.contains("hostname mine"), "{}", again.stderr);
    std::fs::remove_dir_all(&copies).expect("remove the copies");
    s.gone(&file);
}

/// What a node plants in its folder leads nowhere.
#[test]
fn nodes_cannot_reach_out() {
    let s = Sandbox::new();
    let file = lab(&s, "sly", "sh -c 'touch /booted; sleep 100000'");
    s.deploy(&file);
    let secret = s.file("secret", "nobody's business\n");
    let copies = s.lab_dir().join("kept");
    let copy = copies.display().to_string();
    let kept = s.lab_dir().join("clab-sly/r1/conf/startup");
    for planted in
        [format!("ln -s {} /conf/startup", secret.display()), "mkfifo /conf/startup".into()]
    {
        s.sh(&format!("rm -f {}", kept.display())).ok();
        s.exec(&file, "r1", &planted).ok();
        // It is replaced, not followed.
        s.with("save", &file, &["--copy", &copy]).within(20).run().ok();
        assert!(kept.symlink_metadata().expect("the file").is_file());
    }
    assert_eq!(std::fs::read_to_string(&secret).expect("it"), "nobody's business\n");
    s.exec(
        &file,
        "r1",
        &format!("rm /conf/startup; mkdir /conf/startup; ln -s {} /conf/other", secret.display()),
    )
    .ok();
    s.with("save", &file, &["--copy", &copy]).within(20).run().code(1).says("save failed");
    std::fs::remove_dir_all(&copies).expect("remove the copies");
    std::fs::remove_file(&secret).expect("remove the file");
    s.gone(&file);
}

#[test]
fn what_does_not_get_ready_is_told() {
    let s = Sandbox::new();
    let file = lab(&s, "never", "sleep 100000");
    let text = std::fs::read_to_string(s.lab_dir().join("netloom-kinds/e2e_router/kind.yml"))
        .expect("the kind");
    s.file("netloom-kinds/e2e_router/kind.yml", &text.replace("for: 10s", "for: 1s"));
    let done = s.with("deploy", &file, &["--plain"]).within(60).run().code(8);
    assert!(done.stderr.contains("node r1 is not ready after"), "{}", done.stderr);
    assert!(done.stderr.contains("there is no /booted"), "{}", done.stderr);
    s.exec(&file, "r1", "true").ok();
    assert!(!done.stderr.contains("s3cret"), "{}", done.stderr);
    s.with("deploy", &file, &["--plain", "-c", "--skip-post-deploy"]).within(60).run().ok();
    // Ctrl-C is heard while it waits.
    s.destroy(&file);
    s.file("netloom-kinds/e2e_router/kind.yml", &text.replace("for: 10s", "for: 15s"));
    let begun = std::time::Instant::now();
    let running = s.with("deploy", &file, &["--plain"]).within(60).start();
    std::thread::sleep(std::time::Duration::from_secs(3));
    running.signal(nix::sys::signal::Signal::SIGINT);
    running.finish().code(130);
    assert!(begun.elapsed().as_secs() < 10, "it took {:?}", begun.elapsed());
    s.assert_clean();
}
