//! `compat errors DIR`: bad and odd inputs, each in namespaces of its own: what we say, with which
//! exit code, and what is left on the machine. With `--golden` DIR holds our own records, and the
//! whole output is compared.

mod case;
mod cgroup;
pub mod docker;
mod expect;
mod golden;
pub mod inside;
mod snapshot;

use anyhow::{Context, Result, bail};
use case::Case;
use expect::{Expectations, Expected, judge, message, place};
use inside::{Job, Outcome, open_folder};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str = "usage: cargo xtask compat errors DIR [--netloom PATH] [--list FILE] \
                     [--only CASE] [--show] [--golden [--bless] | --write-golden DIR]";

/// Flags of the command.
#[derive(Debug, Default)]
struct Flags {
    netloom: Option<PathBuf>,
    list: Option<PathBuf>,
    only: Option<String>,
    show: bool,
    golden: bool,
    bless: bool,
    write: Option<PathBuf>,
}

impl Flags {
    fn read(words: &[&str]) -> Result<Flags> {
        let mut flags = Flags::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value =
                || words.next().copied().with_context(|| format!("{word} needs a value"));
            match *word {
                "--netloom" => flags.netloom = Some(value()?.into()),
                "--list" => flags.list = Some(value()?.into()),
                "--only" => flags.only = Some(value()?.into()),
                "--write-golden" => flags.write = Some(value()?.into()),
                "--show" => flags.show = true,
                "--golden" => flags.golden = true,
                "--bless" => flags.bless = true,
                other => bail!("unknown flag {other}\n{USAGE}"),
            }
        }
        Ok(flags)
    }

    fn wants(&self, case: &Case) -> bool {
        self.only.as_ref().is_none_or(|only| *only == case.name)
    }
}

/// Runs a folder of cases.
pub fn run(dir: &Path, words: &[&str]) -> Result<()> {
    let flags = Flags::read(words)?;
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-errors.yml");
    let list = Expectations::read(flags.list.as_deref().unwrap_or(&default))?;
    let bench = Bench::set_up(flags.netloom.as_deref(), &list.images)?;
    let dir = fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
    if flags.golden {
        let cases: Vec<Case> = Case::golden(&dir)?.into_iter().filter(|c| flags.wants(c)).collect();
        return golden::compare(&bench, &dir, &cases, flags.bless);
    }
    let mut right = Vec::new();
    let mut tally = Tally::default();
    for case in Case::recorded(&dir)?.into_iter().filter(|c| flags.wants(c)) {
        let expected = list.cases.get(&case.name);
        let done = bench.case(&case)?;
        let wrong = report(&case, expected, &done, flags.show)?;
        tally.count(expected, wrong.is_empty(), &case.name);
        if wrong.is_empty()
            && matches!(expected, Some(Expected::Refused(_) | Expected::Accepted(_)))
        {
            right.push(case);
        }
    }
    if let Some(folder) = &flags.write {
        golden::write(&bench, folder, &right)?;
    }
    tally.end()
}

#[derive(Default)]
struct Tally {
    refused: usize,
    accepted: usize,
    waits: usize,
    unlisted: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, expected: Option<&Expected>, right: bool, name: &str) {
        if !right {
            self.wrong.push(name.into());
            return;
        }
        *match expected {
            Some(Expected::Refused(_)) => &mut self.refused,
            Some(Expected::Accepted(_)) => &mut self.accepted,
            Some(Expected::Waits(_)) => &mut self.waits,
            None => &mut self.unlisted,
        } += 1;
    }

    fn end(&self) -> Result<()> {
        println!(
            "{} refused as they should, {} accepted for a reason, {} wait for a later issue, \
             {} are in no list but leave nothing, {} are wrong",
            self.refused,
            self.accepted,
            self.waits,
            self.unlisted,
            self.wrong.len()
        );
        if !self.wrong.is_empty() {
            bail!("wrong: {}", self.wrong.join(" "));
        }
        Ok(())
    }
}

/// Prints a case; returns what is wrong with it.
fn report(
    case: &Case,
    expected: Option<&Expected>,
    done: &Outcome,
    show: bool,
) -> Result<Vec<String>> {
    let wrong = match &done.unprepared {
        Some(why) => vec![format!("cannot be prepared: {why}")],
        None => judge(expected, done)?,
    };
    let verdict = match (wrong.is_empty(), expected) {
        (false, _) => "WRONG",
        (true, Some(Expected::Refused(_))) => "refused",
        (true, Some(Expected::Accepted(_))) => "accepted",
        (true, Some(Expected::Waits(_))) => "waits",
        (true, None) => "unlisted",
    };
    let exit = done.exit.map_or(done.ended.clone(), |e| e.to_string());
    println!("{verdict:8} {}: theirs {}, ours {exit}", case.name, case.exit);
    println!("         {}", message(&done.output));
    if let Some(place) = place(&done.output) {
        println!("         --> {place}");
    }
    println!("         left: {}", snapshot::summary(&done.left));
    if !done.after_destroy.is_empty() {
        println!("         after destroy: {}", snapshot::summary(&done.after_destroy));
    }
    if let Some(Expected::Accepted(why) | Expected::Waits(why)) = expected {
        println!("         because: {}", why.trim());
    }
    for w in &wrong {
        println!("       ! {w}");
    }
    if !wrong.is_empty() {
        let refused = if done.exit == Some(0) { &[][..] } else { &done.left[..] };
        for line in refused.iter().chain(&done.after_destroy).take(12) {
            println!("       ! {line}");
        }
    }
    if show {
        println!("{}", done.output);
    }
    Ok(wrong)
}

/// What all cases share: a copy of the program, the images, a scratch folder.
struct Bench {
    scratch: tempfile::TempDir,
}

impl Bench {
    fn set_up(netloom: Option<&Path>, images: &[String]) -> Result<Bench> {
        if !nix::unistd::Uid::effective().is_root() {
            bail!("the cases run in namespaces of their own: run this as root");
        }
        let scratch = tempfile::Builder::new().prefix("netloom-errors-").tempdir()?;
        open_folder(scratch.path())?;
        let bench = Bench { scratch };
        let netloom = netloom.map_or_else(built, Path::to_path_buf);
        open_folder(&bench.programs())?;
        open_folder(&bench.scratch.path().join("cases"))?;
        fs::copy(&netloom, bench.programs().join("netloom"))
            .with_context(|| format!("{} (cargo build --package netloom)", netloom.display()))?;
        symlink(std::env::current_exe()?, bench.programs().join("docker"))?;
        bench.images(images)?;
        Ok(bench)
    }

    fn programs(&self) -> PathBuf {
        self.scratch.path().join("bin")
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    /// A root file system of nothing but a static busybox, under each name.
    fn images(&self, names: &[String]) -> Result<()> {
        let root = self.scratch.path().join("rootfs");
        for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "run", "var"] {
            open_folder(&root.join(folder))?;
        }
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
        let busybox = busybox.context("there is no busybox: apt-get install busybox-static")?;
        fs::copy(busybox, root.join("bin/busybox"))?;
        let list = Command::new(busybox).arg("--list").output()?;
        for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        open_folder(&self.store())?;
        for name in names {
            let done = Command::new(self.programs().join("netloom"))
                .args(["image", "import", "--ref", name, "--cmd", "/bin/sh"])
                .arg(&root)
                .env("NETLOOM_STATE_DIR", self.store())
                .output()?;
            if !done.status.success() {
                bail!("import {name}: {}", String::from_utf8_lossy(&done.stderr));
            }
        }
        Ok(())
    }

    /// Runs a case in namespaces of its own; whatever it starts ends with them.
    fn case(&self, case: &Case) -> Result<Outcome> {
        let scratch = self.scratch.path().join("cases").join(&case.name);
        open_folder(&scratch)?;
        let unique = self.scratch.path().file_name().unwrap_or_default().to_string_lossy();
        let group = format!("{unique}-{}", case.name);
        let job = Job {
            case: case.clone(),
            group: group.clone(),
            scratch: scratch.clone(),
            programs: self.programs(),
            images: self.store(),
        };
        let file = scratch.join("job.json");
        fs::write(&file, serde_json::to_string(&job)?)?;
        let exe = std::env::current_exe()?.into_os_string();
        let own = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
        let mut words: Vec<OsString> = own.iter().map(OsString::from).collect();
        words.extend([exe, "compat".into(), "errors-inside".into(), file.into_os_string()]);
        let done = Command::new("unshare").args(&words).output().context("unshare")?;
        cgroup::remove(&group)?;
        if !done.status.success() {
            bail!("{}: {}", case.name, String::from_utf8_lossy(&done.stderr));
        }
        let outcome = serde_json::from_str(&fs::read_to_string(scratch.join("outcome.json"))?)?;
        fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
        Ok(outcome)
    }
}

/// The program that `cargo build` makes.
fn built() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    target.join("debug/netloom")
}
