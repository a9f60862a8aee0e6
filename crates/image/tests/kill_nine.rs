//! Kill -9 in the middle of an import: the store stays whole and cleans up after the dead.
//!
//! The program runs itself as the victim: an import from a pipe that never ends.

mod build;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use build::rootfs;
use netloom_image::{ImportOptions, Reference, Store};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, root] = arguments.as_slice() {
        assert_eq!(role, "victim");
        import_forever(Path::new(root));
        return;
    }
    survives();
    println!("kill_nine: ok");
}

fn options(name: &str) -> ImportOptions {
    let reference = Reference::parse(name).ok();
    ImportOptions { reference, ..ImportOptions::default() }
}

fn import_forever(root: &Path) {
    let store = Store::open(root).expect("opens");
    store.import(Path::new("-"), &options("victim")).expect("never ends");
}

fn survives() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let store = Store::open(root).expect("opens");
    let source = std::io::Cursor::new(rootfs().end());
    let before = store.import_reader(source, "t", &options("before")).expect("imports").images;
    let me = std::env::current_exe().expect("a path");
    for _ in 0..5 {
        let mut victim = Command::new(&me)
            .args(["victim".as_ref(), root.as_os_str()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut pipe = victim.stdin.take().expect("a pipe");
        let part = rootfs().file("large", &vec![7; 4 << 20]).open();
        pipe.write_all(&part).expect("written");
        wait_for(|| tree(&root.join("tmp")) > 8);
        // While it lives its work is not touched, and others go on.
        let other = Store::open(root).expect("opens");
        assert!(tree(&root.join("tmp")) > 8);
        assert_eq!(other.list().expect("a list"), before);
        let source = std::io::Cursor::new(rootfs().file("y", b"y").end());
        other.import_reader(source, "t", &options("other")).expect("imports");
        victim.kill().expect("killed");
        victim.wait().expect("reaped");
        let store = Store::open(root).expect("opens");
        assert_eq!(tree(&root.join("tmp")), 0);
        store.remove(&Reference::parse("other").expect("valid"), |_| Vec::new()).expect("removed");
        assert_eq!(store.list().expect("a list"), before);
        let mut text = String::new();
        let hostname = before[0].layers[0].join("etc/hostname");
        let mut file = std::fs::File::open(hostname).expect("still there");
        file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "lab\n");
    }
}

fn wait_for(ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(10), "the victim unpacked nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Entries below a directory.
fn tree(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| 1 + tree(&entry.path())).sum()
}
