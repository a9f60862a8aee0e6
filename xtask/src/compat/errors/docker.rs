//! Stands in for the few `docker` commands that prepare a case: a container or a network that is
//! there before becomes a lab that is there before.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Options that have a value.
const WITH_VALUE: [&str; 20] = [
    "--name",
    "--label",
    "-l",
    "--network",
    "--subnet",
    "--gateway",
    "--ip-range",
    "-e",
    "--env",
    "-v",
    "--volume",
    "-p",
    "--publish",
    "-h",
    "--hostname",
    "--ip",
    "--entrypoint",
    "--driver",
    "--opt",
    "-u",
];

/// Does what the words say, or fails with a word about what is missing.
pub fn run(words: &[&str]) -> Result<()> {
    let (options, rest) = split(words);
    let option = |name: &str| options.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| *v);
    match rest.as_slice() {
        ["run", image, command @ ..] => {
            let name = option("--name").context("the container has no --name")?;
            let lab = option("--label").and_then(|l| l.strip_prefix("containerlab="));
            let network = option("--network").unwrap_or("standin");
            deploy(&serde_json::json!({
                "name": lab.unwrap_or("standin"), "prefix": "", "mgmt": {"network": network},
                "topology": {"nodes": {name: {
                    "kind": "linux", "image": image, "cmd": command.join(" "),
                }}},
            }))
        }
        ["network", "create", name] => {
            let mut mgmt = serde_json::json!({"network": name});
            if let Some(subnet) = option("--subnet") {
                let family = if subnet.contains(':') { "ipv6-subnet" } else { "ipv4-subnet" };
                mgmt[family] = subnet.into();
            }
            let nodes = serde_json::json!({"holder": {"kind": "linux", "image": "alpine:3"}});
            deploy(&serde_json::json!({
                "name": format!("net-{name}"), "mgmt": mgmt, "topology": {"nodes": nodes},
            }))
        }
        _ => bail!("the stand-in for docker does not know `docker {}`", words.join(" ")),
    }
}

type Options<'a> = Vec<(&'a str, &'a str)>;

/// Options before the image, and the other words.
fn split<'a>(words: &[&'a str]) -> (Options<'a>, Vec<&'a str>) {
    let (mut options, mut rest) = (Vec::new(), Vec::new());
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let image_seen = rest.first() == Some(&"run") && rest.len() > 1;
        if image_seen || !word.starts_with('-') {
            rest.push(word);
        } else if let Some((name, value)) = word.split_once('=') {
            options.push((name, value));
        } else {
            // `-d` detaches a container, but is the driver of a network.
            let of_network = rest.first() == Some(&"network") && ["-d", "-o"].contains(&word);
            let has = of_network || WITH_VALUE.contains(&word);
            let value = if has { words.next() } else { None };
            options.push((word, value.unwrap_or_default()));
        }
    }
    (options, rest)
}

/// Deploys a lab of its own folder; YAML is a superset of the JSON written.
fn deploy(lab: &serde_json::Value) -> Result<()> {
    let home = std::env::var_os("HOME").map(PathBuf::from).context("HOME")?;
    let dir = home.join("docker").join(lab["name"].as_str().unwrap_or_default());
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("standin.clab.yml");
    std::fs::write(&file, lab.to_string())?;
    let done = Command::new("netloom").args(["deploy", "-t"]).arg(&file).output()?;
    if !done.status.success() {
        bail!("{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}
