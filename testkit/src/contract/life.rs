//! Made, started, stopped, ended, removed.

use super::{Bench, Case};
use netloom_runtime::{
    ExecSpec, Health, Healthcheck, LogsRequest, RestartPolicy, RuntimeError, Status,
};
use std::time::{Duration, Instant};

pub(super) const CASES: &[(&str, Case)] = &[
    ("made_twice", made_twice),
    ("started_and_stopped", started_and_stopped),
    ("killed_when_it_does_not_listen", killed_when_it_does_not_listen),
    ("signals", signals),
    ("ends_by_itself", ends_by_itself),
    ("removed", removed),
    ("what_is_not_there", what_is_not_there),
    ("cannot_be_started", cannot_be_started),
    ("started_again_on_failure", started_again_on_failure),
    ("stopped_means_stopped", stopped_means_stopped),
    ("removes_itself", removes_itself),
    ("health", health),
    ("logs", logs),
];

fn made_twice(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.runtime().create(&spec).unwrap();
    b.runtime().create(&spec).unwrap();
    let state = b.state(&spec);
    assert_eq!((state.status, state.pid, state.exit_code), (Status::Created, None, None));
    assert_eq!(state.name, spec.name);
    assert_eq!(state.id.len(), 64, "{}", state.id);
    assert!(state.id.bytes().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(state.labels, spec.labels);
    assert_eq!(state.started_at, None);
    let mut other = spec.clone();
    other.env.push(("ANOTHER".into(), "1".into()));
    let error = b.runtime().create(&other).unwrap_err();
    assert!(matches!(&error, RuntimeError::NameTaken(n) if *n == spec.name), "{error}");
}

fn started_and_stopped(b: &Bench<'_>) {
    let spec = b.spec("a", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done");
    let first = b.up(&spec);
    assert_eq!((first.status, first.exit_code, first.restarts), (Status::Running, None, 0));
    let pid = first.pid.expect("a process");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let since = first.started_at.expect("a time");
    assert!(since <= now + 1 && since + 60 > now, "{since} {now}");
    assert_eq!(b.runtime().start(&spec.name).unwrap().pid, first.pid, "started again");
    b.until("it is ready", || b.log(&spec).contains("ready"));
    b.out(&spec, "echo kept > /kept");
    b.runtime().stop(&spec.name, None).unwrap();
    b.runtime().stop(&spec.name, None).unwrap();
    let state = b.state(&spec);
    assert_eq!((state.status, state.pid, state.exit_code), (Status::Exited, None, Some(7)));
    assert!(state.finished_at.expect("a time") >= since);
    let again = b.runtime().start(&spec.name).unwrap();
    assert_ne!(again.pid, first.pid);
    assert_eq!(again.id, first.id);
    assert_eq!(b.out(&spec, "cat /kept"), "kept");
}

fn killed_when_it_does_not_listen(b: &Bench<'_>) {
    let spec = b.spec("a", "trap 'echo no' TERM; while :; do sleep 0.1; done");
    b.up(&spec);
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    b.runtime().stop(&spec.name, Some(Duration::from_secs(1))).unwrap();
    assert!((1..9).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(b.state(&spec).exit_code, Some(137));
}

fn signals(b: &Bench<'_>) {
    let mut spec =
        b.spec("a", "trap 'echo caught' USR1; trap 'exit 3' INT; while :; do sleep 0.1; done");
    spec.stop_signal = 2;
    b.up(&spec);
    std::thread::sleep(Duration::from_millis(200));
    b.runtime().kill(&spec.name, 10).unwrap();
    b.until("the signal is caught", || b.log(&spec).contains("caught"));
    b.runtime().stop(&spec.name, None).unwrap();
    assert_eq!(b.state(&spec).exit_code, Some(3));
    let error = b.runtime().kill(&spec.name, 10).unwrap_err();
    assert!(matches!(error, RuntimeError::NotRunning(_)), "{error}");
}

fn ends_by_itself(b: &Bench<'_>) {
    let spec = b.spec("a", "echo out; echo err >&2; exit 42");
    let (code, log) = b.finish(&spec);
    assert_eq!(code, 42);
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    assert!(b.state(&spec).finished_at.is_some());
}

fn removed(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    assert!(b.runtime().remove(&spec.name, false).is_err());
    assert_eq!(b.state(&spec).status, Status::Running);
    let pid = b.state(&spec).pid.unwrap();
    b.runtime().remove(&spec.name, true).unwrap();
    b.runtime().remove(&spec.name, true).unwrap();
    assert_eq!(b.runtime().inspect(&spec.name).unwrap(), None);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let other = b.spec("b", "sleep 1000");
    b.runtime().create(&other).unwrap();
    b.runtime().remove(&other.name, false).unwrap();
    let here: Vec<_> = b.runtime().list().unwrap().into_iter().map(|s| s.name).collect();
    assert!(!here.contains(&spec.name) && !here.contains(&other.name), "{here:?}");
}

fn what_is_not_there(b: &Bench<'_>) {
    let name = b.name("nobody");
    let r = b.runtime();
    let missing = |e: RuntimeError| matches!(&e, RuntimeError::NotFound(n) if *n == name);
    assert!(missing(r.start(&name).unwrap_err()));
    assert!(missing(r.stop(&name, None).unwrap_err()));
    assert!(missing(r.kill(&name, 15).unwrap_err()));
    assert!(missing(
        r.exec(&name, &ExecSpec { argv: vec!["true".into()], ..ExecSpec::default() }).unwrap_err()
    ));
    assert!(missing(r.logs(&name, &LogsRequest::default(), &mut Vec::new()).unwrap_err()));
    assert_eq!(r.inspect(&name).unwrap(), None);
}

fn cannot_be_started(b: &Bench<'_>) {
    let mut spec = b.spec("a", "");
    spec.argv = vec!["no-such-program".into()];
    b.runtime().create(&spec).unwrap();
    let error = b.runtime().start(&spec.name).unwrap_err();
    assert!(matches!(error, RuntimeError::Start { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&spec.name) && text.contains("no-such-program"), "{text}");
    assert_ne!(b.state(&spec).status, Status::Running);
    b.runtime().remove(&spec.name, true).unwrap();
}

fn started_again_on_failure(b: &Bench<'_>) {
    let mut spec = b.spec("a", "echo run; exit 5");
    spec.restart = RestartPolicy::OnFailure(Some(2));
    b.up(&spec);
    b.until("it has run three times", || {
        let state = b.state(&spec);
        state.status == Status::Exited && state.restarts == 2
    });
    assert_eq!(b.state(&spec).exit_code, Some(5));
    assert_eq!(b.log(&spec).matches("run").count(), 3);
    let mut always = b.spec("b", "sleep 1000");
    always.restart = RestartPolicy::Always;
    let first = b.up(&always);
    // As if it had ended by itself; a signal through the runtime would mean it.
    let pid = nix::unistd::Pid::from_raw(first.pid.unwrap() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    b.until("it runs again", || {
        let state = b.state(&always);
        state.status == Status::Running && state.pid != first.pid && state.restarts > 0
    });
}

fn stopped_means_stopped(b: &Bench<'_>) {
    let mut spec = b.spec("a", "trap 'exit 0' TERM; while :; do sleep 0.1; done");
    spec.restart = RestartPolicy::Always;
    b.up(&spec);
    std::thread::sleep(Duration::from_millis(200));
    b.runtime().stop(&spec.name, None).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(b.state(&spec).status, Status::Exited);
    b.runtime().start(&spec.name).unwrap();
    assert_eq!(b.state(&spec).status, Status::Running);
}

fn removes_itself(b: &Bench<'_>) {
    let mut spec = b.spec("a", "sleep 0.3");
    spec.auto_remove = true;
    b.up(&spec);
    b.until("it is gone", || b.runtime().inspect(&spec.name).unwrap().is_none());
}

fn health(b: &Bench<'_>) {
    if !b.fixture.checks_health() {
        println!("NOT RUN: health checks, {} has nobody to run them here", b.runtime().name());
        return;
    }
    let mut spec = b.spec("a", "sleep 1000");
    spec.healthcheck = Some(Healthcheck {
        argv: ["test", "-e", "/well"].map(String::from).to_vec(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(5),
        retries: 2,
        start_period: Duration::ZERO,
    });
    assert_eq!(b.up(&spec).health, Some(Health::Starting));
    b.until("it is unhealthy", || b.state(&spec).health == Some(Health::Unhealthy));
    b.out(&spec, "touch /well");
    b.until("it is healthy", || b.state(&spec).health == Some(Health::Healthy));
    assert_eq!(b.up(&b.spec("b", "sleep 1000")).health, None);
}

fn logs(b: &Bench<'_>) {
    let spec = b.spec("a", "for i in $(seq 5); do echo line $i; done; sleep 0.4; echo last");
    b.up(&spec);
    let mut followed = Vec::new();
    let request = LogsRequest { follow: true, tail: None };
    b.runtime().logs(&spec.name, &request, &mut followed).unwrap();
    let text = String::from_utf8_lossy(&followed).replace('\r', "");
    assert_eq!(text, "line 1\nline 2\nline 3\nline 4\nline 5\nlast\n");
    let mut end = Vec::new();
    let request = LogsRequest { follow: false, tail: Some(2) };
    b.runtime().logs(&spec.name, &request, &mut end).unwrap();
    assert_eq!(String::from_utf8_lossy(&end).replace('\r', ""), "line 5\nlast\n");
}
