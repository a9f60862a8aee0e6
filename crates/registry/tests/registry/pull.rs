//! Pulls from Debian's `docker-registry` on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;

use crate::support::{Count, Made, Registry, files, noise, plain};
use netloom_image::{Image, Reference, Store, host_architecture};
use netloom_registry::{PullError, Settings, pull};

struct Place {
    registry: Registry,
    store: Store,
    _folder: tempfile::TempDir,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("images")).unwrap();
    Place { registry: Registry::start(), store, _folder: folder }
}

impl Place {
    fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.registry.host)).unwrap()
    }

    fn pull(&self, name: &str) -> Result<(Image, Count), PullError> {
        let count = Count::default();
        let image = pull(&self.store, &self.reference(name), &plain(), &count)?;
        Ok((image, count))
    }

    fn nothing_left(&self) {
        let downloads = files(&self.store.downloads());
        assert!(downloads.is_empty(), "{downloads:?}");
        assert_eq!(self.store.prune_downloads().unwrap(), 0);
    }
}

fn read(image: &Image, file: &str) -> Vec<u8> {
    let found = image.layers.iter().find_map(|layer| fs::read(layer.join(file)).ok());
    found.unwrap_or_else(|| panic!("the image has no {file}"))
}

#[test]
fn every_packing_and_only_what_is_missing() {
    let p = place();
    let big = noise(3 << 20);
    let one = [("base", &big[..]), ("second", b"zstd"), ("third", b"plain")];
    p.registry.push("lab/one:1", &Made::of(&one, host_architecture()));
    let (image, count) = p.pull("lab/one:1").unwrap();
    assert_eq!(image.layers.len(), 3);
    assert_eq!(read(&image, "base"), big);
    assert_eq!((read(&image, "second"), read(&image, "third")), (b"zstd".into(), b"plain".into()));
    assert_eq!(image.config.cmd, ["/bin/idle"]);
    assert_eq!(image.source, p.registry.host);
    assert_eq!(count.layers.load(Ordering::Relaxed), 3);
    p.nothing_left();
    // Again, and another image on the same base.
    let (_, count) = p.pull("lab/one:1").unwrap();
    assert_eq!((count.layers.into_inner(), count.bytes.into_inner()), (0, 0));
    let two = [("base", &big[..]), ("own", b"other")];
    p.registry.push("lab/two:latest", &Made::of(&two, host_architecture()));
    let (image, count) = p.pull("lab/two").unwrap();
    assert_eq!(count.layers.load(Ordering::Relaxed), 1, "the base is here");
    assert_eq!(read(&image, "own"), b"other");
    // By digest too.
    let made = p.store.resolve(&p.reference("lab/two")).unwrap().unwrap();
    assert_eq!(made.id, image.id);
}

#[test]
fn the_machine_gets_what_is_for_it() {
    let p = place();
    p.registry.push("multi:a", &Made::of(&[("arch", b"this")], host_architecture()));
    p.registry.push("multi:b", &Made::of(&[("arch", b"other")], "s390x"));
    p.registry.push_index("multi:all", &[("multi:b", "s390x"), ("multi:a", host_architecture())]);
    let (image, _) = p.pull("multi:all").unwrap();
    assert_eq!(read(&image, "arch"), b"this");
    p.registry.push_index("multi:none", &[("multi:b", "s390x")]);
    let error = p.pull("multi:none").unwrap_err();
    let said = format!("it is for linux/s390x, and this machine is linux/{}", host_architecture());
    assert!(error.to_string().ends_with(&said), "{error}");
    // What says nothing of machines comes after what is for this one.
    p.registry.push_index("multi:mixed", &[("multi:b", ""), ("multi:a", host_architecture())]);
    let (image, _) = p.pull("multi:mixed").unwrap();
    assert_eq!(read(&image, "arch"), b"this");
    p.nothing_left();
    assert!(p.store.resolve(&p.reference("multi:none")).unwrap().is_none());
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let p = place();
    let made = Made::of(&[("big", &noise(4 << 20))], host_architecture());
    p.registry.push("big:1", &made);
    // What a killed pull leaves: found by pulling once from a registry whose blob is cut short.
    let blob = p.registry.blob(&made.layer(0));
    let whole = fs::read(&blob).unwrap();
    fs::write(&blob, &whole[..whole.len() / 2]).unwrap();
    p.pull("big:1").unwrap_err();
    let parts = files(&p.store.downloads());
    let part = parts.iter().find(|f| f.extension().is_some_and(|e| e == "part"));
    let part = part.expect("what came is kept");
    assert_eq!(fs::metadata(part).unwrap().len(), whole.len() as u64 / 2);
    fs::write(&blob, &whole).unwrap();
    // A power cut leaves what was whole empty.
    let emptied = part.parent().unwrap().join("blobs/sha256").join(made.layer(0).hex());
    fs::write(&emptied, "").unwrap();
    let (image, _) = p.pull("big:1").unwrap();
    assert_eq!(read(&image, "big").len(), 4 << 20);
    p.nothing_left();
}

#[test]
fn other_bytes_are_refused() {
    let p = place();
    let made = Made::of(&[("big", &noise(1 << 20))], host_architecture());
    p.registry.push("bad:1", &made);
    let blob = p.registry.blob(&made.layer(0));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let error = p.pull("bad:1").unwrap_err();
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
    assert!(p.store.list().unwrap().is_empty(), "the store is as it was");
    assert!(p.store.prune_downloads().unwrap() > 0, "prune removes what is left");
    assert!(files(&p.store.downloads()).is_empty());
    bytes[1000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    p.pull("bad:1").unwrap();
}

#[test]
fn what_is_not_there_is_said() {
    let p = place();
    let error = p.pull("no/such:image").unwrap_err();
    let wanted = format!("{} has no image `{}/no/such:image`", p.registry.host, p.registry.host);
    assert_eq!(error.to_string(), wanted);
    let nobody = Reference::parse("127.0.0.1:9/x").unwrap();
    let error = pull(&p.store, &nobody, &plain(), &Count::default()).unwrap_err();
    assert!(error.to_string().starts_with("127.0.0.1:9 cannot be reached: "), "{error}");
}

#[test]
fn mirrors_are_asked_first_and_the_registry_after_them() {
    let p = place();
    p.registry.push("library/small:1", &Made::of(&[("x", b"mirrored")], host_architecture()));
    let host = format!("http://{}", p.registry.host);
    let mirrors = BTreeMap::from([("docker.io".to_string(), vec!["127.0.0.1:9".into(), host])]);
    let settings = Settings { mirrors, ..Settings::default() };
    let reference = Reference::parse("small:1").unwrap();
    let image = pull(&p.store, &reference, &settings, &Count::default()).unwrap();
    assert_eq!(read(&image, "x"), b"mirrored");
    assert_eq!(image.reference, Some(reference));
}

#[test]
fn many_pulls_of_one_image_do_not_mind_each_other() {
    let p = place();
    let made = Made::of(&[("big", &noise(2 << 20)), ("small", b"x")], host_architecture());
    p.registry.push("same:1", &made);
    for round in 0..4 {
        std::thread::scope(|scope| {
            let begin = |n: u64| {
                let p = &p;
                scope.spawn(move || {
                    // Not all at once: some come while others have just ended.
                    std::thread::sleep(std::time::Duration::from_millis(n * 15 * (round % 3)));
                    (0..3).map(|_| p.pull("same:1").map(|(image, _)| image)).collect::<Vec<_>>()
                })
            };
            let pulls: Vec<_> = (0..6).map(begin).collect();
            for image in pulls.into_iter().flat_map(|done| done.join().unwrap()) {
                assert_eq!(read(&image.unwrap(), "small"), b"x");
            }
        });
        assert_eq!(p.store.list().unwrap().len(), 1);
        p.nothing_left();
        p.store.remove(&p.reference("same:1"), |_| Vec::new()).unwrap();
    }
}

#[test]
fn a_base_that_goes_meanwhile_is_fetched_after_all() {
    let p = place();
    let base = noise(1 << 20);
    p.registry.push("base:1", &Made::of(&[("base", &base)], host_architecture()));
    let top = noise(24 << 20);
    p.registry.push("top:1", &Made::of(&[("base", &base), ("top", &top)], host_architecture()));
    p.pull("base:1").unwrap();
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| p.pull("top:1").map(|(image, _)| image));
        std::thread::sleep(std::time::Duration::from_millis(60));
        p.store.remove(&p.reference("base:1"), |_| Vec::new()).unwrap();
        let image = pull.join().unwrap().unwrap();
        assert_eq!((read(&image, "base").len(), read(&image, "top").len()), (1 << 20, 24 << 20));
    });
    p.nothing_left();
}

#[test]
fn trouble_with_a_mirror_is_not_the_end() {
    let p = place();
    let other = Registry::start();
    other.push("lab/x:1", &Made::of(&[("arch", b"no")], "s390x"));
    p.registry.push("lab/x:1", &Made::of(&[("arch", b"yes")], host_architecture()));
    let mirror = format!("http://joe:hunter2@{}/some/path", other.host);
    let mirrors = BTreeMap::from([(p.registry.host.clone(), vec![mirror])]);
    let settings = Settings { mirrors, ..Settings::default() };
    let image = pull(&p.store, &p.reference("lab/x:1"), &settings, &Count::default()).unwrap();
    assert_eq!(read(&image, "arch"), b"yes");
    let error = pull(&p.store, &p.reference("lab/none"), &settings, &Count::default()).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn who_wants_to_stop_is_heard() {
    struct Stop;
    impl netloom_registry::Progress for Stop {
        fn begin(&self, _: usize, _: u64) {}
        fn bytes(&self, _: u64) {}
        fn stop(&self) -> bool {
            true
        }
    }
    // One that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("images")).unwrap();
    let host = silent.local_addr().unwrap();
    let reference = Reference::parse(&format!("{host}/x")).unwrap();
    let begun = std::time::Instant::now();
    let error = pull(&store, &reference, &plain(), &Stop).unwrap_err();
    assert!(matches!(error, PullError::Stopped), "{error}");
    assert!(begun.elapsed().as_secs() < 5);
}
