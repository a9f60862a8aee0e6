//! A command on the caller's own standard streams.

use crate::daemon::{Daemon, words};
use crate::exec::{code, kill, prepare, refusal, unrunnable};
use bollard::container::LogOutput;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use netloom_runtime::{ExecSpec, RuntimeError};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{Read, Write};
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Runs a command; gives its exit code.
pub(crate) fn run(daemon: &Daemon, name: &str, exec: &ExecSpec) -> Result<i32, RuntimeError> {
    daemon.run(async {
        let id = prepare(daemon, name, exec, true).await?;
        let options = StartExecOptions { tty: exec.tty, ..StartExecOptions::default() };
        let (output, input) = match daemon.docker.start_exec(&id, Some(options)).await {
            Ok(StartExecResults::Attached { output, input }) => (output, input),
            Ok(StartExecResults::Detached) => return code(daemon, name, exec, &id).await,
            Err(e) => {
                let Some(code) = unrunnable(&words(&e)) else {
                    return Err(refusal(daemon, name, exec, &e));
                };
                eprintln!("{}", words(&e));
                return Ok(code);
            }
        };
        let raw = if exec.tty { Raw::set() } else { None };
        let relayed = async {
            if exec.tty {
                resize(daemon, &id).await;
            }
            relay(daemon, &id, exec.tty, output, input).await
        };
        let written = match exec.timeout {
            Some(limit) => tokio::time::timeout(limit, relayed).await.ok(),
            None => Some(relayed.await),
        };
        drop(raw);
        if let Some(written) = written {
            let code = code(daemon, name, exec, &id).await?;
            // The daemon's own words come where the command's would.
            let words = String::from_utf8_lossy(&written);
            let refused = unrunnable(&words).filter(|_| matches!(code, 126 | 127));
            return Ok(refused.unwrap_or(code));
        }
        kill(daemon, &id).await;
        Err(RuntimeError::Timeout {
            what: format!("`{}` in container `{name}`", exec.argv.join(" ")),
            seconds: exec.timeout.unwrap_or_default().as_secs(),
            seen: "it still ran".into(),
        })
    })
}

/// As much of what a command writes as the daemon says in its place when it cannot be run.
const WORDS: usize = 1024;

type Output = std::pin::Pin<
    Box<dyn futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>,
>;
type Input = std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

/// Carries bytes both ways until the command closes its output. Each way goes on by itself: who
/// writes much may read nothing for a while.
/// Gives the first words the command wrote.
async fn relay(
    daemon: &Daemon,
    id: &str,
    tty: bool,
    mut output: Output,
    mut input: Input,
) -> Vec<u8> {
    let mut typed = typed();
    let write = async {
        while let Some(bytes) = typed.recv().await {
            if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
                return std::future::pending().await;
            }
        }
        let _ = input.shutdown().await;
        std::future::pending::<()>().await;
    };
    let mut first = Vec::new();
    let read = async {
        while let Some(piece) = output.next().await {
            let Ok(piece) = piece else { return };
            if first.len() < WORDS {
                first.extend_from_slice(piece.as_ref());
            }
            match piece {
                LogOutput::StdErr { message } => show(&mut std::io::stderr(), &message),
                piece => show(&mut std::io::stdout(), piece.as_ref()),
            }
        }
    };
    let resized = async {
        let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
        while tty && changes.recv().await.is_some() {
            resize(daemon, id).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = read => {}
        () = write => {}
        () = async { resized.await; std::future::pending().await } => {}
    }
    first
}

fn show(to: &mut dyn Write, bytes: &[u8]) {
    // Who has closed his output wants no more of it.
    let _ = to.write_all(bytes).and_then(|()| to.flush());
}

/// What is typed, read by a thread of its own: it cannot be interrupted, and ends with the process.
fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn resize(daemon: &Daemon, id: &str) {
    if let Some((height, width)) = window_size() {
        let size = ResizeExecOptions { height, width };
        // A command that has just ended has no window.
        let _ = daemon.docker.resize_exec(id, size).await;
    }
}

fn window_size() -> Option<(u16, u16)> {
    nix::ioctl_read_bad!(get, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call fills the structure.
    unsafe { get(0, &mut size) }.ok()?;
    (size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

/// The caller's terminal in raw mode, restored on drop.
struct Raw(Termios);

impl Raw {
    fn set() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
