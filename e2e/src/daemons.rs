//! Docker and Podman of one sandbox, with an image.

use crate::images::SMALL;
use crate::sandbox::Sandbox;
use netloom_testkit::{Dockerd, PodmanService, busybox};
use std::path::Path;

/// Docker with its bridges and rules in the sandbox's namespace.
pub struct Docker {
    /// The daemon.
    pub daemon: Dockerd,
}

impl Docker {
    /// Starts it, gives it the small image, and makes the sandbox's commands know it. What it has
    /// made on the host by then is how the host is.
    pub fn start(s: &mut Sandbox) -> Docker {
        Self::with(s, &[])
    }

    /// As [`Docker::start`], with more arguments.
    pub fn with(s: &mut Sandbox, arguments: &[&str]) -> Docker {
        let docker = Self::empty(s, arguments);
        let archive = archive(s);
        s.run("docker").args(["load", "-q", "-i"]).args([archive]).run().ok();
        s.remember();
        docker
    }

    /// As [`Docker::with`], without an image.
    pub fn empty(s: &mut Sandbox, arguments: &[&str]) -> Docker {
        let daemon = Dockerd::with(arguments);
        s.set("DOCKER_HOST", format!("unix://{}", daemon.socket().display()));
        s.remember();
        Docker { daemon }
    }
}

/// An ordinary user of a sandbox.
const USER: u32 = 12_345;

/// Podman's service.
pub struct Podman {
    /// The service.
    pub service: PodmanService,
}

impl Podman {
    /// Starts it with the small image.
    pub fn start(s: &mut Sandbox) -> Podman {
        Self::of(s, PodmanService::start())
    }

    /// That of an ordinary user, whom only this sandbox knows.
    pub fn rootless(s: &mut Sandbox) -> Podman {
        let user = format!("{USER}:{USER}");
        for (file, line) in [
            ("passwd", format!("labuser:x:{user}::/nonexistent:/bin/sh\n")),
            ("group", format!("labuser:x:{USER}:\n")),
            ("subuid", "labuser:300000:65536\n".to_owned()),
            ("subgid", "labuser:300000:65536\n".to_owned()),
        ] {
            let place = format!("/etc/{file}");
            let text = std::fs::read_to_string(&place).unwrap_or_default();
            // Not in the sandbox's folder: what Podman leaves waiting (it keeps who watched a command
            // for five minutes) would be taken for the lab's.
            let with = std::env::temp_dir().join(format!("labuser-{}-{file}", std::process::id()));
            std::fs::write(&with, text + &line).expect("write the user's files");
            let at = with.display();
            s.sh(&format!("[ -e {place} ] || : >{place}; mount --bind {at} {place} && rm {at}"))
                .ok();
        }
        Self::of(s, PodmanService::start_as(USER))
    }

    fn of(s: &mut Sandbox, service: PodmanService) -> Podman {
        let socket = format!("unix://{}", service.socket().display());
        s.set("CONTAINER_HOST", &socket);
        let archive = archive(s);
        s.run("docker")
            .env("DOCKER_HOST", &socket)
            .args(["load", "-q", "-i"])
            .args([archive])
            .run()
            .ok();
        s.remember();
        Podman { service }
    }
}

fn archive(s: &Sandbox) -> std::path::PathBuf {
    let root = s.folders()[0].join("image");
    if !root.exists() {
        busybox::unpack(&root);
    }
    let path = s.folders()[0].join("image.tar");
    pack(&root, &path);
    path
}

fn pack(root: &Path, path: &Path) {
    let mut file = std::fs::File::create(path).expect("make the archive");
    busybox::archive(root, SMALL, &["sleep", "1000000"], &mut file);
}
