//! Start, stop, restart, commands, logs, and what a running lab shows of itself.

use netloom_e2e::images::SMALL;
use netloom_e2e::{Sandbox, eventually, until};

#[test]
fn stop_and_start_keep_links_and_addresses() {
    let s = Sandbox::new();
    let lab = s.lab(
        "cycle",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a: {{exec: ["ip addr add 10.0.9.1/32 dev lo", "touch /ran"]}}
  b: {{}}
  c: {{}}
links:
  - {{endpoints: ["a:eth1", "b:eth1"], ipv4: [10.0.0.1/30, 10.0.0.2/30]}}
"#
        ),
    );
    s.deploy(&lab);
    let wires = |s: &Sandbox| {
        s.sh("nsenter --net=$NETLOOM_NETNS_DIR/clab-cycle-a sh -c 'ip -o link; ip -o addr | grep -v fe80'").ok().stdout
    };
    let before = wires(&s);
    s.exec(&lab, "a", "echo changed > /kept").ok();
    s.with("stop", &lab, &["--node", "a"]).run().ok();
    let rows = s.with("inspect", &lab, &["-f", "json"]).run().ok().json();
    let state = |rows: &serde_json::Value, name: &str| {
        let rows = rows["cycle"].as_array().expect("rows").clone();
        let row = rows.into_iter().find(|r| r["name"] == name).expect("a row of the node");
        row["state"].as_str().expect("a state").to_string()
    };
    assert_eq!(state(&rows, "clab-cycle-a"), "exited");
    assert_eq!(state(&rows, "clab-cycle-b"), "running");
    assert_eq!(wires(&s), before, "links and addresses stay while a node is stopped");
    let refused = s.exec(&lab, "a", "true");
    assert!(refused.code != 0 && refused.stderr.contains("not running"), "{refused}");
    s.with("start", &lab, &["--node", "a"]).run().ok();
    assert_eq!(s.asks(&lab, "a", "cat /kept"), "changed", "its files are kept");
    s.exec(&lab, "a", "ping -c1 -W2 10.0.0.2 && ping -c1 -W2 10.0.9.1 && ping -c1 -W2 c").ok();
    let pid = s.asks(&lab, "b", "cut -d' ' -f22 /proc/1/stat");
    s.with("restart", &lab, &["--node", "b"]).run().ok();
    assert_ne!(s.asks(&lab, "b", "cut -d' ' -f22 /proc/1/stat"), pid, "a restarted node is new");
    assert_eq!(wires(&s), before, "links and addresses are the same after a restart");
    s.exec(&lab, "b", "ping -c1 -W2 10.0.0.1").ok();
    s.with("stop", &lab, &["--node", "nobody"]).run().code(4).says("no node `nobody`");
    s.gone(&lab);
}

#[test]
fn commands_and_their_exit_codes() {
    let s = Sandbox::new();
    let lab = s.lab(
        "cmds",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}}}
nodes:
  a:
    exec: ["echo hello from a", "sh -c 'echo wrong >&2; exit 7'"]
  b: {{}}
"#
        ),
    );
    let done = s.deploy(&lab);
    let all = format!("{}{}", done.stdout, done.stderr);
    assert!(all.contains("hello from a"), "output of the file's commands is shown:\n{all}");
    assert!(all.contains("wrong") && all.contains('7'), "a failed command is shown:\n{all}");
    for code in [0, 3, 42, 255] {
        s.exec(&lab, "a", &format!("exit {code}")).code(code);
    }
    s.exec(&lab, "a", "kill -9 $$").code(137);
    let missing = s.with("exec", &lab, &["a", "--", "no-such-program"]).run();
    assert!([126, 127].contains(&missing.code), "a program that is not there: {missing}");
    let both = s.with("exec", &lab, &["--cmd", "hostname", "--cmd", "sh -c 'exit 5'"]).run();
    both.code(5);
    let out = s.exec(&lab, "b", "echo out; echo err >&2");
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
    let piped = s.with("exec", &lab, &["a", "--", "cat"]).input("through\n").run().ok();
    assert_eq!(piped.stdout, "through\n", "standard input reaches the command");
    let big = s.exec(&lab, "a", "seq 1 200000 | wc -c; seq 1 200000").ok();
    assert_eq!(big.stdout.lines().count(), 200_001, "long output is whole");
    let shell = s.with("shell", &lab, &["a"]).input("hostname; exit 4\n").run();
    assert!(shell.code == 4 && shell.stdout.contains('a'), "shell: {shell}");
    s.with("exec", &lab, &["nobody", "--", "true"]).run().code(4).says("no node `nobody`");
    s.gone(&lab);
    s.with("exec", &lab, &["a", "--", "true"]).run().code(4).says("no lab");
}

#[test]
fn logs_are_whole_and_can_be_followed() {
    let s = Sandbox::new();
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exec /bin/idle";
    let lab = s.lab(
        "logs",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, network-mode: none}}
nodes:
  a: {{cmd: "sh -c '{script}'"}}
"#
        ),
    );
    s.deploy(&lab);
    let text = until("2000 lines in the log", 10, || {
        let text = s.with("logs", &lab, &["a"]).run().ok().stdout;
        if text.contains("line 1999") { Ok(text) } else { Err(format!("{} bytes", text.len())) }
    });
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let expected: Vec<String> = (0..2000).map(|i| format!("line {i}")).collect();
    assert_eq!(lines, expected, "every line, in order");
    let tail = s.with("logs", &lab, &["a", "--tail", "3"]).run().ok();
    assert_eq!(tail.stdout.lines().map(str::trim_end).collect::<Vec<_>>(), &expected[1997..]);
    let follow = s.with("logs", &lab, &["a", "--follow", "--tail", "1"]).start();
    s.exec(&lab, "a", "echo added > /proc/1/fd/1").ok();
    std::thread::sleep(std::time::Duration::from_millis(500));
    follow.signal(nix::sys::signal::Signal::SIGINT);
    let followed = follow.finish();
    assert!(followed.stdout.contains("added"), "what is added is shown: {followed}");
    s.gone(&lab);
}

#[test]
fn inspect_in_every_form() {
    let s = Sandbox::new();
    let lab = s.lab(
        "look",
        &format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes: {{a: {{}}, b: {{network-mode: none}}}}\n"),
    );
    s.with("inspect", &lab, &[]).run().code(4).says("no lab");
    s.deploy(&lab);
    let rows = s.with("inspect", &lab, &["-f", "json"]).run().ok().json();
    let a = &rows["look"][0];
    assert_eq!(a["name"], "clab-look-a");
    assert_eq!(a["ipv4_address"], "172.20.20.2/24");
    assert_eq!((&a["kind"], &a["state"]), (&"linux".into(), &"running".into()));
    let csv = s.with("inspect", &lab, &["-f", "csv"]).run().ok();
    let lines: Vec<&str> = csv.stdout.trim().lines().collect();
    assert_eq!(lines.len(), 3, "a head and two nodes: {csv}");
    let columns = lines[0].split(',').count();
    assert!(lines.iter().all(|l| l.split(',').count() == columns), "even columns: {csv}");
    s.with("inspect", &lab, &[]).run().ok().prints("clab-look-b");
    s.netloom(["inspect", "--all"]).run().ok().prints("look");
    s.netloom(["inspect", "--name", "look", "-f", "json"]).run().ok().prints("clab-look-a");
    s.netloom(["inspect", "interfaces", "--name", "look"]).run().ok().prints("eth0");
    s.gone(&lab);
}

#[test]
fn a_node_that_ends_is_started_again_by_its_policy() {
    let s = Sandbox::new();
    let count = "sh -c 'echo x >> /count; sleep 0.2; exit 3'";
    let lab = s.lab(
        "policy",
        &format!(
            r#"
defaults: {{kind: linux, image: {SMALL}, network-mode: none, cmd: "{count}"}}
nodes:
  always: {{restart-policy: always}}
  never: {{restart-policy: "no", cmd: "sh -c 'echo x >> /count; sleep 2; exit 3'"}}
  twice: {{restart-policy: "on-failure:2"}}
"#
        ),
    );
    s.deploy(&lab);
    let runs = |s: &Sandbox, node: &str| -> usize {
        let path = s.state().join(format!("labs/policy/nodes/{node}/root/upper/count"));
        std::fs::read_to_string(path).map_or(0, |t| t.lines().count())
    };
    eventually("node `always` has run four times", 20, || runs(&s, "always") >= 4);
    eventually("node `twice` has been started again twice", 20, || runs(&s, "twice") == 3);
    eventually("node `never` has ended", 10, || {
        s.with("inspect", &lab, &["-f", "csv"]).run().ok().stdout.contains("exited")
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(runs(&s, "never"), 1, "policy `no`");
    assert_eq!(runs(&s, "twice"), 3, "policy `on-failure:2`");
    s.gone(&lab);
}

#[test]
fn a_terminal_is_passed_through() {
    let s = Sandbox::new();
    let lab =
        s.lab("tty", &format!("defaults: {{kind: linux, image: {SMALL}}}\nnodes: {{a: {{}}}}\n"));
    s.deploy(&lab);
    let program = netloom_e2e::binary::netloom().display().to_string();
    let on_terminal = |s: &Sandbox, what: &str| {
        let line = format!("stty rows 33 cols 101; exec {program} {what}");
        s.run("script").args(["-qec", &line, "/dev/null"]).run()
    };
    let done = on_terminal(&s, "exec a -- sh -c 'test -t 0 && test -t 1 && stty size; exit 6'");
    assert!(done.code == 6 && done.stdout.contains("33 101"), "{done}");
    // Without a terminal there is none in the node.
    s.exec(&lab, "a", "test -t 0 || test -t 1").fails();
    let shell = s.run("script").args(["-qec", &format!("{program} shell a"), "/dev/null"]);
    let shell = shell.input("echo in-$(hostname)\nexit 9\n").run();
    assert!(shell.code == 9 && shell.stdout.contains("in-a"), "{shell}");
    s.gone(&lab);
}
