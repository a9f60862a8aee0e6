//! No text makes the resolver panic: the golden cases (and, with `NETLOOM_CORPUS`, a folder of
//! topology files), cut, doubled and scrambled. `NETLOOM_MUTATIONS` sets how many.

use netloom_diag::SourceFile;
use netloom_kinds::Catalogue;
use netloom_topology::{Inputs, NoFiles, Overrides, Settings, resolve};
use std::path::{Path, PathBuf};

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn texts(folder: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            texts(&path, out);
        } else if path.to_string_lossy().contains(".y") {
            out.extend(std::fs::read_to_string(&path));
        }
    }
}

fn mutate(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let n = chars.len();
        let at = random.below(n + 1);
        let span = at..(at + random.below(20)).min(n);
        const ODD: [char; 20] = [
            '{', '}', '[', ']', ':', ' ', '\n', '-', '"', '\'', '$', '&', '*', '|', '>', '#', '\t',
            '\u{0}', 'é', '~',
        ];
        match random.below(6) {
            0 => drop(chars.drain(span)),
            1 => chars.insert(at, ODD[random.below(ODD.len())]),
            2 => {
                let piece: Vec<char> = chars[span].to_vec();
                chars.splice(at..at, piece);
            }
            3 => chars.truncate(at),
            4 if at < n => chars[at] = ODD[random.below(ODD.len())],
            _ => {
                let words =
                    ["${", "{{", "}}", "<<: *a", "\n  ", "999999999999999999999", "!!binary"];
                chars.splice(at..at, words[random.below(words.len())].chars());
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutated_files_do_not_panic() {
    let mut seeds = Vec::new();
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases"), &mut seeds);
    if let Some(corpus) = std::env::var_os("NETLOOM_CORPUS") {
        let before = seeds.len();
        texts(Path::new(&corpus), &mut seeds);
        assert!(seeds.len() > before, "NETLOOM_CORPUS has no topology files");
    }
    assert!(seeds.len() > 10, "the golden cases are missing");
    let count: usize =
        std::env::var("NETLOOM_MUTATIONS").map_or(1_000, |v| v.parse().expect("a number"));
    let catalogue = Catalogue::builtin();
    let files = NoFiles;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..count {
        let text = mutate(&seeds[random.below(seeds.len())], &mut random);
        let inputs = Inputs {
            topology: SourceFile::new("m.clab.yml", text),
            path: PathBuf::from("/m/m.clab.yml"),
            vars: Vec::new(),
            templates: Vec::new(),
            env: Default::default(),
            git: None,
            overrides: Overrides::default(),
            settings: Settings::default(),
            files: &files,
        };
        let done = resolve(&inputs, &catalogue);
        // What was found can be shown, whatever it is.
        let shown = netloom_diag::render(&done.sources, &done.found, false);
        assert!(done.lab.is_some() || !shown.is_empty(), "refused without a word");
    }
}
