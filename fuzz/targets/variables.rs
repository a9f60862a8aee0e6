//! A file with template variables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netloom_diag::{Diagnostics, SourceFile, SourceId};

fuzz_target!(|text: &str| {
    let file = SourceFile::new("lab_vars.yml", text);
    let mut found = Diagnostics::default();
    let node = netloom_yaml::load(&file, SourceId(0), &mut found);
    assert!(node.is_some() || found.has_errors(), "refused without a word");
});
