//! Commands in a running container.

use super::{Bench, Case};
use netloom_runtime::{ExecSpec, RuntimeError};
use std::time::{Duration, Instant};

pub(super) const CASES: &[(&str, Case)] = &[
    ("output", output),
    ("input", input),
    ("surroundings", surroundings),
    ("what_cannot_be_run", what_cannot_be_run),
    ("deadline", deadline),
    ("not_running", not_running),
    ("many_at_once", many_at_once),
];

fn command(argv: &[&str]) -> ExecSpec {
    ExecSpec { argv: argv.iter().map(|a| a.to_string()).collect(), ..ExecSpec::default() }
}

fn output(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    let out = b.sh(&spec, "printf 'one\\0two'; printf err >&2; exit 3");
    assert_eq!((out.code, &out.stdout[..], &out.stderr[..]), (3, &b"one\0two"[..], &b"err"[..]));
    assert_eq!(b.sh(&spec, "kill -9 $$").code, 137);
    let much = b.sh(&spec, "seq 200000");
    assert_eq!(much.stdout.len(), 1_288_895);
    assert_eq!(b.sh(&spec, "true").stdout, b"");
}

fn input(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    let given: Vec<u8> = (0..200_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let exec = ExecSpec { stdin: Some(given.clone()), ..command(&["cat"]) };
    let out = b.runtime().exec(&spec.name, &exec).unwrap();
    assert_eq!(out.code, 0);
    assert!(out.stdout == given, "{} of {} bytes came back", out.stdout.len(), given.len());
    // Nothing given is the end of input at once.
    let out = b.runtime().exec(&spec.name, &command(&["cat"])).unwrap();
    assert_eq!((out.code, out.stdout), (0, Vec::new()));
}

fn surroundings(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    assert_eq!(b.out(&spec, "echo $GREETING; pwd; id -u"), "hello\n/\n0");
    let exec = ExecSpec {
        env: vec![("GREETING".into(), "again".into()), ("NEW".into(), "a b".into())],
        cwd: Some("/tmp".into()),
        user: Some("nobody".into()),
        ..command(&["sh", "-c", "echo $GREETING $NEW; pwd; id -u"])
    };
    let out = b.runtime().exec(&spec.name, &exec).unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "again a b\n/tmp\n65534\n");
    let exec = ExecSpec { tty: true, ..command(&["sh", "-c", "test -t 1 && echo terminal"]) };
    let out = b.runtime().exec(&spec.name, &exec).unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "terminal\r\n");
}

fn what_cannot_be_run(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    let out = b.runtime().exec(&spec.name, &command(&["no-such-program"])).unwrap();
    assert_eq!(out.code, 127, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no-such-program"));
    assert_eq!(out.stdout, b"");
    let out = b.runtime().exec(&spec.name, &command(&["/etc/passwd"])).unwrap();
    assert_eq!(out.code, 126, "{}", String::from_utf8_lossy(&out.stderr));
    // A command's own words and codes stay its own.
    let out = b.sh(&spec, "echo no such file or directory >&2; exit 127");
    assert_eq!((out.code, &out.stderr[..]), (127, &b"no such file or directory\n"[..]));
}

fn deadline(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    let begun = Instant::now();
    let limit = Duration::from_millis(700);
    let exec = ExecSpec { timeout: Some(limit), ..command(&["sleep", "777"]) };
    let error = b.runtime().exec(&spec.name, &exec).unwrap_err();
    assert!(matches!(error, RuntimeError::Timeout { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    b.until("it is ended", || !b.out(&spec, "ps").contains("sleep 777"));
}

fn not_running(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.runtime().create(&spec).unwrap();
    let error = b.runtime().exec(&spec.name, &command(&["true"])).unwrap_err();
    assert!(matches!(error, RuntimeError::NotRunning(_)), "{error}");
    let over = b.spec("b", "true");
    b.finish(&over);
    let error = b.runtime().exec(&over.name, &command(&["true"])).unwrap_err();
    assert!(matches!(error, RuntimeError::NotRunning(_)), "{error}");
}

fn many_at_once(b: &Bench<'_>) {
    let spec = b.spec("a", "sleep 1000");
    b.up(&spec);
    std::thread::scope(|scope| {
        for n in 0..12 {
            let spec = &spec;
            scope.spawn(move || {
                let out = b.sh(spec, &format!("echo {n}; exit {n}"));
                assert_eq!((out.code, out.stdout), (n, format!("{n}\n").into_bytes()));
            });
        }
    });
}
