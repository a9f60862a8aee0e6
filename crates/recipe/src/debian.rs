//! A root file system of Debian packages, by mmdebstrap.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::stat::{Mode, umask};

use crate::error::Error;
use crate::recipe::Variant;
use crate::{Options, Recipe};

/// Folders of `/usr/share` that are not even unpacked.
const NEVER: [&str; 5] = ["doc", "man", "info", "locale", "lintian"];
/// Variables that mmdebstrap and apt need from the user.
const PASSED: [&str; 4] = ["http_proxy", "https_proxy", "no_proxy", "ftp_proxy"];
/// What the maintainer scripts would make.
const PASSWD: &str = "#!/bin/sh -e
for name in passwd group; do
    master=\"$1/usr/share/base-passwd/$name.master\"
    if [ -e \"$master\" ]; then mkdir -p \"$1/etc\" && cp \"$master\" \"$1/etc/$name\"; fi
done
ldconfig -r \"$1\"
";
const COMMANDS: &str = "#!/bin/sh -e
exec chroot \"$1\" /bin/sh -e -s < \"${0%/*}/commands\"
";

/// The tar of a root file system with the recipe's packages.
pub(crate) fn bootstrap(
    recipe: &Recipe,
    options: &Options,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let tar = folder.join("root.tar");
    let errors = folder.join("errors");
    let scratch = folder.join("scratch");
    fs::create_dir(&scratch).map_err(Error::io("make", &scratch))?;
    // Should this program be killed, nobody waits for what the other one makes; and what that
    // mounts meanwhile goes with it.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", "unshare", "--mount", "--"]);
    command.args(["mmdebstrap", "--format=tar"]);
    command.arg(format!("--variant={}", recipe.variant.word()));
    command.arg(format!("--include={}", recipe.packages.join(",")));
    command.arg("--aptopt=Apt::Install-Recommends \"false\"");
    if options.mirror.contains("snapshot.debian.org") {
        command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    }
    command.arg("--dpkgopt=force-unsafe-io");
    command.args(
        NEVER
            .iter()
            .filter(|name| !recipe.keep.iter().any(|k| k.contains(&format!("usr/share/{name}"))))
            .map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")),
    );
    // Nothing is customised of what is only unpacked.
    let when = if recipe.variant == Variant::Extract { "extract" } else { "customize" };
    let mut hook = |name: &str, text: &str| -> Result<(), Error> {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(&path, mode).map_err(Error::io("write", &path))?;
        command.arg(format!("--{when}-hook={}", path.display()));
        Ok(())
    };
    if recipe.variant == Variant::Extract {
        hook("passwd", PASSWD)?;
    }
    if !recipe.commands.is_empty() {
        let path = folder.join("commands");
        let text = recipe.commands.join("\n") + "\n";
        fs::write(&path, text).map_err(Error::io("write", &path))?;
        hook("run", COMMANDS)?;
    }
    let source = format!("deb {} {} main", options.mirror, recipe.suite);
    command.arg(&recipe.suite).arg(&tar).arg(source);
    command.env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", options.epoch.to_string());
    command.env("TMPDIR", &scratch);
    command.envs(PASSED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let log = File::create(&errors).map_err(Error::io("write", &errors))?;
    let again = log.try_clone().map_err(Error::io("write", &errors))?;
    // Whatever the user's: files that scripts make have the same modes everywhere.
    let mask = umask(Mode::from_bits_truncate(0o022));
    let done = command.stdin(Stdio::null()).stdout(log).stderr(again).status();
    umask(mask);
    let done = done.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::Missing { program: "setpriv" },
        _ => Error::Io { action: "run", path: "setpriv".into(), source: e },
    })?;
    if done.success() {
        return Ok(tar);
    }
    let text = fs::read(&errors).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if text.contains("failed to execute") && text.contains("No such file") {
        return Err(Error::Missing { program: "mmdebstrap" });
    }
    Err(Error::Debian { why: reason(&text) })
}

/// The lines that say what went wrong.
fn reason(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let said = |l: &&&str| l.starts_with("E: ") || l.starts_with("Err:") || l.contains("error:");
    let mut chosen: Vec<&str> = lines.iter().filter(said).copied().collect();
    // What mmdebstrap itself says of it is about itself.
    if chosen.len() > 1 {
        chosen.retain(|l| !l.contains("failed to run") && !l.contains("apt-get"));
    }
    if chosen.is_empty() {
        chosen = lines.iter().rev().take(3).rev().copied().collect();
    }
    chosen.dedup();
    let text: Vec<String> = chosen.into_iter().take(4).map(str::to_owned).collect();
    text.join("; ").chars().filter(|c| !c.is_control()).take(600).collect()
}
