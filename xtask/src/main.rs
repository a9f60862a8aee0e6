//! Chores of the repository: `cargo xtask compat|tidy|docs`.

mod compat;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["compat", "resolve", oracle, corpus, rest @ ..] => {
            compat::resolve::run(oracle.as_ref(), corpus.as_ref(), rest)
        }
        _ => bail!("usage: cargo xtask compat resolve ORACLE CORPUS [--list] [--rules FILE]"),
    }
}
