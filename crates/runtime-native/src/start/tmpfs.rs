//! Memory file systems the specification asks for.

use super::plan::Plan;
use super::system::safe;
use crate::child::Tolerate;
use netloom_runtime::{ContainerSpec, RuntimeError};
use nix::mount::MsFlags;

pub(super) fn mount(spec: &ContainerSpec, plan: &mut Plan) -> Result<(), RuntimeError> {
    for tmpfs in &spec.tmpfs {
        let target = tmpfs.target.to_string_lossy();
        plan.make_directory(&target, 0o755)?;
        let (flags, data) = parse(&tmpfs.options);
        plan.mount_from("tmpfs", "tmpfs", &target, flags, &data, Tolerate::Nothing);
    }
    Ok(())
}

/// Splits mount options into flags and what the file system itself understands.
fn parse(options: &str) -> (u64, String) {
    let mut flags = MsFlags::from_bits_retain(safe());
    let mut data = Vec::new();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (set, flag) = match option {
            "ro" => (true, MsFlags::MS_RDONLY),
            "rw" => (false, MsFlags::MS_RDONLY),
            "nosuid" => (true, MsFlags::MS_NOSUID),
            "suid" => (false, MsFlags::MS_NOSUID),
            "nodev" => (true, MsFlags::MS_NODEV),
            "dev" => (false, MsFlags::MS_NODEV),
            "noexec" => (true, MsFlags::MS_NOEXEC),
            "exec" => (false, MsFlags::MS_NOEXEC),
            "noatime" => (true, MsFlags::MS_NOATIME),
            "sync" => (true, MsFlags::MS_SYNCHRONOUS),
            other => {
                data.push(other);
                continue;
            }
        };
        flags.set(flag, set);
    }
    if !data.iter().any(|d| d.starts_with("mode=")) {
        data.push("mode=1777");
    }
    (flags.bits(), data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split() {
        let (flags, data) = parse("rw,exec,size=64m");
        let flags = MsFlags::from_bits_retain(flags);
        assert!(flags.contains(MsFlags::MS_NOSUID) && !flags.contains(MsFlags::MS_NOEXEC));
        assert_eq!(data, "size=64m,mode=1777");
    }
}
