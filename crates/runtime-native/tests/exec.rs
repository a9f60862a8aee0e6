//! Commands in running containers.

mod lab;

use lab::Lab;
use netloom_runtime::*;
use std::time::{Duration, Instant};

fn command(script: &str) -> ExecSpec {
    ExecSpec { argv: ["sh", "-c", script].map(String::from).to_vec(), ..ExecSpec::default() }
}

#[test]
fn output_and_code() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "sleep 1000"));
    let output = lab.sh("a", "echo out; echo err >&2; exit 9");
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (9, &b"out\n"[..], &b"err\n"[..]));
    assert_eq!(lab.sh("a", "kill -9 $$").code, 137);
    let big = lab.sh("a", "head -c 3000000 /dev/zero");
    assert_eq!(big.stdout.len(), 3_000_000);
    let mut cat = command("cat; echo end");
    cat.stdin = Some(vec![b'x'; 500_000]);
    assert_eq!(lab.runtime.exec("a", &cat).unwrap().stdout.len(), 500_004);
}

#[test]
fn what_cannot_be_executed() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "sleep 1000"));
    let run = |program: &str| {
        let exec = ExecSpec { argv: vec![program.into()], ..ExecSpec::default() };
        let output = lab.runtime.exec("a", &exec).unwrap();
        (output.code, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, why) = run("no-such-program");
    assert_eq!(code, 127);
    assert!(why.contains("not found in PATH"), "{why}");
    assert_eq!(run("/bin/none").0, 127);
    assert_eq!(run("/etc/passwd").0, 126);
    assert_eq!(run("/etc").0, 126);
    lab.runtime.stop("a", None).unwrap();
    let error = lab.runtime.exec("a", &command("true")).unwrap_err();
    assert!(matches!(error, RuntimeError::NotRunning(_)), "{error}");
    let error = lab.runtime.exec("z", &command("true")).unwrap_err();
    assert!(matches!(error, RuntimeError::NotFound(_)), "{error}");
}

#[test]
fn surroundings() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.cwd = "/made".into();
    lab.up(&spec);
    assert_eq!(lab.out("a", "pwd; echo $GREETING; hostname"), "/made\nhello\na");
    let mut exec = command("id -u; id -G; pwd; echo $GREETING $MORE");
    exec.user = Some("web".into());
    exec.cwd = Some("/tmp".into());
    exec.env = vec![("GREETING".into(), "hi".into()), ("MORE".into(), "there".into())];
    let output = lab.runtime.exec("a", &exec).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "33\n34 10 50\n/tmp\nhi there\n");
    // The same namespaces and no more rights than the container has.
    let script = "grep CapBnd /proc/self/status | awk '{print $2}'; cat /proc/1/cmdline";
    assert!(
        lab.out("a", script).starts_with("00000000a00425fb\nsleep"),
        "{}",
        lab.out("a", script)
    );
    assert_eq!(lab.out("a", "ls /proc/self/fd | wc -l"), "4");
}

#[test]
fn on_a_terminal() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "sleep 1000"));
    let mut exec = command("tty; stty size; test -t 0 && test -t 2 && echo yes");
    exec.tty = true;
    let output = lab.runtime.exec("a", &exec).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.code, &*text), (0, "/dev/pts/0\r\n24 80\r\nyes\r\n"));
}

#[test]
fn timeout() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "sleep 1000"));
    let mut exec = command("echo so far; sleep 54321 & sleep 54321");
    exec.timeout = Some(Duration::from_millis(300));
    let before = Instant::now();
    match lab.runtime.exec("a", &exec) {
        Err(RuntimeError::Timeout { seen, .. }) => assert_eq!(seen, "so far"),
        other => panic!("{other:?}"),
    }
    assert!(before.elapsed() < Duration::from_secs(3));
    lab::wait("the children's end", || !lab.out("a", "ps").contains("54321"));
}

#[test]
fn from_many_threads() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "sleep 1000"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let lab = &lab;
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(lab.out("a", &format!("echo {thread}")), thread.to_string());
                }
            });
        }
    });
}
