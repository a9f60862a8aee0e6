//! After a holder died without ending its lab: killed, or the machine was restarted.

use crate::config::NativeConfig;
use crate::holder::recorded;
use crate::process::{Identity, boot_id, now_ms};
use crate::record::{self, Run};
use crate::runtime::NativeRuntime;
use netloom_runtime::RuntimeError;
use std::fs;
use std::time::{Duration, Instant};

/// What was cleaned up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Processes that were still there and have been killed.
    pub killed: Vec<i32>,
    /// Containers whose end nobody had recorded.
    pub ended: Vec<String>,
}

/// How long a killed process may take over vanishing.
const DYING: Duration = Duration::from_secs(10);

/// Cleans up after a dead holder: kills surviving first processes, removes control groups and
/// sockets, and records that the containers have ended. Does nothing while the holder lives.
/// Records, logs and private file systems stay: the containers can be started again or removed.
pub fn reap_leftovers(config: &NativeConfig) -> Result<Reaped, RuntimeError> {
    let layout = config.layout();
    let mut reaped = Reaped::default();
    let holder = recorded(&layout);
    if holder.as_ref().is_some_and(|holder| holder.alive()) {
        return Ok(reaped);
    }
    // After a shutdown there is no record of a holder.
    let same_boot = holder.is_none_or(|holder| holder.boot == boot_id());
    for (name, directory) in record::all(&layout.containers()) {
        // A record that cannot be read says nothing of its processes; its groups go with the lab's.
        let Ok(Some(record)) = directory.load() else { continue };
        let history = directory.replay().unwrap_or_default();
        // Also one that was being stopped: it has not ended by that.
        let open = history.run.as_ref().is_some_and(|run| !run.failed && run.exit.is_none());
        let run = history.run.unwrap_or_default();
        if open
            && same_boot
            && let Some(process) = survivor(&run)
        {
            kill(&process)?;
            reaped.killed.push(process.pid);
        }
        record
            .group
            .remove()
            .map_err(|e| RuntimeError::io(format!("remove the control groups of `{name}`"), e))?;
        // Notes for a later start; a full disk must not keep the lab from being destroyed.
        let note = |line: &str| drop(directory.note(line));
        if open {
            match run.pid {
                Some(_) => note(&format!("exit 137 {}", now_ms())),
                None => note("failed"),
            }
            reaped.ended.push(name);
        }
        if history.wanted {
            note("stop");
        }
    }
    for path in [layout.holder_socket(), layout.api_socket(), layout.holder_file()] {
        let _ = fs::remove_file(path);
    }
    Ok(reaped)
}

/// Ends a lab whatever state its processes are in: asks the holder, kills one that does not answer,
/// and cleans up after it. For those who want the lab gone.
pub fn end(config: &NativeConfig) -> Result<Reaped, RuntimeError> {
    let asked = NativeRuntime::connect(config).and_then(|runtime| match runtime {
        Some(runtime) => runtime.shutdown(),
        None => Ok(()),
    });
    if asked.is_err()
        && let Some(holder) = recorded(&config.layout()).filter(|h| h.alive())
        // It may be ending already, for somebody else.
        && !holder.wait_gone(DYING)
    {
        kill(&holder)?;
    }
    let until = Instant::now() + DYING;
    // Its processes may still be at work on what the next lab of this name will make.
    while own_processes(config) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    reap_leftovers(config)
}

/// Whether a holder or supervisor of this lab is still there.
fn own_processes(config: &NativeConfig) -> bool {
    let state = config.state_dir.as_os_str().as_encoded_bytes();
    let ours = |cmdline: Vec<u8>| {
        let words: Vec<&[u8]> = cmdline.split(|b| *b == 0).collect();
        words.windows(2).any(|w| (w[0] == b"__holder" || w[0] == b"__supervisor") && w[1] == state)
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| fs::read(e.path().join("cmdline")).ok())
        .any(ours)
}

/// The run's first process, if it still is that one: it was started when the journal says.
fn survivor(run: &Run) -> Option<Identity> {
    const SLACK_MS: u64 = 3000;
    let process = Identity::of(run.pid?)?;
    // SAFETY: asks for a constant.
    let hertz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    let started_ms = process.ticks * 1000 / hertz;
    (started_ms.abs_diff(run.boot_ms) < SLACK_MS).then_some(process)
}

fn kill(process: &Identity) -> Result<(), RuntimeError> {
    let pid = process.pid;
    process
        .signal(libc::SIGKILL)
        .map_err(|e| RuntimeError::io(format!("kill process {pid}"), e))?;
    match process.wait_gone(DYING) {
        true => Ok(()),
        false => Err(RuntimeError::Timeout {
            what: format!("the end of process {pid} after SIGKILL"),
            seconds: DYING.as_secs(),
            seen: "still there".into(),
        }),
    }
}
