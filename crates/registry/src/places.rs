//! Where an image is asked for: mirrors first, then the registry; with or without TLS, and whose
//! certificates are trusted. The settings are those Docker and Podman users have already.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use serde::Deserialize;

use crate::error::PullError;

/// Docker's own settings.
const DAEMON: &str = "/etc/docker/daemon.json";
/// Folders with certificates, by registry.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// A proxy that nothing is sent to, and what is not sent to it.
const NO_PROXY: (&str, &str) = ("http://127.0.0.1:9", "localhost,127.0.0.0/8,::1");

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Hosts (with or without port) that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// Hosts and networks whose certificates are not looked at, and that may have no TLS. Loopback is
    /// one, unless there is a certificate for it.
    pub insecure: Vec<String>,
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
        out.insecure.extend(daemon.insecure_registries);
        out.mirrors.entry("docker.io".into()).or_default().extend(daemon.registry_mirrors);
        let home =
            environment.get("HOME").map(|home| Path::new(home).join(".config/containers/certs.d"));
        out.certificates.extend(CERTIFICATES.map(PathBuf::from).into_iter().chain(home));
        Ok(out)
    }

    /// Where to ask for an image of a registry, in order.
    pub(crate) fn places(&self, registry: &str) -> Vec<Place> {
        let mut out = Vec::new();
        for mirror in self.mirrors.get(registry).into_iter().flatten() {
            let (scheme, rest) = mirror.split_once("://").unwrap_or(("", mirror));
            // Neither log-ins nor paths belong into a mirror's name; log-ins are found elsewhere.
            let host = rest.split('/').next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            self.ways(scheme, host, true, &mut out);
        }
        self.ways("", registry, false, &mut out);
        out
    }

    /// The ways to speak to a host: with TLS; where Docker would, without looking at the
    /// certificate and then without TLS too.
    fn ways(&self, scheme: &str, host: &str, mirror: bool, out: &mut Vec<Place>) {
        let name = match host.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let address: Option<IpAddr> = name.parse().ok();
        let loopback = name == "localhost" || address.is_some_and(|a| a.is_loopback());
        let named = |list: &[String]| list.iter().any(|entry| entry == host || entry == name);
        let within = |entry: &String| {
            let net: Option<IpNet> = entry.parse().ok();
            net.zip(address).is_some_and(|(net, address)| net.contains(&address))
        };
        let insecure = named(&self.insecure) || self.insecure.iter().any(within) || loopback;
        let place = |plain, unverified| Place {
            host: host.to_owned(),
            plain,
            unverified,
            mirror,
            loopback,
        };
        if scheme == "http" || named(&self.plain_http) && scheme != "https" {
            out.push(place(true, false));
        } else if insecure && self.certificates_of(host).is_empty() {
            out.push(place(false, true));
            if scheme != "https" {
                out.push(place(true, false));
            }
        } else {
            out.push(place(false, false));
        }
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
            accept_invalid_certificates: place.unverified,
            // Naming proxies keeps the client from the environment's; what is here is for nobody else
            // to see, log-ins least of all.
            http_proxy: place.loopback.then(|| NO_PROXY.0.to_owned()),
            https_proxy: place.loopback.then(|| NO_PROXY.0.to_owned()),
            no_proxy: place.loopback.then(|| NO_PROXY.1.to_owned()),
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

/// A host that may have an image, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Host and port.
    pub host: String,
    /// Without TLS.
    pub plain: bool,
    /// With TLS, whoever's certificate it shows.
    pub unverified: bool,
    /// Not the registry itself.
    pub mirror: bool,
    /// On this machine.
    pub loopback: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            plain_http: vec!["lab.example:5000".into()],
            insecure: vec!["10.1.0.0/16".into(), "self.example".into()],
            mirrors: BTreeMap::from([(
                "docker.io".into(),
                vec!["http://10.0.0.1:5000/x".into(), "https://joe:pw@127.0.0.1:5001".into()],
            )]),
            certificates: Vec::new(),
        }
    }

    /// `http`, `https` or `any` (whatever certificate), in order.
    fn ways(registry: &str) -> Vec<String> {
        let word = |p: &Place| match (p.plain, p.unverified) {
            (true, _) => "http",
            (false, true) => "any",
            (false, false) => "https",
        };
        settings().places(registry).iter().map(|p| format!("{} {}", word(p), p.host)).collect()
    }

    #[test]
    fn only_loopback_and_what_is_allowed_goes_without_tls() {
        for host in
            ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "10.1.2.3:5000", "self.example"]
        {
            assert_eq!(ways(host), [format!("any {host}"), format!("http {host}")], "{host}");
        }
        assert_eq!(ways("lab.example:5000"), ["http lab.example:5000"]);
        for host in ["lab.example", "10.0.0.1:5000", "localhost.example", "ghcr.io", "10.2.0.1"] {
            assert_eq!(ways(host), [format!("https {host}")], "{host}");
        }
    }

    #[test]
    fn mirrors_come_first_without_their_secrets() {
        let wanted = ["http 10.0.0.1:5000", "any 127.0.0.1:5001", "https docker.io"];
        assert_eq!(ways("docker.io"), wanted);
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
