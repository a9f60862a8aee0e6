//! Unpacking: what must come out, and what must not get in. Run as root.

mod build;

use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use build::{Tar, gzip, rootfs, run, zstd};
use netloom_image::{Error, Limits, Refusal, Unpacked, unpack_layer};

fn unpack(tar: Vec<u8>, into: &Path) -> Result<Unpacked, Error> {
    unpack_layer(Cursor::new(tar), into, "test.tar", &Limits::default(), true)
}

fn unpacked(tar: Vec<u8>) -> (tempfile::TempDir, Unpacked) {
    let into = tempfile::tempdir().expect("a directory");
    let report = unpack(tar, into.path()).expect("unpacks");
    (into, report)
}

#[track_caller]
fn refusal(tar: Tar) -> Refusal {
    let outer = tempfile::tempdir().expect("a directory");
    let into = outer.path().join("in/side");
    std::fs::create_dir_all(&into).expect("a directory");
    let result = unpack(tar.end(), &into);
    let names: Vec<_> = std::fs::read_dir(outer.path()).expect("list").collect();
    assert_eq!(names.len(), 1, "something got out");
    match result {
        Err(Error::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

fn opaque(path: &Path) -> bool {
    let path = path.to_str().expect("text");
    let script = "import os,sys; print(os.getxattr(sys.argv[1],'trusted.overlay.opaque'))";
    let output = std::process::Command::new("python3").args(["-c", script, path]).output();
    output.expect("python3").stdout == b"b'y'\n"
}

#[test]
fn one_of_everything() {
    for pack in [|data: &[u8]| data.to_vec(), gzip, zstd] {
        let (root, report) = unpacked(pack(&rootfs().end()));
        let at = |name: &str| root.path().join(name).symlink_metadata().expect(name);
        assert_eq!(at("bin/su").mode(), 0o104_755);
        assert_eq!(at("bin/su").nlink(), 2);
        assert_eq!(at("bin/su").ino(), at("bin/su2").ino());
        assert_eq!(at("bin/su").mtime(), 1_600_000_000);
        assert_eq!(at("tmp").mode(), 0o41_777);
        assert_eq!(at("tmp").mtime(), 1_600_000_000);
        assert!(at("null").file_type().is_char_device() && at("null").rdev() == 0x103);
        assert!(at("pipe").file_type().is_fifo());
        assert_eq!(root.path().join("sbin").read_link().expect("link"), Path::new("bin"));
        assert_eq!(report.tally.members, 10);
        assert!(report.tally.implied_directories.is_empty());
    }
}

#[test]
fn xz_works_too() {
    let outer = tempfile::tempdir().expect("a directory");
    std::fs::write(outer.path().join("x.tar"), rootfs().end()).expect("write");
    run(outer.path(), "xz", &["x.tar"]);
    let (root, _) = unpacked(std::fs::read(outer.path().join("x.tar.xz")).expect("read"));
    assert!(root.path().join("etc/hostname").is_file());
}

#[test]
fn escapes_are_refused() {
    assert_eq!(refusal(Tar::new().file("../x", b"x")), Refusal::UpwardPath);
    assert_eq!(refusal(Tar::new().file("a/../../x", b"x")), Refusal::UpwardPath);
    assert_eq!(refusal(Tar::new().file("/x", b"x")), Refusal::AbsolutePath);
    assert_eq!(refusal(Tar::new().pax("path", b"../x").file("a", b"x")), Refusal::UpwardPath);
    assert_eq!(refusal(Tar::new().file(".wh...", b"")), Refusal::BadWhiteout);
    let target = |text: &str| text.to_owned();
    assert_eq!(
        refusal(Tar::new().hard_link("a", "/etc/passwd")),
        Refusal::AbsoluteLink { target: target("/etc/passwd") }
    );
    assert_eq!(
        refusal(Tar::new().hard_link("a", "../../etc/passwd")),
        Refusal::UpwardLink { target: target("../../etc/passwd") }
    );
    assert_eq!(
        refusal(Tar::new().symlink("e", "/etc").hard_link("a", "e/passwd")),
        Refusal::MissingLinkTarget { target: target("e/passwd") }
    );
    assert_eq!(
        refusal(Tar::new().symlink("a", "missing").file("a/b", b"x")),
        Refusal::ParentNotADirectory { parent: target("a") }
    );
    assert_eq!(
        refusal(Tar::new().file("a", b"").file("a/b", b"x")),
        Refusal::ParentNotADirectory { parent: target("a") }
    );
}

#[test]
fn links_lead_nowhere_but_inside() {
    let outer = tempfile::tempdir().expect("a directory");
    let into = outer.path().join("root");
    std::fs::create_dir_all(&into).expect("a directory");
    std::fs::create_dir(outer.path().join("victim")).expect("a directory");
    let victim = outer.path().join("victim");
    let tar = Tar::new()
        .directory("victim", 0o755)
        .symlink("up", "../../../../victim")
        .file("up/one", b"x")
        .directory(victim.to_str().expect("text").trim_start_matches('/'), 0o755)
        .symlink("absolute", victim.to_str().expect("text"))
        .file("absolute/two", b"x")
        .raw(b'2', "over", victim.join("three").to_str().expect("text"), 0o777, b"")
        .file("over", b"replaces the link");
    unpack(tar.end(), &into).expect("unpacks");
    assert_eq!(std::fs::read_dir(&victim).expect("list").count(), 0);
    assert!(into.join("victim/one").is_file());
    assert!(into.join("over").symlink_metadata().expect("a file").is_file());
}

#[test]
fn whiteouts() {
    let tar = Tar::new()
        .file("gone/.wh.file", b"")
        .directory("emptied", 0o755)
        .file("emptied/.wh..wh..opq", b"")
        .file("emptied/new", b"x")
        .file(".wh.remade", b"")
        .directory("remade", 0o750)
        .directory("made", 0o750)
        .file(".wh.made", b"")
        .file(".wh.again", b"")
        .file("again", b"x")
        .file(".wh..wh.plnk", b"");
    let (root, report) = unpacked(tar.end());
    let hidden = root.path().join("gone/file").symlink_metadata().expect("a whiteout");
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    for name in ["emptied", "remade", "made"] {
        assert!(opaque(&root.path().join(name)), "{name}");
    }
    assert!(!opaque(&root.path().join("gone")));
    assert!(root.path().join("again").is_file() && root.path().join("emptied/new").is_file());
    assert!(!root.path().join(".wh..wh.plnk").exists());
    let implied: Vec<_> = report.tally.implied_directories.into_iter().collect();
    assert_eq!(implied, [b"gone".to_vec()]);
}

#[test]
fn attributes_that_speak_to_overlayfs_stay_out() {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let tar = Tar::new()
        .pax("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
        .directory("d", 0o755)
        .pax("SCHILY.xattr.security.capability", capability)
        .file("ping", b"x")
        .pax("SCHILY.xattr.user.note", b"hello")
        .file("noted", b"x");
    let (root, report) = unpacked(tar.end());
    assert_eq!(report.tally.skipped_attributes, 1);
    let names = |name: &str| {
        let script = "import os,sys; print(os.listxattr(sys.argv[1]))";
        let output = run(root.path(), "python3", &["-c", script, name]);
        String::from_utf8(output).expect("text")
    };
    assert_eq!(names("d"), "[]\n");
    assert_eq!(names("ping"), "['security.capability']\n");
    assert_eq!(names("noted"), "['user.note']\n");
}

#[test]
fn what_gnu_tar_writes() {
    let outer = tempfile::tempdir().expect("a directory");
    let from = outer.path().join("from");
    std::fs::create_dir(&from).expect("a directory");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    std::fs::create_dir(from.join("d".repeat(120))).expect("a directory");
    std::fs::write(from.join(&long), b"long").expect("write");
    std::os::unix::fs::symlink("t".repeat(180), from.join("link")).expect("link");
    let script = "import os
f=open('holes','wb')
for i in range(0, 60): f.seek(i*1000000); f.write(b'data%d'%i)
f.truncate(100000000)";
    run(&from, "python3", &["-c", script]);
    run(&from, "chown", &["-h", "3000000:4000000", "link"]);
    for format in [
        vec!["--format=gnu", "-S"],
        vec!["--format=posix", "-S"],
        vec!["--format=posix", "-S", "--sparse-version=0.0"],
        vec!["--format=posix", "-S", "--sparse-version=0.1"],
    ] {
        let arguments: Vec<&str> = format.iter().copied().chain(["-cf", "../x.tar", "."]).collect();
        run(&from, "tar", &arguments);
        let (root, report) = unpacked(std::fs::read(outer.path().join("x.tar")).expect("read"));
        run(
            outer.path(),
            "diff",
            &[
                "-r",
                "--no-dereference",
                from.to_str().expect("text"),
                root.path().to_str().expect("text"),
            ],
        );
        let holes = root.path().join("holes").metadata().expect("a file");
        assert!(holes.blocks() * 512 < 2_000_000, "{format:?}: {}", holes.blocks());
        assert!(report.tally.bytes < 2_000_000);
        assert_eq!(root.path().join("link").symlink_metadata().expect("link").uid(), 3_000_000);
    }
}

#[test]
fn later_members_replace_earlier_ones() {
    let tar = Tar::new()
        .directory("a", 0o755)
        .file("a/b", b"x")
        .file("a", b"now a file")
        .file("c", b"x")
        .directory("c", 0o700)
        .file("c/d", b"y")
        .file("c/d", b"z");
    let (root, _) = unpacked(tar.end());
    assert_eq!(std::fs::read(root.path().join("a")).expect("read"), b"now a file");
    assert_eq!(std::fs::read(root.path().join("c/d")).expect("read"), b"z");
}

#[test]
fn bombs_are_refused() {
    let into = tempfile::tempdir().expect("a directory");
    let bomb = gzip(&Tar::new().file("zeros", &vec![0; 40 << 20]).end());
    let check = |limits: Limits, wanted: &str| {
        let source = Cursor::new(bomb.clone());
        let error = unpack_layer(source, into.path(), "b", &limits, true).expect_err("a bomb");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.hint().expect("a hint").contains("by hand"));
    };
    check(Limits { bytes: 10 << 20, ..Limits::default() }, "more than 10485760 bytes");
    check(Limits { ratio_from: 1 << 20, ratio: 100, ..Limits::default() }, "over 100 to one");
    check(Limits { members: 0, ..Limits::default() }, "more than 0 members");
}

#[test]
fn damage_is_told() {
    let whole = rootfs().file("big", &vec![7; 100_000]).end();
    let into = || tempfile::tempdir().expect("a directory");
    let cut = |data: &[u8], at: usize| unpack(data[..at].to_vec(), into().path());
    for packed in [whole.clone(), gzip(&whole), zstd(&whole)] {
        let error = cut(&packed, packed.len() / 2).expect_err("cut short");
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
    }
    let error = unpack(rootfs().open(), into().path()).expect_err("no end marker");
    assert!(error.to_string().contains("end marker"), "{error}");
    let error = unpack(b"hello".repeat(1000), into().path()).expect_err("no tar");
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    assert!(matches!(unpack(Vec::new(), into().path()), Err(Error::NotAnImage { .. })));
    let mut damaged = gzip(&whole);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(unpack(damaged, into().path()).is_err());
}

#[test]
fn two_thousand_mutations_do_no_harm() {
    let seed = rootfs()
        .pax("SCHILY.xattr.user.note", b"hello")
        .file("noted", b"x")
        .file(".wh.hidden", b"")
        .file(&"n".repeat(150), b"long")
        .pax("GNU.sparse.size", b"1000")
        .end();
    let outer = tempfile::tempdir().expect("a directory");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("small")
    };
    for round in 0..2000 {
        let mut tar = seed.clone();
        for _ in 0..=random() % 4 {
            let at = random() % tar.len();
            tar[at] = [0, b'/', b'.', b'7', 0xff, tar[at] ^ 1][random() % 6];
            // Half the time the checksum is made right again, to get past the front door.
            if random() % 2 == 0 {
                let start = at / 512 * 512;
                let block = &mut tar[start..start + 512];
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        if random() % 10 == 0 {
            tar.truncate(random() % tar.len());
        }
        let into = outer.path().join("root");
        std::fs::create_dir(&into).expect("a directory");
        let limits = Limits { bytes: 64 << 20, ..Limits::default() };
        let _ = unpack_layer(Cursor::new(tar), &into, "m", &limits, round % 2 == 0);
        std::fs::remove_dir_all(&into).expect("removed");
        assert_eq!(std::fs::read_dir(outer.path()).expect("list").count(), 0);
    }
}
