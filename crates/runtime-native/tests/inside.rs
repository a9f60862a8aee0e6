//! What a container looks like from inside.

mod lab;

use lab::{Lab, layers, wait};
use netloom_runtime::*;
use std::fs;

const ROOT_MOUNTS: &str = "/proc/self/mounts";

#[test]
fn binds() {
    let lab = Lab::new();
    let directory = lab.path("data");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("x"), "from the host").unwrap();
    let file = lab.path("file");
    fs::write(&file, "one file").unwrap();
    let mut spec = lab.spec("a", "sleep 1000");
    let bind = |source: &std::path::Path, target: &str, read_only| Bind {
        source: source.into(),
        target: target.into(),
        read_only,
        options: String::new(),
        recursive: true,
    };
    spec.binds = vec![
        bind(&directory, "/new/deep/ro", true),
        bind(&directory, "/rw", false),
        bind(&file, "/etc/made/file.conf", true),
        bind(&file, "/rw/over", false),
    ];
    fs::write(directory.join("over"), "").unwrap();
    lab.up(&spec);
    assert_eq!(lab.out("a", "cat /new/deep/ro/x"), "from the host");
    assert_eq!(lab.out("a", "cat /etc/made/file.conf /rw/over"), "one fileone file");
    assert_ne!(lab.sh("a", "echo 1 > /new/deep/ro/y").code, 0);
    assert_ne!(lab.sh("a", "echo 1 > /etc/made/file.conf").code, 0);
    lab.out("a", "echo 2 > /rw/y");
    assert_eq!(fs::read_to_string(directory.join("y")).unwrap(), "2\n");
    assert!(!lab.image.join("new").exists());
    // What the container mounts below a bind stays inside.
    spec = lab.spec("b", "sleep 1000");
    spec.privileged = true;
    spec.binds = vec![bind(&directory, "/rw", false)];
    let before = mounts();
    lab.up(&spec);
    lab.out("b", "mkdir /rw/m && mount -t tmpfs none /rw/m && touch /rw/m/seen");
    assert!(!directory.join("m/seen").exists());
    assert_eq!(mounts(), before);
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    let lab = Lab::new();
    let trap = lab.path("trap");
    fs::create_dir_all(&trap).unwrap();
    std::os::unix::fs::symlink(&trap, lab.image.join("data")).unwrap();
    let mut spec = lab.spec("a", "sleep 1000");
    let bind = Bind {
        source: lab.image.clone(),
        target: "/data/inner".into(),
        read_only: true,
        options: String::new(),
        recursive: false,
    };
    spec.binds.push(bind);
    // The link dangles inside the container: refused, and nothing is made on the host.
    lab.runtime.create(&spec).unwrap();
    assert!(lab.runtime.start("a").is_err());
    assert_eq!(fs::read_dir(&trap).unwrap().count(), 0);
}

#[test]
fn a_bind_goes_where_the_images_link_leads() {
    let lab = Lab::new();
    let trap = lab.path("trap");
    fs::create_dir_all(&trap).unwrap();
    std::os::unix::fs::symlink("../run/systemd/stub.conf", lab.image.join("etc/stub.conf"))
        .unwrap();
    std::os::unix::fs::symlink(trap.join("x"), lab.image.join("etc/far.conf")).unwrap();
    let source = lab.path("words");
    fs::write(&source, "here\n").unwrap();
    let mut spec = lab.spec("a", "sleep 1000");
    for target in ["/etc/stub.conf", "/etc/far.conf"] {
        let target = target.into();
        spec.binds.push(Bind {
            source: source.clone(),
            target,
            read_only: true,
            options: String::new(),
            recursive: false,
        });
    }
    lab.up(&spec);
    assert_eq!(
        lab.out("a", "cat /etc/stub.conf /run/systemd/stub.conf /etc/far.conf"),
        "here\nhere\nhere"
    );
    assert_eq!(fs::read_dir(&trap).unwrap().count(), 0, "nothing is made on the host");
}

#[test]
fn memory_file_systems() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.shm_size = 3 << 20;
    spec.tmpfs = vec![Tmpfs { target: "/scratch/x".into(), options: "rw,size=2m,mode=700".into() }];
    lab.up(&spec);
    let size = |path: &str| lab.out("a", &format!("df -k {path} | tail -1 | awk '{{print $2}}'"));
    assert_eq!(size("/dev/shm"), "3072");
    assert_eq!(size("/scratch/x"), "2048");
    assert_eq!(lab.out("a", "stat -c %a /scratch/x"), "700");
    assert!(lab.out("a", "grep mqueue /proc/mounts").contains("/dev/mqueue"));
}

#[test]
fn sysctls() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.network = kept_network(&lab, "net");
    spec.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
    spec.sysctls.insert("net.ipv6.conf.all.disable_ipv6".into(), "0".into());
    spec.sysctls.insert("kernel.shmmni".into(), "77".into());
    lab.up(&spec);
    assert_eq!(lab.out("a", "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(lab.out("a", "cat /proc/sys/kernel/shmmni"), "77");
    assert_ne!(lab.sh("a", "echo 0 > /proc/sys/net/ipv4/ip_forward").code, 0);
    let refused = |name: &str, key: &str| {
        let mut spec = lab.spec(name, "true");
        spec.network = NetworkNs::Kept("net".into());
        spec.sysctls.insert(key.into(), "1".into());
        lab.runtime.create(&spec).unwrap();
        match lab.runtime.start(name) {
            Err(RuntimeError::Unsupported { what, why }) => format!("{what}: {why}"),
            other => panic!("{other:?}"),
        }
    };
    let why = refused("b", "net.ipv4.no_such_thing");
    assert!(why.starts_with("sysctl net.ipv4.no_such_thing: this kernel has no"), "{why}");
    assert!(refused("c", "kernel.panic").contains("whole machine"));
    assert!(refused("d", "net/../kernel/panic").contains("no such parameter"));
}

#[test]
fn network_namespaces() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.network = kept_network(&lab, "net");
    lab.up(&spec);
    assert_eq!(lab.out("a", "ls /sys/class/net"), "lo");
    let mut missing = lab.spec("b", "true");
    missing.network = NetworkNs::Kept("none".into());
    lab.runtime.create(&missing).unwrap();
    let error = lab.runtime.start("b").unwrap_err().to_string();
    assert!(error.contains("keeps none of that name"), "{error}");
}

fn kept_network(lab: &Lab, name: &str) -> NetworkNs {
    let namespace = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        fs::File::open("/proc/thread-self/ns/net").unwrap()
    });
    let path = lab.runtime.keep_fd(name, namespace.join().unwrap().into()).unwrap();
    assert!(fs::metadata(path).is_ok());
    assert!(lab.runtime.kept_names().unwrap().contains(&name.to_owned()));
    assert!(lab.runtime.kept(name).unwrap().is_some());
    NetworkNs::Kept(name.into())
}

#[test]
fn capabilities() {
    let lab = Lab::new();
    // Effective set, bounding set, no new privileges; in the order of the file.
    let status = "grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status | awk '{print $2}'";
    let caps = |spec: &ContainerSpec| {
        let text = lab.finish(spec).1;
        let all: Vec<u64> = text.lines().map(|l| u64::from_str_radix(l, 16).unwrap()).collect();
        (all[0], all[1], all[2])
    };
    let default = 0xa00425fb;
    assert_eq!(caps(&lab.spec("a", status)), (default, default, 0));
    let mut spec = lab.spec("b", status);
    spec.cap_add = vec!["NET_ADMIN".into()];
    spec.cap_drop = vec!["CAP_CHOWN".into()];
    spec.security_opts = vec!["no-new-privileges".into(), "seccomp=unconfined".into()];
    let wanted = (default | 1 << 12) & !1;
    assert_eq!(caps(&spec), (wanted, wanted, 1));
    let mut spec = lab.spec("c", status);
    spec.cap_drop = vec!["ALL".into()];
    spec.cap_add = vec!["KILL".into()];
    assert_eq!(caps(&spec), (1 << 5, 1 << 5, 0));
    let mut spec = lab.spec("d", status);
    spec.privileged = true;
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap().to_owned();
    let own = u64::from_str_radix(&own, 16).unwrap();
    assert_eq!(caps(&spec), (own, own, 0));
    let mut spec = lab.spec("e", status);
    spec.user = "web".into();
    assert_eq!(caps(&spec), (0, default, 0));
    let mut spec = lab.spec("f", status);
    spec.cap_add = vec!["NET_ADMINN".into()];
    lab.runtime.create(&spec).unwrap();
    assert!(lab.runtime.start("f").unwrap_err().to_string().contains("NET_ADMINN"));
}

#[test]
fn users_environment_and_directory() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "id; pwd; echo $HOME; ls -ld .");
    spec.user = "web".into();
    spec.cwd = "/made/for/it".into();
    let log = lab.finish(&spec).1;
    assert!(log.starts_with("uid=33(web) gid=34(web) groups=10(wheel),50(staff)"), "{log}");
    assert!(log.contains("\n/made/for/it\n/var/empty\n"), "{log}");
    let mut spec = lab.spec("b", "id -u; id -g");
    spec.user = "1234:staff".into();
    assert_eq!(lab.finish(&spec).1, "1234\n50\n");
    let mut spec = lab.spec("c", "env");
    spec.env.push(("GREETING".into(), "again".into()));
    let log = lab.finish(&spec).1;
    assert!(log.contains("GREETING=again\n") && !log.contains("hello"), "{log}");
    assert!(log.contains("HOSTNAME=c\n") && log.contains("HOME=/root\n"), "{log}");
    let mut spec = lab.spec("d", "id");
    spec.user = "nobody-here".into();
    lab.runtime.create(&spec).unwrap();
    assert!(lab.runtime.start("d").unwrap_err().to_string().contains("nobody-here"));
}

#[test]
fn devices() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.devices = vec![Device {
        source: "/dev/null".into(),
        target: "/dev/net/none".into(),
        permissions: "rwm".into(),
    }];
    lab.up(&spec);
    assert_eq!(lab.out("a", "stat -c '%t:%T %a' /dev/null /dev/net/none"), "1:3 666\n1:3 666");
    assert_eq!(
        lab.out("a", "head -c 4 /dev/zero | wc -c; echo x > /dev/full || echo full"),
        "4\nfull"
    );
    assert_eq!(lab.out("a", "ls /dev/fd/ > /dev/stderr; readlink /dev/ptmx"), "pts/ptmx");
    let mut spec = lab.spec("b", "sleep 1000");
    spec.privileged = true;
    lab.up(&spec);
    let some = ["/dev/kmsg", "/dev/vda", "/dev/net/tun", "/dev/fuse"];
    for device in some.iter().filter(|d| std::path::Path::new(d).exists()) {
        lab.out("b", &format!("test -e {device}"));
        assert_ne!(lab.sh("a", &format!("test -e {device}")).code, 0, "{device}");
    }
}

#[test]
fn protected_paths() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "sleep 1000"));
    let mut spec = lab.spec("b", "sleep 1000");
    spec.privileged = true;
    lab.up(&spec);
    assert_eq!(lab.out("a", "head -c 1 /proc/kcore | wc -c"), "0");
    for read_only in ["/proc/sys/kernel/shmmni", "/proc/sysrq-trigger"] {
        assert_ne!(lab.sh("a", &format!("echo h > {read_only}")).code, 0, "{read_only}");
    }
    assert_ne!(lab.sh("a", "mkdir /sys/fs/cgroup/x").code, 0);
    assert_eq!(
        lab.out("b", "echo 88 > /proc/sys/kernel/shmmni; cat /proc/sys/kernel/shmmni"),
        "88"
    );
    assert!(lab.out("b", "grep ' /sys sysfs' /proc/mounts").contains("rw,"));
    assert!(lab.out("a", "grep ' /sys sysfs' /proc/mounts").contains("ro,"));
    assert_eq!(lab.out("a", "ls -A /sys/firmware"), "");
    let tree = lab.out("a", "ls /sys/fs/cgroup");
    assert!(tree.contains("memory") || tree.contains("cgroup.procs"), "{tree}");
    assert!(lab.out("a", "cat /proc/self/cgroup").lines().all(|l| l.ends_with(":/")));
}

#[test]
fn ulimits_are_lowered_to_what_the_host_grants() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "ulimit -n; ulimit -c");
    spec.ulimits = vec![
        Ulimit { name: "nofile".into(), soft: 512, hard: u64::MAX },
        Ulimit { name: "core".into(), soft: 0, hard: 0 },
    ];
    assert_eq!(lab.finish(&spec).1, "512\n0\n");
}

#[test]
fn pid_namespaces() {
    let lab = Lab::new();
    lab.up(&lab.spec("a", "echo $$; sleep 1000 & wait"));
    wait("the log", || lab.log("a") == "1\n");
    let mut spec = lab.spec("b", "ps; sleep 1000");
    spec.pid = PidNs::Container("a".into());
    lab.up(&spec);
    wait("the list", || lab.log("b").contains("sleep 1000 & wait"));
    let mut spec = lab.spec("c", "sleep 12345 & echo $$; wait");
    spec.pid = PidNs::Host;
    let state = lab.up(&spec);
    wait("the log", || !lab.log("c").is_empty());
    assert_eq!(lab.log("c").trim(), state.pid.unwrap().to_string());
    let inner = lab.out("c", "ps | grep 'sleep 1234[5]' | awk '{print $1}'");
    lab.runtime.stop("c", None).unwrap();
    wait("its children's end", || !std::path::Path::new(&format!("/proc/{inner}")).exists());
    lab.runtime.remove("c", true).unwrap();
    // The end of the namespace's owner is the end of all in it.
    lab.runtime.stop("a", None).unwrap();
    wait("the end of b", || lab.state("b").status == Status::Exited);
}

#[test]
fn limits() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    spec.resources.pids = Some(50);
    spec.resources.memory = Some(64 << 20);
    spec.resources.cpus = Some(0.5);
    spec.resources.cpuset = Some("0".into());
    lab.up(&spec);
    let file = |paths: [&str; 2]| {
        lab.out("a", &format!("cat {} {} 2>/dev/null || true", paths[0], paths[1]))
    };
    assert_eq!(file(["/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"]), "50");
    let memory = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"];
    assert_eq!(file(memory), (64 << 20).to_string());
    let quota = ["/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"];
    assert!(file(quota).starts_with("50000"), "{}", file(quota));
    assert!(lab.out("a", "grep Cpus_allowed_list /proc/self/status").ends_with("\t0"));
    lab.runtime.remove("a", true).unwrap();
    let left = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-path", "*/netloom/a-*", "-type", "d"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn nothing_in_the_hosts_mount_table() {
    let lab = Lab::new();
    let before = mounts();
    for name in ["a", "b", "c"] {
        lab.up(&lab.spec(name, "sleep 1000"));
        lab.out(name, "true");
    }
    assert_eq!(mounts(), before);
    let holder = lab.runtime.holder_pid();
    assert_eq!(fs::read_to_string(format!("/proc/{holder}/mounts")).unwrap(), before);
    let inside = lab.out("a", "cat /proc/mounts");
    assert!(inside.starts_with("overlay / overlay"), "{inside}");
    assert!(!inside.contains("ext4"), "{inside}");
}

fn mounts() -> String {
    fs::read_to_string(ROOT_MOUNTS).unwrap()
}

#[test]
fn the_host_as_image() {
    let lab = Lab::new();
    let mut spec = lab.spec("a", "sleep 1000");
    *layers(&mut spec) = vec!["/".into()];
    lab.up(&spec);
    assert_eq!(lab.out("a", "ls -A /tmp /run"), "/run:\n\n/tmp:");
    assert_ne!(lab.sh("a", "test -e /var/lib/netloom").code, 0);
    lab.out("a", "echo 1 > /etc/netloom-native-test; test -x /bin/bash");
    assert!(!std::path::Path::new("/etc/netloom-native-test").exists());
    assert_eq!(lab.out("a", "stat -c %a /tmp"), "1777");
    lab.runtime.stop("a", None).unwrap();
    lab.runtime.start("a").unwrap();
    lab.out("a", "test -e /etc/netloom-native-test");
    lab.runtime.remove("a", true).unwrap();
    lab.runtime.create(&spec).unwrap();
    lab.runtime.start("a").unwrap();
    assert_ne!(lab.sh("a", "test -e /etc/netloom-native-test").code, 0);
}

#[test]
fn layers_on_layers() {
    let lab = Lab::new();
    let top = lab.path("top");
    fs::create_dir_all(top.join("etc")).unwrap();
    fs::write(top.join("etc/layer"), "top").unwrap();
    fs::write(lab.image.join("etc/layer"), "bottom").unwrap();
    let mut spec = lab.spec("a", "cat /etc/layer");
    layers(&mut spec).insert(0, top);
    // Paths longer than fsconfig takes, and with characters overlayfs gives a meaning to.
    let long = lab.path(&format!("{}:,\\x", "y".repeat(240)));
    fs::create_dir_all(long.join("etc")).unwrap();
    fs::write(long.join("etc/long"), "long").unwrap();
    layers(&mut spec).insert(0, long);
    spec.argv[2] = "cat /etc/layer /etc/long".into();
    assert_eq!(lab.finish(&spec), (0, "toplong".into()));
}

#[test]
fn an_init_system_has_a_control_group_of_its_own() {
    let lab = Lab::new();
    let script = lab.path("init");
    fs::write(&script, "#!/bin/sh\nsleep 1000\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["a", "b"] {
        let mut spec = lab.spec(name, "");
        spec.privileged = true;
        let target = "/sbin/init".into();
        spec.binds.push(Bind {
            source: script.clone(),
            target,
            read_only: true,
            options: String::new(),
            recursive: false,
        });
        spec.argv = vec!["/sbin/init".into()];
        lab.up(&spec);
        let all = lab.out(name, "cat /proc/self/cgroup");
        assert!(all.lines().all(|line| line.ends_with(":/")), "{all}");
    }
    let systemd = "/sys/fs/cgroup/systemd";
    let root = if fs::exists(systemd).unwrap() { systemd } else { "/sys/fs/cgroup" };
    let mut spec = lab.spec("c", "sleep 1000");
    spec.privileged = true;
    lab.up(&spec);
    lab.out("a", &format!("mkdir {root}/own.scope"));
    assert_ne!(lab.sh("b", &format!("[ -e {root}/own.scope ]")).code, 0, "b sees a's groups");
    assert_ne!(lab.sh("c", &format!("mkdir {root}/own.scope")).code, 0, "c may write");
    lab.runtime.remove("a", true).unwrap();
    let left = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-name", "own.scope"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
