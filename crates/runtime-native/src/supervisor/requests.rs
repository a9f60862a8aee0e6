//! The socket: one thread a connection, one answer a request, in order.

use super::Supervisor;
use crate::protocol::{Located, Reply, Request};
use crate::wire;
use netloom_runtime::RuntimeError;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn accept(supervisor: &Arc<Supervisor>, listener: &UnixListener) {
    for socket in listener.incoming() {
        let Ok(socket) = socket else {
            // Out of descriptors, most likely: some will be closed.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let supervisor = Arc::clone(supervisor);
        // A connection that cannot be served is closed, which tells its client.
        let _ = super::thread("request").spawn(move || converse(&supervisor, &socket));
    }
}

fn converse(supervisor: &Arc<Supervisor>, socket: &UnixStream) {
    loop {
        let reply = match wire::receive::<Request>(socket) {
            Ok(Some((request, _))) => {
                answer(supervisor, request).unwrap_or_else(|e| Reply::Failed(e.into()))
            }
            Ok(None) | Err(_) => return,
        };
        if wire::send(socket, &reply, &[]).is_err() {
            return;
        }
    }
}

fn answer(supervisor: &Arc<Supervisor>, request: Request) -> Result<Reply, RuntimeError> {
    let done = |()| Reply::Done;
    match request {
        Request::Create(spec) => supervisor.create(&spec).map(done),
        Request::Start { name } => supervisor.start(&name).map(|s| Reply::State(Box::new(s))),
        Request::Stop { name, grace_ms } => {
            supervisor.stop(&name, grace_ms.map(Duration::from_millis)).map(done)
        }
        Request::Kill { name, signal } => supervisor.kill(&name, signal).map(done),
        Request::Remove { name, force } => supervisor.remove(&name, force).map(done),
        Request::Inspect { name } => Ok(Reply::Inspected(
            supervisor.find(&name).ok().map(|container| Box::new(container.state())),
        )),
        Request::List => {
            Ok(Reply::States(supervisor.all().iter().map(|container| container.state()).collect()))
        }
        Request::Locate { name } => {
            let init = supervisor.find(&name)?.running();
            Ok(Reply::Located(init.map(|init| Located { init })))
        }
    }
}
