//! Builds images from recipes: a directory with a `recipe.yml` and files to put on top.
//!
//! ```text
//! recipe ─► its base, from another recipe, or nothing                     (recipe.rs)
//! nothing below ─► mmdebstrap ─► one tar, cleaned of what changes         (debian.rs, tree.rs)
//! a base below ──► files, links and whiteouts: a layer of its own         (tree.rs)
//! layer + configuration ─► OCI layout ─► the store's own import           (layout.rs)
//! ```
//!
//! Order, times and owners are fixed, and what Debian writes anew at every installation is left out:
//! the same recipe on the same state of Debian's archive gives the same digest.

mod debian;
mod error;
mod fingerprint;
mod layout;
mod recipe;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use netloom_image::{Image, Reference, Reserved, Store};

pub use error::Error;
pub use recipe::{FILE, Recipe};

use tree::Tree;

/// Label of an image with the fingerprint of what it was built from.
pub const LABEL: &str = "netloom.recipe";
/// Where packages come from without another word.
pub const MIRROR: &str = "http://deb.debian.org/debian";
/// The time that everything in an image has, in seconds since the epoch, without another word.
pub const EPOCH: u32 = 1_700_000_000;

/// How to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// Debian's archive, or a snapshot of it.
    pub mirror: String,
    /// The time that everything in an image has, in seconds since the epoch.
    pub epoch: u32,
    /// Build what is here already, too.
    pub anew: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { mirror: MIRROR.into(), epoch: EPOCH, anew: false }
    }
}

/// Builds, and remembers what it built already.
pub struct Builder<'a> {
    store: &'a Store,
    options: Options,
    /// Hears what is done, a line each.
    say: &'a dyn Fn(&str),
    done: BTreeSet<String>,
}

/// An image of a recipe, and the fingerprint of its inputs.
struct Made {
    image: Image,
    mark: String,
}

impl<'a> Builder<'a> {
    /// Builds into a store.
    pub fn new(store: &'a Store, options: Options, say: &'a dyn Fn(&str)) -> Self {
        Builder { store, options, say, done: BTreeSet::new() }
    }

    /// Builds the image of a recipe, and those below it, unless they are here. Images without a
    /// name of their own are called `localhost/DIRECTORY`.
    ///
    /// # Errors
    /// The store is as it was, but for bases that were built.
    pub fn build(&mut self, path: &Path) -> Result<Image, Error> {
        let mut below: Option<Made> = None;
        for recipe in recipe::chain(path)? {
            let mark = fingerprint::of(&recipe, below.as_ref().map(|b| &*b.mark), &self.options)?;
            let name = recipe.name()?;
            let image = match self.known(&name, &mark)? {
                Some(image) => image,
                None => self.make(&recipe, &name, &mark, below.as_ref())?,
            };
            for tag in &recipe.tags {
                self.store.tag(&name, &recipe.parse(tag)?)?;
            }
            self.done.insert(mark.clone());
            below = Some(Made { image, mark });
        }
        below.map(|made| made.image).ok_or_else(|| Error::none(path))
    }

    fn known(&self, name: &Reference, mark: &String) -> Result<Option<Image>, Error> {
        let image = self.store.resolve(name)?;
        let usable = !self.options.anew || self.done.contains(mark);
        Ok(image.filter(|image| usable && image.config.labels.get(LABEL) == Some(mark)))
    }

    fn make(
        &self,
        recipe: &Recipe,
        name: &Reference,
        mark: &String,
        below: Option<&Made>,
    ) -> Result<Image, Error> {
        let work = self.reserve(mark)?;
        // Whoever had the folder may have built just this.
        if let Some(image) = self.known(name, mark)? {
            work.forget();
            return Ok(image);
        }
        let result = self.make_in(work.folder(), recipe, name, mark, below);
        work.forget();
        result
    }

    fn make_in(
        &self,
        folder: &Path,
        recipe: &Recipe,
        name: &Reference,
        mark: &str,
        below: Option<&Made>,
    ) -> Result<Image, Error> {
        let mut tree = match below {
            Some(base) => Tree::above(&base.image),
            None => {
                let count = recipe.packages.len();
                (self.say)(&format!("{}: {count} packages and what they need", recipe.title()));
                let tar = debian::bootstrap(recipe, &self.options, folder)?;
                Tree::debian(&tar, recipe)?
            }
        };
        tree.apply(recipe)?;
        (self.say)(&format!("{}: putting it together", recipe.title()));
        let parts = layout::Parts { recipe, name, mark, below: below.map(|b| &b.image) };
        layout::import(self.store, &parts, &tree, &self.options, folder)
    }

    /// The folder for this work, once nobody else has it; empty.
    fn reserve(&self, mark: &str) -> Result<Reserved, Error> {
        let name = format!("recipe-{}", &mark[..16]);
        let mut said = false;
        loop {
            if let Some(work) = self.store.reserve(&name)? {
                let folder = work.folder();
                // A build that was killed left it.
                std::fs::remove_dir_all(folder).map_err(Error::io("empty", folder))?;
                std::fs::create_dir(folder).map_err(Error::io("make", folder))?;
                return Ok(work);
            }
            if !std::mem::replace(&mut said, true) {
                (self.say)("waiting for another build of the same");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
