//! Terminals: what nodes write to them goes to their logs.
//!
//! Bytes move from the terminal into a pipe that the holder keeps, and from there to the log, both
//! by splice: wherever the supervisor is killed, they are in one of the three. A small file says
//! whose bytes are in the pipe.

use super::lock;
use crate::config::Layout;
use crate::holder::HolderClient;
use crate::record::Directory;
use crate::say::say;
use crate::splice;
use netloom_runtime::RuntimeError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PIPE_IN: &str = "runtime:console-in";
const PIPE_OUT: &str = "runtime:console-out";
const CHUNK: usize = 32 << 10;
/// How often a terminal that nobody has open is looked at again.
const HUNG: u16 = 200;

/// Name under which the holder keeps a container's terminal.
pub(super) fn key(name: &str) -> String {
    format!("console:{name}")
}

/// All terminals, and the way to their logs.
pub(super) struct Console {
    epoll: Epoll,
    inner: Mutex<Inner>,
}

struct Inner {
    layout: Layout,
    pipe_in: OwnedFd,
    pipe_out: OwnedFd,
    owner: File,
    current: Option<String>,
    terminals: HashMap<String, Terminal>,
    names: HashMap<u64, String>,
    hung: Vec<String>,
}

struct Terminal {
    master: OwnedFd,
    log: File,
}

impl Console {
    /// Takes the pipe from the holder, with what may still be in it.
    pub fn new(layout: &Layout, holder: &HolderClient) -> Result<Self, RuntimeError> {
        let failed = |e: Errno| RuntimeError::io("prepare for terminals", e.into());
        let (pipe_in, pipe_out) = match (holder.get(PIPE_IN)?, holder.get(PIPE_OUT)?) {
            (Some(pipe_in), Some(pipe_out)) => (pipe_in, pipe_out),
            _ => {
                let (pipe_out, pipe_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
                holder.keep(PIPE_OUT, pipe_out.as_fd())?;
                holder.keep(PIPE_IN, pipe_in.as_fd())?;
                (pipe_in, pipe_out)
            }
        };
        let path = layout.console_owner();
        let owner = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| RuntimeError::io(format!("open {}", path.display()), e))?;
        let inner = Inner {
            layout: layout.clone(),
            pipe_in,
            pipe_out,
            owner,
            current: None,
            terminals: HashMap::new(),
            names: HashMap::new(),
            hung: Vec::new(),
        };
        if let Err(e) = inner.rescue() {
            // It stays in the pipe until there is room.
            say!("supervisor: empty the console pipe: {e}");
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        Ok(Console { epoll, inner: Mutex::new(inner) })
    }

    /// Copies a new terminal's output to `log` from now on.
    pub fn add(&self, name: &str, master: OwnedFd, log: &Path) {
        let result = open_log(log).and_then(|log| {
            fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
            let mut inner = lock(&self.inner);
            let token = master.as_raw_fd() as u64;
            self.epoll.add(&master, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            inner.names.insert(token, name.to_owned());
            inner.terminals.insert(name.to_owned(), Terminal { master, log });
            Ok(())
        });
        if let Err(e) = result {
            say!("supervisor: terminal of {name} is not logged: {e}");
        }
    }

    /// Copies what is left, and lets go of the terminal.
    pub fn finish(&self, name: &str, holder: &HolderClient) {
        let mut inner = lock(&self.inner);
        if inner.terminals.contains_key(name) {
            while inner.copy(name) == Copied::Some {}
        }
        drop(inner);
        self.forget(name, holder);
    }

    /// Lets go of a terminal.
    pub fn forget(&self, name: &str, holder: &HolderClient) {
        let mut inner = lock(&self.inner);
        let terminal = inner.terminals.remove(name);
        if let Some(terminal) = &terminal {
            inner.names.remove(&(terminal.master.as_raw_fd() as u64));
            inner.hung.retain(|other| other != name);
            let _ = self.epoll.delete(&terminal.master);
        }
        drop(inner);
        drop(terminal);
        // The holder has it from before the start, whether that came to anything or not.
        let _ = holder.release(vec![key(name)]);
    }

    /// Copies for ever.
    pub fn run(&self) {
        let mut events = [EpollEvent::empty(); 64];
        let mut looked = Instant::now();
        loop {
            let waiting = !lock(&self.inner).hung.is_empty();
            let timeout = if waiting { EpollTimeout::from(HUNG) } else { EpollTimeout::NONE };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(e) => {
                    say!("supervisor: waiting for terminals: {e}");
                    return;
                }
            };
            let mut inner = lock(&self.inner);
            for event in &events[..count] {
                let Some(name) = inner.names.get(&event.data()).cloned() else { continue };
                if inner.copy(&name) == Copied::HungUp
                    && let Some(terminal) = inner.terminals.get(&name)
                {
                    // It may be opened again (`init` does): look from time to time.
                    let _ = self.epoll.delete(&terminal.master);
                    inner.hung.push(name);
                }
            }
            if looked.elapsed() >= Duration::from_millis(HUNG.into()) {
                looked = Instant::now();
                for name in std::mem::take(&mut inner.hung) {
                    let Some(terminal) = inner.terminals.get(&name) else { continue };
                    let token = terminal.master.as_raw_fd() as u64;
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
                    let _ = self.epoll.add(&terminal.master, event);
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Copied {
    Some,
    Nothing,
    /// Nobody has the other side open.
    HungUp,
}

impl Inner {
    fn copy(&mut self, name: &str) -> Copied {
        // What a full disk left in the pipe belongs to the one who wrote it.
        if let Err(e) = self.drain_rest() {
            say!("supervisor: logs wait: {e}");
            return Copied::HungUp;
        }
        if self.current.as_deref() != Some(name) {
            let mut text = [0u8; 256];
            text[..name.len().min(256)].copy_from_slice(&name.as_bytes()[..name.len().min(256)]);
            if let Err(e) = self.owner.write_all_at(&text, 0) {
                say!("supervisor: {}: {e}", name);
            }
            self.current = Some(name.to_owned());
        }
        let Some(terminal) = self.terminals.get(name) else { return Copied::Nothing };
        match splice::into_pipe(&terminal.master, &self.pipe_in, CHUNK) {
            Ok(0) => return Copied::HungUp,
            Ok(_) => {}
            Err(e) => {
                return match e.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => Copied::Nothing,
                    Some(libc::EIO) => Copied::HungUp,
                    _ => {
                        say!("supervisor: reading the terminal of {name}: {e}");
                        Copied::HungUp
                    }
                };
            }
        }
        if let Err(e) = self.drain_to(&terminal.log) {
            say!("supervisor: writing the log of {name}: {e}");
        }
        Copied::Some
    }

    fn drain_rest(&self) -> io::Result<()> {
        if splice::waiting(&self.pipe_out)? == 0 {
            return Ok(());
        }
        match self.current.as_ref().and_then(|name| self.terminals.get(name)) {
            Some(owner) => self.drain_to(&owner.log),
            // A killed supervisor's, or that of a node that has ended meanwhile.
            None => self.rescue(),
        }
    }

    fn discard(&self) -> io::Result<()> {
        let mut buffer = [0u8; 4096];
        while splice::waiting(&self.pipe_out)? > 0 {
            nix::unistd::read(&self.pipe_out, &mut buffer)?;
        }
        Ok(())
    }

    /// Moves all that is in the pipe to the end of a log.
    fn drain_to(&self, log: &File) -> io::Result<()> {
        let mut end = log.metadata()?.len() as i64;
        while splice::waiting(&self.pipe_out)? > 0 {
            if splice::out_of_pipe(&self.pipe_out, log, &mut end, CHUNK)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Brings home what a killed supervisor left in the pipe.
    fn rescue(&self) -> io::Result<()> {
        if splice::waiting(&self.pipe_out)? == 0 {
            return Ok(());
        }
        let mut text = [0u8; 256];
        self.owner.read_exact_at(&mut text, 0)?;
        let name = String::from_utf8_lossy(&text);
        let path: PathBuf = Directory(self.layout.container(name.trim_end_matches('\0'))).log();
        match path.parent().is_some_and(Path::is_dir) {
            true => self.drain_to(&open_log(&path)?),
            false => self.discard(),
        }
    }
}

/// Not in append mode, which splice refuses: nobody else writes to a terminal's log.
fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
