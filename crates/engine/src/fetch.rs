//! Images that are not here, brought from their registries before anything is made.

use crate::deploy::DeployOptions;
use crate::report::{Event, Reporter};
use crate::{Engine, EngineError, Ledger};
use netloom_diag::{Diagnostic, Diagnostics};
use netloom_image::{Reference, Store};
use netloom_kinds::Class;
use netloom_registry::{Progress, PullError, Settings, pull};
use netloom_topology::{Lab, Node, PullPolicy};
use std::collections::BTreeMap;
use std::time::Instant;

/// An image to bring, and the first node that wants it.
struct Wanted<'a> {
    reference: Reference,
    node: &'a Node,
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
        let wanted = wanted(lab, &store)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut found = Diagnostics::default();
        let look = DeployOptions { look: true, ..options.clone() };
        let runtime = if options.remake.is_some() { None } else { self.runtime(&lab.name)? };
        let ledger = Ledger::read(&self.directories)?;
        self.decide(lab, &look, runtime.as_ref(), &ledger, &mut found)?;
        if found.has_errors() {
            return Err(EngineError::Refused(found));
        }
        let mut failed = Diagnostics::default();
        let settings = Settings::of(&options.environment).map_err(std::io::Error::other)?;
        report.event(Event::Phase("pulling images", wanted.len()));
        for Wanted { reference, node } in wanted {
            if (options.interrupted)() {
                return Err(EngineError::Interrupted);
            }
            let begun = Instant::now();
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
fn wanted<'a>(lab: &'a Lab, store: &Store) -> Result<Vec<Wanted<'a>>, EngineError> {
    let mut images: BTreeMap<&str, (&Node, bool)> = BTreeMap::new();
    let run = |n: &&Node| n.kind_data.class == Class::Container && !n.image.is_empty();
    let may = |n: &&Node| n.image != "host" && n.image_pull_policy != PullPolicy::Never;
    for node in lab.nodes.iter().filter(run).filter(may) {
        let always = node.image_pull_policy == PullPolicy::Always;
        images.entry(&node.image).and_modify(|(_, a)| *a |= always).or_insert((node, always));
    }
    let mut out = Vec::new();
    for (name, (node, always)) in images {
        // A name that cannot be one is reported with its place later.
        let Ok(reference) = Reference::parse(name) else { continue };
        if always || store.resolve(&reference)?.is_none() {
            out.push(Wanted { reference, node });
        }
    }
    Ok(out)
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
