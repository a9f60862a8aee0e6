//! Building archives by hand, well-formed and hostile.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;
use std::process::Command;

/// A tar under construction.
#[derive(Default, Clone)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// Any member at all.
    pub fn raw(mut self, kind: u8, name: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        if name.len() > 99 {
            let text = [name.as_bytes(), b"\0"].concat();
            self = self.raw(b'L', "././@LongLink", "", 0, &text);
        }
        let mut block = [0_u8; 512];
        let cut = name.len().min(99);
        block[..cut].copy_from_slice(&name.as_bytes()[..cut]);
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[136..147].copy_from_slice(format!("{:011o}", 1_600_000_000).as_bytes());
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..263].copy_from_slice(b"ustar\0");
        block[263..265].copy_from_slice(b"00");
        block[329..336].copy_from_slice(b"0000001");
        block[337..344].copy_from_slice(b"0000003");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.raw(b'0', name, "", 0o644, data)
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.raw(b'5', name, "", mode, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name, target, 0o644, b"")
    }

    /// An extended header for the next member.
    pub fn pax(self, key: &str, value: &[u8]) -> Self {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        let record = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
        self.raw(b'x', "pax", "", 0, &record)
    }

    /// Without the end marker.
    pub fn open(self) -> Vec<u8> {
        self.0
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("gzip");
    encoder.finish().expect("gzip")
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).expect("zstd")
}

/// Runs a command that must succeed.
pub fn run(directory: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new(program).args(arguments).current_dir(directory).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output.stdout
}

/// A small root filesystem with one of everything.
pub fn rootfs() -> Tar {
    Tar::new()
        .directory("./", 0o755)
        .directory("bin/", 0o755)
        .raw(b'0', "bin/su", "", 0o4755, b"#!/bin/true\n")
        .hard_link("bin/su2", "bin/su")
        .symlink("sbin", "bin")
        .directory("tmp/", 0o1777)
        .raw(b'3', "null", "", 0o666, b"")
        .raw(b'6', "pipe", "", 0o600, b"")
        .directory("etc/", 0o755)
        .file("etc/hostname", b"lab\n")
}

/// One image for an OCI layout or a docker archive.
pub struct OciImage {
    pub architecture: &'static str,
    pub layers: Vec<Vec<u8>>,
}

fn digest(data: &[u8]) -> String {
    netloom_image::Digest::of(data).to_string()
}

fn document(image: &OciImage, diff_ids: &[String]) -> Vec<u8> {
    serde_json::json!({
        "architecture": image.architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

/// Writes an OCI layout whose single name lists `images`, one for each architecture.
pub fn oci_layout(into: &Path, name: &str, images: &[OciImage]) {
    let blobs = into.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("blobs");
    let put = |data: &[u8]| {
        let digest = digest(data);
        std::fs::write(blobs.join(&digest[7..]), data).expect("blob");
        serde_json::json!({"digest": digest, "size": data.len()})
    };
    let mut manifests = Vec::new();
    for image in images {
        let diff_ids: Vec<String> = image.layers.iter().map(|layer| digest(layer)).collect();
        let config = put(&document(image, &diff_ids));
        let pack = |(index, layer): (usize, &Vec<u8>)| match index % 3 {
            0 => put(&gzip(layer)),
            1 => put(&zstd(layer)),
            _ => put(layer),
        };
        let layers: Vec<_> = image.layers.iter().enumerate().map(pack).collect();
        let manifest = serde_json::json!({"config": config, "layers": layers}).to_string();
        let mut descriptor = put(manifest.as_bytes());
        descriptor["platform"] =
            serde_json::json!({"architecture": image.architecture, "os": "linux"});
        manifests.push(descriptor);
    }
    let nested = serde_json::json!({"manifests": manifests}).to_string();
    let mut top = put(nested.as_bytes());
    top["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    if !name.is_empty() {
        top["annotations"] = serde_json::json!({"io.containerd.image.name": name});
    }
    let index = serde_json::json!({"manifests": [top]}).to_string();
    std::fs::write(into.join("index.json"), index).expect("index");
    std::fs::write(into.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
}

/// A docker archive as `docker save` wrote it before version 25.
pub fn docker_archive(tags: &[&str], image: &OciImage) -> Vec<u8> {
    let diff_ids: Vec<String> = image.layers.iter().map(|layer| digest(layer)).collect();
    let config = document(image, &diff_ids);
    let config_name = format!("{}.json", &digest(&config)[7..]);
    let mut tar = Tar::new().file(&config_name, &config);
    let mut names = Vec::new();
    for (layer, diff_id) in image.layers.iter().zip(&diff_ids) {
        let name = format!("{}/layer.tar", &diff_id[7..]);
        tar = tar.file(&name, layer);
        names.push(name);
    }
    let manifest =
        serde_json::json!([{"Config": config_name, "RepoTags": tags, "Layers": names}]).to_string();
    tar.file("manifest.json", manifest.as_bytes()).end()
}
