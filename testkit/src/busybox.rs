//! The smallest image there is: busybox, and the users root and nobody.

use serde_json::json;
use std::io::Write;
use std::path::Path;

/// What commands of it are called.
const APPLETS: &[&str] = &[
    "sh", "ash", "cat", "chmod", "cut", "date", "df", "echo", "env", "false", "grep", "head",
    "hostname", "id", "ifconfig", "ip", "kill", "ln", "ls", "mkdir", "mount", "nc", "ping", "ps",
    "pwd", "readlink", "rm", "route", "sed", "seq", "sleep", "sort", "stat", "sync", "sysctl",
    "tail", "test", "touch", "tr", "true", "ulimit", "uname", "wc", "who", "xargs",
];

/// Unpacks it.
pub fn unpack(root: &Path) {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        std::fs::create_dir_all(root.join(folder)).expect("make a folder of the image");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("/bin/busybox: install the package busybox-static");
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("link");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), users).expect("write passwd");
    std::fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").expect("write group");
}

/// It as an archive that daemons load (`docker save`); every file of `root` is in it.
pub fn archive(root: &Path, name: &str, cmd: &[&str], out: &mut dyn Write) {
    configured(root, name, &json!({ "Cmd": cmd, "Env": ["PATH=/bin"] }), out);
}

/// As [`archive`], with all that an image's configuration says of how it is run.
pub fn configured(root: &Path, name: &str, run: &serde_json::Value, out: &mut dyn Write) {
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(false);
    layer.append_dir_all(".", root).expect("pack the layer");
    let layer = layer.into_inner().expect("end the layer");
    let config = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": run,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
    })
    .to_string();
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let manifest =
        json!([{ "Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"] }]).to_string();
    let mut whole = tar::Builder::new(out);
    let files = [
        (config_name.as_str(), config.as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.as_bytes()),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        whole.append_data(&mut header, name, bytes).expect("pack the image");
    }
    whole.finish().expect("end the image");
}

/// By the system's own program: tests need no library for it.
fn sha256(bytes: &[u8]) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    child.stdin.take().expect("its input").write_all(bytes).expect("feed sha256sum");
    let out = child.wait_with_output().expect("sha256sum");
    String::from_utf8_lossy(&out.stdout).split_whitespace().next().expect("a sum").to_owned()
}
