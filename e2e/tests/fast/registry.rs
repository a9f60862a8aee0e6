//! Images from a real registry with a certificate of its own and a log-in.

use netloom_e2e::command::Running;
use netloom_e2e::processes::kill_nine;
use netloom_e2e::{Sandbox, eventually};
use nix::sys::signal::Signal;

const HOST: &str = "127.0.0.1:5443";

/// `user` with the password `secret`, as `htpasswd -nbB` writes it.
const LOGIN: &str = "user:$2b$05$8rovSHshVFHKI8KLHvjnYuhky3.ovE55HfXLf.OB38BkzCvNPJ3ui";

struct Registry(Running);

impl Registry {
    /// With a certificate and a log-in, and an image `lab/small:1` that has 64 MiB of noise.
    fn start(s: &Sandbox) -> Registry {
        s.file("registry/htpasswd", &format!("{LOGIN}\n"));
        s.file(
            "registry/config.yml",
            &format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
                 http: {{addr: \"{HOST}\", tls: {{certificate: server.crt, key: key.pem}}}}\n\
                 auth: {{htpasswd: {{realm: lab, path: htpasswd}}}}\n"
            ),
        );
        s.sh("cd registry
              openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=lab
              openssl req -newkey rsa:2048 -nodes -keyout key.pem -out server.csr -subj /CN=registry
              echo subjectAltName=IP:127.0.0.1 > server.ext
              openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                  -extfile server.ext -out server.crt")
            .ok();
        let folder = s.lab_dir().join("registry");
        let server = s.run("docker-registry").args(["serve", "config.yml"]).dir(&folder).start();
        eventually("the registry answers", 10, || {
            s.sh("bash -c 'exec 3<>/dev/tcp/127.0.0.1/5443'").code == 0
        });
        let rootfs = netloom_e2e::binary::target().join("e2e/busybox");
        let push = format!(
            "mkdir root && cp -a {}/. root && head -c 67108864 /dev/urandom > root/noise
             tar -C root -cf root.tar . && rm -r root
             skopeo --insecure-policy copy --dest-tls-verify=false --dest-creds user:secret \
                 tarball:root.tar docker://{HOST}/lab/small:1",
            rootfs.display()
        );
        s.run("sh").args(["-c", &push]).within(60).run().ok();
        Registry(server)
    }

    fn stop(self) {
        self.0.signal(Signal::SIGKILL);
        self.0.finish();
    }
}

#[test]
fn images_come_from_a_registry() {
    let s = Sandbox::new();
    // A store of its own: the common one keeps what it gets.
    s.sh("rm \"$NETLOOM_STATE_DIR/images\"").ok();
    let registry = Registry::start(&s);
    let image = format!("{HOST}/lab/small:1");
    let fetch = || s.netloom(["--plain", "image", "pull", &image]).run();
    let trust = format!("$HOME/.config/containers/certs.d/{HOST}");

    // Nobody vouches for it, then it does not know who asks, then it does not like who asks.
    s.sh(&format!("mkdir -p {trust} && : > {trust}/none.crt")).ok();
    let done = fetch().code(1);
    assert!(done.stderr.contains("cannot be reached") && done.stderr.contains("certs.d"), "{done}");
    s.sh(&format!("rm {trust}/none.crt && cp registry/ca.crt {trust}/ca.crt")).ok();
    let done = fetch().code(1);
    assert!(done.stderr.contains("to nobody in particular; log in with `docker login"), "{done}");
    let login = |password: &str| {
        s.sh(&format!(
            "mkdir -p $HOME/.docker && printf '{{\"auths\":{{\"{HOST}\":{{\"auth\":\"%s\"}}}}}}' \
             \"$(printf 'user:{password}' | base64)\" > $HOME/.docker/config.json"
        ))
        .ok();
    };
    login("wrong");
    let done = fetch().code(1);
    assert!(done.stderr.contains("to `user` (Docker's configuration)"), "{done}");
    assert!(!done.stderr.contains("wrong"), "no password in messages: {done}");
    login("secret");

    // Killed on its way, and done at the next try.
    for moment in [60, 120, 200, 350] {
        let running = s.netloom(["--plain", "image", "pull", &image]).start();
        std::thread::sleep(std::time::Duration::from_millis(moment));
        kill_nine(running.pid());
        running.finish();
    }
    fetch().ok().prints(&image);
    s.netloom(["image", "list"]).run().ok().prints(HOST);
    s.netloom(["image", "tag", &image, "lab/other:2"]).run().ok();
    // And back, under another name, whole; unless somebody else asks.
    let copy = format!("{HOST}/lab/copy:3");
    s.netloom(["image", "tag", &image, &copy]).run().ok();
    login("wrong");
    let done = s.netloom(["--plain", "image", "push", &copy]).run().code(1);
    assert!(
        done.stderr.contains("does not take `127.0.0.1:5443/lab/copy:3` from `user`"),
        "{done}"
    );
    login("secret");
    s.netloom(["--plain", "image", "push", &copy]).run().ok().prints("/v2/lab/copy/manifests/");
    s.netloom(["image", "remove", &copy]).run().ok();
    s.netloom(["image", "push", &copy]).run().code(1).says("there is no image");
    s.netloom(["--plain", "image", "pull", &copy]).run().ok();
    let noise = |name: &str, to: &str| {
        let script = format!(
            "skopeo copy --quiet --insecure-policy --src-tls-verify=false \
                 --src-creds user:secret docker://{HOST}/lab/{name} dir:{to}
             cd {to} && for f in *; do zcat -f $f | tar -xO --wildcards '*noise' 2> ../{to}.txt
             done > ../{to}.noise
             cd .. && wc -c < {to}.noise && sha256sum < {to}.noise"
        );
        s.sh(&script).ok().stdout
    };
    let one = noise("small:1", "one");
    assert!(one.starts_with("67108864"), "{one}");
    assert_eq!(one, noise("copy:3", "two"));
    s.netloom(["image", "remove", &copy]).run().ok();
    s.netloom(["image", "remove", &image]).run().ok();
    let other = s.netloom(["image", "inspect", "lab/other:2"]).run().ok().json();
    assert_eq!(other[0]["reference"], "docker.io/lab/other:2", "{other}");
    s.netloom(["image", "inspect", &image]).run().code(1).says("there is no image");
    s.netloom(["image", "remove", "lab/other:2"]).run().ok();
    // What others save is loaded under the name it has.
    s.sh("skopeo --insecure-policy copy tarball:root.tar docker-archive:saved.tar:saved/one:1")
        .ok();
    s.sh(&format!("{} image load < saved.tar", netloom_e2e::binary::netloom().display()))
        .ok()
        .prints("saved/one:1");
    s.netloom(["image", "remove", "saved/one:1"]).run().ok();

    // A deploy brings what it needs, unless it may not.
    let lab = |policy: &str| {
        let node = format!("{{kind: linux, image: \"{image}\", cmd: /bin/idle{policy}}}");
        s.lab("fetched", &format!("nodes: {{a: {node}, b: {node}}}\n"))
    };
    let never = lab(", image-pull-policy: Never");
    s.with("deploy", &never, &[]).run().code(3).says("`image-pull-policy: Never` forbids");
    let file = lab("");
    s.with("deploy", &file, &["--dry-run"]).run().ok().says("`deploy` fetches it");
    s.deploy(&file).says("MB in 1 layers");
    s.exec(&file, "a", "ping -c1 -W2 b && test -s /noise").ok();
    s.destroy(&file);
    s.deploy(&lab(", image-pull-policy: Always"));
    s.destroy(&file);
    registry.stop();
    s.netloom(["image", "remove", &image]).run().ok();
    s.sh("rm -r $HOME/.config $HOME/.docker").ok();
    let done = s.with("deploy", &file, &[]).run().code(3);
    assert!(
        done.stderr.contains("cannot be had") && done.stderr.contains("fetched.clab.yml"),
        "{done}"
    );
    s.assert_clean();
}

#[test]
fn tokens_are_asked_for() {
    let s = Sandbox::new();
    s.sh("rm \"$NETLOOM_STATE_DIR/images\"").ok();
    s.file(
        "registry/config.yml",
        "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: data}}\n\
         http: {addr: \"127.0.0.1:5000\"}\n\
         auth: {token: {realm: \"http://127.0.0.1:5001/token\", service: registry, issuer: e2e, rootcertbundle: ca.crt}}\n",
    );
    s.sh("cd registry && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.crt -days 2 \
          -subj /CN=e2e 2>/dev/null")
        .ok();
    let folder = s.lab_dir().join("registry");
    let program = netloom_e2e::binary::root().join("e2e/programs/token-server");
    let tokens = s
        .run(program)
        .args(["5001", "ca.crt", "key.pem", "user:secret", "stands-for-it"])
        .dir(&folder)
        .start();
    let registry = s.run("docker-registry").args(["serve", "config.yml"]).dir(&folder).start();
    eventually("both answer", 10, || {
        s.sh("bash -c 'exec 3<>/dev/tcp/127.0.0.1/5000 4<>/dev/tcp/127.0.0.1/5001'").code == 0
    });
    let rootfs = netloom_e2e::binary::target().join("e2e/busybox");
    s.sh(&format!("tar -C {} -cf root.tar .", rootfs.display())).ok();
    for name in ["public/small", "private/small"] {
        s.sh(&format!(
            "skopeo --insecure-policy copy --dest-tls-verify=false --dest-creds user:secret \
             tarball:root.tar docker://127.0.0.1:5000/{name}:1"
        ))
        .ok();
    }
    let fetch =
        |name: &str| s.netloom(["image", "pull", &format!("127.0.0.1:5000/{name}:1")]).run();
    fetch("public/small").ok();
    let done = fetch("private/small").code(1);
    assert!(done.stderr.contains("does not give"), "{done}");
    s.sh("mkdir -p $HOME/.config/containers && printf '{\"auths\":{\"127.0.0.1:5000\":{\"auth\":\"%s\"}}}' \
          \"$(printf user:secret | base64)\" > $HOME/.config/containers/auth.json")
        .ok();
    fetch("private/small").ok();
    s.sh("rm -r $HOME/.config").ok();
    // As who logs in without a password is known.
    let identity = |token: &str| {
        s.netloom(["image", "remove", "127.0.0.1:5000/private/small:1"]).run();
        s.sh(&format!(
            "mkdir -p $HOME/.docker && printf '{{\"auths\":{{\"127.0.0.1:5000\":{{\"auth\":\"%s\",\"identitytoken\":\"{token}\"}}}}}}' \
             \"$(printf 00000000-0000-0000-0000-000000000000: | base64)\" > $HOME/.docker/config.json"
        ))
        .ok();
    };
    identity("stands-for-it");
    fetch("private/small").ok();
    s.netloom(["image", "tag", "127.0.0.1:5000/private/small:1", "127.0.0.1:5000/private/new:1"])
        .run()
        .ok();
    s.netloom(["image", "push", "127.0.0.1:5000/private/new:1"]).run().ok();
    identity("wrong");
    let done = fetch("private/small").code(1);
    assert!(done.stderr.contains("the identity token of Docker's configuration"), "{done}");
    assert!(!done.stderr.contains("wrong"), "{done}");
    s.sh("rm -r $HOME/.docker").ok();
    for daemon in [tokens, registry] {
        daemon.signal(Signal::SIGKILL);
        daemon.finish();
    }
    s.assert_clean();
}

/// A manifest without an end fills no memory.
#[test]
fn a_manifest_without_an_end() {
    let s = Sandbox::new();
    let program = s.file(
        "endless.py",
        "import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if 'manifests' in self.path:
            for _ in range(4096):
                self.wfile.write(b'{' * (1 << 20))
    def log_message(self, *_):
        pass
http.server.HTTPServer(('127.0.0.1', 5002), H).serve_forever()
",
    );
    let server = s.run("python3").args([program]).start();
    eventually("it answers", 10, || s.sh("bash -c 'exec 3<>/dev/tcp/127.0.0.1/5002'").code == 0);
    let done = s.netloom(["image", "pull", "127.0.0.1:5002/x:1"]).run().code(1);
    assert!(done.stderr.contains("its manifest has more than"), "{done}");
    server.signal(Signal::SIGKILL);
    server.finish();
    s.assert_clean();
}
