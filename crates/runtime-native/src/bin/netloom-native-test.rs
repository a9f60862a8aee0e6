//! The holder's and supervisor's program for this crate's own tests and benchmark; the product has
//! the same two hidden subcommands.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__holder", directory] => netloom_runtime_native::holder::main(Path::new(directory)),
        ["__supervisor", directory] => {
            netloom_runtime_native::supervisor::main(Path::new(directory))
        }
        _ => {
            eprintln!("usage: netloom-native-test __holder|__supervisor DIR");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
