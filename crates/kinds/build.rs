//! Lists the built-in kind files, so that adding a kind is adding a folder.

use std::{env, fs, path::Path};

fn main() {
    let root =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../../kinds");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut folders: Vec<_> = fs::read_dir(&root)
        .expect("the kinds folder is part of the repository")
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.join("kind.yml").is_file())
        .collect();
    folders.sort();
    let mut code = String::from("&[\n");
    for folder in folders {
        println!("cargo:rerun-if-changed={}", folder.display());
        let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let mut templates = String::new();
        let mut files: Vec<_> = fs::read_dir(&folder)
            .expect("readable")
            .filter_map(|e| e.ok().map(|e| e.path()))
            .collect();
        files.sort();
        for file in files {
            println!("cargo:rerun-if-changed={}", file.display());
            let base = file.file_name().expect("named").to_string_lossy().into_owned();
            if base != "kind.yml" && file.is_file() {
                templates.push_str(&format!("({base:?}, include_str!({file:?})), "));
            }
        }
        let yml = folder.join("kind.yml");
        code.push_str(&format!(
            "    BuiltIn {{ folder: {name:?}, text: include_str!({yml:?}), templates: &[{templates}] }},\n"
        ));
    }
    code.push_str("]\n");
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("builtin.rs");
    fs::write(out, code).expect("the build folder is writable");
}
