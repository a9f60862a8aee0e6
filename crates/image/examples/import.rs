//! Imports an image and says how long it took: `import <store> <source> [<reference>]`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use netloom_image::{Error, ImportOptions, Reference, Store};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (root, source, reference) = match arguments.as_slice() {
        [root, source] => (root, source, None),
        [root, source, reference] => (root, source, Some(reference.as_str())),
        _ => {
            eprintln!("usage: import <store> <source> [<reference>]");
            return ExitCode::from(2);
        }
    };
    match import(root, source, reference) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.hint().inspect(|hint| eprintln!("hint: {hint}"));
            ExitCode::FAILURE
        }
    }
}

fn import(root: &str, source: &str, reference: Option<&str>) -> Result<(), Error> {
    let reference = reference.map(Reference::parse).transpose()?;
    let no_sync = std::env::var_os("NO_SYNC").is_some();
    let options = ImportOptions { reference, no_sync, ..ImportOptions::default() };
    let start = Instant::now();
    let imported = Store::open(root)?.import(Path::new(source), &options)?;
    let spent = start.elapsed();
    for image in &imported.images {
        let name = image.reference.as_ref().map(Reference::short).unwrap_or_default();
        println!(
            "{name}: {:?}, {} layers, {} bytes",
            imported.kind,
            image.layers.len(),
            image.size
        );
    }
    println!("{} members in {spent:?}", imported.tally.members);
    Ok(())
}
