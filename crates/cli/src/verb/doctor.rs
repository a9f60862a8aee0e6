//! `netloom doctor`.

use crate::context;
use crate::say::show;
use anyhow::Result;
use netloom_datapath::probe;
use serde_json::json;

/// Flags of `doctor`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Form of the output.
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

struct Check {
    what: &'static str,
    fine: bool,
    needed: bool,
    cure: &'static str,
}

fn checks() -> Vec<Check> {
    let exists = |p: &str| std::path::Path::new(p).exists();
    let on_path = |p: &str| {
        std::env::var_os("PATH")
            .is_some_and(|v| std::env::split_paths(&v).any(|d| d.join(p).is_file()))
            || exists(&format!("/usr/sbin/{p}"))
    };
    let overlay = std::fs::read_to_string("/proc/filesystems").is_ok_and(|t| t.contains("overlay"));
    vec![
        Check {
            what: "running as root",
            fine: nix::unistd::Uid::effective().is_root(),
            needed: true,
            cure: "run netloom with sudo",
        },
        Check { what: "overlayfs", fine: overlay, needed: true, cure: "modprobe overlay" },
        Check {
            what: "nft (a way out of the management network)",
            fine: on_path("nft"),
            needed: true,
            cure: "apt-get install nftables",
        },
        Check {
            what: "/dev/net/tun (VM nodes)",
            fine: exists("/dev/net/tun"),
            needed: false,
            cure: "modprobe tun",
        },
        Check {
            what: "/dev/kvm (fast VM nodes)",
            fine: exists("/dev/kvm"),
            needed: false,
            cure: "enable virtualisation in the firmware, or nested virtualisation in the hypervisor",
        },
        Check {
            what: "cgroup limits",
            fine: exists("/sys/fs/cgroup/memory") || exists("/sys/fs/cgroup/cgroup.controllers"),
            needed: false,
            cure: "mount /sys/fs/cgroup",
        },
    ]
}

/// Looks at the machine.
pub fn run(a: Arguments) -> Result<u8> {
    let checks = checks();
    let findings = probe::run();
    let engine = context::engine()?;
    if a.format == "json" {
        let list: Vec<_> = checks
            .iter()
            .map(|c| json!({"check": c.what, "ok": c.fine, "needed": c.needed, "cure": c.cure}))
            .collect();
        let kernel: Vec<String> = findings.as_ref().map(lines).unwrap_or_default();
        crate::output::json(
            &json!({"checks": list, "kernel": kernel, "state": engine.directories.state}),
        )?;
    } else {
        for c in &checks {
            let word = match (c.fine, c.needed) {
                (true, _) => "yes",
                (false, true) => "NO ",
                (false, false) => "no ",
            };
            let cure = if c.fine { String::new() } else { format!(": {}", c.cure) };
            show!("{word}  {}{cure}", c.what);
        }
        match &findings {
            Ok(f) => lines(f).iter().for_each(|l| show!("     {l}")),
            Err(e) => show!("NO   the kernel's network could not be probed: {e}"),
        }
        show!("     state is kept in {}", engine.directories.state.display());
    }
    Ok(u8::from(checks.iter().any(|c| c.needed && !c.fine)))
}

fn lines(findings: &probe::Findings) -> Vec<String> {
    findings.list.iter().map(ToString::to_string).collect()
}
