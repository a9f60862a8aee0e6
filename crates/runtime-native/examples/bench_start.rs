//! Starts N idle containers and prints what they cost: `bench_start [N] [threads] [privileged] [tty]`.

use netloom_runtime::*;
use netloom_runtime_native::{NativeConfig, NativeRuntime};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__holder", directory] => {
            netloom_runtime_native::holder::main(Path::new(directory)).unwrap();
        }
        ["__supervisor", directory] => {
            netloom_runtime_native::supervisor::main(Path::new(directory)).unwrap();
        }
        _ => bench(&args),
    }
}

fn bench(args: &[String]) {
    let number = |at: usize, default| args.get(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (count, threads): (usize, usize) = (number(0, 100), number(1, 4));
    let has = |word: &str| args.iter().any(|a| a == word);
    let base = tempfile::Builder::new().prefix("netloom-bench-").tempdir_in("/var/tmp").unwrap();
    let image = base.path().join("image");
    fs::create_dir_all(image.join("bin")).unwrap();
    fs::copy("/bin/busybox", image.join("bin/sleep")).unwrap();
    let config = NativeConfig {
        state_dir: base.path().join("state"),
        run_dir: base.path().join("run"),
        exe: std::env::current_exe().unwrap(),
        args: Vec::new(),
    };
    let runtime = NativeRuntime::open(&config).unwrap();
    let spec = |at: usize| ContainerSpec {
        name: format!("n{at}"),
        rootfs: Rootfs::Layers {
            layers: vec![image.clone()],
            private: base.path().join(format!("private/n{at}")),
        },
        network: NetworkNs::Kept(format!("net{at}")),
        names: Default::default(),
        pid: PidNs::Private,
        cgroupns: None,
        cgroup_parent: None,
        hostname: format!("n{at}"),
        argv: vec!["sleep".into(), "100000".into()],
        env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        stdio: if has("tty") { Stdio::Tty } else { Stdio::Pipes },
        binds: Vec::new(),
        tmpfs: Vec::new(),
        devices: Vec::new(),
        shm_size: 64 << 20,
        sysctls: BTreeMap::new(),
        ulimits: Vec::new(),
        privileged: has("privileged"),
        cap_add: Vec::new(),
        cap_drop: Vec::new(),
        security_opts: Vec::new(),
        resources: Resources { pids: has("cgroup").then_some(1000), ..Resources::default() },
        stop_signal: 15,
        stop_grace: Duration::from_secs(10),
        restart: RestartPolicy::No,
        healthcheck: None,
        labels: BTreeMap::new(),
        auto_remove: false,
    };
    let each = |what: &str, work: &(dyn Fn(usize) + Sync)| {
        let next = AtomicUsize::new(0);
        let before = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count {
                            return;
                        }
                        work(at);
                    }
                });
            }
        });
        let ms = before.elapsed().as_secs_f64() * 1e3;
        println!("{what:<12} {:>8.3} ms each, {ms:>8.0} ms in all", ms / count as f64);
    };
    each("netns", &|at| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let namespace = File::open("/proc/thread-self/ns/net").unwrap();
        runtime.keep_fd(&format!("net{at}"), namespace.into()).unwrap();
    });
    let before = available();
    each("create", &|at| runtime.create(&spec(at)).unwrap());
    each("start", &|at| {
        runtime.start(&format!("n{at}")).unwrap();
    });
    let running = runtime.list().unwrap().iter().filter(|s| s.status == Status::Running).count();
    println!(
        "{running} running; {} KiB of memory each, all told",
        (before - available()) / count as i64
    );
    let holder = runtime.holder_pid();
    println!("holder {} KiB, its children of ours {} KiB", pss(holder), supervisor_pss(holder));
    each("exec", &|at| {
        let argv = ["/bin/sleep", "0"].map(String::from).to_vec();
        let exec = ExecSpec { argv, ..ExecSpec::default() };
        assert_eq!(runtime.exec(&format!("n{at}"), &exec).unwrap().code, 0);
    });
    each("remove", &|at| runtime.remove(&format!("n{at}"), true).unwrap());
    runtime.release((0..count).map(|at| format!("net{at}"))).unwrap();
    runtime.shutdown().unwrap();
}

/// Available memory of the machine in KiB.
fn available() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|l| l.starts_with("MemAvailable:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Proportional memory of a process in KiB.
fn pss(pid: u32) -> i64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("Pss:")).unwrap_or("Pss: 0");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn supervisor_pss(holder: u32) -> i64 {
    let tasks = fs::read_dir(format!("/proc/{holder}/task")).unwrap().flatten();
    let children = tasks.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    let all: Vec<u32> = children
        .flat_map(|t| t.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    all.into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|c| String::from_utf8_lossy(&c).contains("__supervisor"))
        })
        .map(pss)
        .sum()
}
