//! Pushes to Debian's `docker-registry` on loopback.

use std::fs;
use std::sync::atomic::Ordering;

use crate::support::{Count, Made, Registry, files, noise, plain};
use netloom_image::{Image, Reference, Store, host_architecture};
use netloom_registry::{PullError, pull, push};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("images")).unwrap();
    (folder, store)
}

fn named(registry: &Registry, name: &str) -> Reference {
    Reference::parse(&format!("{}/{name}", registry.host)).unwrap()
}

fn read(image: &Image, file: &str) -> Vec<u8> {
    let found = image.layers.iter().find_map(|layer| fs::read(layer.join(file)).ok());
    found.unwrap_or_else(|| panic!("the image has no {file}"))
}

#[test]
fn what_is_pushed_is_pulled_elsewhere() {
    let (from, to) = (Registry::start(), Registry::start());
    let (_here, ours) = store();
    let big = noise(5 << 20);
    // Three packings, and a layer that is there twice.
    let layers = [("base", &big[..]), ("second", b"zstd"), ("third", b"plain"), ("base", &big)];
    from.push("lab/one:1", &Made::of(&layers, host_architecture()));
    let image = pull(&ours, &named(&from, "lab/one:1"), &plain(), &Count::default()).unwrap();
    let before = files(ours.root());
    let count = Count::default();
    let address = push(&ours, &image, &named(&to, "copy:2"), &plain(), &count).unwrap();
    assert!(address.contains("/v2/copy/manifests/"), "{address}");
    assert_eq!(count.layers.load(Ordering::Relaxed), image.layers.len());
    assert!(count.bytes.load(Ordering::Relaxed) > 5 << 20);

    let (_there, theirs) = store();
    let copy = pull(&theirs, &named(&to, "copy:2"), &plain(), &Count::default()).unwrap();
    assert_eq!(copy.layers.len(), image.layers.len());
    assert_eq!(read(&copy, "base"), big);
    assert_eq!((read(&copy, "second"), read(&copy, "third")), (b"zstd".into(), b"plain".into()));
    assert_eq!((&copy.config.cmd, &copy.config.env), (&image.config.cmd, &image.config.env));

    // The same again is the same: packing depends on nothing but the files.
    let blobs = files(&to.folder.path().join("data/docker/registry/v2/blobs"));
    let again = push(&ours, &image, &named(&to, "copy:2"), &plain(), &Count::default()).unwrap();
    assert_eq!(again, address);
    assert_eq!(files(&to.folder.path().join("data/docker/registry/v2/blobs")).len(), blobs.len());
    // Nothing of it stays in the store.
    assert_eq!(files(ours.root()), before);
}

#[test]
fn a_registry_that_is_gone() {
    let from = Registry::start();
    let (_here, ours) = store();
    from.push("one:1", &Made::of(&[("a", b"b")], host_architecture()));
    let image = pull(&ours, &named(&from, "one:1"), &plain(), &Count::default()).unwrap();
    let gone = Registry::start();
    let name = named(&gone, "one:1");
    drop(gone);
    let error = push(&ours, &image, &name, &plain(), &Count::default()).unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
    assert!(error.hint().is_some());
}
