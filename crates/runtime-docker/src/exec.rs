//! Commands in containers, their output collected.

use crate::daemon::{Daemon, status, words};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use netloom_runtime::{ExecOutput, ExecSpec, RuntimeError};
use tokio::io::AsyncWriteExt;

/// Said by the daemon in place of the command when there is no such program.
const ABSENT: [&str; 3] =
    ["executable file not found", "no such file or directory", "No such file or directory"];
/// Said by the daemon when the program cannot be executed.
const REFUSED: [&str; 2] = ["OCI runtime exec failed", "OCI permission denied"];

/// Makes a command ready; gives its number.
pub(crate) async fn prepare(
    daemon: &Daemon,
    name: &str,
    exec: &ExecSpec,
    stdin: bool,
) -> Result<String, RuntimeError> {
    let options = CreateExecOptions {
        attach_stdin: Some(stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(exec.tty),
        env: Some(exec.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        cmd: Some(exec.argv.clone()),
        working_dir: exec.cwd.clone(),
        user: exec.user.clone(),
        ..CreateExecOptions::default()
    };
    match daemon.docker.create_exec(name, options).await {
        Ok(made) => Ok(made.id),
        Err(e) => Err(refusal(daemon, name, exec, &e)),
    }
}

/// Why a command was not run, as callers tell it apart.
pub(crate) fn refusal(daemon: &Daemon, name: &str, exec: &ExecSpec, e: &Error) -> RuntimeError {
    match status(e) {
        Some(404) if words(e).contains("container") => RuntimeError::NotFound(name.into()),
        // Docker says 409, Podman 409 or 500 with these words.
        Some(409 | 500) if not_running(&words(e)) => RuntimeError::NotRunning(name.into()),
        _ => daemon.error(&format!("run `{}` in {name}", exec.argv.join(" ")), e),
    }
}

fn not_running(words: &str) -> bool {
    ["not running", "state improper", "is paused"].iter().any(|w| words.contains(w))
}

/// The exit code of what could not be executed, by the daemon's words.
pub(crate) fn unrunnable(words: &str) -> Option<i32> {
    let has = |list: &[&str]| list.iter().any(|w| words.contains(w));
    match (has(&REFUSED) || words.contains("executable file"), has(&ABSENT)) {
        (true, true) => Some(127),
        (true, false) => Some(126),
        _ => None,
    }
}

/// Runs a command and collects what it writes.
pub(crate) fn captured(
    daemon: &Daemon,
    name: &str,
    exec: &ExecSpec,
) -> Result<ExecOutput, RuntimeError> {
    daemon.run(async {
        let id = prepare(daemon, name, exec, exec.stdin.is_some()).await?;
        let work = run(daemon, name, exec, &id);
        let Some(limit) = exec.timeout else { return work.await };
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => {
                kill(daemon, &id).await;
                Err(RuntimeError::Timeout {
                    what: format!("`{}` in container `{name}`", exec.argv.join(" ")),
                    seconds: limit.as_secs(),
                    seen: "it still ran".into(),
                })
            }
        }
    })
}

async fn run(
    daemon: &Daemon,
    name: &str,
    exec: &ExecSpec,
    id: &str,
) -> Result<ExecOutput, RuntimeError> {
    let options = StartExecOptions { tty: exec.tty, ..StartExecOptions::default() };
    let mut out = ExecOutput::default();
    match daemon.docker.start_exec(id, Some(options)).await {
        Ok(StartExecResults::Attached { mut output, mut input }) => {
            let given = exec.stdin.clone().unwrap_or_default();
            let feed = async move {
                // Who does not read what he is given has ended, or will.
                let _ = input.write_all(&given).await;
                let _ = input.shutdown().await;
                input
            };
            let read = async {
                while let Some(piece) = output.next().await {
                    match piece {
                        Ok(LogOutput::StdErr { message }) => out.stderr.extend(message),
                        Ok(piece) => out.stdout.extend(piece.into_bytes()),
                        Err(e) => return Err(refusal(daemon, name, exec, &e)),
                    }
                }
                Ok(())
            };
            let (_input, read) = tokio::join!(feed, read);
            read?;
        }
        Ok(StartExecResults::Detached) => {}
        Err(e) => match unrunnable(&words(&e)) {
            Some(code) => {
                return Ok(ExecOutput { code, stderr: words(&e).into_bytes(), ..out });
            }
            None => return Err(refusal(daemon, name, exec, &e)),
        },
    }
    out.code = code(daemon, name, exec, id).await?;
    if matches!(out.code, 126 | 127) {
        // The daemon's own words come where the command's would.
        let said = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        if let Some(code) = unrunnable(&said) {
            out = ExecOutput { code, stdout: Vec::new(), stderr: said.into_bytes() };
        }
    }
    Ok(out)
}

/// The exit code, once there is one: the stream may end a moment before.
pub(crate) async fn code(
    daemon: &Daemon,
    name: &str,
    exec: &ExecSpec,
    id: &str,
) -> Result<i32, RuntimeError> {
    let mut tries = 0;
    loop {
        let answer = daemon.docker.inspect_exec(id).await;
        let answer = answer.map_err(|e| refusal(daemon, name, exec, &e))?;
        match (answer.running, answer.exit_code) {
            (Some(false) | None, Some(code)) => return Ok(i32::try_from(code).unwrap_or(-1)),
            // One that left something running that holds its output open.
            _ if tries > 1000 => return Ok(-1),
            _ => tries += 1,
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Ends a command by its process: the API cannot.
pub(crate) async fn kill(daemon: &Daemon, id: &str) {
    let Ok(answer) = daemon.docker.inspect_exec(id).await else { return };
    let pid = answer.pid.and_then(|p| i32::try_from(p).ok()).filter(|p| *p > 0);
    if let Some(pid) = pid.filter(|_| answer.running == Some(true)) {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_executed() {
        let docker = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown";
        assert_eq!(unrunnable(docker), Some(127));
        let text = "OCI runtime exec failed: exec failed: permission denied";
        assert_eq!(unrunnable(text), Some(126));
        assert_eq!(unrunnable("cat: x: No such file or directory"), None);
    }
}
