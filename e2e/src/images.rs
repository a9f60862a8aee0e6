//! Images the tests need, in one store that all sandboxes share.

use crate::binary::{netloom, root, target};
use crate::command::Runner;
use nix::fcntl::{Flock, FlockArg};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Name of the small image: busybox and nothing else.
pub const SMALL: &str = "e2e/busybox:latest";

/// Programs of the small image.
const APPLETS: [&str; 50] = [
    "ash", "awk", "basename", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "echo",
    "env", "false", "find", "grep", "head", "hostname", "httpd", "id", "ip", "kill", "killall",
    "ls", "mkdir", "mount", "mv", "nc", "nslookup", "ping", "ping6", "ps", "pwd", "readlink", "rm",
    "sed", "seq", "sh", "sleep", "stty", "tty", "sort", "stat", "sync", "sysctl", "tail", "test",
    "touch", "true", "wc",
];

/// Its first process: idle, and gone at once when asked.
const IDLE: &str = "#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 3600 & wait $!; done\n";

fn folder() -> PathBuf {
    target().join("e2e")
}

/// The store, with the small image in it.
pub fn store() -> &'static Path {
    static STORE: OnceLock<PathBuf> = OnceLock::new();
    STORE.get_or_init(|| {
        let store = folder().join("common/images");
        fs::create_dir_all(&store).expect("make the common image store");
        let _lock = lock();
        let mark = folder().join("common/small");
        let recipe = format!("{IDLE}{APPLETS:?}");
        if !fs::read_to_string(&mark).is_ok_and(|have| have == recipe) || !imported(SMALL) {
            let rootfs = folder().join("busybox");
            small(&rootfs);
            let mut argv = ["image", "import", "--ref", SMALL].map(String::from).to_vec();
            argv.extend(["--cmd", "/bin/idle", "--label", "size=small"].map(String::from));
            argv.push(rootfs.display().to_string());
            import(&argv, &folder());
            fs::write(mark, recipe).expect("write the mark");
        }
        store
    })
}

/// Brings images of `images/` into the store; builds what has changed.
pub fn recipes(names: &[&str]) {
    store();
    let _lock = lock();
    let mut argv = vec!["image".to_string(), "build".to_string()];
    let folder = root().join("images");
    argv.extend(names.iter().map(|name| folder.join(name).display().to_string()));
    import(&argv, &folder);
}

fn lock() -> Flock<fs::File> {
    let file = fs::File::create(folder().join("common/lock")).expect("make the lock file");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).expect("lock the common store")
}

fn import(argv: &[String], dir: &Path) {
    let state = folder().join("common");
    Runner::new(netloom())
        .args(argv)
        .dir(dir)
        .env("NETLOOM_STATE_DIR", state)
        .within(600)
        .run()
        .ok();
}

fn imported(reference: &str) -> bool {
    let done = Runner::new(netloom())
        .args(["image", "list"])
        .env("NETLOOM_STATE_DIR", folder().join("common"))
        .run()
        .ok();
    let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let name = name.trim_start_matches("docker.io/").trim_start_matches("library/");
    done.stdout.lines().any(|l| l.contains(name) && l.contains(tag))
}

/// A root file system of one program.
fn small(rootfs: &Path) {
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.exists(), "there is no /bin/busybox: apt-get install busybox-static");
    let _ = fs::remove_dir_all(rootfs);
    for dir in ["bin", "etc", "tmp", "root", "var/www"] {
        fs::create_dir_all(rootfs.join(dir)).expect("make the small root");
    }
    fs::copy(busybox, rootfs.join("bin/busybox")).expect("copy busybox");
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    let write = |name: &str, text: &str| fs::write(rootfs.join(name), text).expect("write a file");
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/bin/sh\n");
    write("etc/group", "root:x:0:\nweb:x:33:\nextra:x:44:web\n");
    write("bin/idle", IDLE);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(rootfs.join("bin/idle"), mode).expect("make it executable");
}
