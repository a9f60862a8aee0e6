//! Where a run happens: a network namespace, folders and an image of its own.

use crate::floor;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the image.
pub const IMAGE: &str = "idle:bench";

/// Folders of a whole run, removed when dropped.
pub struct Place {
    base: PathBuf,
    netloom: PathBuf,
}

/// Folders of one deploy, never used before: a file system steps over what was deleted lately.
pub struct Fresh {
    /// The folder.
    pub folder: PathBuf,
    netloom: PathBuf,
}

impl Place {
    /// Enters a network namespace of its own and makes the folders.
    pub fn new(parent: &Path, netloom: &Path) -> Result<Self> {
        // SAFETY: a plain number; no other thread runs yet.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            bail!("a network namespace needs root: {}", std::io::Error::last_os_error());
        }
        floor::loopback().context("set lo up")?;
        let base = parent.join(format!("netloom-bench-{}", std::process::id()));
        fs::create_dir_all(&base).with_context(|| format!("make {}", base.display()))?;
        spread(&base);
        let netloom = fs::canonicalize(netloom)
            .with_context(|| format!("{}: build it, or name it", netloom.display()))?;
        let place = Place { base, netloom };
        let bin = place.layer().join("bin");
        fs::create_dir_all(&bin)?;
        fs::write(bin.join("idle"), idle())?;
        fs::set_permissions(bin.join("idle"), fs::Permissions::from_mode(0o755))?;
        Ok(place)
    }

    /// The image's only layer.
    pub fn layer(&self) -> PathBuf {
        self.base.join("image")
    }

    /// New folders.
    pub fn fresh(&self, name: &str) -> Result<Fresh> {
        let folder = self.base.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Fresh { folder, netloom: self.netloom.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.base) {
            eprintln!("{} stays: {e}", self.base.display());
        }
    }
}

impl Fresh {
    /// A command of netloom that works in these folders only.
    pub fn netloom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.netloom);
        command
            .args(arguments)
            .env("NETLOOM_STATE_DIR", self.folder.join("state"))
            .env("NETLOOM_RUN_DIR", self.folder.join("run"))
            .env("NETLOOM_NETNS_DIR", self.folder.join("netns"))
            .env("NETLOOM_ETC_DIR", self.folder.join("etc"))
            .stdin(Stdio::null());
        command
    }

    /// Brings the image in.
    pub fn import(&self, layer: &Path) -> Result<()> {
        let layer = layer.to_string_lossy();
        let mut command =
            self.netloom(&["image", "import", &layer, "--ref", IMAGE, "--cmd", "/bin/idle"]);
        let out = command.output()?;
        if !out.status.success() {
            bail!("netloom image import: {}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(())
    }
}

/// Asks ext4 to put each folder below this one into another block group.
fn spread(folder: &Path) {
    const GET: libc::c_ulong = 0x8008_6601;
    const SET: libc::c_ulong = 0x4008_6602;
    const TOP: libc::c_long = 0x0002_0000;
    let Ok(directory) = fs::File::open(folder) else { return };
    let mut flags: libc::c_long = 0;
    // SAFETY: one number, alive through both calls; other file systems refuse, which is fine.
    unsafe {
        if libc::ioctl(directory.as_raw_fd(), GET, &raw mut flags) == 0 {
            flags |= TOP;
            libc::ioctl(directory.as_raw_fd(), SET, &raw const flags);
        }
    }
}

/// A program that waits for ever, in one page.
fn idle() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEAD: u64 = 64 + 56;
    #[cfg(target_arch = "x86_64")]
    // mov eax, SYS_pause; syscall; jmp back
    let (machine, code): (u16, &[u8]) = (62, &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]);
    #[cfg(target_arch = "aarch64")]
    // mov x0..x4, 0; mov x8, SYS_ppoll; svc 0; b back
    let (machine, code): (u16, &[u8]) = (
        183,
        &[
            0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00,
            0x80, 0xd2, 0x04, 0x00, 0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4,
            0xf9, 0xff, 0xff, 0x17,
        ],
    );
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend(2u16.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    for word in [BASE + HEAD, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    let size = HEAD + code.len() as u64;
    out.extend(1u32.to_le_bytes());
    out.extend(5u32.to_le_bytes());
    for word in [0, BASE, BASE, size, size, 4096] {
        out.extend(word.to_le_bytes());
    }
    out.extend(code);
    out
}
