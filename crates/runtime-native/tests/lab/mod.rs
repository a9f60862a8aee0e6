//! A lab for one test: directories, a busybox image, a running holder; all gone on drop.
#![allow(dead_code, reason = "each test file uses its part")]

use netloom_runtime::*;
use netloom_runtime_native::{NativeConfig, NativeRuntime, reap_leftovers};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub struct Lab {
    pub config: NativeConfig,
    pub runtime: NativeRuntime,
    pub image: PathBuf,
    pub directory: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("netloom-native-").tempdir().unwrap();
        let image = directory.path().join("image");
        busybox(&image);
        let config = NativeConfig {
            state_dir: directory.path().join("state"),
            run_dir: directory.path().join("run"),
            exe: env!("CARGO_BIN_EXE_netloom-native-test").into(),
            args: Vec::new(),
        };
        let runtime = NativeRuntime::open(&config).unwrap();
        Lab { config, runtime, image, directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A container that runs a shell command.
    pub fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.into(),
            rootfs: Rootfs::Layers {
                layers: vec![self.image.clone()],
                private: self.path("private").join(name),
            },
            network: NetworkNs::Host,
            names: Default::default(),
            pid: PidNs::Private,
            cgroupns: None,
            cgroup_parent: None,
            hostname: name.into(),
            argv: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec![("GREETING".into(), "hello".into())],
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
            labels: BTreeMap::from([("lab".into(), "test".into())]),
            auto_remove: false,
        }
    }

    pub fn up(&self, spec: &ContainerSpec) -> ContainerState {
        self.runtime.create(spec).unwrap();
        self.runtime.start(&spec.name).unwrap()
    }

    pub fn sh(&self, name: &str, script: &str) -> ExecOutput {
        let argv = ["sh", "-c", script].map(String::from).to_vec();
        self.runtime.exec(name, &ExecSpec { argv, ..ExecSpec::default() }).unwrap()
    }

    /// Standard output of a shell command, which must succeed.
    pub fn out(&self, name: &str, script: &str) -> String {
        let output = self.sh(name, script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert_eq!(output.code, 0, "{script}: {} {}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn state(&self, name: &str) -> ContainerState {
        self.runtime.inspect(name).unwrap().unwrap()
    }

    pub fn log(&self, name: &str) -> String {
        let mut log = Vec::new();
        self.runtime.logs(name, &LogsRequest::default(), &mut log).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Runs a script to its end; exit code and log.
    pub fn finish(&self, spec: &ContainerSpec) -> (i32, String) {
        self.up(spec);
        wait("the end", || self.state(&spec.name).status == Status::Exited);
        (self.state(&spec.name).exit_code.unwrap(), self.log(&spec.name))
    }

    /// Pid of the supervisor: the holder's child that runs `__supervisor`.
    pub fn supervisor(&self) -> i32 {
        let holder = self.runtime.holder_pid();
        let mut found = None;
        wait("a supervisor", || {
            found = children(holder).into_iter().find(|pid| {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|c| String::from_utf8_lossy(&c).contains("__supervisor"))
            });
            found.is_some()
        });
        found.unwrap()
    }

    pub fn kill_supervisor(&self) {
        kill(self.supervisor());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Ok(Some(runtime)) = NativeRuntime::connect(&self.config) {
            for state in runtime.list().unwrap_or_default() {
                let _ = runtime.remove(&state.name, true);
            }
            let _ = runtime.shutdown();
        }
        let _ = reap_leftovers(&self.config);
        if std::thread::panicking() {
            let log = self.config.state_dir.join("runtime.log");
            eprintln!("--- {}", fs::read_to_string(log).unwrap_or_default());
        }
    }
}

pub fn children(pid: u32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|t| fs::read_to_string(t.path().join("children")).ok())
        .flat_map(|t| t.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<i32>>())
        .collect()
}

pub fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    wait("a killed process to go", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z "))
    });
}

pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A root file system of one program with many names.
fn busybox(image: &Path) {
    for directory in ["bin", "etc", "root", "proc", "sys", "dev", "tmp", "var/empty"] {
        fs::create_dir_all(image.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", image.join("bin/busybox")).expect("apt-get install busybox-static");
    let names = "sh cat echo sleep ls id env tty stat mount umount touch mkdir rm kill ps hostname \
                 head tail wc grep test true false date seq df readlink chmod dd sysctl stty sync \
                 ln mknod awk cut usleep";
    for name in names.split_whitespace() {
        symlink("busybox", image.join("bin").join(name)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/empty:/bin/sh\n";
    fs::write(image.join("etc/passwd"), passwd).unwrap();
    let group = "root:x:0:\nweb:x:34:\nstaff:x:50:web\nwheel:x:10:root,web\n";
    fs::write(image.join("etc/group"), group).unwrap();
}

/// The layers of a container, to change.
pub fn layers(spec: &mut ContainerSpec) -> &mut Vec<PathBuf> {
    match &mut spec.rootfs {
        Rootfs::Layers { layers, .. } => layers,
        Rootfs::Image { .. } => panic!("{} has an image of the runtime's own", spec.name),
    }
}
