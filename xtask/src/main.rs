//! Chores of the repository: `cargo xtask compat|robot|tidy`.

mod compat;
mod robot;
mod tidy;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if program.ends_with("/docker") || program == "docker" {
        return compat::errors::docker::run(&words);
    }
    match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["compat", "resolve", oracle, corpus, rest @ ..] => {
            compat::resolve::run(oracle.as_ref(), corpus.as_ref(), rest)
        }
        ["compat", "docker", dir, rest @ ..] => compat::docker::run(dir.as_ref(), rest),
        ["compat", "errors", dir, rest @ ..] => compat::errors::run(dir.as_ref(), rest),
        ["robot", checkout, rest @ ..] => robot::run(checkout.as_ref(), rest),
        // The two processes that `compat errors` starts for each case.
        ["compat", "errors-inside", job] => compat::errors::inside::first(job.as_ref()),
        ["compat", "errors-case", job] => compat::errors::inside::case(job.as_ref()),
        _ => bail!(
            "usage: cargo xtask tidy\n       cargo xtask compat resolve ORACLE CORPUS [--list] [--rules FILE]\n       \
             cargo xtask compat docker DIR [--list] [--only TEXT] [--every N]\n       \
             cargo xtask robot CONTAINERLAB [--only TEXT] [--log] [--keep-logs DIR]\n       \
             cargo xtask compat errors DIR [--netloom PATH] [--list FILE] [--only CASE] [--show] \
             [--golden [--bless] | --write-golden DIR]"
        ),
    }
}
