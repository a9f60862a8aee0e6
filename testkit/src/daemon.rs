//! Docker and Podman for one test: own folders, own mount namespace, gone on drop.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Fits a bundle to a machine whose root has not every capability, then is runc: what cannot be
/// granted is taken out instead of being asked for.
const RUNC: &str = r#"#!/bin/sh
make= join= bundle= process= take=
for a; do
	case $take in
	bundle) bundle=$a take= ; continue ;;
	process) process=$a take= ; continue ;;
	esac
	case $a in
	create | run) [ -n "$join" ] || make=1 ;;
	exec) [ -n "$make" ] || join=1 ;;
	--bundle | -b | -bundle) take=bundle ;;
	--bundle=*) bundle=${a#--bundle=} ;;
	--process | -p) [ -z "$join" ] || take=process ;;
	--process=*) process=${a#--process=} ;;
	esac
done
fit() {
	jq -c "$1"' |= ((.capabilities // {}) |= map_values(map(select(. != "CAP_SYS_RESOURCE")))
		| del(.rlimits)
		| if (.oomScoreAdj // 0) < 0 then del(.oomScoreAdj) else . end)' \
		"$2" >"$2.new" && mv "$2.new" "$2" || exit 1
}
[ -z "$make" ] || fit .process "${bundle:-.}/config.json"
[ -z "$join$process" ] || [ -z "$process" ] || fit . "$process"
exec RUNTIME "$@"
"#;

/// A program in a mount namespace of its own, ended on drop.
struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("make the daemon's log");
        command.stdin(Stdio::null());
        command.stdout(file.try_clone().expect("duplicate the log")).stderr(file);
        // SAFETY: between fork and exec only system calls are made. What the daemon mounts is its
        // own affair, and it goes when the thread of the test that started it does.
        unsafe {
            command.pre_exec(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
                let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
                nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
                // Several daemons beside each other must not meet in their run directories.
                for folder in [
                    "/run/docker",
                    "/run/containerd",
                    "/run/containers",
                    "/run/libpod",
                    "/run/crun",
                ] {
                    if Path::new(folder).is_dir() {
                        let none = nix::mount::MsFlags::empty();
                        nix::mount::mount(
                            Some("tmpfs"),
                            folder,
                            Some("tmpfs"),
                            none,
                            None::<&str>,
                        )?;
                    }
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|e| {
            panic!("{:?}: {e}; install the packages docker.io and podman", command.get_program())
        });
        Service { child, log: log.into() }
    }

    fn wait_for(&mut self, socket: &Path) {
        let until = Instant::now() + Duration::from_secs(60);
        while !answers(socket) {
            let ended = self.child.try_wait().expect("look at the daemon");
            assert!(
                ended.is_none() && Instant::now() < until,
                "the daemon does not listen at {}: {}",
                socket.display(),
                fs::read_to_string(&self.log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&mut self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        let until = Instant::now() + Duration::from_secs(30);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether somebody there answers: a socket is there before who listens has time for it.
fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: d\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer.ends_with("200"))
}

/// Docker.
pub struct Dockerd {
    service: Service,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Dockerd {
    /// Starts one that leaves the network alone.
    pub fn start() -> Self {
        Self::with(&[
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
        ])
    }

    /// Starts one with these arguments in the network namespace of the caller.
    pub fn with(arguments: &[&str]) -> Self {
        let folder = folder();
        let wrap = folder.path().join("runc");
        fs::write(&wrap, RUNC.replace("RUNTIME", &program("runc"))).expect("write the wrapper");
        fs::set_permissions(&wrap, fs::Permissions::from_mode(0o755)).expect("chmod");
        let arguments: Vec<String> = arguments.iter().map(|a| a.to_string()).collect();
        let service = Self::run(folder.path(), &arguments);
        Dockerd { service, folder, arguments }
    }

    fn run(folder: &Path, arguments: &[String]) -> Service {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new("dockerd");
        command
            .args([
                "--add-runtime",
                &format!("fitted={}", at("runc")),
                "--default-runtime",
                "fitted",
            ])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("docker.sock"))])
            .args(arguments);
        let mut service = Service::start(command, &folder.join("log"));
        service.wait_for(&folder.join("docker.sock"));
        service
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Where it keeps its data.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Ends it and starts it again: its containers end with it, and those that are to be started
    /// always are started again.
    pub fn restart(&mut self) {
        self.service.end(Signal::SIGTERM);
        self.service = Self::run(self.folder.path(), &self.arguments);
    }

    /// Kills it. Its helper dies with it, and nobody may be there to bury it: the next one must not
    /// take it for alive.
    pub fn kill(&mut self) {
        self.service.end(Signal::SIGKILL);
        let _ = fs::remove_file(self.folder.path().join("exec/containerd/containerd.pid"));
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.service.log).unwrap_or_default()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.service.end(Signal::SIGTERM);
        end_helpers(self.folder.path());
    }
}

/// Podman's service.
pub struct PodmanService {
    service: Service,
    folder: TempDir,
}

impl PodmanService {
    /// Starts one.
    pub fn start() -> Self {
        Self::with_user(None)
    }

    /// Starts that of an ordinary user, who must be known to the system and have subordinate ids.
    pub fn start_as(user: u32) -> Self {
        Self::with_user(Some(user))
    }

    fn with_user(user: Option<u32>) -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let wrap = folder.path().join("runc");
        fs::write(&wrap, RUNC.replace("RUNTIME", &program("runc"))).expect("write the wrapper");
        fs::set_permissions(&wrap, fs::Permissions::from_mode(0o755)).expect("chmod");
        let mut command = Command::new("podman");
        if let Some(user) = user {
            let own = folder.path().join("own");
            fs::create_dir(&own).expect("make the user's folder");
            fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).expect("chmod");
            for path in [folder.path(), &own] {
                std::os::unix::fs::chown(path, Some(user), Some(user)).expect("chown");
            }
            command = Command::new("setpriv");
            command
                .args([format!("--reuid={user}"), format!("--regid={user}")])
                .args(["--clear-groups", "podman"])
                .env("XDG_RUNTIME_DIR", &own)
                .env("HOME", &own)
                .current_dir(&own);
        }
        command
            .args(["--root", &at("root"), "--runroot", &at("run"), "--tmpdir", &at("tmp")])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(["--runtime", &at("runc")])
            .args(["system", "service", "--time", "0", &format!("unix://{}", at("podman.sock"))]);
        let mut service = Service::start(command, &folder.path().join("log"));
        service.wait_for(&folder.path().join("podman.sock"));
        PodmanService { service, folder }
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.service.log).unwrap_or_default()
    }
}

impl Drop for PodmanService {
    fn drop(&mut self) {
        self.service.end(Signal::SIGTERM);
        end_helpers(self.folder.path());
    }
}

/// Ends what a daemon has started and left running: processes that have its folder, which has no
/// like, among their arguments.
fn end_helpers(folder: &Path) {
    let folder = folder.display().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        if arguments.contains(&folder) && pid != std::process::id() as i32 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("netloom-daemon-").tempdir().expect("make a folder")
}

fn program(name: &str) -> String {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = places.iter().map(|p| Path::new(p).join(name)).find(|p| p.exists());
    let found = found.map(|p| p.display().to_string());
    found.unwrap_or_else(|| panic!("{name} is missing: install the packages docker.io and podman"))
}
