//! Requests of our own: manifests, of which no more is read than one may have, and tokens for who has
//! logged in without a password (identity tokens, as Azure's `az acr login` leaves them).

use oci_client::client::{CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Proxy, Response, StatusCode};
use serde::Deserialize;

use crate::error::PullError;
use crate::pull::{Attempt, PATIENCE, stopped};

/// A client for one host, set up as the library's own is.
pub(crate) struct Host {
    http: Client,
    /// Follows nobody anywhere: what is exchanged for tokens is sent with it.
    tokens: Client,
    /// Whether certificates are looked at nowhere.
    lenient: bool,
    base: String,
}

/// The longest answer of a token endpoint.
const MOST_TOKEN: u64 = 1 << 20;

/// A token endpoint's answer.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    token: String,
}

impl Host {
    /// Speaks to `host` as the configuration says.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub fn new(host: &str, config: &ClientConfig) -> reqwest::Result<Self> {
        let scheme = match config.protocol {
            ClientProtocol::Http => "http",
            _ => "https",
        };
        Ok(Host {
            http: client(config, Policy::default())?,
            tokens: client(config, Policy::none())?,
            lenient: config.accept_invalid_certificates,
            base: format!("{scheme}://{host}/v2/"),
        })
    }

    /// Whether what stands for a password may be sent to a token endpoint: as safely as the registry
    /// itself is spoken to, and to another host only if that shows who it is.
    fn may_tell(&self, realm: &str) -> bool {
        let plain = self.base.starts_with("http://");
        let host = |url: &str| url.split('/').nth(2).unwrap_or_default().to_owned();
        let name = |url: &str| host(url).split(':').next().unwrap_or_default().to_owned();
        let same = name(realm) == name(&self.base);
        match realm.split_once("://") {
            Some(("https", _)) => same || !self.lenient,
            Some(("http", _)) => plain && same,
            _ => false,
        }
    }
}

fn client(config: &ClientConfig, redirects: Policy) -> reqwest::Result<Client> {
    let mut builder = Client::builder()
        .user_agent(config.user_agent)
        .redirect(redirects)
        .tls_danger_accept_invalid_certs(config.accept_invalid_certificates);
    if let Some(time) = config.connect_timeout {
        builder = builder.connect_timeout(time);
    }
    if let Some(time) = config.read_timeout {
        builder = builder.read_timeout(time);
    }
    if config.no_proxy.is_some() {
        builder = builder.no_proxy();
    } else if let Some(proxy) = &config.https_proxy {
        builder = builder.proxy(Proxy::all(proxy)?);
    }
    for root in &config.extra_root_certificates {
        builder = builder.add_root_certificate(match root.encoding {
            CertificateEncoding::Pem => Certificate::from_pem(&root.data)?,
            CertificateEncoding::Der => Certificate::from_der(&root.data)?,
        });
    }
    builder.build()
}

impl Attempt<'_> {
    /// A manifest or index as it is, of at most `most` bytes.
    pub(crate) async fn document(
        &self,
        image: &Reference,
        accepted: &[&str],
        most: u64,
    ) -> Result<Vec<u8>, PullError> {
        let token = self
            .client
            .auth(image, &self.auth, RegistryOperation::Pull)
            .await
            .map_err(|e| self.asked.failed(e))?;
        let which = image.digest().or(image.tag()).unwrap_or("latest");
        let url = format!("{}{}/manifests/{which}", self.host.base, image.repository());
        let mut request = self.host.http.get(url).header(ACCEPT, accepted.join(", "));
        request = match (token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        };
        let failed = |e: reqwest::Error| self.asked.failed(OciDistributionError::RequestError(e));
        let mut answer = request.send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        self.read(&mut answer, "manifest", most).await
    }

    /// A body of at most so many bytes.
    async fn read(
        &self,
        answer: &mut Response,
        what: &str,
        most: u64,
    ) -> Result<Vec<u8>, PullError> {
        let failed = |e: reqwest::Error| self.asked.failed(OciDistributionError::RequestError(e));
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            text.extend_from_slice(&piece);
            if text.len() as u64 > most {
                return Err(self.answer(format!("its {what} has more than {most} bytes")));
            }
        }
        Ok(text)
    }

    /// Why a request was not answered with what it asked for.
    async fn refused(&self, mut answer: Response) -> PullError {
        let (place, image) = (self.asked.place.clone(), self.asked.image.clone());
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                PullError::Refused { place, image, who: self.asked.who.clone() }
            }
            StatusCode::NOT_FOUND => PullError::Unknown { place, image },
            status => {
                // The first words will do, and no more is waited for.
                let said = answer.chunk().await.ok().flatten().unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                let message = said.chars().filter(|c| !c.is_control()).take(200).collect();
                let (code, url) = (status.as_u16(), answer.url().to_string());
                self.asked.failed(OciDistributionError::ServerError { code, url, message })
            }
        }
    }

    /// As [`Attempt::exchange`], until the user wants to stop or it takes too long.
    pub(crate) async fn known(&mut self, actions: &str) -> Result<(), PullError> {
        let (progress, place, plain) = (self.progress, self.asked.place.clone(), self.asked.plain);
        tokio::select! {
            done = tokio::time::timeout(PATIENCE, self.exchange(actions)) => done.unwrap_or_else(|_| {
                let why = format!("no token within {} s", PATIENCE.as_secs());
                Err(PullError::Unreachable { place, plain, why })
            }),
            () = stopped(progress) => Err(PullError::Stopped),
        }
    }

    /// Who logged in without a password gets a token for this image, for what is to be done with it
    /// (`pull`, or `pull,push`); everybody else has what it takes.
    pub(crate) async fn exchange(&mut self, actions: &str) -> Result<(), PullError> {
        let Some(identity) = self.identity.take() else { return Ok(()) };
        let failed = |e: reqwest::Error| self.asked.failed(OciDistributionError::RequestError(e));
        let answer = self.host.http.get(&self.host.base).send().await.map_err(failed)?;
        let said = answer.headers().get(WWW_AUTHENTICATE).and_then(|h| h.to_str().ok());
        // One that asks nobody needs no token.
        let Some(said) = said.map(str::to_owned) else { return Ok(()) };
        let Some(realm) = parameter(&said, "realm") else {
            return Err(self.answer("it knows no tokens, and the log-in is one".into()));
        };
        if !self.host.may_tell(&realm) {
            let why = format!("it wants the log-in to be told to {realm}, which is not safe");
            return Err(self.answer(why));
        }
        let scope = format!("repository:{}:{actions}", self.image.repository());
        let service = parameter(&said, "service").unwrap_or_default();
        let form = [
            ("grant_type", "refresh_token"),
            ("service", service.as_str()),
            ("client_id", "netloom"),
            ("scope", scope.as_str()),
            ("refresh_token", identity.as_str()),
        ];
        let mut answer = self.host.tokens.post(realm).form(&form).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        let text = self.read(&mut answer, "token", MOST_TOKEN).await?;
        let token: Token = serde_json::from_slice(&text)
            .map_err(|_| self.answer("its token cannot be read".into()))?;
        let token = match token.access_token.is_empty() {
            true => token.token,
            false => token.access_token,
        };
        self.auth = RegistryAuth::Bearer(token);
        Ok(())
    }
}

/// A parameter of a challenge (`Bearer realm="…",service="…"`).
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let rest = challenge.split_once(' ').map_or(challenge, |(_, rest)| rest);
    rest.split(',').find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        (key.eq_ignore_ascii_case(name)).then(|| value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{Attempt, parameter};

    /// Docker's own registry goes by another name than its images.
    #[test]
    fn images_without_a_registry_come_from_dockers() {
        let folder = tempfile::tempdir().unwrap();
        let store = netloom_image::Store::open(folder.path()).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = crate::Settings::of(&std::collections::BTreeMap::new()).unwrap();
        let base = |name: &str| {
            let reference: netloom_image::Reference = name.parse().unwrap();
            let places = settings.places(reference.registry());
            let place = places.last().unwrap();
            let attempt = Attempt::new(&store, &reference, &settings, place, &crate::pull::Silent);
            attempt.unwrap().host.base
        };
        assert_eq!(base("alpine:3"), "https://index.docker.io/v2/");
        assert_eq!(base("quay.io/x/y"), "https://quay.io/v2/");
    }

    #[test]
    fn who_may_be_told() {
        let host = |protocol, lenient| {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let config = oci_client::client::ClientConfig {
                protocol,
                accept_invalid_certificates: lenient,
                ..Default::default()
            };
            super::Host::new("r.example:5000", &config).unwrap()
        };
        let safe = host(super::ClientProtocol::Https, false);
        assert!(safe.may_tell("https://auth.example/t") && safe.may_tell("https://r.example/t"));
        assert!(!safe.may_tell("http://r.example:5001/t") && !safe.may_tell("ftp://r.example/"));
        let lenient = host(super::ClientProtocol::Https, true);
        assert!(
            lenient.may_tell("https://r.example:1/t") && !lenient.may_tell("https://a.example/t")
        );
        let plain = host(super::ClientProtocol::Http, false);
        assert!(plain.may_tell("http://r.example:5001/t") && !plain.may_tell("http://a.example/t"));
    }

    #[test]
    fn challenges() {
        let said = r#"Bearer realm="https://a/token",service="r:5000", scope="x""#;
        assert_eq!(parameter(said, "realm").as_deref(), Some("https://a/token"));
        assert_eq!(parameter(said, "service").as_deref(), Some("r:5000"));
        assert_eq!(parameter(said, "error"), None);
    }
}
