//! `netloom kind`.

use crate::say::{show, show_text};
use anyhow::{Context, Result};
use netloom_kinds::Catalogue;
use std::path::PathBuf;

/// What is done with kinds.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// List all kinds.
    List,
    /// Show a kind's data.
    Show {
        /// Its name.
        name: String,
    },
    /// Check a kind file.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Works on kinds.
pub fn run(verb: Verb) -> Result<u8> {
    match verb {
        Verb::List => {
            for kind in Catalogue::builtin().kinds() {
                let class = format!("{:?}", kind.class).to_lowercase();
                show!("{:<28} {class:<10} {}", kind.names.join(", "), kind.description);
            }
        }
        Verb::Show { name } => {
            let catalogue = Catalogue::builtin();
            let kind = catalogue.get(&name).with_context(|| {
                format!(
                    "there is no kind `{name}`; near names: {}",
                    catalogue.near(&name).join(", ")
                )
            })?;
            show_text(&serde_saphyr::to_string(&**kind)?);
        }
        Verb::Check { file } => {
            let text =
                std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let kind = Catalogue::parse(&file.display().to_string(), &text)?;
            show!("{} is a valid kind file of {}", file.display(), kind.names.join(", "));
        }
    }
    Ok(0)
}
