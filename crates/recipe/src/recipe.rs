//! The recipe file, and the recipes below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use netloom_image::Reference;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Name of the file.
pub const FILE: &str = "recipe.yml";
/// The longest way down to a base.
const DEEPEST: usize = 16;

/// A recipe as it is written. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Name of the image; `localhost/DIRECTORY` without.
    pub reference: Option<String>,
    /// Further names.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The recipe below: a directory beside this one, or a path.
    pub from: Option<String>,
    /// Debian's release.
    #[serde(default = "bookworm")]
    pub suite: String,
    /// How much of Debian there is besides the packages.
    #[serde(default)]
    pub variant: Variant,
    /// Debian packages; their dependencies come too, what they recommend does not.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Lines of shell, run in the new root file system when its packages are there.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Paths that are left out, with all below.
    #[serde(default)]
    pub strip: Vec<String>,
    /// Paths that stay though they usually go (documentation, systemd, apt's and dpkg's state, ...).
    #[serde(default)]
    pub keep: Vec<String>,
    /// Symbolic links: path and target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// The image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The image's command.
    pub cmd: Option<Vec<String>>,
    /// The image's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The image's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Directory its program starts in.
    pub workdir: Option<String>,
    /// User its program runs as.
    pub user: Option<String>,
    /// Signal that asks it to end.
    pub stop_signal: Option<String>,
    /// Where it was read.
    #[serde(skip)]
    pub directory: PathBuf,
}

fn bookworm() -> String {
    "bookworm".into()
}

/// Variants of mmdebstrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The packages alone, unpacked; none of their scripts is run.
    Extract,
    /// The packages alone, installed.
    Custom,
    /// With all essential packages.
    #[default]
    Essential,
    /// With apt too.
    Apt,
    /// With all packages that are required.
    Minbase,
}

impl Variant {
    /// As mmdebstrap calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Variant::Extract => "extract",
            Variant::Custom => "custom",
            Variant::Essential => "essential",
            Variant::Apt => "apt",
            Variant::Minbase => "minbase",
        }
    }
}

impl Recipe {
    /// Reads a recipe: its directory, or the file itself.
    ///
    /// # Errors
    /// There is none, or it cannot be understood; with line and column.
    pub fn read(path: &Path) -> Result<Recipe, Error> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        if !file.is_file() {
            return Err(Error::none(path));
        }
        let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        let wrong = |why: String| Error::Recipe { file: file.clone(), why };
        let mut recipe: Recipe = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let directory = file.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        recipe.directory = fs::canonicalize(directory).map_err(Error::io("find", directory))?;
        match (&recipe.from, recipe.packages.is_empty()) {
            (Some(_), false) => {
                return Err(wrong(
                    "`from` and `packages` exclude each other: packages are installed \
                     into an empty root file system"
                        .into(),
                ));
            }
            (None, true) => {
                return Err(wrong("it needs `packages`, or `from` with the recipe below".into()));
            }
            (Some(_), true) if !recipe.commands.is_empty() => {
                return Err(wrong(
                    "`commands` run while packages are installed: there are none".into(),
                ));
            }
            _ => {}
        }
        // What mmdebstrap reads as one word.
        let word = |w: &&String| {
            w.is_empty()
                || w.starts_with('-')
                || w.contains(|c: char| c.is_whitespace() || c == ',')
        };
        if let Some(bad) = recipe.packages.iter().chain([&recipe.suite]).find(word) {
            return Err(wrong(format!("`{bad}` is no name of a package or release")));
        }
        let paths = recipe.strip.iter().chain(&recipe.keep).chain(recipe.links.keys());
        for path in paths {
            if inner(path).is_none() {
                return Err(wrong(format!("`{path}` is no path in an image")));
            }
        }
        recipe.name().map_err(|e| wrong(e.to_string()))?;
        Ok(recipe)
    }

    /// For messages: the directory's name.
    #[must_use]
    pub fn title(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The image's name.
    pub(crate) fn name(&self) -> Result<Reference, Error> {
        match &self.reference {
            Some(name) => self.parse(name),
            None => self.parse(&format!("localhost/{}", self.title().to_lowercase())),
        }
    }

    pub(crate) fn parse(&self, name: &str) -> Result<Reference, Error> {
        let why = |e: netloom_image::ReferenceError| format!("{e}; {}", e.hint());
        Reference::parse(name)
            .map_err(|e| Error::Recipe { file: self.directory.join(FILE), why: why(e) })
    }
}

/// A path inside an image, without its first `/`; none if it leads out of it.
pub(crate) fn inner(path: &str) -> Option<PathBuf> {
    let path = Path::new(path.trim_matches('/'));
    let fine = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
    (fine && !path.as_os_str().is_empty()).then(|| path.to_owned())
}

/// A recipe and all below it, the lowest first.
pub(crate) fn chain(path: &Path) -> Result<Vec<Recipe>, Error> {
    let mut out = vec![Recipe::read(path)?];
    while let Some((from, top)) = out.last().and_then(|r| Some((r.from.clone()?, r))) {
        let file = top.directory.join(FILE);
        let beside = match from.contains('/') {
            true => top.directory.join(&from),
            false => top.directory.join("..").join(&from),
        };
        let below = Recipe::read(&beside)
            .map_err(|e| Error::Recipe { file: file.clone(), why: format!("`from`: {e}") })?;
        if out.len() >= DEEPEST || out.iter().any(|r| r.directory == below.directory) {
            let why = format!("`from: {from}` goes round in a circle");
            return Err(Error::Recipe { file, why });
        }
        out.push(below);
    }
    out.reverse();
    Ok(out)
}
