//! The store: names, sharing, removal, concurrency, a full disk. Run as root.

mod build;

use std::io::Cursor;
use std::path::Path;

use build::{OciImage, Tar, docker_archive, rootfs};
use netloom_image::{Error, Image, ImportOptions, Reference, Store};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

fn reference(name: &str) -> Reference {
    Reference::parse(name).expect(name)
}

fn named(name: &str) -> ImportOptions {
    ImportOptions { reference: Some(reference(name)), ..ImportOptions::default() }
}

fn import(store: &Store, name: &str, tar: Vec<u8>) -> Image {
    let imported = store.import_reader(Cursor::new(tar), "test", &named(name));
    imported.expect("imports").images.remove(0)
}

fn nobody(_: &Path) -> Vec<String> {
    Vec::new()
}

fn layers(store: &Store) -> usize {
    std::fs::read_dir(store.root().join("layers")).expect("layers").count()
}

#[test]
fn layers_are_shared_and_dropped_with_the_last_image() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("opens");
    let base = rootfs().end();
    let image = |extra: &[u8]| OciImage {
        architecture: "amd64",
        layers: vec![base.clone(), Tar::new().directory("etc", 0o755).file("etc/x", extra).end()],
    };
    let one = import(&store, "one", docker_archive(&[], &image(b"1")));
    let two = import(&store, "two", docker_archive(&[], &image(b"2")));
    assert_eq!(one.layers[1], two.layers[1]);
    assert_eq!(layers(&store), 3);
    let removed = store.remove(&reference("one"), nobody).expect("removes");
    assert_eq!((removed.image, removed.layers, removed.bytes), (true, 1, 1));
    assert_eq!(layers(&store), 2);
    assert!(store.resolve(&reference("one")).expect("readable").is_none());
    assert!(store.resolve(&reference("docker.io/library/two:latest")).expect("ok").is_some());
    store.remove(&reference("two"), nobody).expect("removes");
    assert_eq!(layers(&store), 0);
    let error = store.remove(&reference("two"), nobody).expect_err("gone");
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn an_image_in_use_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("opens");
    let image = import(&store, "busy", rootfs().end());
    let users = |layer: &Path| {
        assert_eq!(layer, image.layers[0]);
        vec!["clab-lab-r1".to_owned(), "clab-lab-r2".to_owned()]
    };
    let error = store.remove(&reference("busy"), users).expect_err("in use");
    assert!(error.to_string().contains("clab-lab-r1, clab-lab-r2"), "{error}");
    assert_eq!(store.resolve(&reference("busy")).expect("readable"), Some(image.clone()));
    // A second name may go: the image stays.
    import(&store, "also:1", rootfs().end());
    assert!(!store.remove(&reference("also:1"), users).expect("removes").image);
}

#[test]
fn a_name_that_moves_leaves_the_old_image_for_prune() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("opens");
    let old = import(&store, "x", rootfs().end());
    import(&store, "x", rootfs().file("new", b"new").end());
    let store = Store::open(directory.path()).expect("opens");
    assert!(old.layers[0].is_dir());
    let list = store.list().expect("a list");
    assert_eq!(list.len(), 2);
    assert_eq!(list[1].reference, None);
    assert!(!store.prune(|_| vec!["r1".into()]).expect("prunes").image);
    assert_eq!(store.prune(nobody).expect("prunes").layers, 1);
    assert!(!old.layers[0].exists());
    assert_eq!(store.list().expect("a list").len(), 1);
}

#[test]
fn a_digest_finds_the_image() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("opens");
    let image = import(&store, "lab/x:3", rootfs().end());
    let id = image.id.expect("an id");
    let found = store.resolve(&reference(&format!("lab/x@{id}"))).expect("readable");
    assert_eq!(found.expect("there").layers, image.layers);
    assert!(store.resolve(&reference(&format!("lab/y@{id}"))).expect("readable").is_none());
}

#[test]
fn leftovers_are_swept_at_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("opens");
    let image = import(&store, "x", rootfs().end());
    for name in ["tmp/999-0/1/etc", "layers/orphan/etc"] {
        std::fs::create_dir_all(directory.path().join(name)).expect("a directory");
    }
    std::fs::write(directory.path().join("index.json.999.new"), "{").expect("write");
    let store = Store::open(directory.path()).expect("opens");
    assert_eq!(layers(&store), 1);
    assert!(image.layers[0].is_dir());
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).expect("tmp").count(), 0);
    assert!(!directory.path().join("index.json.999.new").exists());
}

#[test]
fn a_broken_index_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    for (text, wanted) in
        [("{", "not readable"), (r#"{"version":9,"new":1}"#, "has format 9; this program knows 1")]
    {
        std::fs::write(directory.path().join("index.json"), text).expect("write");
        let error = Store::open(directory.path()).expect_err("broken");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn concurrent_imports_agree() {
    let directory = tempfile::tempdir().expect("a directory");
    std::thread::scope(|scope| {
        for number in 0..16 {
            let root = directory.path();
            scope.spawn(move || {
                let store = Store::open(root).expect("opens");
                let own = rootfs().file("own", number.to_string().as_bytes());
                import(&store, &format!("same:{number}"), rootfs().end());
                import(&store, &format!("own:{number}"), own.end());
                if number % 2 == 0 {
                    store.remove(&reference(&format!("own:{number}")), nobody).expect("removes");
                }
            });
        }
    });
    let store = Store::open(directory.path()).expect("opens");
    assert_eq!(store.list().expect("a list").len(), 24);
    assert_eq!(layers(&store), 9);
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).expect("tmp").count(), 0);
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().to_owned();
    // Namespaces belong to threads: the mount is seen by this one and its children only.
    let small = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private");
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("size=4m"))
            .expect("tmpfs");
        let store = Store::open(&root).expect("opens");
        let image = import(&store, "small", rootfs().end());
        let large = rootfs().file("large", &vec![7; 8 << 20]).end();
        for attempt in 0..3 {
            let source = Cursor::new(large.clone());
            let error =
                store.import_reader(source, "large.tar", &named("large")).expect_err("full");
            assert!(matches!(error, Error::DiskFull { .. }), "{attempt}: {error}");
            assert!(error.hint().expect("a hint").contains("free some space"));
            assert_eq!(store.list().expect("a list"), std::slice::from_ref(&image));
            assert_eq!(std::fs::read_dir(root.join("tmp")).expect("tmp").count(), 0);
        }
        // Room enough was given back.
        import(&store, "medium", rootfs().file("medium", &vec![7; 2 << 20]).end());
    });
    small.join().expect("the test passed");
    assert_eq!(std::fs::read_dir(directory.path()).expect("list").count(), 0);
}

#[test]
fn the_host_is_an_image() {
    assert_eq!(Image::host().layers, [Path::new("/")]);
}

/// What there is to see of a tree: names, kinds, modes, owners, devices, links, times, attributes,
/// contents.
fn described(layer: &Path) -> String {
    let script = r#"
import hashlib, os, stat, sys
top = sys.argv[1]
for folder, folders, files in sorted(os.walk(top)):
    for name in sorted(folders + files):
        path = os.path.join(folder, name)
        s = os.lstat(path)
        device = s.st_rdev if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode) else 0
        # When something was hidden is told by nobody.
        when = 0 if stat.S_ISCHR(s.st_mode) and device == 0 else int(s.st_mtime)
        if stat.S_ISDIR(s.st_mode): when = 0
        text = os.readlink(path) if stat.S_ISLNK(s.st_mode) else ""
        if stat.S_ISREG(s.st_mode): text = hashlib.sha256(open(path, "rb").read()).hexdigest()
        links = s.st_nlink if stat.S_ISREG(s.st_mode) else 1
        own = [a for a in os.listxattr(path, follow_symlinks=False)]
        own = [(a, os.getxattr(path, a, follow_symlinks=False)) for a in sorted(own)]
        print(path[len(top):], oct(s.st_mode), s.st_uid, s.st_gid, device, when, links, text, own)
"#;
    let out = build::run(layer, "python3", &["-c", script, layer.to_str().expect("text")]);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn what_is_saved_comes_back_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path().join("one")).expect("opens");
    let other = Store::open(directory.path().join("two")).expect("opens");
    let upper = Tar::new()
        .file("tmp/x", b"x")
        .file("etc/.wh.hostname", b"")
        .directory("srv", 0o2755)
        .file("srv/.wh..wh..opq", b"")
        .file("srv/kept", b"kept")
        .end();
    let image = OciImage { architecture: "amd64", layers: vec![rootfs().end(), upper] };
    let image = import(&store, "lab/x:1", docker_archive(&[], &image));
    // Things an archive of a real image has.
    let root = &image.layers[1];
    let script = "cd \"$1\" && mkdir -p odd && echo one > odd/first && ln odd/first odd/second && \
                  ln -s ../etc/hostname odd/link && mkfifo odd/pipe && mknod odd/null c 1 3 && \
                  chmod 4755 odd/first && chown 12:34 odd/pipe && truncate -s 3M odd/sparse && \
                  python3 -c 'import os; os.setxattr(\"odd/sparse\", \"user.note\", b\"hello\")' && \
                  touch -d @1000000000 odd/first; mkdir -p odd/$(printf 'x%.0s' $(seq 120)) && \
                  echo deep > odd/$(printf 'x%.0s' $(seq 120))/file";
    build::run(root, "sh", &["-c", script, "sh", root.to_str().expect("text")]);
    let mut archive = Vec::new();
    store.save(&image, &reference("lab/x:1"), &mut archive).expect("saves");
    let mut again = Vec::new();
    store.save(&image, &reference("lab/x:1"), &mut again).expect("saves");
    assert!(archive == again, "the same image is packed the same way");
    let done = other.import_reader(Cursor::new(archive), "test", &ImportOptions::default());
    let back = done.expect("imports").images.remove(0);
    assert_eq!(back.reference, Some(reference("lab/x:1")));
    assert_eq!(back.config, image.config);
    assert_eq!(back.layers.len(), 2);
    for (ours, theirs) in image.layers.iter().zip(&back.layers) {
        assert_eq!(described(theirs), described(ours));
    }
    let shown = described(&back.layers[0]);
    assert!(shown.contains("trusted.overlay.opaque"), "{shown}");
    let shown = described(&back.layers[1]);
    assert!(shown.contains("user.note") && shown.contains("0o104755"), "{shown}");
    assert_eq!(std::fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 0);
}
