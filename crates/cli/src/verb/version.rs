//! `netloom version`.

use crate::say::show;
use anyhow::Result;
use serde_json::json;

/// Flags of `version`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only the number.
    #[arg(short, long)]
    short: bool,
    /// As JSON.
    #[arg(short, long)]
    json: bool,
}

/// Prints the version.
pub fn run(a: Arguments) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    match (a.json, a.short) {
        (true, _) => crate::output::json(&json!({
            "version": version,
            "commit": option_env!("NETLOOM_COMMIT").unwrap_or("unknown"),
            "date": option_env!("NETLOOM_DATE").unwrap_or("unknown"),
            "repository": env!("CARGO_PKG_REPOSITORY"),
            "releaseNotes": format!("{}/blob/main/CHANGELOG.md", env!("CARGO_PKG_REPOSITORY")),
        }))?,
        (_, true) => show!("{version}"),
        _ => {
            show!("netloom {version}");
            show!("    version: {version}");
            show!("     commit: {}", option_env!("NETLOOM_COMMIT").unwrap_or("unknown"));
            show!("       date: {}", option_env!("NETLOOM_DATE").unwrap_or("unknown"));
            show!("     source: {}", env!("CARGO_PKG_REPOSITORY"));
        }
    }
    Ok(0)
}
