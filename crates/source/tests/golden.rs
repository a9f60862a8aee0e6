//! Golden folders: `cases/resolve/<name>/lab.clab.yml` and what it comes to, in
//! `resolved.json` and `findings.txt`. `NETLOOM_BLESS=1 cargo test -p netloom-source` writes them.

use netloom_diag::render;
use netloom_kinds::Catalogue;
use netloom_source::{Disk, Request, gather};
use netloom_topology::resolve;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/resolve").canonicalize().unwrap()
}

/// What a case comes to, with this checkout's place taken out.
fn outcome(case: &Path) -> (String, String) {
    let env = BTreeMap::from([("HOME".to_string(), "/home/user".to_string())]);
    let path = case.join("lab.clab.yml");
    let disk = Disk;
    let inputs = gather(Request { path, env, ..Request::default() }, &disk).unwrap();
    let done = resolve(&inputs, &Catalogue::builtin());
    let here = case.to_string_lossy().into_owned();
    let lab = match done.lab {
        Some(mut lab) => {
            lab.locate_origins(&done.sources);
            serde_json::to_string_pretty(&lab).unwrap() + "\n"
        }
        None => String::new(),
    };
    let findings = render(&done.sources, &done.found, false);
    (lab.replace(&here, "$DIR"), findings.replace(&here, "$DIR"))
}

#[test]
fn cases_come_to_what_they_did() {
    let bless = std::env::var_os("NETLOOM_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let case = entry.unwrap().path();
        let (lab, findings) = outcome(&case);
        count += 1;
        for (name, text) in [("resolved.json", lab), ("findings.txt", findings)] {
            let file = case.join(name);
            if bless {
                if text.is_empty() {
                    let _ = std::fs::remove_file(&file);
                } else {
                    std::fs::write(&file, &text).unwrap();
                }
                continue;
            }
            let expected = std::fs::read_to_string(&file).unwrap_or_default();
            if expected != text {
                wrong.push(format!(
                    "{}:\n--- expected\n{expected}\n--- got\n{text}",
                    file.display()
                ));
            }
        }
    }
    assert!(count >= 14, "only {count} cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
