//! kill -9 of supervisor and holder: no node stops, no line and no exit status is lost, and what a
//! dead holder leaves is found.

mod lab;

use lab::{Lab, kill, layers, wait};
use netloom_runtime::*;
use netloom_runtime_native::{NativeRuntime, reap_leftovers};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

fn shell(lab: &Lab, name: &str) -> ContainerSpec {
    let mut spec = lab.spec(name, "");
    spec.argv = vec!["sh".into()];
    spec.stdio = Stdio::Tty;
    spec
}

#[test]
fn a_shell_on_a_terminal_stays() {
    let lab = Lab::new();
    lab.up(&shell(&lab, "a"));
    wait("the prompt", || lab.log("a").contains('#'));
    let mut console = fs::File::from(lab.runtime.console("a").unwrap().unwrap());
    console.write_all(b"tty; echo $TERM; echo to-console > /dev/console; stty size\n").unwrap();
    wait("the answer", || lab.log("a").contains("\r\nto-console\r\n24 80\r\n"));
    assert!(lab.log("a").contains("\r\n/dev/pts/0\r\nxterm\r\n"), "{}", lab.log("a"));
    // Killed again and again, under input and output.
    let pid = lab.state("a").pid;
    for round in 0..5 {
        lab.kill_supervisor();
        console.write_all(format!("echo round-$((100 + {round}))\n").as_bytes()).unwrap();
    }
    wait("all rounds", || lab.log("a").contains("\r\nround-104\r\n"));
    for round in 100..105 {
        assert_eq!(lab.log("a").matches(&format!("\r\nround-{round}\r\n")).count(), 1);
    }
    assert_eq!(lab.state("a").pid, pid);
    lab.out("a", "true");
    console.write_all(b"exit 4\n").unwrap();
    wait("the end", || lab.state("a").exit_code == Some(4));
    assert_eq!(lab.runtime.kept_names().unwrap(), ["runtime:console-in", "runtime:console-out"]);
}

/// A thousand lines a second, on a terminal and to a file, while the supervisor is killed.
#[test]
fn no_line_is_lost() {
    let lab = Lab::new();
    let script = "i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); \
                  [ $((i % 10)) = 0 ] && usleep 10000; done; sleep 1000";
    let mut spec = lab.spec("a", script);
    spec.stdio = Stdio::Tty;
    lab.up(&spec);
    lab.up(&lab.spec("b", script));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(150));
        lab.kill_supervisor();
    }
    let wanted: Vec<String> = (0..3000).map(|i| format!("line-{i}")).collect();
    for name in ["a", "b"] {
        wait("the last line", || lab.log(name).contains("line-2999"));
        let log = lab.log(name);
        assert!(log.lines().eq(&wanted), "{name}: {} lines", log.lines().count());
        assert_eq!(lab.state(name).status, Status::Running);
    }
}

#[test]
fn no_exit_is_lost() {
    let lab = Lab::new();
    let mut names = Vec::new();
    for i in 0..20 {
        let name = format!("n{i}");
        let mut spec =
            lab.spec(&name, &format!("usleep {}; echo last words; exit {i}", i * 40_000));
        if i % 2 == 1 {
            spec.stdio = Stdio::Tty;
        }
        lab.up(&spec);
        names.push(name);
    }
    for _ in 0..8 {
        lab.kill_supervisor();
    }
    for (i, name) in names.iter().enumerate() {
        wait(name, || lab.state(name).status == Status::Exited);
        assert_eq!(lab.state(name).exit_code, Some(i as i32));
        assert_eq!(lab.log(name).trim_end(), "last words");
    }
}

/// Starts go on being answered while the supervisor dies under them.
#[test]
fn starts_under_fire() {
    let lab = Lab::new();
    let before = fs::read_to_string("/proc/self/mounts").unwrap();
    let done = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let lab = &lab;
            scope.spawn(move || {
                for i in 0..20 {
                    lab.up(&lab.spec(&format!("t{thread}-{i}"), "sleep 1000"));
                }
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        }
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            lab.kill_supervisor();
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    let states = lab.runtime.list().unwrap();
    assert_eq!(states.len(), 60);
    assert!(states.iter().all(|s| s.status == Status::Running));
    // Each runs once: no process was started twice.
    let nodes = lab::children(lab.runtime.holder_pid()).len() - 1;
    assert_eq!(nodes, 60);
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), before);
}

#[test]
fn restart_policy() {
    let lab = Lab::new();
    let mut spec =
        lab.spec("a", "awk '{print int($1*1000)}' /proc/uptime >> /times; echo run; exit 1");
    spec.restart = RestartPolicy::OnFailure(Some(3));
    lab.up(&spec);
    wait("four runs", || lab.log("a").matches("run").count() == 4);
    wait("the end", || lab.state("a").status == Status::Exited);
    assert_eq!(lab.state("a").restarts, 3);
    // 100, 200 and 400 ms lie between them.
    let times: Vec<u64> = fs::read_to_string(lab.path("private/a/upper/times"))
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    for (pair, delay) in times.windows(2).zip([100, 200, 400]) {
        let passed = pair[1] - pair[0];
        // The clock goes by hundredths.
        assert!((delay - 10..delay + 2000).contains(&passed), "{passed} ms instead of {delay}");
    }
    let mut spec = lab.spec("b", "echo run; exit 0");
    spec.restart = RestartPolicy::Always;
    lab.up(&spec);
    wait("some runs", || lab.state("b").restarts >= 2);
    let before = lab.state("b").restarts;
    lab.kill_supervisor();
    let seen = lab.state("b").restarts;
    assert!(seen >= before, "{seen} restarts after {before}");
    wait("runs after the supervisor's death", || lab.state("b").restarts > seen);
    lab.runtime.stop("b", None).unwrap();
    assert_eq!(lab.state("b").status, Status::Exited);
    lab.kill_supervisor();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.state("b").status, Status::Exited);
}

#[test]
fn health() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.healthcheck = Some(Healthcheck {
        argv: ["sh", "-c", "test -e /tmp/fine"].map(String::from).to_vec(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
        retries: 2,
        start_period: Duration::ZERO,
    });
    assert_eq!(lab.up(&spec).health, Some(Health::Starting));
    wait("bad health", || lab.state("a").health == Some(Health::Unhealthy));
    lab.out("a", "touch /tmp/fine");
    wait("health", || lab.state("a").health == Some(Health::Healthy));
    lab.kill_supervisor();
    wait("health", || lab.state("a").health == Some(Health::Healthy));
    lab.runtime.stop("a", None).unwrap();
    assert_eq!(lab.state("a").health, None);
}

#[test]
fn after_the_holders_death() {
    let lab = Lab::new();
    let a = lab.up(&shell(&lab, "a"));
    let mut spec = lab.spec("b", "sleep 1000");
    spec.resources.pids = Some(100);
    spec.stop_signal = 15;
    let b = lab.up(&spec);
    let pids = [a.pid.unwrap(), b.pid.unwrap()];
    let supervisor = lab.supervisor();
    kill(lab.runtime.holder_pid() as i32);
    wait("the supervisor's end", || !Path::new(&format!("/proc/{supervisor}")).exists());
    let error = lab.runtime.inspect("a").unwrap_err().to_string();
    assert!(error.contains("supervisor"), "{error}");
    assert!(NativeRuntime::connect(&lab.config).unwrap().is_none());
    let reaped = reap_leftovers(&lab.config).unwrap();
    assert!(reaped.killed.contains(&(pids[1] as i32)), "{reaped:?}");
    let mut ended = reaped.ended.clone();
    ended.sort();
    assert_eq!(ended, ["a", "b"]);
    for pid in pids {
        let gone =
            fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z "));
        assert!(gone, "{pid}");
    }
    // A new holder knows them, and can start them again.
    let runtime = NativeRuntime::open(&lab.config).unwrap();
    let states: BTreeMap<_, _> =
        runtime.list().unwrap().into_iter().map(|s| (s.name.clone(), s)).collect();
    assert_eq!(states.len(), 2);
    assert!(states.values().all(|s| s.status == Status::Exited && s.exit_code == Some(137)));
    assert_eq!(runtime.start("b").unwrap().status, Status::Running);
    assert_eq!(reap_leftovers(&lab.config).unwrap(), Default::default());
}

#[test]
fn a_shutdown_is_a_stop() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.restart = RestartPolicy::Always;
    lab.up(&spec);
    let mut spec = lab.spec("b", "exit 1");
    spec.restart = RestartPolicy::Always;
    lab.up(&spec);
    lab.runtime.shutdown().unwrap();
    assert!(NativeRuntime::connect(&lab.config).unwrap().is_none());
    let runtime = NativeRuntime::open(&lab.config).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for state in runtime.list().unwrap() {
        assert_eq!(state.status, Status::Exited, "{state:?}");
    }
    assert_eq!(lab::children(runtime.holder_pid()).len(), 1);
}

#[test]
fn followed_logs_end_with_the_container() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "echo one; usleep 300000; echo two"));
    let mut log = Vec::new();
    let request = LogsRequest { follow: true, tail: None };
    lab.runtime.logs("a", &request, &mut log).unwrap();
    assert_eq!(log, b"one\ntwo\n");
    let mut log = Vec::new();
    lab.runtime.logs("a", &LogsRequest { follow: false, tail: Some(1) }, &mut log).unwrap();
    assert_eq!(log, b"two\n");
    assert!(lab.runtime.logs("none", &request, &mut log).is_err());
}

#[test]
fn failures_say_what_and_why() {
    let lab = Lab::new();
    let fails = |name: &str, change: &dyn Fn(&mut ContainerSpec)| {
        let mut spec = lab.spec(name, "true");
        change(&mut spec);
        lab.runtime.create(&spec).unwrap();
        lab.runtime.start(name).unwrap_err().to_string()
    };
    let error = fails("a", &|s| s.argv = vec!["no-such-program".into()]);
    assert!(
        error.contains("`a`") && error.contains("no-such-program: not found in PATH"),
        "{error}"
    );
    let error = fails("b", &|s| *layers(s) = vec!["/nonexistent/layer".into()]);
    assert!(error.contains("root file system") && error.contains("No such file"), "{error}");
    let error = fails("c", &|s| {
        s.binds = vec![Bind {
            source: "/nonexistent/source".into(),
            target: "/x".into(),
            read_only: false,
            options: String::new(),
            recursive: false,
        }];
    });
    assert!(error.contains("bind /nonexistent/source"), "{error}");
    let error = fails("d", &|s| s.argv = Vec::new());
    assert!(error.contains("without a command"), "{error}");
    let error = fails("e", &|s| s.network = NetworkNs::Path("/etc/passwd".into()));
    assert!(error.contains("enter the network namespace"), "{error}");
    let error = fails("f", &|s| s.security_opts = vec!["nonsense".into()]);
    assert!(error.contains("nonsense"), "{error}");
    let error = fails("g", &|s| s.pid = PidNs::Container("a".into()));
    assert!(error.contains("`a` is not running"), "{error}");
    assert_eq!(lab.state("a").status, Status::Created);
    let bad = lab.spec("../up", "true");
    assert!(lab.runtime.create(&bad).unwrap_err().to_string().contains("../up"));
}
