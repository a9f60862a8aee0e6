//! A kind file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netloom_kinds::Catalogue;

fuzz_target!(|text: &str| {
    if let Ok(kind) = Catalogue::parse("kind.yml", text) {
        assert!(!kind.names.is_empty(), "a kind without a name");
    }
});
