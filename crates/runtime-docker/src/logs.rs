//! What a container has written.

use crate::daemon::{Daemon, status};
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use netloom_runtime::{LogsRequest, RuntimeError};
use std::io::Write;

/// Copies a log; ends when the container does, or when nobody takes more.
pub(crate) fn copy(
    daemon: &Daemon,
    name: &str,
    request: &LogsRequest,
    out: &mut dyn Write,
) -> Result<(), RuntimeError> {
    let options = LogsOptions {
        follow: request.follow,
        stdout: true,
        stderr: true,
        tail: request.tail.map_or_else(|| "all".into(), |n| n.to_string()),
        ..LogsOptions::default()
    };
    daemon.run(async {
        let mut stream = daemon.docker.logs(name, Some(options));
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => {
                    if out.write_all(piece.as_ref()).and_then(|()| out.flush()).is_err() {
                        return Ok(());
                    }
                }
                Err(e) if status(&e) == Some(404) => {
                    return Err(RuntimeError::NotFound(name.into()));
                }
                Err(e) => return Err(daemon.error(&format!("read the log of {name}"), &e)),
            }
        }
        Ok(())
    })
}
