//! Images and files nodes need.

use crate::EngineError;
use crate::image::Images;
use crate::spec::{Paths, bind};
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};
use netloom_image::Image;
use netloom_topology::{Lab, Node, PullPolicy, StartupConfig};
use std::sync::Arc;

pub(super) fn image(
    node: &Node,
    images: &mut Images,
    look: bool,
    found: &mut Diagnostics,
) -> Result<Option<Arc<Image>>, EngineError> {
    if node.image.is_empty() {
        found.push(
            Diagnostic::error("missing-image", format!("node `{}` has no image", node.name))
                .at(node.span)
                .hint("write `image: NAME`; `image: host` is this machine's own root file system"),
        );
        return Ok(None);
    }
    match images.find(netloom_plan::runs(node), &node.image)? {
        Ok(Some(image)) => return Ok(Some(image)),
        Ok(None) => {
            let names = images.names();
            let near = did_you_mean(&node.image, names.iter().map(String::as_str));
            let at = node.span_of("image");
            // Whoever deploys has fetched what can be fetched.
            let fetched = look && node.image_pull_policy != PullPolicy::Never;
            if fetched {
                let what = format!("the image `{}` is not here; `deploy` fetches it", node.image);
                let near = near.map(|near| format!("did you mean `{near}`?"));
                found.push(Diagnostic::warning("missing-image", what).at(at).maybe_hint(near));
                return Ok(None);
            }
            let fetch = match node.image_pull_policy {
                PullPolicy::Never => "`image-pull-policy: Never` forbids to fetch it: ",
                _ => "",
            };
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "{fetch}bring it in with `netloom image import FILE --ref {}`",
                    node.image
                ),
            };
            let what = format!("there is no image `{}` here", node.image);
            found.push(Diagnostic::error("missing-image", what).at(at).hint(hint));
        }
        Err(why) => found.push(Diagnostic::error("bad-image", why).at(node.span_of("image"))),
    }
    Ok(None)
}

pub(super) fn files(lab: &Lab, node: &Node, paths: &Paths<'_>, found: &mut Diagnostics) {
    for text in &node.binds {
        let Some(bind) = bind(lab, node, text, paths) else { continue };
        // What stands in the lab directory may be made by the deploy itself.
        if !bind.source.exists() && !bind.source.starts_with(&lab.dir) {
            found.push(
                Diagnostic::error(
                    "missing-bind",
                    format!(
                        "there is no `{}` to bind into node `{}`",
                        bind.source.display(),
                        node.name
                    ),
                )
                .at(node.span_of("binds"))
                .hint(format!("the bind is `{text}`; relative paths start at the topology file")),
            );
        }
        if !bind.target.is_absolute() {
            found.push(
                Diagnostic::error(
                    "bad-bind",
                    format!("the target of `{text}` is not an absolute path"),
                )
                .at(node.span_of("binds")),
            );
        }
    }
    if let Some(StartupConfig::File(path)) = &node.startup_config
        && !path.is_file()
    {
        found.push(
            Diagnostic::error(
                "missing-startup-config",
                format!("there is no start-up configuration `{}`", path.display()),
            )
            .at(node.span_of("startup-config"))
            .hint("relative paths start at the topology file"),
        );
    }
    if let Some(path) = node.license.as_ref().filter(|p| !p.is_file()) {
        found.push(
            Diagnostic::error(
                "missing-license",
                format!("there is no licence file `{}`", path.display()),
            )
            .at(node.span_of("license"))
            .hint("relative paths start at the topology file"),
        );
    }
    for device in &node.devices {
        let source = device.split(':').next().unwrap_or_default();
        if !std::path::Path::new(source).exists() {
            found.push(
                Diagnostic::error(
                    "missing-device",
                    format!("there is no device `{source}` on this machine"),
                )
                .at(node.span_of("devices"))
                .hint("`ls /dev` lists them; a module may have to be loaded first"),
            );
        }
    }
}
