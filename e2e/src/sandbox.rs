//! A place of its own for one test: namespaces, folders, and the host before the test.

use crate::binary;
use crate::command::{Done, Runner};
use crate::images;
use crate::processes::{Process, alive, kill_nine, mentioning};
use crate::snapshot::{Snapshot, groups};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Folder of all sandboxes' sockets; a socket's path must be short.
const RUN: &str = "/run/nle";

/// Where one test lives. It belongs to the thread that made it: commands run in the thread's
/// network and mount namespaces, which nobody else has.
pub struct Sandbox {
    folder: PathBuf,
    run: PathBuf,
    before: Option<Snapshot>,
    labs: RefCell<BTreeSet<String>>,
    environment: RefCell<Vec<(String, String)>>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Moves the calling thread into fresh namespaces and makes the folders.
    pub fn new() -> Sandbox {
        assert!(
            nix::unistd::Uid::effective().is_root(),
            "these tests make network namespaces: run them as root"
        );
        binary::netloom();
        let store = images::store();
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("a network and a mount namespace of one's own");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("mounts of one's own");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Of one length: no tag may be the beginning of another, processes are found by it.
        let tag = format!("{:07}-{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = binary::target().join("e2e").join(&tag);
        let run = Path::new(RUN).join(&tag);
        for dir in [folder.join("state"), folder.join("lab"), folder.join("home"), run.clone()] {
            fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
        }
        fs::create_dir_all(folder.join("etc/ssh/ssh_config.d")).expect("make the host's folders");
        fs::write(folder.join("etc/hosts"), "127.0.0.1\tlocalhost\n").expect("write hosts");
        std::os::unix::fs::symlink(store, folder.join("state/images")).expect("link the store");
        let mut sandbox = Sandbox {
            folder,
            run,
            before: None,
            labs: RefCell::default(),
            environment: RefCell::default(),
        };
        sandbox.sh("ip link set lo up").ok();
        // Connection tracking brings settings of its own: let them be there from the start.
        sandbox.sh("nft 'add table inet warm; add chain inet warm c { type nat hook postrouting priority 100; }; flush ruleset'").ok();
        sandbox.before = Some(Snapshot::take(&sandbox));
        sandbox
    }

    /// Takes the host as it is now for the state to come back to.
    /// Interfaces come up by and by, so two looks must agree first.
    pub fn remember(&mut self) {
        let mut last = Snapshot::take(self);
        loop {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = Snapshot::take(self);
            if now == last {
                break;
            }
            last = now;
        }
        self.before = Some(last);
    }

    /// Parent of the control groups.
    pub fn cgroup_parent(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("netloom-{name}")
    }

    /// Folder of the state.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Folder of the topology files.
    pub fn lab_dir(&self) -> PathBuf {
        self.folder.join("lab")
    }

    /// Folder of the sockets.
    pub fn run_dir(&self) -> PathBuf {
        self.run.join("r")
    }

    /// Folder in which namespaces are shown by name.
    pub fn netns_dir(&self) -> PathBuf {
        self.run.join("n")
    }

    /// Folder that stands in for `/etc`.
    pub fn etc_dir(&self) -> PathBuf {
        self.folder.join("etc")
    }

    /// Folder of this sandbox's Open vSwitch, where a test starts one: never the host's own.
    pub fn ovs_dir(&self) -> PathBuf {
        self.run.join("ovs")
    }

    /// Folders that belong to this sandbox alone; their names mark its processes.
    pub fn folders(&self) -> [&Path; 2] {
        [&self.folder, &self.run]
    }

    /// Names of the labs of this sandbox's files.
    pub fn labs(&self) -> BTreeSet<String> {
        self.labs.borrow().clone()
    }

    /// Writes a file beside the topology files; makes its folders.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.lab_dir().join(name);
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).expect("make the file's folder");
        fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        path
    }

    /// Writes the topology file of a lab: its name, and what stands below `topology:`, indented
    /// or not.
    pub fn lab(&self, name: &str, topology: &str) -> PathBuf {
        self.labs.borrow_mut().insert(name.to_string());
        let mut text = format!("name: {name}\ntopology:\n");
        for line in topology.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        self.file(&format!("{name}.clab.yml"), &text)
    }

    /// Takes a lab of the repository, to deploy it from here.
    pub fn copy(&self, lab: &str) -> PathBuf {
        let from = binary::root().join("labs").join(lab);
        self.run("cp")
            .args(["-r".as_ref(), from.as_os_str(), self.lab_dir().as_os_str()])
            .run()
            .ok();
        self.lab_dir().join(lab)
    }

    /// Looks at what a lab's `checks.yml` lists; all of it must hold.
    #[track_caller]
    pub fn checks(&self, file: &Path, checks: &Path) -> Done {
        let program = binary::root().join("labs/check");
        self.run(program).args([binary::netloom(), file, checks]).within(180).run().ok()
    }

    /// Writes a whole topology file.
    pub fn whole(&self, name: &str, text: &str) -> PathBuf {
        self.labs.borrow_mut().insert(name.to_string());
        self.file(&format!("{name}.clab.yml"), text)
    }

    /// Any program, in this sandbox.
    pub fn run(&self, program: impl AsRef<std::ffi::OsStr>) -> Runner {
        Runner::new(program)
            .without("CLAB_")
            .without("NETLOOM_")
            .without("XDG_")
            .env("RUST_BACKTRACE", "0")
            .env("HOME", self.folder.join("home"))
            .env("NETLOOM_STATE_DIR", self.state())
            .env("NETLOOM_RUN_DIR", self.run_dir())
            .env("NETLOOM_NETNS_DIR", self.netns_dir())
            .env("NETLOOM_CGROUP_PARENT", self.cgroup_parent())
            .env("NETLOOM_ETC_DIR", self.etc_dir())
            .env("OVS_RUNDIR", self.ovs_dir())
            // Never the host's own.
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .env("CONTAINER_HOST", "unix:///nonexistent/podman.sock")
            .envs(&self.environment.borrow())
            .dir(&self.lab_dir())
    }

    /// Sets a variable for every command from now on.
    pub fn set(&self, name: &str, value: impl Into<String>) {
        self.environment.borrow_mut().push((name.into(), value.into()));
    }

    /// The program under test.
    pub fn netloom(&self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Runner {
        self.run(binary::netloom()).args(args)
    }

    /// The program under test with `-t FILE`.
    pub fn with(&self, verb: &str, file: &Path, args: &[&str]) -> Runner {
        self.netloom([verb])
            .args([file.as_os_str()].map(|f| {
                let mut flag = std::ffi::OsString::from("--topo=");
                flag.push(f);
                flag
            }))
            .args(args)
    }

    /// Deploys; it must succeed.
    #[track_caller]
    pub fn deploy(&self, file: &Path) -> Done {
        self.with("deploy", file, &["--plain"]).within(120).run().ok()
    }

    /// Destroys; it must succeed.
    #[track_caller]
    pub fn destroy(&self, file: &Path) -> Done {
        self.with("destroy", file, &["--cleanup"]).run().ok()
    }

    /// Destroys, and nothing may be left.
    #[track_caller]
    pub fn gone(&self, file: &Path) {
        self.destroy(file);
        self.assert_clean();
        let left: Vec<String> = self
            .lab_files()
            .into_iter()
            .filter(|f| f.contains("/clab-") && self.lab_dir().join(f).is_dir())
            .collect();
        assert!(left.is_empty(), "the lab directory should be gone: {left:?}");
    }

    /// A shell command on the host of this sandbox.
    pub fn sh(&self, command: &str) -> Done {
        self.run("sh").args(["-c", command]).run()
    }

    /// A shell command in a node.
    pub fn exec(&self, file: &Path, node: &str, command: &str) -> Done {
        self.with("exec", file, &[node, "--", "sh", "-c", command]).run()
    }

    /// What a shell command in a node prints; it must succeed.
    #[track_caller]
    pub fn asks(&self, file: &Path, node: &str, command: &str) -> String {
        self.exec(file, node, command).ok().text().to_string()
    }

    /// Process id of the holder or the supervisor of a lab.
    #[track_caller]
    pub fn server(&self, word: &str) -> i32 {
        let found: Vec<Process> =
            self.processes().into_iter().filter(|p| p.command.contains(word)).collect();
        assert!(found.len() == 1, "one `{word}` should run here, there are: {found:?}");
        found[0].pid
    }

    /// Processes of this sandbox.
    pub fn processes(&self) -> Vec<Process> {
        mentioning(&self.folders())
    }

    /// The host must be as it was, within the moment the kernel takes to drop namespaces.
    #[track_caller]
    pub fn assert_clean(&self) {
        let before = self.before.as_ref().expect("taken at the start");
        let mut left = before.difference(&Snapshot::take(self));
        for _ in 0..20 {
            // Files and processes are the program's business, there is nothing to wait for.
            if left.is_empty() || left.iter().any(|l| l.starts_with("files")) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            left = before.difference(&Snapshot::take(self));
        }
        left.retain(|l| !l.contains("/lab/"));
        assert!(left.is_empty(), "the host is not as it was:\n  {}", left.join("\n  "));
    }

    /// Files below the folder of the topology files.
    pub fn lab_files(&self) -> Vec<String> {
        let done = self.run("find").args([".", "-mindepth", "1"]).run().ok();
        let mut all: Vec<String> = done.stdout.lines().map(str::to_string).collect();
        all.sort();
        all
    }

    fn explain(&self) {
        let logs = self.run("sh").args([
            "-c",
            "for f in \"$NETLOOM_STATE_DIR\"/labs/*/runtime/runtime.log; do [ -f \"$f\" ] && echo \"== $f\" && tail -n 20 \"$f\"; done",
        ]);
        eprintln!("{}", logs.run().stdout);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        let quiet = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.netloom(["destroy", "--all", "--yes", "--cleanup"]).run();
        }));
        drop(quiet);
        // What even that leaves is the sandbox's own; it goes by its number.
        for process in self.processes() {
            kill_nine(process.pid);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(3);
        while !self.processes().is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        for group in groups(self).iter().rev() {
            let _ = fs::remove_dir(group);
        }
        let _ = fs::remove_dir_all(&self.run);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what test programs that were killed have left: their number is in the folder's name.
fn sweep() {
    let run = Path::new(RUN);
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.split('-').next()?.parse::<i32>().ok());
        if owner.is_none_or(alive) {
            continue;
        }
        let folder = binary::target().join("e2e").join(&name);
        for process in mentioning(&[&folder, &entry.path()]) {
            kill_nine(process.pid);
        }
        let _ = fs::remove_dir_all(entry.path());
        let _ = fs::remove_dir_all(folder);
    }
}
