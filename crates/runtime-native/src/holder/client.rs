//! Talking to the holder.

use crate::config::Layout;
use crate::process::Identity;
use crate::protocol::{HolderReply, HolderRequest};
use crate::{socket, wire};
use netloom_runtime::RuntimeError;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the holder may take over an answer: it does nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way to a lab's holder. Each request has a connection for itself, kept for the next one unless
/// something went wrong on it: a late answer must not be taken for that of another request.
#[derive(Debug)]
pub(crate) struct HolderClient {
    path: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
    pub identity: Identity,
}

impl HolderClient {
    /// Connects to the holder recorded in `layout`; `None` when it does not run.
    pub fn connect(layout: &Layout) -> Result<Option<Self>, RuntimeError> {
        let Some(identity) = recorded(layout).filter(Identity::alive) else { return Ok(None) };
        let client =
            HolderClient { path: layout.holder_socket(), idle: Mutex::default(), identity };
        let socket = client.open()?;
        client.give_back(socket);
        Ok(Some(client))
    }

    fn open(&self) -> Result<UnixStream, RuntimeError> {
        let socket = socket::connect(&self.path)
            .map_err(|e| RuntimeError::io(format!("connect to {}", self.path.display()), e))?;
        socket
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
            .map_err(|e| RuntimeError::io("set the patience with the holder", e))?;
        Ok(socket)
    }

    fn give_back(&self, socket: UnixStream) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    }

    pub fn ask(
        &self,
        request: &HolderRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(HolderReply, Vec<OwnedFd>), RuntimeError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let socket = match idle {
            Some(socket) => socket,
            None => self.open()?,
        };
        let pid = self.identity.pid;
        let failed = |e| RuntimeError::io(format!("talk to the lab's holder, process {pid}"), e);
        wire::send(&socket, request, fds).map_err(failed)?;
        let answer = wire::receive(&socket).map_err(failed)?;
        if answer.is_some() {
            self.give_back(socket);
        }
        match answer {
            Some((HolderReply::Refused(why), _)) => Err(RuntimeError::Remote(why)),
            Some(answer) => Ok(answer),
            None => Err(RuntimeError::Remote("the lab's holder has ended; open it again".into())),
        }
    }

    /// Gives the holder a descriptor to keep; its number there.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> Result<i32, RuntimeError> {
        let number = self.keep_many(&[(name.to_owned(), fd)])?.pop();
        number.ok_or_else(|| RuntimeError::Remote("the holder kept nothing".into()))
    }

    /// Gives the holder descriptors to keep; their numbers there.
    pub fn keep_many(&self, all: &[(String, BorrowedFd<'_>)]) -> Result<Vec<i32>, RuntimeError> {
        let mut numbers = Vec::with_capacity(all.len());
        for some in all.chunks(wire::MOST_FDS) {
            let names = some.iter().map(|(name, _)| name.clone()).collect();
            let fds: Vec<_> = some.iter().map(|(_, fd)| *fd).collect();
            match self.ask(&HolderRequest::Keep { names }, &fds)? {
                (HolderReply::Kept(some), _) => numbers.extend(some),
                (other, _) => return Err(unexpected(&other)),
            }
        }
        Ok(numbers)
    }

    /// A duplicate of a kept descriptor.
    pub fn get(&self, name: &str) -> Result<Option<OwnedFd>, RuntimeError> {
        match self.ask(&HolderRequest::Get { name: name.to_owned() }, &[])? {
            (HolderReply::Here, mut fds) => Ok(fds.pop()),
            (HolderReply::Nothing, _) => Ok(None),
            (other, _) => Err(unexpected(&other)),
        }
    }

    pub fn names(&self) -> Result<Vec<String>, RuntimeError> {
        match self.ask(&HolderRequest::Names, &[])? {
            (HolderReply::Names(names), _) => Ok(names),
            (other, _) => Err(unexpected(&other)),
        }
    }

    pub fn release(&self, names: Vec<String>) -> Result<(), RuntimeError> {
        self.ask(&HolderRequest::Release { names }, &[]).map(|_| ())
    }

    pub fn shutdown(&self) -> Result<(), RuntimeError> {
        self.ask(&HolderRequest::Shutdown, &[]).map(|_| ())
    }
}

fn unexpected(reply: &HolderReply) -> RuntimeError {
    RuntimeError::Remote(format!("the holder gave an unexpected answer: {reply:?}"))
}

/// The holder that was last started for this lab, running or not.
pub(crate) fn recorded(layout: &Layout) -> Option<Identity> {
    serde_json::from_slice(&std::fs::read(layout.holder_file()).ok()?).ok()
}
