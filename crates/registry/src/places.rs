//! Where an image is asked for: mirrors first, then the registry; with or without TLS, and whose
//! certificates are trusted. The settings are those Docker and Podman users have already.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use serde::Deserialize;

use crate::error::PullError;

/// Docker's own settings.
const DAEMON: &str = "/etc/docker/daemon.json";
/// Folders with certificates, by registry.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Hosts (with port) that are spoken to without TLS. Loopback is, always.
    pub plain_http: Vec<String>,
    /// Mirrors by registry, tried in this order: `host:port` or a URL.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Folders like `/etc/docker/certs.d`.
    pub certificates: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Daemon {
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
}

impl Settings {
    /// Those of the environment (`NETLOOM_PLAIN_HTTP=HOST,HOST`, `NETLOOM_MIRRORS=REGISTRY=HOST,...`)
    /// and of Docker's `daemon.json` (`insecure-registries`, `registry-mirrors`).
    ///
    /// # Errors
    /// `daemon.json` cannot be read.
    pub fn of(environment: &BTreeMap<String, String>) -> Result<Settings, PullError> {
        let mut out = Settings::default();
        let list = |name: &str| {
            let text = environment.get(name).map(String::as_str).unwrap_or_default();
            text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned)
        };
        out.plain_http.extend(list("NETLOOM_PLAIN_HTTP"));
        for pair in list("NETLOOM_MIRRORS") {
            if let Some((registry, mirror)) = pair.split_once('=') {
                out.mirrors.entry(registry.to_owned()).or_default().push(mirror.to_owned());
            }
        }
        let daemon = daemon(Path::new(DAEMON))?;
        out.plain_http.extend(daemon.insecure_registries);
        out.mirrors.entry("docker.io".into()).or_default().extend(daemon.registry_mirrors);
        let home =
            environment.get("HOME").map(|home| Path::new(home).join(".config/containers/certs.d"));
        out.certificates.extend(CERTIFICATES.map(PathBuf::from).into_iter().chain(home));
        Ok(out)
    }

    /// Where to ask for an image of a registry, in order.
    pub(crate) fn places(&self, registry: &str) -> Vec<Place> {
        let mirrors = self.mirrors.get(registry).into_iter().flatten();
        let mut out: Vec<Place> = mirrors
            .map(|mirror| {
                let (scheme, host) = mirror.split_once("://").unwrap_or(("", mirror));
                let host = host.trim_end_matches('/').to_owned();
                Place { plain: scheme == "http" || self.plain(&host), mirror: true, host }
            })
            .collect();
        out.push(Place { plain: self.plain(registry), mirror: false, host: registry.to_owned() });
        out
    }

    fn plain(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let loopback = name == "localhost"
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        // One on loopback with a certificate of its own is spoken to with TLS.
        (loopback && self.certificates_of(host).is_empty())
            || self.plain_http.iter().any(|allowed| allowed == host || allowed == name)
    }

    fn certificates_of(&self, host: &str) -> Vec<PathBuf> {
        let files = |folder: &PathBuf| -> Vec<PathBuf> {
            let entries = fs::read_dir(folder.join(host)).into_iter().flatten().flatten();
            let mut list: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            list.retain(|path| path.extension().is_some_and(|e| e == "crt" || e == "pem"));
            list.sort();
            list
        };
        self.certificates.iter().flat_map(files).collect()
    }

    /// The client's configuration for a place.
    pub(crate) fn client(&self, place: &Place) -> Result<ClientConfig, PullError> {
        let mut roots = Vec::new();
        for path in self.certificates_of(&place.host) {
            let data = fs::read(&path).map_err(|source| PullError::File {
                what: "read",
                path: path.clone(),
                source,
            })?;
            roots.push(Certificate { encoding: CertificateEncoding::Pem, data });
        }
        Ok(ClientConfig {
            protocol: if place.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: roots,
            connect_timeout: Some(std::time::Duration::from_secs(15)),
            read_timeout: Some(std::time::Duration::from_secs(60)),
            user_agent: concat!("netloom/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
    }
}

fn daemon(path: &Path) -> Result<Daemon, PullError> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Daemon::default()),
        Err(source) => return Err(PullError::File { what: "read", path: path.into(), source }),
        Ok(text) => text,
    };
    serde_json::from_str(&text)
        .map_err(|e| PullError::Settings { path: path.into(), why: e.to_string() })
}

/// A host that may have an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Host and port.
    pub host: String,
    /// Without TLS.
    pub plain: bool,
    /// Not the registry itself.
    pub mirror: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            plain_http: vec!["lab.example:5000".into()],
            mirrors: BTreeMap::from([(
                "docker.io".into(),
                vec!["http://10.0.0.1:5000/".into(), "mirror.example".into()],
            )]),
            certificates: Vec::new(),
        }
    }

    #[test]
    fn only_loopback_and_what_is_allowed_goes_without_tls() {
        let s = settings();
        for host in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "lab.example:5000"] {
            assert!(s.places(host)[0].plain, "{host}");
        }
        for host in ["lab.example", "10.0.0.1:5000", "localhost.example", "ghcr.io"] {
            assert!(!s.places(host)[0].plain, "{host}");
        }
    }

    #[test]
    fn mirrors_come_first() {
        let places = settings().places("docker.io");
        let shown: Vec<_> = places.iter().map(|p| (p.host.as_str(), p.plain, p.mirror)).collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1:5000", true, true),
                ("mirror.example", false, true),
                ("docker.io", false, false)
            ]
        );
    }

    #[test]
    fn a_broken_daemon_json_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("daemon.json");
        assert!(daemon(&file).is_ok(), "none is none");
        fs::write(&file, "{\"registry-mirrors\": [\"https://m\"], \"other\": 1}").unwrap();
        assert_eq!(daemon(&file).unwrap().registry_mirrors, ["https://m"]);
        fs::write(&file, "{").unwrap();
        assert!(matches!(daemon(&file), Err(PullError::Settings { .. })));
    }
}
