//! Images from recipes, with Debian's own packages.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use netloom_image::{Image, Store};
use netloom_recipe::{Builder, Error, LABEL, Options};

/// The smallest root file system that is still Debian's.
const BASE: &str = "description: a base
suite: bookworm
variant: extract
packages: [busybox-static, base-passwd]
strip: [usr/share]
links: { bin/sh: busybox }
cmd: [/bin/sh]
env: { A: base, B: base }
";
const TOP: &str = "reference: lab/top:1
tags: [lab/also]
from: base
strip: [etc/base, bin/old]
links: { usr/bin/again: /bin/busybox }
entrypoint: [/bin/top]
env: { B: top }
workdir: /srv
stop-signal: SIGINT
labels: { who: top }
";

struct Place {
    folder: tempfile::TempDir,
    store: Store,
    said: RefCell<Vec<String>>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        Place { folder, store, said: RefCell::default() }
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn build(&self, name: &str, anew: bool) -> Result<Image, Error> {
        let say = |line: &str| self.said.borrow_mut().push(line.to_owned());
        let mirror = std::env::var("NETLOOM_DEBIAN_MIRROR");
        let mut options = Options { anew, ..Options::default() };
        options.mirror = mirror.unwrap_or(options.mirror);
        Builder::new(&self.store, options, &say).build(&self.folder.path().join(name))
    }

    fn said(&self) -> Vec<String> {
        self.said.take()
    }
}

fn lines(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Where an image has a path, topmost first.
fn at(image: &Image, path: &str) -> Option<PathBuf> {
    image.layers.iter().map(|l| l.join(path)).find(|p| fs::symlink_metadata(p).is_ok())
}

#[test]
fn a_base_and_what_stands_on_it() {
    let p = Place::new();
    p.write("base/recipe.yml", BASE);
    p.write("base/files/etc/base/one", "one");
    p.write("base/files/etc/base/two", "two");
    p.write("base/files/bin/old", "old");
    p.write("top/recipe.yml", TOP);
    let program = p.write("top/files/bin/top", "#!/bin/sh\nexec sleep 9\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    p.write("top/files/etc/base/three", "three");
    p.write("top/files/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    symlink("three", p.folder.path().join("top/files/etc/base/link")).unwrap();

    let image = p.build("top", false).unwrap();
    assert_eq!(
        p.said(),
        [
            "base: 2 packages and what they need",
            "base: putting it together",
            "top: putting it together"
        ]
    );
    assert_eq!(image.layers.len(), 2);
    let (top, base) = (&image.layers[0], &image.layers[1]);
    // Packages without their scripts, and what the scripts would have made.
    assert!(base.join("bin/busybox").exists() && base.join("etc/group").exists());
    assert!(!base.join("usr/share/doc").exists() && !base.join("var/lib/dpkg").exists());
    assert!(base.join("proc").is_dir() && base.join("tmp").is_dir());
    assert_eq!(fs::metadata(base.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read_link(base.join("bin/sh")).unwrap(), Path::new("busybox"));
    // The layer has nothing but what the recipe says.
    assert_eq!(lines(&top.join("bin/top")), "#!/bin/sh\nexec sleep 9\n");
    assert_eq!(fs::metadata(top.join("bin/top")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(top.join("usr/bin/again")).unwrap(), Path::new("/bin/busybox"));
    assert_eq!(fs::read_link(top.join("etc/base/link")).unwrap(), Path::new("three"));
    assert!(!top.join("bin/busybox").exists());
    // What is stripped is hidden; what is put there again comes alone.
    let gone = fs::symlink_metadata(top.join("bin/old")).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&gone.file_type()));
    assert_eq!(lines(&top.join("etc/base/three")), "three");
    assert!(!top.join("etc/base/one").exists());
    let opaque = xattr::get(top.join("etc/base"), "trusted.overlay.opaque").unwrap();
    assert_eq!(opaque.as_deref(), Some(&b"y"[..]));
    // As the base, but for what the recipe says.
    let config = &image.config;
    assert_eq!(config.entrypoint, ["/bin/top"]);
    assert!(config.cmd.is_empty(), "an entry point of one's own takes no other's command");
    assert_eq!(config.env, ["A=base", "B=top"]);
    assert_eq!(
        (config.working_dir.as_str(), config.stop_signal.as_deref()),
        ("/srv", Some("SIGINT"))
    );
    assert_eq!(config.labels["who"], "top");
    assert_eq!(config.labels[LABEL].len(), 64);
    let also = p.store.resolve(&"lab/also".parse().unwrap()).unwrap().unwrap();
    assert_eq!(also.id, image.id);

    // Again: nothing to do. A change above leaves the base alone.
    assert_eq!(p.build("top", false).unwrap().id, image.id);
    assert_eq!(p.said(), Vec::<String>::new());
    p.write("top/files/etc/base/three", "four");
    let changed = p.build("top", false).unwrap();
    assert_eq!(p.said(), ["top: putting it together"]);
    assert_eq!(lines(&at(&changed, "etc/base/three").unwrap()), "four");
    assert_eq!(changed.layers[1], *base);
    // Built anew, from nothing: the same digest.
    p.write("top/files/etc/base/three", "three");
    assert_eq!(p.build("top", true).unwrap().id, image.id);
    assert_eq!(p.said().len(), 3);
    let other = Place::new();
    for file in ["base/recipe.yml", "base/files/etc/base/one", "base/files/etc/base/two"] {
        other.write(file, &lines(&p.folder.path().join(file)));
    }
    other.write("base/files/bin/old", "old");
    let again = other.build("base", false).unwrap();
    let named = p.store.resolve(&"localhost/base".parse().unwrap()).unwrap().unwrap();
    assert_eq!(again.id, named.id, "another store, the same image");
    // Nothing of it stays.
    let left: Vec<_> = fs::read_dir(p.store.downloads()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let p = Place::new();
    let refused = |text: &str| -> String {
        p.write("bad/recipe.yml", text);
        let error = p.build("bad", false).unwrap_err();
        assert!(p.store.list().unwrap().is_empty());
        error.to_string()
    };
    let said = refused("packages: [frr]\npakages: [bird2]\n");
    assert!(said.contains("recipe.yml") && said.contains("line 2"), "{said}");
    assert!(refused("description: nothing\n").contains("needs `packages`"));
    assert!(refused("from: x\npackages: [frr]\n").contains("exclude each other"));
    assert!(refused("packages: ['a b']\n").contains("`a b` is no name"));
    assert!(refused("packages: ['-oAPT=x']\n").contains("is no name"));
    assert!(refused("packages: [a]\nstrip: [../etc]\n").contains("`../etc` is no path"));
    assert!(refused("packages: [a]\nreference: 'UPPER/x y'\n").contains("recipe.yml"));
    assert!(refused("packages: [a]\nvariant: huge\n").contains("line 2"));
    assert!(refused("from: nowhere\n").contains("`from`"));
    p.write("round/recipe.yml", "from: bad\n");
    assert!(refused("from: round\n").contains("goes round in a circle"));
    let none = p.build("empty", false).unwrap_err();
    assert!(matches!(none, Error::NoRecipe { .. }) && none.hint().is_some(), "{none}");
}

#[test]
fn what_debian_does_not_have() {
    let p = Place::new();
    p.write("bad/recipe.yml", "packages: [netloom-no-such-package]\nvariant: extract\n");
    let error = p.build("bad", false).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("Unable to locate package netloom-no-such-package"), "{said}");
    assert!(error.hint().unwrap().contains("`packages`"));
    p.write("run/recipe.yml", &format!("{BASE}commands: ['busybox false', 'busybox touch /x']\n"));
    let said = p.build("run", false).unwrap_err().to_string();
    assert!(said.contains("mmdebstrap did not make a root file system"), "{said}");
    // Nothing listens on port 9 of loopback.
    let options = Options { mirror: "http://127.0.0.1:9/debian".into(), ..Options::default() };
    p.write("far/recipe.yml", BASE);
    let error =
        Builder::new(&p.store, options, &|_| {}).build(&p.folder.path().join("far")).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert!(error.hint().unwrap().contains("--mirror"), "{error}");
    assert!(p.store.list().unwrap().is_empty());
    assert!(fs::read_dir(p.store.downloads()).unwrap().next().is_none());
}
