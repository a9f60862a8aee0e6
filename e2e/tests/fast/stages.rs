//! The order in which nodes come up, and commands of stages.

use netloom_e2e::Sandbox;
use netloom_e2e::images::SMALL;

#[test]
fn waiting_for_a_healthy_node() {
    let s = Sandbox::new();
    let lab = s.lab(
        "health",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  db:
    cmd: sh -c 'sleep 1; touch /ready; exec /bin/idle'
    healthcheck: {{test: [CMD-SHELL, "test -e /ready"], interval: 1, timeout: 1, retries: 30}}
    binds: [".:/lab"]
  app:
    stages: {{create: {{wait-for: [{{node: db, stage: healthy}}]}}}}
    cmd: sh -c 'date +%s%N > /born; exec /bin/idle'
    binds: [".:/lab"]
"#
        ),
    );
    s.deploy(&lab);
    let ready = s.asks(&lab, "db", "stat -c %Y /ready");
    let born = s.asks(&lab, "app", "stat -c %Y /born");
    assert!(born.parse::<u64>().ok() >= ready.parse::<u64>().ok(), "born {born}, ready {ready}");
    s.with("inspect", &lab, &[]).run().ok().prints("healthy");
    s.gone(&lab);
}

#[test]
fn commands_of_stages_run_in_order() {
    let s = Sandbox::new();
    let lab = s.lab(
        "order",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, binds: [".:/lab"]}}
nodes:
  a:
    exec: [sh -c 'echo a-exec >> /lab/order']
    stages:
      create:
        exec:
          - {{command: "sh -c 'echo a-create-host >> order'", target: host, phase: on-enter}}
          - {{command: "sh -c 'echo a-create-exit >> /lab/order'", phase: on-exit}}
      configure:
        exec:
          - {{command: "sh -c 'echo a-configure-enter >> /lab/order'"}}
          - {{command: "sh -c 'echo a-configure-exit >> /lab/order'", phase: on-exit}}
  b:
    startup-delay: 1
    exec: [sh -c 'echo b-exec >> /lab/order']
    stages:
      create:
        wait-for: [{{node: a, stage: configure}}]
  c:
    exec: [sh -c 'echo c-exec >> /lab/order']
    stages:
      configure:
        wait-for: [{{node: b, stage: configure}}]
links:
  - endpoints: ["a:eth1", "b:eth1"]
"#
        ),
    );
    let done = s.deploy(&lab);
    assert!(done.took.as_secs_f64() >= 1.0, "the delay is kept: {done}");
    let order = std::fs::read_to_string(s.lab_dir().join("order")).expect("written by the stages");
    let order: Vec<&str> = order.lines().collect();
    let expected = [
        "a-create-host",
        "a-create-exit",
        "a-configure-enter",
        "a-exec",
        "a-configure-exit",
        "b-exec",
        "c-exec",
    ];
    // Entering and the node's own commands may change places, see containerlab.
    assert_eq!(order, expected, "{done}");
    s.gone(&lab);
}

/// Commands of early stages come before the links, unless somebody would wait for ever then.
#[test]
fn commands_before_links() {
    let s = Sandbox::new();
    let early = s.lab(
        "early",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a:
    exec: [sh -c 'ls /sys/class/net >/last']
    stages:
      create: {{exec: [{{command: "sh -c 'ls /sys/class/net >/first'", target: container, phase: on-exit}}]}}
      create-links: {{exec: [{{command: "sh -c 'ls /sys/class/net >/second'", target: container, phase: on-enter}}]}}
  b: {{}}
links:
  - endpoints: ["a:eth1", "b:eth1"]
"#
        ),
    );
    s.deploy(&early);
    let seen = |file: &str| s.asks(&early, "a", &format!("cat {file}"));
    for before in ["/first", "/second"] {
        assert_eq!(seen(before), "eth0\nlo", "{before}");
    }
    assert_eq!(seen("/last"), "eth0\neth1\nlo");
    s.gone(&early);
    // The link cannot come after both: b is made when a is done.
    let on_enter = "exec: [{command: 'true', target: container, phase: on-enter}]";
    let knot = s.lab(
        "knot",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{stages: {{create-links: {{{on_enter}}}}}}}
  b: {{stages: {{create: {{wait-for: [{{node: a, stage: configure}}]}}, create-links: {{{on_enter}}}}}}}
links:
  - endpoints: ["a:eth1", "b:eth1"]
"#
        ),
    );
    s.deploy(&knot);
    s.exec(&knot, "b", "ip link show eth1").ok();
    s.gone(&knot);
}
