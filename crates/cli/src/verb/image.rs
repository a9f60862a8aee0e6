//! `netloom image`.

use crate::say::{say, show};
use crate::{context, output};
use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use netloom_image::{ConfigOverrides, Image, ImportOptions, Reference, Store};
use netloom_registry::{Progress, Settings, pull, push};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// What is done with images.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Bring in an OCI layout, a docker archive, or a root file system (tar or directory).
    Import(Import),
    /// List images.
    #[command(visible_alias = "ls")]
    List {
        /// Form of the output.
        #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Build images from recipes: Debian packages, files, links.
    Build(Build),
    /// Fetch images from their registries.
    Pull(Pull),
    /// Send images to their registries.
    Push(Pull),
    /// Give an image another name.
    Tag {
        /// Its name.
        reference: String,
        /// The other name.
        name: String,
    },
    /// Show what an image says of itself, as JSON.
    Inspect {
        /// Names of images.
        #[arg(required = true)]
        references: Vec<String>,
    },
    /// Bring in images as `docker save` writes them.
    Load {
        /// The file; standard input without it.
        #[arg(short, long, default_value = "-")]
        input: PathBuf,
    },
    /// Write an image as `docker save` does.
    Save {
        /// Its name.
        reference: String,
        /// The file; standard output without it.
        #[arg(short, long, default_value = "-")]
        output: PathBuf,
    },
    /// Remove images that have no name any more and that no node uses.
    Prune,
    /// Remove an image.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name.
        reference: String,
    },
}

/// Flags of `image pull` and `image push`.
#[derive(clap::Args, Debug)]
pub struct Pull {
    /// Names of images.
    #[arg(required = true)]
    references: Vec<String>,
    /// Speak to their registries without TLS (loopback: always).
    #[arg(long)]
    plain_http: bool,
}

/// Flags of `image build`.
#[derive(clap::Args, Debug)]
pub struct Build {
    /// Directories with a `recipe.yml` (`docs/images.md`).
    #[arg(required = true)]
    recipes: Vec<PathBuf>,
    /// Debian's archive, or a snapshot of it.
    #[arg(long, env = "NETLOOM_DEBIAN_MIRROR", value_name = "URL",
          default_value = netloom_recipe::MIRROR)]
    mirror: String,
    /// Build what is here already, too.
    #[arg(long)]
    no_cache: bool,
    /// Time of all files, in seconds since the epoch.
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS",
          default_value_t = netloom_recipe::EPOCH, hide = true)]
    epoch: u32,
}

/// Flags of `image import`.
#[derive(clap::Args, Debug)]
pub struct Import {
    /// The file or directory; `-` is standard input.
    source: PathBuf,
    /// Name of the image.
    #[arg(long, value_name = "NAME")]
    r#ref: Option<String>,
    /// Environment, `NAME=value` (repeatable).
    #[arg(long)]
    env: Vec<String>,
    /// Entry point, one flag an argument.
    #[arg(long, allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// Command, one flag an argument.
    #[arg(long, allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// User.
    #[arg(long)]
    user: Option<String>,
    /// Working directory.
    #[arg(long)]
    workdir: Option<String>,
    /// Label, `name=value` (repeatable).
    #[arg(long)]
    label: Vec<String>,
    /// Signal that asks it to end.
    #[arg(long)]
    stop_signal: Option<String>,
}

fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|e| anyhow!("{e}; {}", e.hint()))
}

/// Adds the hint of an error.
fn hinted(e: netloom_image::Error) -> anyhow::Error {
    match e.hint() {
        Some(hint) => anyhow!("{e}; {hint}"),
        None => e.into(),
    }
}

/// Works on images.
pub fn run(verb: Verb, plain: bool) -> Result<u8> {
    let engine = context::engine()?;
    let store = Store::open(engine.directories.images()).map_err(hinted)?;
    match verb {
        Verb::Import(a) => import(&store, a)?,
        Verb::Build(a) => build(&store, a)?,
        Verb::Pull(a) => fetch(&store, &a, plain)?,
        Verb::Push(a) => send(&store, &a, plain)?,
        Verb::Tag { reference: name, name: other } => {
            let image = store.tag(&reference(&name)?, &reference(&other)?).map_err(hinted)?;
            say!("{}", shown(&image));
        }
        Verb::Inspect { references } => {
            let images: Vec<Image> =
                references.iter().map(|name| known(&store, name)).collect::<Result<_>>()?;
            output::json(&images)?;
        }
        Verb::Load { input } => {
            let done = store.import(&input, &ImportOptions::default()).map_err(hinted)?;
            done.images.iter().for_each(|image| show!("{}", shown(image)));
        }
        Verb::Save { reference: name, output } => {
            let image = known(&store, &name)?;
            let name = reference(&name)?;
            if output == std::path::Path::new("-") {
                if std::io::stdout().is_terminal() {
                    return Err(anyhow!("an archive is no text: name a file with --output"));
                }
                store.save(&image, &name, &mut std::io::stdout().lock()).map_err(hinted)?;
            } else {
                let mut file = std::io::BufWriter::new(
                    std::fs::File::create(&output)
                        .with_context(|| format!("make {}", output.display()))?,
                );
                store.save(&image, &name, &mut file).map_err(hinted)?;
                file.flush().with_context(|| format!("write {}", output.display()))?;
                say!("{}: {}", name.short(), output.display());
            }
        }
        Verb::List { format } => list(&store, &format)?,
        Verb::Prune => {
            let removed = store.prune(|layer| engine.image_users(layer)).map_err(hinted)?;
            let downloads = store.prune_downloads().map_err(hinted)?;
            say!("removed {} layers, {} MB", removed.layers, (removed.bytes + downloads) >> 20);
        }
        Verb::Remove { reference: name } => {
            let name = reference(&name)?;
            let removed = store.remove(&name, |layer| engine.image_users(layer)).map_err(hinted)?;
            say!("removed {}: {} layers, {} MB", name.short(), removed.layers, removed.bytes >> 20);
        }
    }
    Ok(0)
}

fn fetch(store: &Store, a: &Pull, plain: bool) -> Result<()> {
    let mut settings = Settings::of(&context::environment())?;
    for name in &a.references {
        let wanted = reference(name)?;
        if a.plain_http {
            settings.plain_http.push(wanted.registry().to_owned());
        }
        let bar = Bytes::new(&wanted.short(), plain);
        let image = pull(store, &wanted, &settings, &bar).map_err(|e| match e.hint() {
            Some(hint) => anyhow!("{e}; {hint}"),
            None => e.into(),
        });
        bar.end();
        show!("{}", shown(&image?));
    }
    Ok(())
}

fn build(store: &Store, a: Build) -> Result<()> {
    let options = netloom_recipe::Options { mirror: a.mirror, epoch: a.epoch, anew: a.no_cache };
    let say = |line: &str| say!("{line}");
    let mut builder = netloom_recipe::Builder::new(store, options, &say);
    for path in &a.recipes {
        let image = builder.build(path).map_err(|e| match e.hint() {
            Some(hint) => anyhow!("{e}; {hint}"),
            None => e.into(),
        })?;
        show!("{}", shown(&image));
    }
    Ok(())
}

fn send(store: &Store, a: &Pull, plain: bool) -> Result<()> {
    let mut settings = Settings::of(&context::environment())?;
    for name in &a.references {
        let image = known(store, name)?;
        let name = reference(name)?;
        if a.plain_http {
            settings.plain_http.push(name.registry().to_owned());
        }
        let bar = Bytes::new(&name.short(), plain);
        let address = push(store, &image, &name, &settings, &bar).map_err(|e| match e.hint() {
            Some(hint) => anyhow!("{e}; {hint}"),
            None => e.into(),
        });
        bar.end();
        show!("{}\t{}", name.short(), address?);
    }
    Ok(())
}

/// Bytes of a pull as a bar, on a terminal.
struct Bytes(Option<ProgressBar>);

impl Bytes {
    fn new(name: &str, plain: bool) -> Bytes {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        if plain || !terminal {
            return Bytes(None);
        }
        let form = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
        let style =
            ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
        Bytes(Some(ProgressBar::new(0).with_style(style).with_message(name.to_owned())))
    }

    fn end(&self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}

impl Progress for Bytes {
    fn begin(&self, _: usize, bytes: u64) {
        self.0.iter().for_each(|bar| bar.set_length(bytes));
    }

    fn bytes(&self, count: u64) {
        self.0.iter().for_each(|bar| bar.inc(count));
    }

    fn unpacking(&self) {
        self.0.iter().for_each(|bar| bar.set_message("unpacking"));
    }
}

/// An image that must be here.
fn known(store: &Store, name: &str) -> Result<Image> {
    let wanted = reference(name)?;
    let found = store.resolve(&wanted).map_err(hinted)?;
    found.ok_or_else(|| anyhow!("there is no image `{name}` here; `netloom image list` shows them"))
}

/// An image in a line.
fn shown(image: &Image) -> String {
    let name = image.reference.as_ref().map_or("(no name)".into(), Reference::short);
    format!("{name}: {} MB in {} layers", image.size >> 20, image.layers.len())
}

fn import(store: &Store, a: Import) -> Result<()> {
    let pairs = |list: Vec<String>| {
        list.into_iter()
            .map(|l| {
                let (k, v) = l.split_once('=').unwrap_or((&l, ""));
                (k.to_string(), v.to_string())
            })
            .collect()
    };
    let options = ImportOptions {
        reference: a.r#ref.as_deref().map(reference).transpose()?,
        overrides: ConfigOverrides {
            env: a.env,
            entrypoint: (!a.entrypoint.is_empty()).then_some(a.entrypoint),
            cmd: (!a.cmd.is_empty()).then_some(a.cmd),
            user: a.user,
            working_dir: a.workdir,
            labels: pairs(a.label),
            stop_signal: a.stop_signal,
        },
        ..ImportOptions::default()
    };
    let done = store.import(&a.source, &options).map_err(hinted)?;
    done.images.iter().for_each(|image| show!("{}", shown(image)));
    Ok(())
}

fn list(store: &Store, format: &str) -> Result<()> {
    let images = store.list().map_err(hinted)?;
    if format == "json" {
        return output::json(&images);
    }
    for image in images {
        let name = image.reference.as_ref().map_or("(no name)".into(), Reference::short);
        let id = image.id.as_ref().map_or(String::new(), |d| d.hex().chars().take(12).collect());
        show!("{name}\t{id}\t{} MB\t{}", image.size >> 20, image.source);
    }
    Ok(())
}
