//! What a container sees of its specification.

use super::{Bench, Case};
use netloom_runtime::{Bind, Device, NetworkNs, PidNs, Resources, Stdio, Tmpfs};
use std::collections::BTreeMap;
use std::fs;

pub(super) const CASES: &[(&str, Case)] = &[
    ("program_and_environment", program_and_environment),
    ("user_and_folder", user_and_folder),
    ("terminal", terminal),
    ("binds", binds),
    ("memory_file_systems", memory_file_systems),
    ("parameters", parameters),
    ("capabilities", capabilities),
    ("privileged", privileged),
    ("devices", devices),
    ("limits", limits),
    ("processes_of_another", processes_of_another),
    ("namespaces", namespaces),
];

fn program_and_environment(b: &Bench<'_>) {
    let mut spec = b.spec("a", "");
    spec.argv =
        ["sh", "-c", "echo \"$0|$1|$GREETING\"; hostname", "zero", "o ne"].map(Into::into).to_vec();
    let (code, log) = b.finish(&spec);
    assert_eq!((code, log.as_str()), (0, "zero|o ne|hello\na\n"));
}

fn user_and_folder(b: &Bench<'_>) {
    let mut spec = b.spec("a", "id -u; id -g; pwd");
    spec.user = "nobody:nogroup".into();
    spec.cwd = "/tmp".into();
    assert_eq!(b.finish(&spec).1, "65534\n65534\n/tmp\n");
    let mut spec = b.spec("b", "id -u; pwd");
    spec.user = "1234".into();
    spec.cwd = "/made/for/it".into();
    assert_eq!(b.finish(&spec).1, "1234\n/made/for/it\n");
}

fn terminal(b: &Bench<'_>) {
    let mut spec = b.spec("a", "");
    spec.stdio = Stdio::Tty;
    spec.argv = vec!["sh".into()];
    b.up(&spec);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(b.state(&spec).pid.is_some(), "a shell with a terminal stays");
    let mut spec = b.spec("b", "test -t 0 && test -t 1 && echo terminal");
    spec.stdio = Stdio::Tty;
    assert_eq!(b.finish(&spec).1, "terminal\n");
    assert_eq!(b.finish(&b.spec("c", "test -t 0 || echo none")).1, "none\n");
}

fn binds(b: &Bench<'_>) {
    let folder = b.fixture.folder().join(b.name("files"));
    fs::create_dir_all(folder.join("rw")).unwrap();
    fs::write(folder.join("file"), "of the host").unwrap();
    let bind = |source: &str, target: &str, read_only| Bind {
        source: folder.join(source),
        target: target.into(),
        read_only,
        options: String::new(),
        recursive: true,
    };
    let mut spec = b.spec("a", "sleep 1000");
    spec.binds = vec![
        bind("rw", "/deep/er/rw", false),
        bind("rw", "/ro", true),
        bind("file", "/etc/one", true),
    ];
    b.up(&spec);
    b.out(&spec, "echo written > /deep/er/rw/x");
    assert_eq!(fs::read_to_string(folder.join("rw/x")).unwrap(), "written\n");
    assert_eq!(b.out(&spec, "cat /etc/one /ro/x"), "of the hostwritten");
    assert_ne!(b.sh(&spec, "echo no > /ro/y").code, 0);
    assert_ne!(b.sh(&spec, "echo no > /etc/one").code, 0);
}

fn memory_file_systems(b: &Bench<'_>) {
    let mut spec = b.spec("a", "sleep 1000");
    spec.tmpfs = vec![Tmpfs { target: "/mem".into(), options: "size=4m,mode=0700".into() }];
    spec.shm_size = 3 << 20;
    b.up(&spec);
    let size =
        |path: &str| b.out(&spec, &format!("df -k {path} | tail -1 | tr -s ' ' | cut -d' ' -f2"));
    assert_eq!(size("/mem"), "4096");
    assert_eq!(size("/dev/shm"), "3072");
    assert_eq!(b.out(&spec, "stat -c %a /mem"), "700");
}

fn parameters(b: &Bench<'_>) {
    let mut spec = b.spec("a", "sleep 1000");
    spec.sysctls = BTreeMap::from([
        ("net.ipv4.ip_forward".into(), "1".into()),
        ("kernel.msgmax".into(), "9000".into()),
    ]);
    b.up(&spec);
    let values = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax";
    assert_eq!(b.out(&spec, values), "1\n9000");
}

fn effective(b: &Bench<'_>, short: &str, add: &[&str], drop: &[&str]) -> u64 {
    let mut spec = b.spec(short, "grep CapEff /proc/self/status | tr -d '\\t' | cut -d: -f2");
    spec.cap_add = add.iter().map(|c| c.to_string()).collect();
    spec.cap_drop = drop.iter().map(|c| c.to_string()).collect();
    let (code, log) = b.finish(&spec);
    assert_eq!(code, 0);
    u64::from_str_radix(log.trim(), 16).unwrap()
}

fn capabilities(b: &Bench<'_>) {
    const CHOWN: u64 = 1;
    const NET_ADMIN: u64 = 1 << 12;
    let usual = effective(b, "usual", &[], &[]);
    assert_eq!(usual & (CHOWN | NET_ADMIN), CHOWN);
    assert_eq!(effective(b, "more", &["NET_ADMIN"], &[]), usual | NET_ADMIN);
    assert_eq!(effective(b, "less", &[], &["CHOWN"]), usual & !CHOWN);
}

fn privileged(b: &Bench<'_>) {
    let mut spec = b.spec("a", "sleep 1000");
    spec.privileged = true;
    b.up(&spec);
    b.out(&spec, "ip link set lo mtu 1400 && test -e /dev/kmsg");
    b.out(&spec, "echo 1 > /proc/sys/net/ipv4/ip_forward");
    let plain = b.spec("b", "sleep 1000");
    b.up(&plain);
    assert_ne!(b.sh(&plain, "ip link set lo mtu 1400").code, 0);
}

fn devices(b: &Bench<'_>) {
    let mut spec = b.spec("a", "sleep 1000");
    spec.devices = vec![Device {
        source: "/dev/net/tun".into(),
        target: "/dev/tunnel".into(),
        permissions: "rwm".into(),
    }];
    b.up(&spec);
    assert_eq!(b.out(&spec, "stat -c %t:%T /dev/tunnel"), "a:c8");
    // Nobody is attached to it: it can be opened, and not read.
    assert!(b.out(&spec, "cat /dev/tunnel 2>&1 || true").contains("bad state"));
    assert_ne!(b.sh(&spec, "test -e /dev/net/tun").code, 0);
}

fn limits(b: &Bench<'_>) {
    let mut spec = b.spec("a", "sleep 1000");
    spec.resources =
        Resources { memory: Some(64 << 20), cpus: Some(0.5), cpuset: Some("0".into()), pids: None };
    let state = b.up(&spec);
    let pid = state.pid.unwrap();
    let group = |controller: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line = text
            .lines()
            .find(|l| l.split(':').nth(1).unwrap_or("").split(',').any(|c| c == controller));
        let path = line
            .unwrap_or_else(|| panic!("no {controller} group: {text}"))
            .split(':')
            .nth(2)
            .unwrap();
        format!("/sys/fs/cgroup/{controller}{path}")
    };
    let read = |controller: &str, file: &str| {
        let path = format!("{}/{file}", group(controller));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(read("cpuset", "cpuset.cpus"), "0");
    let quota: f64 = read("cpu", "cpu.cfs_quota_us").parse().unwrap();
    let period: f64 = read("cpu", "cpu.cfs_period_us").parse().unwrap();
    assert_eq!(quota / period, 0.5);
}

fn processes_of_another(b: &Bench<'_>) {
    let first = b.spec("a", "sleep 4321");
    b.up(&first);
    let mut second = b.spec("b", "sleep 1234");
    second.pid = PidNs::Container(first.name.clone());
    b.up(&second);
    let seen = b.out(&second, "ps");
    assert!(seen.contains("sleep 4321") && seen.contains("sleep 1234"), "{seen}");
    let alone = b.out(&b_up(b, "c"), "ps");
    assert!(!alone.contains("sleep 4321"), "{alone}");
}

fn b_up(b: &Bench<'_>, short: &str) -> netloom_runtime::ContainerSpec {
    let spec = b.spec(short, "sleep 1000");
    b.up(&spec);
    spec
}

fn namespaces(b: &Bench<'_>) {
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let first = b.up(&b.spec("a", "sleep 1000"));
    let here = of(std::process::id());
    assert_ne!(of(first.pid.unwrap()), here);
    let mut host = b.spec("b", "sleep 1000");
    host.network = NetworkNs::Host;
    assert_eq!(of(b.up(&host).pid.unwrap()), fs::read_link("/proc/1/ns/net").unwrap_or(here));
}
