//! Imports of every kind, told from content. Run as root.

mod build;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use build::{OciImage, Tar, docker_archive, gzip, oci_layout, rootfs, run, zstd};
use netloom_image::{ConfigOverrides, Error, Image, ImportOptions, Reference, SourceKind, Store};

struct Place {
    directory: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path().join("store")).expect("a store");
    Place { directory, store }
}

fn named(name: &str) -> ImportOptions {
    let reference = Some(Reference::parse(name).expect(name));
    ImportOptions { reference, ..ImportOptions::default() }
}

/// Nothing of a failed import is left.
fn assert_empty(store: &Store) {
    assert_eq!(store.list().expect("a list"), []);
    for part in ["layers", "configs", "tmp"] {
        let entries = std::fs::read_dir(store.root().join(part)).expect(part);
        assert_eq!(entries.count(), 0, "{part}");
    }
}

fn two_layers(architecture: &'static str) -> OciImage {
    let upper = Tar::new().file("tmp/x", b"x").file("etc/.wh.hostname", b"").end();
    OciImage { architecture, layers: vec![rootfs().end(), upper] }
}

fn check_two_layers(image: &Image) {
    assert_eq!(image.layers.len(), 2);
    let (upper, base) = (&image.layers[0], &image.layers[1]);
    assert!(base.join("etc/hostname").is_file());
    let whiteout = upper.join("etc/hostname").symlink_metadata().expect("a whiteout");
    assert!(whiteout.file_type().is_char_device());
    // The upper layer never described tmp, and still shows it as the base does.
    assert_eq!(upper.join("tmp").metadata().expect("tmp").mode(), 0o41_777);
    assert_eq!(image.config.env, ["PATH=/bin"]);
    assert_eq!(image.config.cmd, ["sh"]);
    assert_eq!(image.config.labels["a"], "b");
}

#[test]
fn rootfs_tars_of_every_packing() {
    for pack in [|data: &[u8]| data.to_vec(), gzip, zstd] {
        let Place { directory, store } = place();
        let file = directory.path().join("no-telling-name");
        std::fs::write(&file, pack(&rootfs().end())).expect("write");
        let imported = store.import(&file, &named("lab/host:1")).expect("imports");
        assert_eq!(imported.kind, SourceKind::RootfsTar);
        let reference = Reference::parse("docker.io/lab/host:1").expect("a reference");
        let image = store.resolve(&reference).expect("readable").expect("there");
        assert_eq!(image, imported.images[0]);
        assert_eq!(image.layers.len(), 1);
        assert_eq!(image.size, 16);
        let name = image.layers[0].file_name().expect("a name").to_str().expect("text");
        let digest = netloom_image::Digest::of(&rootfs().end());
        assert_eq!(name, digest.hex());
    }
}

#[test]
fn overrides_make_the_configuration() {
    let Place { directory: _directory, store } = place();
    let options = ImportOptions {
        overrides: ConfigOverrides {
            env: vec!["A=b".into()],
            entrypoint: Some(vec!["/init".into()]),
            cmd: Some(vec!["-x".into()]),
            user: Some("1:2".into()),
            working_dir: Some("/w".into()),
            labels: BTreeMap::from([("k".into(), "v".into())]),
            stop_signal: Some("SIGRTMIN+3".into()),
        },
        ..named("x")
    };
    let source = Cursor::new(rootfs().end());
    let image = store.import_reader(source, "pipe", &options).expect("imports").images.remove(0);
    assert_eq!(image.config.env, ["A=b"]);
    assert_eq!(image.config.entrypoint, ["/init"]);
    assert_eq!(image.config.cmd, ["-x"]);
    assert_eq!(image.config.user, "1:2");
    assert_eq!(image.config.working_dir, "/w");
    assert_eq!(image.config.labels["k"], "v");
    assert_eq!(image.config.stop_signal.as_deref(), Some("SIGRTMIN+3"));
    assert_eq!(image.source, "pipe");
}

#[test]
fn rootfs_directory() {
    let Place { directory, store } = place();
    let from = directory.path().join("from");
    std::fs::create_dir(&from).expect("a directory");
    std::fs::write(directory.path().join("x.tar"), rootfs().end()).expect("write");
    run(&from, "tar", &["-xf", "../x.tar"]);
    run(&from, "chown", &["12:34", "etc/hostname"]);
    run(&from, "setcap", &["cap_net_raw+ep", "bin/su"]);
    run(&from, "truncate", &["-s", "100M", "holes"]);
    let first = store.import(&from, &named("a")).expect("imports");
    assert_eq!(first.kind, SourceKind::RootfsDirectory);
    let layer = &first.images[0].layers[0];
    let at = |name: &str| layer.join(name).symlink_metadata().expect(name);
    assert_eq!((at("etc/hostname").uid(), at("etc/hostname").gid()), (12, 34));
    assert_eq!(at("bin/su").ino(), at("bin/su2").ino());
    assert_eq!(at("bin/su").mode(), 0o104_755);
    assert!(at("null").file_type().is_char_device());
    assert_eq!((at("holes").len(), at("holes").blocks()), (100 << 20, 0));
    assert_eq!(at("etc").mtime(), 1_600_000_000);
    let caps = run(layer, "getcap", &["bin/su"]);
    assert!(String::from_utf8_lossy(&caps).contains("cap_net_raw"));
    let second = store.import(&from, &named("b")).expect("imports");
    assert_eq!(second.images[0].id, first.images[0].id);
    assert_eq!(std::fs::read_dir(store.root().join("layers")).expect("list").count(), 1);
}

#[test]
fn a_directory_that_holds_the_store_is_refused() {
    let Place { directory, store } = place();
    let error = store.import(directory.path(), &named("a")).expect_err("refused");
    assert!(matches!(error, Error::ContainsStore { .. }), "{error}");
    assert_empty(&store);
}

#[test]
fn oci_layouts() {
    let Place { directory, store } = place();
    let layout = directory.path().join("layout");
    std::fs::create_dir(&layout).expect("a directory");
    let foreign = OciImage { architecture: "s390x", layers: vec![Tar::new().end()] };
    oci_layout(&layout, "docker.io/library/two:1", &[foreign, two_layers("amd64")]);
    run(&layout, "tar", &["-cf", "../plain", "."]);
    run(&layout, "tar", &["-czf", "../packed", "."]);
    for source in ["layout", "plain", "packed"] {
        let store = Store::open(directory.path().join(format!("store-{source}"))).expect("opens");
        let imported =
            store.import(&directory.path().join(source), &ImportOptions::default()).expect(source);
        assert_eq!(imported.kind, SourceKind::OciLayout);
        let image = &imported.images[0];
        assert_eq!(image.reference, Reference::parse("two:1").ok());
        check_two_layers(image);
    }
    let imported = store.import(&layout, &named("mine")).expect("imports");
    assert_eq!(imported.images[0].reference, Reference::parse("mine").ok());
}

#[test]
fn docker_archives() {
    let Place { directory, store } = place();
    let archive = docker_archive(&["two:1", "quay.io/two/two:2"], &two_layers("amd64"));
    let file = directory.path().join("saved");
    for data in [archive.clone(), gzip(&archive)] {
        std::fs::write(&file, data).expect("write");
        let imported = store.import(&file, &ImportOptions::default()).expect("imports");
        assert_eq!(imported.kind, SourceKind::DockerArchive);
        assert_eq!(imported.images.len(), 2);
        check_two_layers(&imported.images[0]);
    }
    assert_eq!(store.list().expect("a list").len(), 2);
    let from_pipe = store.import_reader(Cursor::new(archive), "pipe", &named("three"));
    check_two_layers(&from_pipe.expect("imports").images[0]);
}

#[test]
fn a_layer_that_is_not_what_was_promised() {
    let Place { directory, store } = place();
    let layout = directory.path().join("layout");
    std::fs::create_dir(&layout).expect("a directory");
    oci_layout(&layout, "two", &[two_layers("amd64")]);
    let blobs = layout.join("blobs/sha256");
    let largest = std::fs::read_dir(&blobs).expect("list").flatten();
    let zstd_layer = largest
        .map(|entry| entry.path())
        .find(|path| std::fs::read(path).expect("read").starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let layer = zstd_layer.expect("a zstd layer");
    let good = std::fs::read(&layer).expect("read");
    let other = zstd(&Tar::new().file("evil", b"x").end());
    let mut padded = good.clone();
    // Same size, same content when unpacked, other bytes.
    padded.extend([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    for bad in [other, padded] {
        std::fs::write(&layer, bad).expect("write");
        let error = store.import(&layout, &ImportOptions::default()).expect_err("refused");
        assert!(matches!(error, Error::DigestMismatch { .. } | Error::Corrupt { .. }), "{error}");
        assert_empty(&store);
    }
    std::fs::remove_file(&layer).expect("removed");
    let error = store.import(&layout, &ImportOptions::default()).expect_err("refused");
    assert!(matches!(error, Error::MissingPart { .. }), "{error}");
    assert_empty(&store);
}

#[test]
fn a_document_or_diff_id_that_lies() {
    let Place { directory, store } = place();
    let mut archive = docker_archive(&["x"], &two_layers("amd64"));
    let at = archive.windows(8).position(|window| window == b"PATH=/bi").expect("found");
    archive[at + 6] = b'X';
    let error = store.import_reader(Cursor::new(archive), "p", &named("x")).expect_err("refused");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let mut archive = docker_archive(&["x"], &two_layers("amd64"));
    let at = archive.windows(4).position(|window| window == b"lab\n").expect("found");
    archive[at] = b'X';
    std::fs::write(directory.path().join("x"), archive).expect("write");
    let error = store.import(&directory.path().join("x"), &named("x")).expect_err("refused");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_empty(&store);
}

#[test]
fn what_cannot_be_imported_says_so() {
    let Place { directory, store } = place();
    let none = ImportOptions::default();
    let file = directory.path().join("x");
    let check = |data: &[u8], options: &ImportOptions, wanted: &str| {
        std::fs::write(&file, data).expect("write");
        let error = store.import(&file, options).expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.hint().is_some(), "{error}");
        assert_empty(&store);
    };
    check(&rootfs().end(), &none, "does not say what its image is called");
    check(b"junk", &named("x"), "cut short");
    check(&b"junk".repeat(500), &named("x"), "not a tar");
    check(b"", &named("x"), "it is empty");
    check(&docker_archive(&[], &two_layers("amd64")), &none, "does not say");
    check(&docker_archive(&["x"], &two_layers("s390x")), &none, "only for linux/s390x");
    let whole = rootfs().file("big", &[7; 100_000]).end();
    check(&whole[..50_000], &named("x"), "cut short");
    check(&gzip(&whole)[..300], &named("x"), "cut short");
    let saved = docker_archive(&["x"], &two_layers("amd64"));
    check(&saved[..saved.len() - 4096], &named("x"), "cut short");
    check(&Tar::new().file("../x", b"").end(), &named("x"), "upwards");
    let missing = store.import(Path::new("/no/such/file"), &named("x")).expect_err("missing");
    assert!(missing.to_string().contains("/no/such/file"), "{missing}");
}
