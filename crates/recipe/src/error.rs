//! Why an image could not be built, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// An image that could not be built.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum Error {
    #[error("{} is no recipe: there is no `recipe.yml`", path.display())]
    NoRecipe { path: PathBuf },
    #[error("{}: {why}", file.display())]
    Recipe { file: PathBuf, why: String },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{program} is not installed")]
    Missing { program: &'static str },
    #[error("mmdebstrap did not make a root file system: {why}")]
    Debian { why: String },
    #[error(transparent)]
    Image(#[from] netloom_image::Error),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoRecipe { .. } => Some(
                "name a directory that has one; `docs/images.md` says what stands in it".into(),
            ),
            Error::Missing { program } => Some(format!(
                "install the package `{}`",
                if *program == "setpriv" { "util-linux" } else { program }
            )),
            Error::Debian { why } if why.contains("Unable to locate package") => {
                Some("check the names in `packages`, and `suite`".into())
            }
            Error::Debian { .. } => {
                Some("does this machine reach Debian's archive? `--mirror` names another".into())
            }
            Error::Image(error) => error.hint().map(|hint| hint.to_string()),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    pub(crate) fn none(path: &Path) -> Error {
        Error::NoRecipe { path: path.to_owned() }
    }
}
