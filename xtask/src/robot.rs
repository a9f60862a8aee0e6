//! `robot CHECKOUT`: containerlab's own acceptance suites, from a checkout of it, against this
//! program on a Docker of their own. Images they name are stand-ins made of busybox.

use anyhow::{Context, Result, bail};
use netloom_e2e::{Docker, Sandbox, binary};
use netloom_testkit::busybox;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Folders of suites that need no vendor's image.
const FOLDERS: &[&str] = &["01-smoke", "05-k8s-kind", "06-ext-container", "08-vxlan"];
/// Suites worked on at once.
const WORKERS: usize = 2;
/// Version of the runner.
const ROBOT: &str = "robotframework==7.5";
/// Longest time for a suite, in seconds.
const LONGEST: u64 = 420;

/// How suites are run.
struct How<'a> {
    program: &'a Path,
    robot: &'a Path,
    show: bool,
    logs: Option<&'a Path>,
}

struct Suite {
    name: String,
    passed: Vec<String>,
    failed: Vec<String>,
    skipped: usize,
}

/// Runs the suites. `--only TEXT` chooses, `--log` shows the runner's output, `--keep-logs DIR`
/// keeps its logs, `--program PATH` runs another program than ours.
pub fn run(checkout: &Path, flags: &[&str]) -> Result<()> {
    let value = |name: &str| flags.iter().position(|f| *f == name).and_then(|i| flags.get(i + 1));
    let only = value("--only").copied().unwrap_or_default();
    let checkout = &checkout.canonicalize().with_context(|| checkout.display().to_string())?;
    if checkout.starts_with("/tmp") {
        bail!("the suites have a /tmp of their own: move the checkout out of it");
    }
    let tests = checkout.join("tests");
    let mut suites = Vec::new();
    for folder in FOLDERS {
        let place = tests.join(folder);
        for entry in fs::read_dir(&place).with_context(|| place.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "robot") {
                suites.push(path.strip_prefix(&tests)?.with_extension("").display().to_string());
            }
        }
    }
    suites.sort();
    suites.retain(|s| s.contains(only));
    let robot = runner()?;
    let todo = Mutex::new(suites.into_iter());
    let done = Mutex::new(Vec::new());
    let logs = value("--keep-logs").map(PathBuf::from);
    let how = How {
        program: value("--program").map_or_else(|| binary::netloom(), |p| Path::new(*p)),
        robot: &robot,
        show: flags.contains(&"--log"),
        logs: logs.as_deref(),
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().ok().and_then(|mut list| list.next());
                    let Some(suite) = next else { return };
                    // Each has a thread, and so namespaces, of its own.
                    let result = std::thread::scope(|inner| {
                        inner.spawn(|| one(&tests, &suite, &how)).join().unwrap_or_else(|_| {
                            bail!("{suite}: the place for it could not be made")
                        })
                    });
                    match &result {
                        Ok(s) => println!(
                            "{}: {} passed, {} failed, {} skipped{}",
                            s.name,
                            s.passed.len(),
                            s.failed.len(),
                            s.skipped,
                            s.failed
                                .iter()
                                .map(|f| format!("\n    failed: {f}"))
                                .collect::<String>()
                        ),
                        Err(e) => println!("{suite}: {e:#}"),
                    }
                    done.lock().unwrap_or_else(|e| e.into_inner()).push((suite, result));
                }
            });
        }
    });
    report(checkout, done.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// Compares with what containerlab itself passes (`xtask/robot.yml`).
fn report(_checkout: &Path, results: Vec<(String, Result<Suite>)>) -> Result<()> {
    let (mut passed, mut failed, mut skipped, mut whole) = (0, 0, 0, 0);
    let mut broken = Vec::new();
    for (name, result) in results {
        match result {
            Ok(s) => {
                passed += s.passed.len();
                failed += s.failed.len();
                skipped += s.skipped;
                whole += usize::from(s.failed.is_empty());
            }
            Err(_) => broken.push(name),
        }
    }
    println!("{passed} cases passed, {failed} failed, {skipped} skipped; {whole} suites whole");
    if !broken.is_empty() {
        bail!("suites that could not be run: {}", broken.join(", "));
    }
    Ok(())
}

/// The runner, installed from PyPI into the target folder.
fn runner() -> Result<PathBuf> {
    let folder = binary::target().join("robot");
    let program = folder.join("bin/robot");
    if program.exists() {
        return Ok(program);
    }
    let run = |program: &Path, args: &[&str]| -> Result<()> {
        let status = std::process::Command::new(program).args(args).status();
        match status.with_context(|| program.display().to_string())?.success() {
            true => Ok(()),
            false => bail!("{} {} failed", program.display(), args.join(" ")),
        }
    };
    run(Path::new("python3"), &["-m", "venv", &folder.display().to_string()])?;
    run(&folder.join("bin/pip"), &["install", "--quiet", ROBOT])?;
    Ok(program)
}

/// One suite in a sandbox whose `/etc`, `/tmp` and `/run` are its own.
fn one(tests: &Path, suite: &str, how: &How<'_>) -> Result<Suite> {
    let How { robot, show, logs, .. } = *how;
    let mut sandbox = Sandbox::new();
    let s = &sandbox;
    let folder = s.folders()[0].to_path_buf();
    for place in ["etc", "root", "run"] {
        let (upper, work) =
            (folder.join(format!("{place}.up")), folder.join(format!("{place}.wk")));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        if place != "run" {
            s.sh(&format!(
                "mount -t overlay -o lowerdir=/{place},upperdir={},workdir={} o /{place}",
                upper.display(),
                work.display()
            ))
            .ok();
        }
    }
    s.sh("mount -t tmpfs tmp /tmp && mkdir -p /run/netns && mount -t tmpfs netns /run/netns").ok();
    s.sh("mkdir -p /etc/ssh/ssh_config.d && chmod 1777 /tmp").ok();
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    symlink(how.program, bin.join("containerlab"))?;
    symlink(how.program, bin.join("clab"))?;
    let sudo = "#!/bin/sh\nwhile [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec env \"$@\"\n";
    fs::write(bin.join("sudo"), sudo)?;
    fs::set_permissions(bin.join("sudo"), fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    s.set(
        "PATH",
        format!("{}:{}:{path}", bin.display(), robot.parent().unwrap_or(robot).display()),
    );
    s.set("NETLOOM_ETC_DIR", "/etc");
    s.set("NETLOOM_NETNS_DIR", "/run/netns");
    s.set("HOME", "/root");
    s.set("USER", "root");
    let copy = folder.join("lab/tests");
    s.run("cp").args(["-r".as_ref(), tests.as_os_str(), copy.as_os_str()]).run().ok();
    let (address, mirror) = registry(s, &folder)?;
    let docker = Docker::empty(&mut sandbox, &["--registry-mirror", &format!("http://{address}")]);
    let s = &sandbox;
    images(s, &folder, &address)?;
    let out = folder.join("out");
    let done = s
        .run(robot)
        .args(["--consolecolors", "off", "--consolewidth", "200", "-r", "none"])
        .args(["--variable", "CLAB_BIN:containerlab", "--variable", "runtime:docker"])
        .args(["--outputdir".as_ref(), out.as_os_str()])
        .args([copy.join(format!("{suite}.robot"))])
        .dir(&folder.join("lab"))
        .within(LONGEST)
        .run();
    if show {
        println!("{}{}", done.stdout, done.stderr);
    }
    if let Some(logs) = logs {
        fs::create_dir_all(logs)?;
        for kind in ["log.html", "output.xml"] {
            let to = logs.join(format!("{}.{kind}", suite.replace('/', "-")));
            fs::copy(out.join(kind), to).with_context(|| format!("{suite}: no {kind}"))?;
        }
    }
    let result = read(suite, &fs::read_to_string(out.join("output.xml")).context("its results")?);
    drop(mirror);
    drop(docker);
    Ok(result)
}

/// Results from the runner's own record: one `test` element for each case, its `status` last.
fn read(suite: &str, xml: &str) -> Suite {
    let mut out = Suite { name: suite.into(), passed: Vec::new(), failed: Vec::new(), skipped: 0 };
    let name = regex::Regex::new(r#"^<test id="[^"]*" name="([^"]*)""#).expect("an expression");
    let status = regex::Regex::new(r#"<status status="([A-Z]+)""#).expect("an expression");
    for test in xml.split("\n<test ").skip(1) {
        let test = format!("<test {}", test.split("\n</test>").next().unwrap_or_default());
        let named = name.captures(&test).map_or("?", |c| c.get(1).map_or("?", |m| m.as_str()));
        let last = status.captures_iter(&test).last();
        match last.and_then(|c| c.get(1)).map(|m| m.as_str()) {
            Some("PASS") => out.passed.push(named.into()),
            Some("SKIP") => out.skipped += 1,
            _ => out.failed.push(named.into()),
        }
    }
    out
}

/// Ended on drop.
struct Mirror(std::process::Child);

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry on loopback: what is removed is pulled again from it.
fn registry(s: &Sandbox, folder: &Path) -> Result<(String, Mirror)> {
    let address = "127.0.0.1:5059".to_owned();
    let store = folder.join("registry");
    let config = json!({
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": store}},
        "http": {"addr": address},
    });
    let file = folder.join("registry.yml");
    fs::write(&file, config.to_string())?;
    let child = std::process::Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .context("docker-registry: install the package")?;
    let mirror = Mirror(child);
    let up = || s.sh(&format!("curl -fsS http://{address}/v2/ >/dev/null")).code == 0;
    netloom_e2e::eventually("the registry answers", 20, up);
    Ok((address, mirror))
}

/// Copies a program of this machine, and the libraries it needs.
fn with_libraries(root: &Path, program: &Path) -> Result<()> {
    let out = std::process::Command::new("ldd").arg(program).output().context("ldd")?;
    let listed = String::from_utf8_lossy(&out.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|w| w.starts_with('/')).map(Path::new);
    for file in libraries.chain([program]) {
        let to = root.join(file.strip_prefix("/").unwrap_or(file));
        fs::create_dir_all(to.parent().context("a folder")?)?;
        let _ = fs::remove_file(&to);
        fs::copy(file, &to).with_context(|| file.display().to_string())?;
    }
    let name = program.file_name().context("a name")?;
    let bin = root.join("bin").join(name);
    if bin != root.join(program.strip_prefix("/").unwrap_or(program)) {
        let _ = fs::remove_file(&bin);
        symlink(program, &bin)?;
    }
    Ok(())
}

/// Gives Docker the stand-ins, and the mirror those of Docker's own library.
fn images(s: &Sandbox, folder: &Path, mirror: &str) -> Result<()> {
    let root = folder.join("standin");
    busybox::unpack(&root);
    for applet in ["hexdump", "httpd", "wget", "tee", "vi", "awk", "arp", "nslookup", "traceroute"]
    {
        let _ = symlink("busybox", root.join("bin").join(applet));
    }
    let program = |path: &str, text: &str| -> Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, text)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    };
    // Busybox's do not say which state a link is in, nor how late it is to the nanosecond.
    for real in ["/sbin/ip", "/bin/bash", "/bin/date"] {
        with_libraries(&root, Path::new(real))?;
    }
    program("etc/os-release", "ID=alpine\nPRETTY_NAME=\"a stand-in\"\n")?;
    program("sbin/apk", "#!/bin/sh\nexit 0\n")?;
    program("srv/index.html", "<p>Thank you for using nginx.</p>\n")?;
    program("usr/sbin/nginx", "#!/bin/sh\nexec httpd -f -p 80 -h /srv\n")?;
    for folder in ["var", "run", "usr/bin", "lib"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let shell = json!({ "Cmd": ["/bin/sh"], "Env": [path] });
    let web = json!({ "Cmd": ["nginx"], "Env": [path], "ExposedPorts": {"80/tcp": {}} });
    let list: BTreeMap<&str, &serde_json::Value> = [
        ("alpine:3", &shell),
        ("alpine:latest", &shell),
        ("debian:bookworm-slim", &shell),
        ("nginx:stable-alpine", &web),
        ("ghcr.io/srl-labs/network-multitool:latest", &web),
    ]
    .into();
    for (name, config) in list {
        let mut archive = Vec::new();
        busybox::configured(&root, name, config, &mut archive);
        let file = folder.join("standin.tar");
        fs::write(&file, archive)?;
        s.run("docker").args(["load", "-q", "-i"]).args([&file]).within(60).run().ok();
        if !name.contains('/') {
            let there = format!("{mirror}/library/{name}");
            s.run("docker").args(["tag", name, &there]).run().ok();
            s.run("docker").args(["push", "-q", &there]).within(60).run().ok();
            s.run("docker").args(["rmi", &there]).run().ok();
        }
    }
    Ok(())
}
