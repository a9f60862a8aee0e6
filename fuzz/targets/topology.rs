//! A topology file: templates, environment, YAML, resolving, checks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netloom_diag::SourceFile;
use netloom_kinds::Catalogue;
use netloom_topology::{Inputs, NoFiles, Overrides, Settings, resolve};
use std::sync::OnceLock;

fuzz_target!(|text: &str| {
    static KINDS: OnceLock<Catalogue> = OnceLock::new();
    let inputs = Inputs {
        topology: SourceFile::new("lab.clab.yml", text),
        path: "/lab/lab.clab.yml".into(),
        vars: Vec::new(),
        templates: Vec::new(),
        git: None,
        env: [("HOME".to_string(), "/root".to_string())].into(),
        overrides: Overrides::default(),
        settings: Settings::default(),
        files: &NoFiles,
    };
    let done = resolve(&inputs, KINDS.get_or_init(Catalogue::builtin));
    assert!(done.lab.is_some() || done.found.has_errors(), "refused without a word");
});
