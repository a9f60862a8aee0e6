//! The part that runs in namespaces of its own (network, mounts, processes): prepares the machine,
//! runs the command, takes the snapshots, and unmakes what was made.

use super::case::{Case, words};
use super::cgroup;
use super::snapshot::{Lines, difference, take};
use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest a command may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for what ends on its own after a command.
const SETTLE: Duration = Duration::from_millis(1500);
/// Who an unprivileged command runs as.
const NOBODY: u32 = 65534;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The case.
    pub case: Case,
    /// Name of its control group.
    pub group: String,
    /// Its own folder; the outcome goes to `outcome.json` there.
    pub scratch: PathBuf,
    /// Folder with `netloom` and the stand-in for `docker`.
    pub programs: PathBuf,
    /// A state folder with the images.
    pub images: PathBuf,
}

/// What became of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Why the machine could not be prepared.
    pub unprepared: Option<String>,
    /// Exit code; none after a signal or when time was up.
    pub exit: Option<i32>,
    /// How it ended without one.
    pub ended: String,
    /// Both outputs as they came, the working folder as `$DIR`.
    pub output: String,
    /// What the command changed on the machine.
    pub left: Vec<String>,
    /// What is still changed after `destroy --all`.
    pub after_destroy: Vec<String>,
}

/// The first process of the namespace: starts the real one, buries the dead, ends with it.
pub fn first(job: &Path) -> Result<()> {
    let child = Command::new(std::env::current_exe()?)
        .args(["compat", "errors-case"])
        .arg(job)
        .spawn()
        .context("start the case")?;
    let worker = Pid::from_raw(i32::try_from(child.id())?);
    loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, 0) if pid == worker => return Ok(()),
            WaitStatus::Exited(pid, code) if pid == worker => bail!("the case ended with {code}"),
            WaitStatus::Signaled(pid, s, _) if pid == worker => bail!("the case died of {s}"),
            _ => {}
        }
    }
}

/// Runs one case.
pub fn case(job: &Path) -> Result<()> {
    let job: Job = serde_json::from_str(&fs::read_to_string(job)?)?;
    let mut outcome = Outcome::default();
    if let Err(why) = job.run(&mut outcome) {
        outcome.unprepared = Some(format!("{why:#}"));
    }
    fs::write(job.scratch.join("outcome.json"), serde_json::to_string(&outcome)?)?;
    Ok(())
}

impl Job {
    fn run(&self, outcome: &mut Outcome) -> Result<()> {
        self.machine().context("prepare the machine")?;
        let bare = take(&self.scratch)?;
        for line in &self.case.before {
            // A line of the record, as it was typed into a shell: the shell is part of the input.
            let mut command = self.command(&["sh".into(), "-c".into(), line.clone()]);
            let (status, text) = self.patiently(&mut command)?;
            if !status.is_some_and(|s| s.success()) {
                bail!("before: `{line}`: {}", text.trim());
            }
        }
        let before = if self.case.before.is_empty() { bare.clone() } else { take(&self.scratch)? };
        for line in &self.case.commands {
            let shell = || vec!["sh".into(), "-c".into(), line.clone()];
            let words = words(line).unwrap_or_else(shell);
            let (status, text) = self.patiently(&mut self.command(&words))?;
            outcome.exit = status.and_then(|s| s.code());
            outcome.ended = match status {
                None => format!("killed after {} s", PATIENCE.as_secs()),
                Some(s) => s.signal().map_or(String::new(), |s| format!("signal {s}")),
            };
            outcome.output.push_str(&text);
        }
        let home = self.scratch.join("topo").display().to_string();
        let scratch = self.scratch.display().to_string();
        outcome.output = outcome.output.replace(&home, "$DIR").replace(&scratch, "$SCRATCH");
        let now = settled(&self.scratch, |now| difference(&before, now))?;
        outcome.left = difference(&before, &now);
        if outcome.left.is_empty() && self.case.before.is_empty() {
            return Ok(()); // nothing to unmake
        }
        self.unmake(&bare, &before, outcome)
    }

    /// Unmakes all labs; nothing may be left but what was there before netloom came.
    fn unmake(&self, bare: &Lines, before: &Lines, outcome: &mut Outcome) -> Result<()> {
        let words = ["netloom", "destroy", "--all", "--yes", "--cleanup"].map(String::from);
        let (status, text) = self.patiently(&mut self.command(&words))?;
        if !status.is_some_and(|s| s.success()) {
            outcome.after_destroy.push(format!("+destroy failed: {}", text.trim()));
        }
        // What the preparation itself brought or took is not netloom's.
        let prepared = |line: &String| match line.strip_prefix('+') {
            Some(came) => before.contains(came),
            None => line.strip_prefix('-').is_some_and(|went| !before.contains(went)),
        };
        let rest = |now: &Lines| {
            let all = difference(bare, now);
            all.into_iter().filter(|line| !prepared(line)).collect()
        };
        let now = settled(&self.scratch, rest)?;
        outcome.after_destroy.extend(rest(&now));
        Ok(())
    }

    fn machine(&self) -> Result<()> {
        let at = |name: &str| self.scratch.join(name);
        for name in ["topo", "run", "netns", "home", "etc", "etc-work", "user"] {
            fs::create_dir_all(at(name))?;
        }
        for (name, from) in &self.case.inputs {
            fs::copy(from, at("topo").join(name)).with_context(|| from.display().to_string())?;
        }
        for base in [self.scratch.clone(), at("user")] {
            fs::create_dir_all(base.join("host-etc"))?;
            fs::write(base.join("host-etc/hosts"), "127.0.0.1\tlocalhost\n")?;
        }
        chown(at("user"), Some(NOBODY), Some(NOBODY))?;
        run("cp", &["-a", &self.images.to_string_lossy(), &at("state").to_string_lossy()])?;
        let layers = format!(
            "lowerdir=/etc,upperdir={},workdir={}",
            at("etc").display(),
            at("etc-work").display()
        );
        mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(&*layers))
            .context("overlay on /etc")?;
        cgroup::enter(&self.group, &self.scratch)?;
        // The recording machine: `eth0` with one address and no way to anywhere else.
        let link = |words: &str| run("ip", &words.split(' ').collect::<Vec<_>>());
        link("link set lo up")?;
        link("link add eth0 type veth peer name uplink0")?;
        for name in ["eth0", "uplink0"] {
            link(&format!("link set {name} addrgenmode none up"))?;
        }
        link("address add 198.51.100.10/24 dev eth0")
    }

    fn command(&self, words: &[String]) -> Command {
        let at = |name: &str| self.scratch.join(name);
        // A user who is not root has folders of its own.
        let own = words.first().is_some_and(|w| w == "setpriv");
        let base = if own { at("user") } else { self.scratch.clone() };
        let path = std::env::var("PATH").unwrap_or_default();
        let first = words.first().map_or("", String::as_str);
        let program = self.programs.join(first);
        let mut command = Command::new(if program.exists() { program } else { first.into() });
        command.args(words.get(1..).unwrap_or_default()).current_dir(at("topo")).env_clear();
        command
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("LANG", "C.UTF-8")
            .env("HOME", at("home"))
            .env("TOPO_DIR", at("topo"))
            .env("NETLOOM_STATE_DIR", base.join("state"))
            .env("NETLOOM_RUN_DIR", base.join("run"))
            .env("NETLOOM_NETNS_DIR", base.join("netns"))
            // Names of labs on the host are no matter of errors.
            .env("NETLOOM_ETC_DIR", base.join("host-etc"))
            .env("OVS_RUNDIR", base.join("ovs"));
        command
    }

    /// Runs a command in a process group of its own; no status when it took too long.
    fn patiently(&self, command: &mut Command) -> Result<(Option<ExitStatus>, String)> {
        let path = self.scratch.join("output");
        let file = fs::File::create(&path)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if Instant::now() > until => {
                    let _ = killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL);
                    child.wait()?;
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(4)),
            }
        };
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        Ok((status, text))
    }
}

/// A snapshot, taken again for a while as long as something is left.
fn settled(scratch: &Path, left: impl Fn(&Lines) -> Vec<String>) -> Result<Lines> {
    let until = Instant::now() + SETTLE;
    loop {
        let now = take(scratch)?;
        // A running lab stays; only what ends on its own is worth the wait.
        let passing = |l: &String| l.starts_with("+process") || l.starts_with("+cgroup");
        let left = left(&now);
        if left.iter().filter(|l| passing(l)).count() == 0
            || left.iter().any(|l| l.starts_with("+file run/"))
            || Instant::now() > until
        {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A program that must succeed.
fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let done = Command::new(program).args(arguments).output().context(program.to_string())?;
    if !done.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

/// Makes a folder that everybody may enter.
pub fn open_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
