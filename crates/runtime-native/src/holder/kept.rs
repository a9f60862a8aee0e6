//! Descriptors under names, and the socket that hands them out.

use super::children::Ender;
use crate::protocol::{HolderReply, HolderRequest};
use crate::wire;
use netloom_runtime::RuntimeError;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The descriptors.
#[derive(Default)]
pub(super) struct Kept(Mutex<BTreeMap<String, Arc<OwnedFd>>>);

impl Kept {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<OwnedFd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the holder's socket on threads of its own, so that no client can hold up another.
pub(super) fn serve(
    listener: UnixListener,
    kept: Arc<Kept>,
    ender: Ender,
) -> Result<(), RuntimeError> {
    let accept = move || {
        for socket in listener.incoming() {
            let Ok(socket) = socket else {
                // No descriptors are left, most likely; they may be again.
                std::thread::sleep(std::time::Duration::from_millis(10));
                continue;
            };
            let (kept, ender) = (Arc::clone(&kept), ender.clone());
            // A connection that cannot be served is closed, which tells its client.
            let _ = thread("client").spawn(move || converse(&socket, &kept, &ender));
        }
    };
    thread("accept")
        .spawn(accept)
        .map(|_| ())
        .map_err(|e| RuntimeError::io("start the holder's thread", e))
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.into()).stack_size(128 << 10)
}

fn converse(socket: &UnixStream, kept: &Kept, ender: &Ender) {
    while let Ok(Some((request, fds))) = wire::receive::<HolderRequest>(socket) {
        let (reply, fd) = answer(request, fds, kept, ender);
        let fds: Vec<_> = fd.iter().map(|f| f.as_fd()).collect();
        if wire::send(socket, &reply, &fds).is_err() {
            return;
        }
    }
}

/// Puts a descriptor in the place of another one, under its number.
fn replace(old: &OwnedFd, new: &OwnedFd) -> nix::Result<()> {
    let flags = nix::fcntl::OFlag::O_CLOEXEC;
    // SAFETY: the number belongs to a descriptor that is kept, and stays that of a descriptor that
    // is kept; who has it borrowed means what is kept under the name.
    let done = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), flags.bits()) };
    nix::errno::Errno::result(done).map(drop)
}

fn answer(
    request: HolderRequest,
    fds: Vec<OwnedFd>,
    kept: &Kept,
    ender: &Ender,
) -> (HolderReply, Option<Arc<OwnedFd>>) {
    let reply = match request {
        HolderRequest::Keep { names } if names.len() == fds.len() => {
            let mut all = kept.all();
            let mut numbers = Vec::with_capacity(fds.len());
            for (name, fd) in names.into_iter().zip(fds) {
                let number = match all.get(&name).map(|old| (old.as_raw_fd(), replace(old, &fd))) {
                    // What paths lead to it stay good.
                    Some((number, Ok(()))) => number,
                    _ => {
                        let number = fd.as_raw_fd();
                        all.insert(name, Arc::new(fd));
                        number
                    }
                };
                numbers.push(number);
            }
            drop(all);
            HolderReply::Kept(numbers)
        }
        HolderRequest::Keep { names } => {
            let (wanted, came) = (names.len(), fds.len());
            HolderReply::Refused(format!(
                "{came} descriptors came for {wanted} names: the limit of open files is reached"
            ))
        }
        HolderRequest::Get { name } => {
            let fd = kept.all().get(&name).cloned();
            return match fd {
                Some(fd) => (HolderReply::Here, Some(fd)),
                None => (HolderReply::Nothing, None),
            };
        }
        HolderRequest::Names => HolderReply::Names(kept.all().keys().cloned().collect()),
        HolderRequest::Release { names } => {
            let closing: Vec<_> = {
                let mut all = kept.all();
                names.iter().filter_map(|name| all.remove(name)).collect()
            };
            drop(closing);
            HolderReply::Done
        }
        HolderRequest::Shutdown => match ender.end() {
            Ok(()) => HolderReply::Done,
            Err(e) => HolderReply::Refused(e.to_string()),
        },
    };
    (reply, None)
}
