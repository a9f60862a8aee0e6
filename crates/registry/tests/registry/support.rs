//! A real registry on loopback, and images to put there.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use netloom_image::Digest;
use netloom_registry::{Progress, Settings};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::json;
use tempfile::TempDir;

/// Debian's `docker-registry`, on a port of its own.
pub struct Registry {
    pub host: String,
    pub folder: TempDir,
    child: Child,
}

impl Registry {
    pub fn start() -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            folder.path().join("data").display()
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs: it comes with the Debian package of that name");
        let registry = Registry { host, folder, child };
        let begun = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Puts an image there.
    pub fn push(&self, name: &str, image: &Made) {
        let layers = image
            .layers
            .iter()
            .map(|(data, kind)| ImageLayer::new(data.clone(), (*kind).to_string(), None));
        let config = Config::oci_v1(image.config.clone(), None);
        let reference: Reference = format!("{}/{name}", self.host).parse().unwrap();
        let work = async {
            let client = self.client();
            let layers: Vec<ImageLayer> = layers.collect();
            client.push(&reference, &layers, config, &RegistryAuth::Anonymous, None).await.unwrap();
        };
        run(work);
    }

    /// Puts an index there, of images that are there: name and architecture of each.
    pub fn push_index(&self, name: &str, of: &[(&str, &str)]) {
        run(async {
            let client = self.client();
            let mut manifests = Vec::new();
            for (image, architecture) in of {
                let reference: Reference = format!("{}/{image}", self.host).parse().unwrap();
                let accepted = ["application/vnd.oci.image.manifest.v1+json"];
                let (text, digest) = client
                    .pull_manifest_raw(&reference, &RegistryAuth::Anonymous, &accepted)
                    .await
                    .unwrap();
                let mut entry =
                    json!({"mediaType": accepted[0], "digest": digest, "size": text.len()});
                if !architecture.is_empty() {
                    entry["platform"] = json!({"os": "linux", "architecture": architecture});
                }
                manifests.push(entry);
            }
            let kind = "application/vnd.oci.image.index.v1+json";
            let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
            let reference: Reference = format!("{}/{name}", self.host).parse().unwrap();
            let list = serde_json::from_value(index).unwrap();
            client.push_manifest_list(&reference, &RegistryAuth::Anonymous, list).await.unwrap();
        });
    }

    /// The file of a blob in the registry's own storage.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn client(&self) -> Client {
        Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// An image in memory.
pub struct Made {
    pub config: Vec<u8>,
    pub layers: Vec<(Vec<u8>, &'static str)>,
}

impl Made {
    /// Of layers with one file each, packed in turns with gzip, zstd and not at all.
    pub fn of(files: &[(&str, &[u8])], architecture: &str) -> Made {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (n, (name, text)) in files.iter().enumerate() {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, name, *text).unwrap();
            let tar = tar.into_inner().unwrap();
            diff_ids.push(Digest::of(&tar).to_string());
            layers.push(match n % 3 {
                0 => {
                    let mut gzip =
                        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    gzip.write_all(&tar).unwrap();
                    (gzip.finish().unwrap(), "application/vnd.oci.image.layer.v1.tar+gzip")
                }
                1 => (
                    zstd::encode_all(&tar[..], 1).unwrap(),
                    "application/vnd.oci.image.layer.v1.tar+zstd",
                ),
                _ => (tar, "application/vnd.oci.image.layer.v1.tar"),
            });
        }
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Cmd": ["/bin/idle"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Made { config: config.to_string().into_bytes(), layers }
    }

    pub fn layer(&self, n: usize) -> Digest {
        Digest::of(&self.layers[n].0)
    }
}

/// Bytes that no packing makes smaller.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// Counts.
#[derive(Debug, Default)]
pub struct Count {
    pub layers: AtomicUsize,
    pub bytes: AtomicU64,
}

impl Progress for Count {
    fn begin(&self, layers: usize, _: u64) {
        self.layers.store(layers, Ordering::Relaxed);
    }

    fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }
}

/// Settings of nobody.
pub fn plain() -> Settings {
    Settings::default()
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => left.push(entry.path()),
                false => out.push(entry.path()),
            }
        }
    }
    out
}
