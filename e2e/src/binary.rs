//! Where the program under test is, and where the tests may write.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = manifest.canonicalize().expect("the crate's own folder");
        manifest.parent().expect("the crate stands in the repository").to_path_buf()
    })
}

/// Cargo's target folder: tests stand in `TARGET/debug/deps`, other programs in `TARGET/debug`.
pub fn target() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let exe = std::env::current_exe().expect("this program's own file");
        let folder = exe.parent().expect("a folder");
        let debug = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
        debug.and_then(Path::parent).expect("TARGET/debug").to_path_buf()
    })
}

/// The program: `NETLOOM_BIN`, or a debug build made now.
pub fn netloom() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("NETLOOM_BIN") {
            let path = PathBuf::from(given);
            let path = if path.is_relative() { root().join(path) } else { path };
            assert!(path.is_file(), "NETLOOM_BIN is {}, which is no file", path.display());
            return path;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--package", "netloom", "--bin", "netloom"])
            .arg("--target-dir")
            .arg(target())
            .current_dir(root())
            .status()
            .expect("start cargo to build the program under test");
        assert!(status.success(), "the program under test does not build");
        target().join("debug/netloom")
    })
}
