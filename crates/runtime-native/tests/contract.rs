//! The contract of runtimes, with the embedded one.

mod lab;

use lab::Lab;
use netloom_runtime::{NetworkNs, Rootfs, Runtime};
use netloom_testkit::{Fixture, busybox, contract};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::path::PathBuf;

struct Under {
    lab: Lab,
    image: PathBuf,
}

impl Fixture for Under {
    fn runtime(&self) -> &dyn Runtime {
        &self.lab.runtime
    }

    fn rootfs(&self, name: &str) -> Rootfs {
        let private = self.lab.path("private").join(name);
        Rootfs::Layers { layers: vec![self.image.clone()], private }
    }

    fn network(&self, name: &str) -> NetworkNs {
        let netns = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let netns = netns.join().unwrap();
        let path = self.lab.runtime.keep_fd(&format!("netns:{name}"), netns.into()).unwrap();
        NetworkNs::Path(path)
    }

    fn folder(&self) -> PathBuf {
        self.lab.directory.path().into()
    }

    fn label(&self) -> (String, String) {
        ("lab".into(), "test".into())
    }
}

#[test]
fn native() {
    let lab = Lab::new();
    let image = lab.path("contract");
    busybox::unpack(&image);
    contract::run(&Under { lab, image });
}
