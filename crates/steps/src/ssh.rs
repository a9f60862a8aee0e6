//! A session with the node over SSH. Whose key it is is not asked: nodes make theirs at their first
//! start, on a network of the lab alone.

use crate::walk::Try;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{Preferred, cipher, kex, mac};
use std::borrow::Cow;
use std::sync::Arc;

/// Takes any key.
pub struct Trust;

impl client::Handler for Trust {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// What old network systems still want, after all that is better.
fn preferred() -> Preferred {
    fn with<T: Clone + PartialEq>(usual: &[T], more: &[T]) -> Cow<'static, [T]> {
        let mut list = usual.to_vec();
        for one in more {
            if !list.contains(one) {
                list.push(one.clone());
            }
        }
        Cow::Owned(list)
    }
    let usual = Preferred::DEFAULT;
    Preferred {
        kex: with(
            &usual.kex,
            &[kex::DH_G14_SHA256, kex::DH_GEX_SHA256, kex::DH_G14_SHA1, kex::DH_GEX_SHA1],
        ),
        key: with(&usual.key, &[Algorithm::Rsa { hash: None }]),
        cipher: with(&usual.cipher, &[cipher::AES_256_CBC, cipher::AES_128_CBC]),
        mac: with(&usual.mac, &[mac::HMAC_SHA1]),
        ..usual
    }
}

/// Does something in a session, within the time of the try.
pub fn session<T>(
    one: &Try<'_>,
    port: u16,
    work: impl AsyncFnOnce(Handle<Trust>) -> Result<T, String>,
) -> Result<T, String> {
    let stream = one.node.connect(port, one.limit).map_err(|e| format!("port {port}: {e}"))?;
    stream.set_nonblocking(true).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("start a session: {e}"))?;
    runtime.block_on(async {
        let all = async {
            let stream = tokio::net::TcpStream::from_std(stream).map_err(|e| e.to_string())?;
            let config = client::Config { preferred: preferred(), ..client::Config::default() };
            let connected = client::connect_stream(Arc::new(config), stream, Trust).await;
            let mut handle = connected.map_err(|e| format!("port {port} speaks no SSH: {e}"))?;
            log_in(&mut handle, one.node.credentials()).await?;
            work(handle).await
        };
        match tokio::time::timeout(one.limit, all).await {
            Ok(done) => done,
            Err(_) => Err(format!("nothing more was heard for {} s", one.limit.as_secs())),
        }
    })
}

async fn log_in(handle: &mut Handle<Trust>, (user, password): (&str, &str)) -> Result<(), String> {
    let said = |e: russh::Error| format!("log in as {user}: {e}");
    if let AuthResult::Success = handle.authenticate_password(user, password).await.map_err(said)? {
        return Ok(());
    }
    let start = handle.authenticate_keyboard_interactive_start(user, None::<String>).await;
    let mut answer = start.map_err(said)?;
    // A password at most, and something to confirm.
    for _ in 0..4 {
        answer = match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(()),
            KeyboardInteractiveAuthResponse::Failure { .. } => break,
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = prompts.iter().map(|_| password.to_owned()).collect();
                handle.authenticate_keyboard_interactive_respond(answers).await.map_err(said)?
            }
        };
    }
    Err(format!("it does not let {user} in with the password of its kind or `credentials`"))
}
