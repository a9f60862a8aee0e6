//! Images that are not here, brought from their registries before anything is made.

use crate::deploy::DeployOptions;
use crate::record::LabRecord;
use crate::report::{Event, Reporter};
use crate::runtimes::Reached;
use crate::{Engine, EngineError, Ledger};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_image::{ImportOptions, Reference, Store};
use netloom_kinds::Class;
use netloom_plan::Runs;
use netloom_registry::{Progress, PullError, Settings, login, pull};
use netloom_runtime_docker::{Daemon, Login};
use netloom_topology::{Lab, Node, PullPolicy};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// An image to bring, and the first node that wants it.
struct Wanted<'a> {
    reference: Reference,
    node: &'a Node,
    /// Who is to have it, unless it is our own store.
    daemon: Option<Arc<Daemon>>,
    /// Asked for from its registry whatever is here.
    always: bool,
}

impl Engine {
    /// Brings what is missing, and what is to be looked for every time. Nothing is fetched for a lab
    /// that could not be made all the same.
    pub(crate) fn fetch_images(
        &self,
        lab: &Lab,
        options: &DeployOptions,
        report: &dyn Reporter,
    ) -> Result<(), EngineError> {
        let store = Store::open(self.directories.images())?;
        let mut found = Diagnostics::default();
        let record = LabRecord::load(&self.directories, &lab.name)?;
        let reached = self.reach(lab, record.as_ref(), &mut found);
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        let wanted = wanted(lab, &store, &reached)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let look = DeployOptions { look: true, ..options.clone() };
        let runtimes = if options.remake.is_some() { None } else { self.existing(&lab.name)? };
        let ledger = Ledger::read(&self.directories)?;
        self.decide(lab, &look, runtimes.as_ref(), &ledger, &mut found)?;
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        let mut failed = Diagnostics::default();
        let settings = Settings::of(&options.environment).map_err(std::io::Error::other)?;
        report.event(Event::Phase("pulling images", wanted.len()));
        for Wanted { reference, node, daemon, always } in wanted {
            if (options.interrupted)() {
                return Err(EngineError::Interrupted);
            }
            let begun = Instant::now();
            if let Some(daemon) = daemon {
                match give(&store, &daemon, &reference, always, options.interrupted) {
                    Ok(how) => report.event(Event::Note(format!(
                        "{}: {how} {} in {:.1} s",
                        reference.short(),
                        daemon.program().title(),
                        begun.elapsed().as_secs_f64()
                    ))),
                    Err(_) if (options.interrupted)() => return Err(EngineError::Interrupted),
                    Err(e) => {
                        let what = format!("the image `{}` cannot be had: {e}", node.image);
                        let at = node.span_of("image");
                        failed.push(Diagnostic::error("missing-image", what).at(at));
                    }
                }
                report.event(Event::Step);
                continue;
            }
            let local = match always {
                true => Ok(None),
                false => self.take_from_daemons(&store, &reference, options),
            };
            match local {
                Ok(None) => {}
                Ok(Some(title)) => {
                    let what = format!("{}: taken from {title}", reference.short());
                    report.event(Event::Note(what));
                    report.event(Event::Step);
                    continue;
                }
                // The registry may have it.
                Err(e) => report.event(Event::Warning(e.to_string())),
            }
            match pull(&store, &reference, &settings, &Asking(options.interrupted)) {
                Ok(image) => report.event(Event::Note(format!(
                    "{}: {} MB in {} layers, {:.1} s",
                    reference.short(),
                    image.size >> 20,
                    image.layers.len(),
                    begun.elapsed().as_secs_f64()
                ))),
                Err(PullError::Stopped) => return Err(EngineError::Interrupted),
                Err(e) => {
                    let what = format!("the image `{}` cannot be had: {e}", node.image);
                    failed.push(
                        Diagnostic::error("missing-image", what)
                            .at(node.span_of("image"))
                            .maybe_hint(e.hint()),
                    );
                }
            }
            report.event(Event::Step);
        }
        report.event(Event::Done);
        if failed.has_errors() { Err(EngineError::Refused(failed)) } else { Ok(()) }
    }
}

/// Each image once, with the strictest policy of its nodes.
fn wanted<'a>(
    lab: &'a Lab,
    store: &Store,
    reached: &Reached,
) -> Result<Vec<Wanted<'a>>, EngineError> {
    let mut images: BTreeMap<(Runs, &str), (&Node, bool)> = BTreeMap::new();
    let run = |n: &&Node| n.kind_data.class != Class::Pseudo && !n.image.is_empty();
    let may = |n: &&Node| n.image != "host" && n.image_pull_policy != PullPolicy::Never;
    for node in lab.nodes.iter().filter(run).filter(may) {
        let always = node.image_pull_policy == PullPolicy::Always;
        let key = (netloom_plan::runs(node), node.image.as_str());
        images.entry(key).and_modify(|(_, a)| *a |= always).or_insert((node, always));
    }
    let mut out = Vec::new();
    for ((runs, name), (node, always)) in images {
        // A name that cannot be one is reported with its place later.
        let Ok(reference) = Reference::parse(name) else { continue };
        let daemon = reached.get(&runs).map(|(_, daemon)| daemon.clone());
        let here = match &daemon {
            _ if always => false,
            Some(daemon) => daemon.image(name)?.is_some(),
            None => store.resolve(&reference)?.is_some(),
        };
        if !here {
            out.push(Wanted { reference, node, daemon, always });
        }
    }
    Ok(out)
}

/// Gives a daemon an image: the one that is in our store, or what it pulls itself. Says how.
fn give(
    store: &Store,
    daemon: &Daemon,
    reference: &Reference,
    always: bool,
    interrupted: fn() -> bool,
) -> Result<&'static str, EngineError> {
    let Some(image) = store.resolve(reference)?.filter(|_| !always) else {
        have_pulled(daemon, reference, interrupted)?;
        return Ok("pulled by");
    };
    let (reader, mut writer) = std::io::pipe()?;
    let (store, reference) = (store.clone(), reference.clone());
    let saving = std::thread::spawn(move || store.save(&image, &reference, &mut writer));
    // What the daemon says matters more than that it took no more.
    daemon.load(reader)?;
    saving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok("given to")
}

/// Has a daemon pull an image.
fn have_pulled(
    daemon: &Daemon,
    reference: &Reference,
    interrupted: fn() -> bool,
) -> Result<(), EngineError> {
    let name = format!("{}/{}", reference.registry(), reference.repository());
    let digest = reference.digest().map(ToString::to_string);
    let tag = digest.as_deref().or(reference.tag()).unwrap_or("latest");
    let login = login(reference).map(|(user, password)| Login { user, password });
    Ok(daemon.pull(&name, tag, login, interrupted)?)
}

impl Engine {
    /// Takes an image from a daemon of this machine that has it already; says whose it was.
    fn take_from_daemons(
        &self,
        store: &Store,
        reference: &Reference,
        options: &DeployOptions,
    ) -> Result<Option<&'static str>, EngineError> {
        for runs in [Runs::Docker, Runs::Podman] {
            let Ok(socket) = self.daemons.socket(runs) else { continue };
            // One that does not run has nothing to give.
            if !socket.exists() || (options.interrupted)() {
                continue;
            }
            let Ok(daemon) = self.daemons.at(runs, &socket) else { continue };
            let name = reference.to_string();
            if daemon.image(&name)?.is_none() {
                continue;
            }
            let title = daemon.program().title();
            let (reader, mut writer) = std::io::pipe()?;
            let saving = std::thread::spawn(move || daemon.save(&name, &mut writer));
            let import = ImportOptions { reference: Some(reference.clone()), ..Default::default() };
            let imported = store.import_reader(reader, title, &import);
            let saved = saving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            imported?;
            saved?;
            return Ok(Some(title));
        }
        Ok(None)
    }
}

/// Asks now and then whether the user wants to stop.
struct Asking(fn() -> bool);

impl Progress for Asking {
    fn begin(&self, _: usize, _: u64) {}
    fn bytes(&self, _: u64) {}
    fn stop(&self) -> bool {
        (self.0)()
    }
}
