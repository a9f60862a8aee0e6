//! The holder: a process that does nothing but live.
//!
//! It keeps descriptors under names, is the parent of every node, writes every exit status to disk
//! at once, and restarts the supervisor when that dies.

mod children;
mod client;
mod daemon;
mod kept;

pub(crate) use client::{HolderClient, recorded};

use crate::config::{Layout, NativeConfig};
use crate::process::Identity;
use children::Children;
use kept::Kept;
use netloom_runtime::RuntimeError;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// Runs as the holder of the lab whose records are in `state_dir`; called by the program that
/// [`NativeConfig::exe`] names when its arguments end in `__holder DIR`.
///
/// Returns in the calling process as soon as the daemon is on its way (it reports readiness on
/// standard output), and in the daemon when it has been told to end. Must be called before any
/// thread is started.
pub fn main(state_dir: &Path) -> Result<(), RuntimeError> {
    let config = NativeConfig::load(state_dir)?;
    let Some(ready) = daemon::detach(&config.layout().own_log())? else { return Ok(()) };
    match serve(&config) {
        Ok(mut children) => {
            ready.report("ok");
            children.run();
            let layout = config.layout();
            for path in [layout.holder_file(), layout.holder_socket(), layout.api_socket()] {
                let _ = fs::remove_file(path);
            }
            Ok(())
        }
        Err(e) => {
            ready.report(&e.to_string());
            Err(e)
        }
    }
}

/// Takes everything a holder needs, and starts the supervisor.
fn serve(config: &NativeConfig) -> Result<Children, RuntimeError> {
    let layout = config.layout();
    daemon::raise_descriptor_limit();
    let holder = listen(&layout.holder_socket())?;
    let api = listen(&layout.api_socket())?;
    let kept = Arc::new(Kept::default());
    let mut children = Children::new(config.clone(), api)?;
    kept::serve(holder, Arc::clone(&kept), children.ender())?;
    record_identity(&layout)?;
    children.start_supervisor()?;
    Ok(children)
}

fn record_identity(layout: &Layout) -> Result<(), RuntimeError> {
    let me = Identity::of(std::process::id() as i32)
        .ok_or_else(|| RuntimeError::Remote("/proc does not show the holder".into()))?;
    let path = layout.holder_file();
    let text = serde_json::to_vec(&me)
        .map_err(|e| RuntimeError::io("write the holder's identity as JSON", e.into()))?;
    fs::write(&path, text).map_err(|e| RuntimeError::io(format!("write {}", path.display()), e))
}

fn listen(path: &Path) -> Result<UnixListener, RuntimeError> {
    use std::os::unix::fs::PermissionsExt;
    let doing = || format!("listen on {}", path.display());
    let _ = fs::remove_file(path);
    let short = crate::socket::Short::of(path).map_err(|e| RuntimeError::io(doing(), e))?;
    let listener = UnixListener::bind(short.path()).map_err(|e| RuntimeError::io(doing(), e))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|e| RuntimeError::io(doing(), e))?;
    Ok(listener)
}
