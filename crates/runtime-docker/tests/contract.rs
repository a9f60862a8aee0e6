//! The contract of runtimes, with a real Docker and a real Podman.

use netloom_runtime::{NetworkNs, Rootfs, Runtime};
use netloom_runtime_docker::{Containers, Daemon, Program};
use netloom_testkit::{Dockerd, Fixture, PodmanService, busybox, contract};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const IMAGE: &str = "netloom.test/busybox:1";

struct Under {
    containers: Containers,
    folder: TempDir,
}

fn under(program: Program, socket: &Path) -> Under {
    let daemon = Arc::new(Daemon::connect(program, socket).unwrap());
    let folder = tempfile::Builder::new().prefix("netloom-contract-").tempdir().unwrap();
    let root = folder.path().join("image");
    busybox::unpack(&root);
    let mut archive = Vec::new();
    busybox::archive(&root, IMAGE, &["sh"], &mut archive);
    assert_eq!(daemon.image(IMAGE).unwrap(), None);
    daemon.load(Cursor::new(archive)).unwrap();
    assert!(daemon.image(IMAGE).unwrap().is_some());
    Under { containers: Containers::new(daemon, "containerlab", "contract"), folder }
}

impl Fixture for Under {
    fn runtime(&self) -> &dyn Runtime {
        &self.containers
    }

    fn rootfs(&self, _: &str) -> Rootfs {
        Rootfs::Image { reference: IMAGE.into(), entrypoint: None }
    }

    fn network(&self, _: &str) -> NetworkNs {
        NetworkNs::Bare
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().into()
    }

    fn label(&self) -> (String, String) {
        ("containerlab".into(), "contract".into())
    }

    fn checks_health(&self) -> bool {
        self.containers.daemon().program() == Program::Docker
    }
}

#[test]
fn docker() {
    let daemon = Dockerd::start();
    contract::run(&under(Program::Docker, &daemon.socket()));
}

#[test]
fn podman() {
    let service = PodmanService::start();
    contract::run(&under(Program::Podman, &service.socket()));
}
