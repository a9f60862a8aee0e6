//! Credentials as `docker login` and `podman login` leave them: their files, and the helpers these
//! name.

use std::fs::File;
use std::io::BufReader;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;

/// Who asks, and how that is shown in messages.
pub(crate) struct Credentials {
    /// For the client.
    pub auth: RegistryAuth,
    /// `nobody in particular`, or the user's name and where it is from.
    pub who: String,
}

/// Names a registry's log-in may be filed under.
fn keys(host: &str) -> Vec<String> {
    match host {
        "docker.io" => ["https://index.docker.io/v1/", "index.docker.io", "docker.io"]
            .map(str::to_owned)
            .into(),
        host => vec![host.to_owned(), format!("https://{host}"), format!("https://{host}/v1/")],
    }
}

type Source = fn(&str) -> Result<DockerCredential, CredentialRetrievalError>;

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

/// The credentials for a host.
pub(crate) fn find(host: &str) -> Credentials {
    let sources: [(&str, Source); 3] = [
        ("Docker's configuration", docker_credential::get_credential),
        ("Podman's configuration", docker_credential::get_podman_credential),
        ("Podman's configuration", without_session),
    ];
    for (from, get) in sources {
        for key in keys(host) {
            match get(&key) {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    let who = format!("`{user}` ({from})");
                    return Credentials { auth: RegistryAuth::Basic(user, password), who };
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    let who = format!("the token of {from}");
                    return Credentials { auth: RegistryAuth::Bearer(token), who };
                }
                // Not there, or nothing that helps: whoever needs one will say so.
                Err(_) => {}
            }
        }
    }
    Credentials { auth: RegistryAuth::Anonymous, who: "nobody in particular".into() }
}
