//! One case, deployed with us on a Docker in a sandbox.

use super::Case;
use anyhow::{Context, Result, bail};
use netloom_e2e::{Docker, Sandbox};
use netloom_testkit::busybox;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The program of stand-in images: it does nothing, whatever it is asked to do.
const STANDIN: &str = "#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 1000 & wait $!; done\n";

/// A sandbox with Docker, set up as the recording machine was.
pub struct Place {
    sandbox: Sandbox,
    docker: Docker,
    images: BTreeSet<String>,
}

impl Place {
    pub fn new() -> Self {
        let mut sandbox = Sandbox::new();
        let s = &sandbox;
        let resolv = s.file("../resolv.conf", "nameserver 192.0.2.53\nnameserver 192.0.2.54\n");
        s.sh(&format!("mount --bind {} /etc/resolv.conf", resolv.display())).ok();
        // Over the machine's own devices, so that more can be made here.
        let over = s.folders()[0].join("dev");
        for part in ["upper", "work"] {
            fs::create_dir_all(over.join(part)).expect("make the folders of the devices");
        }
        let at = over.display();
        s.sh(&format!(
            "mount -t overlay -o lowerdir=/dev,upperdir={at}/upper,workdir={at}/work dev /dev"
        ))
        .ok();
        // A kind wants the machine's modules; one that has none gets an empty folder.
        if !Path::new("/lib/modules").exists() {
            let lib = s.folders()[0].join("lib");
            for part in ["upper/modules", "work"] {
                fs::create_dir_all(lib.join(part)).expect("make the folder of the modules");
            }
            let at = lib.display();
            s.sh(&format!(
                "mount -t overlay -o lowerdir=/usr/lib,upperdir={at}/upper,workdir={at}/work lib /usr/lib"
            ))
            .ok();
        }
        // As large as kinds want a machine to be.
        let online = s.file("../online", "0-63\n");
        s.sh(&format!("mount --bind {} /sys/devices/system/cpu/online", online.display())).ok();
        let keys = s.folders()[0].join("home/.ssh");
        fs::create_dir_all(&keys).expect("make the keys' folder");
        s.set("USER", "root");
        let docker = Docker::start(&mut sandbox);
        Place { sandbox, docker, images: BTreeSet::new() }
    }

    /// Deploys, looks, destroys.
    pub fn record(&mut self, case: &Case, inputs: &Path) -> Result<Json> {
        let containers = case.theirs["containers"].as_object().cloned().unwrap_or_default();
        for container in containers.values() {
            self.image(container)?;
        }
        let s = &self.sandbox;
        s.sh("rm -rf ./* ./.[a-z]*").ok();
        // Devices the recording machine had.
        for (device, numbers) in [("ppp", "108 0"), ("vhost-net", "10 238")] {
            s.sh(&format!("[ -e /dev/{device} ] || mknod /dev/{device} c {numbers}")).ok();
        }
        let text = fs::read_to_string(&case.topology)?;
        let recorded = case.theirs["lab_dir"]["authorized_keys"]["text"].to_string();
        for kind in ["ed25519", "rsa"] {
            let path = s.folders()[0].join(format!("home/.ssh/id_{kind}.pub"));
            let key = format!("ssh-{kind} AAAAB3NzaC1yc2EAAAADAQABAAABgQC someone@labhost\n");
            match recorded.contains(kind) {
                true => fs::write(path, key)?,
                false => drop(fs::remove_file(path)),
            }
        }
        // `startup.n1.END` is everybody's, `startup.KIND.n1.END` one kind's instead.
        let kind = case.name.split('.').next().unwrap_or_default();
        for entry in fs::read_dir(inputs)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(end) = name.strip_prefix("startup.n1.") else { continue };
            let own = inputs.join(format!("startup.{kind}.n1.{end}"));
            let from = if own.is_file() { own } else { path };
            s.file(&format!("n1.{end}"), &fs::read_to_string(from)?);
        }
        s.file("license.txt", "00000000-0000-0000-0000-000000000000 FAKE LICENSE\n");
        let name = text.lines().find_map(|l| l.strip_prefix("name:")).context("a lab name")?;
        let file = s.file(&format!("{}.clab.yml", name.trim()), &text);
        // What has no command line to speak to is not waited for.
        let spoken = case.theirs["fake_cli_received"].as_object().is_some_and(|m| !m.is_empty());
        let mut flags = vec!["--plain", "--runtime", "docker"];
        flags.extend((!spoken).then_some("--skip-post-deploy"));
        let done = s.with("deploy", &file, &flags).env("ORACLE_LAB", "from-host").within(120).run();
        if done.code == 0 {
            // Nobody waits for the authority: it comes a moment later.
            let late = || s.sh("ls clab-*/.tls/ca/ca.pem").code == 0;
            netloom_e2e::eventually("the authority is there", 20, late);
        }
        let ours = self.look(&containers, done.code);
        let s = &self.sandbox;
        let undone = s.with("destroy", &file, &["--cleanup"]).within(120).run();
        if undone.code != 0 && done.code == 0 {
            bail!("destroy: {}", undone.stderr);
        }
        let ours = ours?;
        if done.code != 0 && case.theirs["exit_code"] != 1 {
            bail!("deploy: {}", done.stderr);
        }
        Ok(ours)
    }

    /// Where it all happens.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Takes away what a lab of commands has left.
    pub fn tidy(&self) {
        let s = &self.sandbox;
        s.sh("docker rm -f $(docker ps -aq) >/dev/null 2>&1; ip link del br-one; ip link del eth0; true");
    }

    /// Gives Docker the stand-in for an image.
    pub fn image(&mut self, container: &Json) -> Result<()> {
        let name = container["config"]["Image"].as_str().unwrap_or_default().to_owned();
        let config = &container["image_config"];
        let args = &container["path_args"];
        if name.is_empty() || !self.images.insert(format!("{name} {config} {args}")) {
            return Ok(());
        }
        let s = &self.sandbox;
        let root = s.folders()[0].join("standin");
        if !root.exists() {
            busybox::unpack(&root);
            let program = root.join("usr/local/bin/standin");
            fs::create_dir_all(program.parent().context("a folder")?)?;
            fs::write(&program, STANDIN)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            super::received::install(&root)?;
            fs::create_dir_all(root.join("usr/bin"))?;
            std::os::unix::fs::symlink("/bin/busybox", root.join("usr/bin/env"))?;
            fs::copy(&program, root.join("usr/local/bin/nginx"))?;
            fs::create_dir_all(root.join("etc"))?;
            fs::write(root.join("etc/os-release"), "ID=standin\n")?;
            let bash = root.join("bin/bash");
            fs::write(&bash, "#!/bin/sh\nexec sh \"$@\"\n")?;
            fs::set_permissions(&bash, fs::Permissions::from_mode(0o755))?;
        }
        // Programs that a command names stand in for those of the image.
        let words = container["path_args"].to_string();
        for word in words.split(|c: char| c.is_whitespace() || "\",;'[]".contains(c)) {
            let program = root.join(word.trim_start_matches('/'));
            let named = word.starts_with('/') && word.contains("init") && !word.contains("wait");
            if named && !program.exists() && !word.contains("$TOPO_DIR") {
                fs::create_dir_all(program.parent().context("a folder")?)?;
                fs::copy(root.join("usr/local/bin/standin"), &program)?;
            }
        }
        let mut archive = Vec::new();
        busybox::configured(&root, &name, config, &mut archive);
        let path = s.folders()[0].join("standin.tar");
        fs::write(&path, archive)?;
        let done = s.run("docker").args(["load", "-q", "-i"]).args([&path]).within(60).run();
        if done.code != 0 {
            bail!("docker load {name}: {}", done.stderr);
        }
        Ok(())
    }

    pub fn text(&self, text: &str) -> String {
        let topology = self.sandbox.lab_dir().display().to_string();
        let home = self.sandbox.folders()[0].join("home").display().to_string();
        let root = self.docker.daemon.root().display().to_string();
        text.replace(&topology, "$TOPO_DIR").replace(&home, "$HOME").replace(&root, "$DOCKER_ROOT")
    }

    pub fn look(&self, theirs: &Map<String, Json>, code: i32) -> Result<Json> {
        let s = &self.sandbox;
        let names =
            s.run("docker").args(["ps", "-aq", "--filter", "label=containerlab"]).run().ok();
        let mut ids: Vec<&str> = names.stdout.lines().collect();
        // Those of nobody's lab that were looked at there.
        ids.extend(theirs.iter().filter(|(_, t)| t.is_null()).map(|(name, _)| name.as_str()));
        let mut containers = Map::new();
        let mut interfaces = Map::new();
        let mut received = Map::new();
        if !ids.is_empty() {
            let done = s.run("docker").args(["inspect"]).args(&ids).run().ok();
            let list: Json = serde_json::from_str(&self.text(&done.stdout))?;
            for each in list.as_array().into_iter().flatten() {
                let name = each["Name"].as_str().unwrap_or_default().trim_matches('/').to_owned();
                let pid = each["State"]["Pid"].as_i64().unwrap_or_default();
                if pid > 0 {
                    interfaces.insert(name.clone(), self.interfaces(pid)?);
                    let record = format!("/proc/{pid}/root{}", super::received::RECORD);
                    if let Ok(text) = fs::read_to_string(record) {
                        received.insert(name.clone(), text.lines().collect());
                    }
                }
                if theirs.get(&name).is_none_or(|t| !t.is_null()) {
                    containers.insert(name.clone(), container(each, theirs.get(&name)));
                }
            }
        }
        let mut out = json!({
            "exit_code": code,
            "containers": containers,
            "interfaces": interfaces,
            "fake_cli_received": received,
        });
        let folder = fs::read_dir(s.lab_dir())?
            .flatten()
            .map(|e| e.path())
            .find(|p| p.is_dir() && p.join(".netloom").exists());
        if let Some(folder) = folder {
            let mut files = BTreeMap::new();
            self.walk(&folder, &folder, &mut files)?;
            out["lab_dir"] = json!(files);
        }
        let ssh = s.etc_dir().join("ssh/ssh_config.d");
        let ssh = fs::read_dir(ssh)?.flatten().next().map(|e| fs::read_to_string(e.path()));
        if let Some(text) = ssh {
            out["ssh_config"] = text?.lines().collect();
        }
        Ok(out)
    }

    fn interfaces(&self, pid: i64) -> Result<Json> {
        let shown =
            self.sandbox.sh(&format!("nsenter --net=/proc/{pid}/ns/net ip -j -d addr")).ok();
        let list: Json = serde_json::from_str(&shown.stdout)?;
        let each = |i: &Json| {
            let addresses: Vec<String> = i["addr_info"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|a| a["scope"] != "link")
                .map(|a| format!("{}/{}", a["local"].as_str().unwrap_or_default(), a["prefixlen"]))
                .collect();
            let mut out = json!({
                "addr": addresses,
                "address": i["address"],
                "flags": i["flags"],
                "ifname": i["ifname"],
                "kind": i["linkinfo"]["info_kind"],
                "mtu": i["mtu"],
                "operstate": i["operstate"],
            });
            let data = &i["linkinfo"]["info_data"];
            for key in ["id", "learning", "port", "remote", "udp_csum", "mode"] {
                if !data[key].is_null() && i["linkinfo"]["info_kind"] != "bridge" {
                    out["data"][key] = data[key].clone();
                }
            }
            for key in ["altnames", "ifalias"] {
                if !i[key].is_null() {
                    out[key] = i[key].clone();
                }
            }
            out
        };
        let list = list.as_array().into_iter().flatten().filter(|i| i["ifname"] != "lo");
        Ok(list.map(each).collect())
    }

    fn walk(&self, base: &Path, at: &Path, out: &mut BTreeMap<String, Json>) -> Result<()> {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            let name = path.strip_prefix(base)?.display().to_string();
            let metadata = fs::symlink_metadata(&path)?;
            if name == ".netloom" {
                continue;
            }
            let mode = format!("{:o}", metadata.permissions().mode() & 0o7777);
            let owner = (metadata.uid(), metadata.gid());
            let mut owned = |mut facts: Json| {
                if owner != (0, 0) {
                    facts["owner"] = json!(format!("{}:{}", owner.0, owner.1));
                }
                out.insert(name.clone(), facts);
            };
            if metadata.is_symlink() {
                let target = fs::read_link(&path)?.display().to_string();
                owned(json!({ "mode": mode, "type": "link", "target": target }));
                continue;
            }
            if metadata.is_dir() {
                owned(json!({ "mode": mode, "type": "dir" }));
                self.walk(base, &path, out)?;
                continue;
            }
            let mut file = json!({ "mode": mode, "type": "file" });
            let bytes = fs::read(&path)?;
            match String::from_utf8(bytes) {
                Ok(text) if text.contains("PRIVATE KEY") => file["private_key"] = json!(true),
                Ok(text) if text.contains("BEGIN CERTIFICATE") => {
                    file["certificate"] = self.certificate(&path)?;
                }
                Ok(text) => {
                    let text = self.text(&text);
                    file["text"] = text.split('\n').collect();
                }
                Err(e) => file["size"] = json!(e.as_bytes().len()),
            }
            owned(file);
        }
        Ok(())
    }

    /// What the recordings say of a certificate, from the same program's words.
    fn certificate(&self, path: &Path) -> Result<Json> {
        let openssl = |options: &[&str]| {
            let run = self.sandbox.run("openssl").args(["x509", "-noout"]).args(options);
            run.args(["-in"]).args([path]).run().ok().stdout
        };
        let whole = openssl(&["-text"]);
        let field = |name: &str| {
            let found = whole.lines().find_map(|l| l.trim().strip_prefix(name));
            found.map(str::trim).unwrap_or_default().to_owned()
        };
        let bits = field("Public-Key: (").trim_end_matches(" bit)").parse::<u64>().ok();
        let seconds = |name: &str| -> Result<i64> {
            let date = field(name);
            let out = self.sandbox.run("date").args(["-d", &date, "+%s"]).run().ok().stdout;
            Ok(out.trim().parse()?)
        };
        let valid = seconds("Not After :")? - seconds("Not Before:")?;
        let extensions = "keyUsage,extendedKeyUsage,basicConstraints,subjectKeyIdentifier,\
                          authorityKeyIdentifier,subjectAltName";
        let text = openssl(&["-subject", "-issuer", "-serial", "-ext", extensions]);
        let lines = text.lines().map(|l| {
            let bare = l.trim();
            let hex = bare.len() > 15
                && bare.split(':').all(|b| b.len() == 2 && u8::from_str_radix(b, 16).is_ok());
            if hex { "    <KEYID>".to_owned() } else { l.trim_end().to_owned() }
        });
        Ok(json!({
            "key_bits": bits,
            "signature": field("Signature Algorithm:"),
            "text": lines.collect::<Vec<_>>(),
            "valid_seconds": valid,
        }))
    }
}

/// What is compared of a container: the keys that were recorded of theirs.
fn container(inspected: &Json, theirs: Option<&Json>) -> Json {
    let only = |part: &str, from: &Json| -> Json {
        let Some(wanted) = theirs.and_then(|t| t[part].as_object()) else { return from.clone() };
        let kept = wanted.keys().map(|k| (k.clone(), from[k].clone()));
        Json::Object(kept.collect())
    };
    let mut networks = inspected["NetworkSettings"]["Networks"].clone();
    if let (Json::Object(ours), Some(theirs)) = (&mut networks, theirs) {
        for (name, network) in ours.iter_mut() {
            let Some(wanted) = theirs["networks"][name].as_object() else { continue };
            let kept = wanted.keys().map(|k| (k.clone(), network[k].clone())).collect();
            *network = Json::Object(kept);
        }
    }
    let mut mounts = inspected["Mounts"].clone();
    for mount in mounts.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        mount.remove("Driver");
    }
    let mut config = only("config", &inspected["Config"]);
    if let Some(labels) = config["Labels"].as_object_mut() {
        labels.remove("netloom-spec");
    }
    let path = std::iter::once(&inspected["Path"]);
    let words = path.chain(inspected["Args"].as_array().into_iter().flatten());
    json!({
        "config": config,
        "host_config": only("host_config", &inspected["HostConfig"]),
        "mounts": mounts,
        "name": inspected["Name"].as_str().unwrap_or_default().trim_matches('/'),
        "networks": networks,
        "path_args": words.cloned().collect::<Vec<_>>(),
        "ports": inspected["NetworkSettings"]["Ports"],
        "state": {
            "Error": inspected["State"]["Error"],
            "Health": inspected["State"]["Health"]["Status"],
            "ExitCode": inspected["State"]["ExitCode"],
            "Status": inspected["State"]["Status"],
        },
    })
}
