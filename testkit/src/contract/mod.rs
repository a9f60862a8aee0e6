//! What every runtime must do alike. A runtime's tests make a [`Fixture`] and call [`run`].

mod commands;
mod inside;
mod life;

use netloom_runtime::{
    ContainerSpec, ContainerState, ExecOutput, ExecSpec, LogsRequest, NetworkNs, PidNs, Resources,
    RestartPolicy, Rootfs, Runtime, Status, Stdio,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A runtime under test.
pub trait Fixture: Sync {
    /// It.
    fn runtime(&self) -> &dyn Runtime;

    /// A root file system with busybox for a container of this name.
    fn rootfs(&self, name: &str) -> Rootfs;

    /// A network namespace with nothing but the loopback interface.
    fn network(&self, name: &str) -> NetworkNs;

    /// A folder for files of the tests.
    fn folder(&self) -> PathBuf;

    /// The label the runtime's containers carry.
    fn label(&self) -> (String, String);

    /// Whether health checks run by themselves (Podman wants systemd's timers for them).
    fn checks_health(&self) -> bool {
        true
    }
}

type Case = fn(&Bench<'_>);

/// Runs every case, some at once; panics with the list of those that failed.
pub fn run(fixture: &dyn Fixture) {
    let mut cases: Vec<(&str, Case)> = Vec::new();
    cases.extend(life::CASES);
    cases.extend(commands::CASES);
    cases.extend(inside::CASES);
    let only = std::env::var("NETLOOM_CASE").ok();
    let chosen = cases.iter().filter(|(name, _)| only.as_deref().is_none_or(|o| o == *name));
    let todo = Mutex::new(chosen.collect::<Vec<_>>());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().expect("the list").pop();
                    let Some((name, case)) = next else { return };
                    let bench = Bench { fixture, case: name };
                    let begun = Instant::now();
                    let done = catch_unwind(AssertUnwindSafe(|| case(&bench)));
                    bench.clean();
                    println!("{name}: {:.2} s", begun.elapsed().as_secs_f64());
                    if let Err(panic) = done {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text =
                            text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                        let text = text.unwrap_or_default();
                        failed.lock().expect("the list").push(format!("{name}: {text}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("the list");
    assert!(failed.is_empty(), "{}:\n{}", fixture.runtime().name(), failed.join("\n"));
}

/// One case at work: its containers have names of their own.
struct Bench<'a> {
    fixture: &'a dyn Fixture,
    case: &'static str,
}

impl Bench<'_> {
    fn runtime(&self) -> &dyn Runtime {
        self.fixture.runtime()
    }

    fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.case.replace('_', "-"))
    }

    /// A container that runs a shell command.
    fn spec(&self, short: &str, script: &str) -> ContainerSpec {
        let name = self.name(short);
        let (key, value) = self.fixture.label();
        ContainerSpec {
            names: Default::default(),
            rootfs: self.fixture.rootfs(&name),
            network: self.fixture.network(&name),
            pid: PidNs::Private,
            cgroupns: None,
            cgroup_parent: None,
            hostname: short.into(),
            argv: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec![("PATH".into(), "/bin".into()), ("GREETING".into(), "hello".into())],
            cwd: "/".into(),
            user: String::new(),
            stdio: Stdio::Pipes,
            binds: Vec::new(),
            tmpfs: Vec::new(),
            devices: Vec::new(),
            shm_size: 1 << 20,
            sysctls: BTreeMap::new(),
            ulimits: Vec::new(),
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opts: Vec::new(),
            resources: Resources::default(),
            stop_signal: 15,
            stop_grace: Duration::from_secs(10),
            restart: RestartPolicy::No,
            healthcheck: None,
            labels: BTreeMap::from([(key, value), ("case".into(), self.case.into())]),
            auto_remove: false,
            name,
        }
    }

    fn up(&self, spec: &ContainerSpec) -> ContainerState {
        self.runtime().create(spec).expect("create");
        self.runtime().start(&spec.name).expect("start")
    }

    fn state(&self, spec: &ContainerSpec) -> ContainerState {
        self.runtime().inspect(&spec.name).expect("inspect").expect("it is there")
    }

    fn sh(&self, spec: &ContainerSpec, script: &str) -> ExecOutput {
        let argv = ["sh", "-c", script].map(String::from).to_vec();
        let exec = ExecSpec { argv, ..ExecSpec::default() };
        self.runtime().exec(&spec.name, &exec).expect("exec")
    }

    /// Output of a shell command, which must succeed.
    fn out(&self, spec: &ContainerSpec, script: &str) -> String {
        let output = self.sh(spec, script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert_eq!(output.code, 0, "{script}: {} {}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn log(&self, spec: &ContainerSpec) -> String {
        let mut log = Vec::new();
        self.runtime().logs(&spec.name, &LogsRequest::default(), &mut log).expect("logs");
        String::from_utf8_lossy(&log).replace('\r', "")
    }

    /// Runs a script to its end; exit code and log.
    fn finish(&self, spec: &ContainerSpec) -> (i32, String) {
        self.up(spec);
        self.until("it ends", || self.state(spec).status == Status::Exited);
        (self.state(spec).exit_code.expect("an exit code"), self.log(spec))
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < limit, "waited 20 s until {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn clean(&self) {
        let mine = self.runtime().list().unwrap_or_default().into_iter();
        let mine = mine.filter(|s| s.labels.get("case").is_some_and(|c| c == self.case));
        for state in mine {
            let _ = self.runtime().remove(&state.name, true);
        }
    }
}
