//! The OCI image configuration document, read and written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Healthcheck, ImageConfig};
use crate::digest::Digest;
use crate::platform;

/// The parts of the document that matter here.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub config: ImageConfig,
    /// Digests of the unpacked layers, base first.
    pub diff_ids: Vec<Digest>,
    pub architecture: String,
    pub os: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    config: Option<Run>,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, Value>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    healthcheck: Option<Check>,
    shell: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    test: Option<Vec<String>>,
    interval: Option<i64>,
    timeout: Option<i64>,
    start_period: Option<i64>,
    start_interval: Option<i64>,
    retries: Option<i64>,
}

/// Reads an image configuration document.
pub(crate) fn parse(bytes: &[u8]) -> Result<ConfigFile, serde_json::Error> {
    let document: Document = serde_json::from_slice(bytes)?;
    let run = document.config.unwrap_or_default();
    let keys = |map: Option<BTreeMap<String, Value>>| map.unwrap_or_default().into_keys().collect();
    Ok(ConfigFile {
        config: ImageConfig {
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            user: run.user.unwrap_or_default(),
            exposed_ports: keys(run.exposed_ports),
            volumes: keys(run.volumes),
            labels: run.labels.unwrap_or_default(),
            stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
            healthcheck: run.healthcheck.map(healthcheck),
            shell: run.shell.unwrap_or_default(),
        },
        diff_ids: document.rootfs.diff_ids.unwrap_or_default(),
        architecture: document.architecture,
        os: document.os,
    })
}

/// A document for a root filesystem that came without one.
pub(crate) fn synthesise(layer: &Digest) -> Value {
    json!({
        "architecture": platform::host_architecture(),
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    })
}

fn healthcheck(check: Check) -> Healthcheck {
    // Docker writes zero for "use the default".
    let time = |nanos: Option<i64>| {
        nanos.and_then(|nanos| u64::try_from(nanos).ok()).filter(|&nanos| nanos > 0)
    };
    let time = |nanos| time(nanos).map(Duration::from_nanos);
    Healthcheck {
        test: check.test.unwrap_or_default(),
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: check.retries.and_then(|count| u32::try_from(count).ok()).filter(|&n| n > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_document() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z",
          "config":{"Env":["A=b"],"Cmd":null,"Entrypoint":["/init"],"WorkingDir":"/w",
            "ExposedPorts":{"22/tcp":{}},"Volumes":null,"Labels":{"k":"v"},"StopSignal":"SIGTERM",
            "Healthcheck":{"Test":["CMD","true"],"Interval":5000000000,"Retries":3,"Timeout":0},
            "OnBuild":null,"ArgsEscaped":true},
          "rootfs":{"type":"layers","diff_ids":null}}"#;
        let file = parse(text.as_bytes()).expect("a document");
        assert_eq!(file.config.entrypoint, ["/init"]);
        assert_eq!(file.config.exposed_ports, ["22/tcp"]);
        assert_eq!(file.config.stop_signal.as_deref(), Some("SIGTERM"));
        let check = file.config.healthcheck.expect("a check");
        assert_eq!((check.interval, check.timeout), (Some(Duration::from_secs(5)), None));
        assert_eq!(check.retries, Some(3));
    }

    #[test]
    fn a_synthetic_document_reads_back() {
        let layer = Digest::of(b"x");
        let file = parse(synthesise(&layer).to_string().as_bytes()).expect("a document");
        assert_eq!(file.diff_ids, [layer]);
        assert_eq!(file.config, ImageConfig::default());
    }
}
