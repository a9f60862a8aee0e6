//! Credentials as `docker login` and `podman login` leave them: their files, and the helpers these
//! name.

use std::fs::File;
use std::io::BufReader;
use std::sync::mpsc;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use netloom_image::Reference;
use oci_client::secrets::RegistryAuth;

/// How long a credential helper may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who asks, and how that is shown in messages.
pub(crate) struct Credentials {
    /// For the client.
    pub auth: RegistryAuth,
    /// What stands for a password, to be exchanged for a token.
    pub identity: Option<String>,
    /// `nobody in particular`, or the user's name and where it is from.
    pub who: String,
}

/// Names a log-in may be filed under, the most particular first.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut part = repository;
    loop {
        out.push(format!("{host}/{part}"));
        match part.rsplit_once('/') {
            Some((above, _)) => part = above,
            None => break,
        }
    }
    out.extend([host.to_owned(), format!("https://{host}"), format!("https://{host}/v1/")]);
    if host == "docker.io" {
        out.extend(["https://index.docker.io/v1/", "index.docker.io"].map(str::to_owned));
    }
    out
}

type Source = fn(&str) -> Result<DockerCredential, CredentialRetrievalError>;

/// The credentials for a host; a helper that hangs is not waited for.
pub(crate) fn find(host: &str, repository: &str) -> Credentials {
    let (sender, receiver) = mpsc::channel();
    let keys = keys(host, repository);
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(look(&keys));
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| nobody("a credential helper hangs"))
}

/// User and password for an image's registry, where somebody has logged in: for who pulls it in our
/// stead.
pub fn login(reference: &Reference) -> Option<(String, String)> {
    match find(reference.registry(), reference.repository()).auth {
        RegistryAuth::Basic(user, password) => Some((user, password)),
        _ => None,
    }
}

fn nobody(why: &str) -> Credentials {
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    Credentials {
        auth: RegistryAuth::Anonymous,
        identity: None,
        who: format!("nobody in particular{why}"),
    }
}

fn look(keys: &[String]) -> Credentials {
    let sources: [(&str, Source); 3] = [
        ("Docker's configuration", docker_credential::get_credential),
        ("Podman's configuration", docker_credential::get_podman_credential),
        ("Podman's configuration", without_session),
    ];
    let mut trouble = String::new();
    for (from, get) in sources {
        for key in keys {
            match get(key) {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    let who = format!("`{user}` ({from})");
                    let auth = RegistryAuth::Basic(user, password);
                    return Credentials { auth, identity: None, who };
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    let who = format!("the identity token of {from}");
                    let auth = RegistryAuth::Anonymous;
                    return Credentials { auth, identity: Some(token), who };
                }
                Err(
                    CredentialRetrievalError::NoCredentialConfigured
                    | CredentialRetrievalError::ConfigNotFound
                    | CredentialRetrievalError::ConfigReadError,
                ) => {}
                // What a helper says may hold secrets.
                Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                    if trouble.is_empty() {
                        trouble = format!("{from}: the credential helper `{helper}` has none");
                    }
                }
                Err(e) => {
                    if trouble.is_empty() {
                        trouble = format!("{from}: {e}");
                    }
                }
            }
        }
    }
    nobody(&trouble)
}

/// Podman's files where no session says so: those of root's own shell, for one.
fn without_session(key: &str) -> Result<DockerCredential, CredentialRetrievalError> {
    let mut files = vec![format!("/run/containers/{}/auth.json", nix::unistd::Uid::effective())];
    files.extend(std::env::var("HOME").map(|home| format!("{home}/.config/containers/auth.json")));
    let mut last = Err(CredentialRetrievalError::ConfigNotFound);
    for file in files {
        let Ok(file) = File::open(file) else { continue };
        last = docker_credential::get_credential_from_reader(BufReader::new(file), key);
        if last.is_ok() {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_most_particular_comes_first() {
        let wanted = ["h:1/a/b", "h:1/a", "h:1", "https://h:1", "https://h:1/v1/"];
        assert_eq!(super::keys("h:1", "a/b"), wanted);
    }
}
