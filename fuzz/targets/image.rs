//! An image archive, or a root file system.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netloom_image::{ImportOptions, Reference, Store};
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let Ok(folder) = tempfile::tempdir() else { return };
    let Ok(store) = Store::open(folder.path().join("store")) else { return };
    let options =
        ImportOptions { reference: Reference::parse("fuzz:1").ok(), ..ImportOptions::default() };
    let imported = store.import_reader(Cursor::new(bytes.to_vec()), "input", &options);
    // Nothing may have been made beside the store.
    let beside = std::fs::read_dir(folder.path()).map(|d| d.count()).unwrap_or(1);
    assert_eq!(beside, 1, "something stands beside the store: {imported:?}");
});
