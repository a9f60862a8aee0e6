//! What the command lines of stand-in images are told: programs under the vendors' names that write
//! down their arguments and their input, and the form in which two such records are compared.

use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Where the programs write.
pub const RECORD: &str = "/received";

/// Writes what it is given; says what a started system says; runs what `su -c` is to run.
const PROGRAM: &str = r#"#!/bin/sh
name=${0##*/}
if [ "$name" = su ]; then
    for last; do :; done
    case " $* " in *" -c "*) exec sh -c "$last" ;; esac
    name=fakevyos
    set --
fi
echo "== $name $*" >>/received
case "$*" in
*'grep running'*)
    # A running system has loaded its first configuration.
    mkdir -p /etc/opt/srlinux/devices
    echo 'loaded initial configuration' >/etc/opt/srlinux/devices/app_ephemeral.mgmt_server.ready_for_config
    echo running
    ;;
*'grep version'*) echo 'version v24.10.1' ;;
*'grep openconfig'*) echo openconfig ;;
esac
[ "$name" = supervisord ] || tee -a /received
"#;

/// The vendors' programs, by the paths they are called by.
const NAMES: [&str; 9] = [
    "opt/srlinux/bin/sr_cli",
    "usr/local/bin/Cli",
    "usr/local/bin/cli",
    "usr/local/bin/service",
    "usr/local/bin/sr_cli",
    "usr/local/bin/su",
    "usr/local/bin/supervisorctl",
    "usr/local/bin/supervisord",
    "usr/local/bin/nc-cli",
];

/// Puts the programs into a root file system.
pub fn install(root: &Path) -> Result<()> {
    let program = root.join("usr/local/bin/standin-cli");
    fs::write(&program, PROGRAM)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    for name in NAMES {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        symlink("/usr/local/bin/standin-cli", path)?;
    }
    Ok(())
}

/// The orders in a record: what sessions begin and end with, comments, words for people and the
/// order are left out.
pub fn orders(lines: &[&str]) -> BTreeSet<String> {
    const ABOUT: [&str; 12] = [
        "terminal ",
        "set cli ",
        "environment ",
        "conf",
        "end",
        "exit",
        "commit",
        "save",
        "wr",
        "sudo python3",
        "== sr_cli -d ",
        "#",
    ];
    let mut out = BTreeSet::new();
    let mut quoted = false;
    for line in lines.iter().map(|l| l.trim()) {
        // Banners and keys go over several lines; what they say is nobody's order.
        let inside = quoted;
        quoted ^= line.matches('"').count() % 2 == 1;
        let about = ABOUT.iter().any(|a| line.starts_with(a));
        if inside || line.is_empty() || line.starts_with(['!', '\t']) || about {
            continue;
        }
        // A program is called by other arguments, and does the same.
        if let Some(called) = line.strip_prefix("== ") {
            let name = called.split_whitespace().next().unwrap_or_default();
            out.insert(format!("== {name}"));
            continue;
        }
        let line = line.split(" description ").next().unwrap_or_default();
        let line = line.split(" key \"").next().unwrap_or_default();
        let line = line.split(" certificate \"").next().unwrap_or_default();
        out.insert(super::shape::plain(line));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::orders;

    #[test]
    fn orders_alone() {
        let text = [
            "== sr_cli -ed",
            "!!! words",
            "set / acl entry 1 description \"for people\"",
            "set / banner \"first",
            "second\"",
            "set / x y",
            "commit now",
        ];
        let found: Vec<String> = orders(&text).into_iter().collect();
        assert_eq!(found, ["== sr_cli", "set / acl entry 1", "set / banner \"first", "set / x y"]);
    }
}
