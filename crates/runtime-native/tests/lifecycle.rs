//! Create, start, stop, kill, remove, inspect, list.

mod lab;

use lab::{Lab, wait};
use netloom_runtime::*;
use std::time::{Duration, Instant};

#[test]
fn a_container_lives() {
    let lab = Lab::new();
    let spec = lab.spec("n1", "sleep 1000");
    lab.runtime.create(&spec).unwrap();
    lab.runtime.create(&spec).unwrap();
    assert_eq!(lab.state("n1").status, Status::Created);
    let state = lab.runtime.start("n1").unwrap();
    assert_eq!(state.status, Status::Running);
    assert_eq!(lab.runtime.start("n1").unwrap().pid, state.pid);
    assert_eq!(state.id.len(), 64);
    assert_eq!(state.labels["lab"], "test");
    assert_eq!(lab.out("n1", "echo $GREETING"), "hello");
    assert_eq!(lab.out("n1", "hostname"), "n1");
    assert_eq!(lab.runtime.list().unwrap().len(), 1);
    // A shell has no handler for SIGTERM: the grace time is not waited for in vain.
    let before = Instant::now();
    lab.runtime.stop("n1", None).unwrap();
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    let state = lab.state("n1");
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, Some(137), None));
    lab.runtime.stop("n1", None).unwrap();
    lab.runtime.start("n1").unwrap();
    assert!(lab.runtime.remove("n1", false).is_err());
    lab.runtime.remove("n1", true).unwrap();
    lab.runtime.remove("n1", true).unwrap();
    assert_eq!(lab.runtime.inspect("n1").unwrap(), None);
    assert!(!spec.rootfs.private().unwrap().exists());
    assert!(!lab.config.state_dir.join("c/n1").exists());
}

#[test]
fn a_name_is_one_container() {
    let lab = Lab::new();
    lab.runtime.create(&lab.spec("n1", "true")).unwrap();
    let other = lab.spec("n1", "false");
    assert!(matches!(lab.runtime.create(&other), Err(RuntimeError::NameTaken(_))));
    assert!(matches!(lab.runtime.start("n2"), Err(RuntimeError::NotFound(_))));
    assert!(matches!(lab.runtime.kill("n1", 9), Err(RuntimeError::NotRunning(_))));
}

#[test]
fn exit_codes() {
    let lab = Lab::new();
    assert_eq!(lab.finish(&lab.spec("a", "exit 0")).0, 0);
    assert_eq!(lab.finish(&lab.spec("b", "exit 42")).0, 42);
    lab.up(&lab.spec("c", "sleep 1000"));
    lab.runtime.kill("c", 9).unwrap();
    wait("the end", || lab.state("c").exit_code == Some(137));
    // A real-time signal, as systemd takes them.
    lab.up(&lab.spec("d", "trap 'exit 7' 37; while :; do usleep 1000; done"));
    std::thread::sleep(Duration::from_millis(100));
    lab.runtime.kill("d", 37).unwrap();
    wait("the end", || lab.state("d").exit_code == Some(7));
}

#[test]
fn stop_signal_and_grace() {
    let lab = Lab::new();
    let mut spec =
        lab.spec("a", "trap 'echo bye; exit 3' TERM; echo up; while :; do usleep 1000; done");
    lab.up(&spec);
    wait("the trap", || lab.log("a").contains("up"));
    lab.runtime.stop("a", None).unwrap();
    assert_eq!(lab.state("a").exit_code, Some(3));
    assert_eq!(lab.log("a"), "up\nbye\n");
    spec = lab.spec("b", "trap 'echo no' TERM; echo up; while :; do usleep 1000; done");
    lab.up(&spec);
    wait("the trap", || lab.log("b").contains("up"));
    let before = Instant::now();
    lab.runtime.stop("b", Some(Duration::from_millis(300))).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert_eq!(lab.state("b").exit_code, Some(137));
}

#[test]
fn private_changes_outlive_a_restart() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "test -e /root/x && exit 5; echo 1 > /root/x; sleep 1000"));
    wait("the file", || lab.sh("a", "test -e /root/x").code == 0);
    lab.runtime.stop("a", None).unwrap();
    lab.runtime.start("a").unwrap();
    wait("the end", || lab.state("a").exit_code == Some(5));
    assert!(!lab.image.join("root/x").exists());
}

#[test]
fn auto_remove() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "true");
    spec.auto_remove = true;
    lab.up(&spec);
    wait("the removal", || lab.runtime.inspect("a").unwrap().is_none());
}
