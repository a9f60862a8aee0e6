//! `netloom __supervisor DIR`: what watches over a running lab; started by its holder.

use crate::context;
use anyhow::Result;
use netloom_engine::plumber;
use std::path::Path;

/// Runs until it is ended.
pub fn run(directory: &Path) -> Result<u8> {
    // The directory is the runtime's, below the lab's.
    let lab =
        directory.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    if let (Ok(engine), Some(lab)) = (context::engine(), lab) {
        std::thread::spawn(move || plumber::watch(&engine, &lab));
    }
    netloom_runtime_native::supervisor::main(directory)?;
    Ok(0)
}
