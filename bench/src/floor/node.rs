//! One node by system calls: overlay, clone, mounts, execute.

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

const STACK: usize = 64 << 10;
const MOVE_EMPTY_PATH: libc::c_uint = 4;
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];
const LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
    (c"pts/ptmx", c"/dev/ptmx"),
];

/// What all nodes share.
pub struct Shared {
    /// A mount namespace with nothing in it; a copy of the host's costs more.
    pub empty: OwnedFd,
    /// The image's only layer.
    pub layer: CString,
    /// Names of the lab, if they resolve: a file bound to `/etc/hosts`.
    pub hosts: Option<CString>,
    /// Neither `/proc`, `/sys` nor `/dev`.
    pub bare: bool,
}

struct Job<'a> {
    shared: &'a Shared,
    netns: i32,
    root: i32,
    hosts: Option<i32>,
    hostname: &'a CStr,
}

fn checked(result: libc::c_long) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    // SAFETY: a descriptor the kernel just gave us, nobody else's.
    checked(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Mounts an overlay, detached.
fn overlay(layer: &CStr, private: &Path) -> io::Result<OwnedFd> {
    const SET_FLAG: libc::c_uint = 0;
    const SET_STRING: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    let path = |part: &str| {
        let path = private.join(part);
        std::fs::create_dir_all(&path)?;
        CString::new(path.as_os_str().as_encoded_bytes()).map_err(io::Error::other)
    };
    let (upper, work) = (path("upper")?, path("work")?);
    // SAFETY: C strings and plain numbers.
    let fs = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1) })?;
    let configure = |command: libc::c_uint,
                     key: *const libc::c_char,
                     value: *const libc::c_char| {
        // SAFETY: both strings are null or alive through the call.
        let done =
            unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, key, value, 0) };
        checked(done)
    };
    configure(SET_STRING, c"lowerdir+".as_ptr(), layer.as_ptr())?;
    configure(SET_STRING, c"upperdir".as_ptr(), upper.as_ptr())?;
    configure(SET_STRING, c"workdir".as_ptr(), work.as_ptr())?;
    configure(SET_FLAG, c"volatile".as_ptr(), ptr::null())?;
    configure(CREATE, ptr::null(), ptr::null())?;
    // SAFETY: plain numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1, 0) })
}

/// A detached copy of the mount a file is in, of that file alone.
fn bound(path: &CStr) -> io::Result<OwnedFd> {
    const CLONE: libc::c_uint = 1;
    // SAFETY: a C string and plain numbers.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            CLONE | libc::O_CLOEXEC as u32,
        )
    };
    owned(fd)
}

/// Starts a node and returns its process.
pub fn start(shared: &Shared, netns: i32, name: &str, private: &Path) -> io::Result<i32> {
    let root = overlay(&shared.layer, private)?;
    let hosts = shared.hosts.as_deref().map(bound).transpose()?;
    let hostname = CString::new(name).map_err(io::Error::other)?;
    let job = Job {
        shared,
        netns,
        root: root.as_raw_fd(),
        hosts: hosts.as_ref().map(AsRawFd::as_raw_fd),
        hostname: &hostname,
    };
    let flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::SIGCHLD;
    let mut stack = vec![0u128; STACK / 16];
    // SAFETY: the child runs on a stack of its own while this thread sleeps (CLONE_VFORK) until it
    // has executed or ended, so `job` and `stack` outlive its use of them.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(child, top.cast(), flags, ptr::from_ref(&job).cast_mut().cast())
    };
    checked(pid.into())
}

/// Runs in the child: nothing here allocates.
extern "C" fn child(job: *mut c_void) -> i32 {
    // SAFETY: `start` passed a job that outlives this child's use of it.
    let job = unsafe { &*job.cast::<Job<'_>>() };
    // SAFETY: only C strings and plain numbers go to system calls, in a child that shares memory
    // with a sleeping parent thread and uses no lock.
    unsafe {
        if enter(job) && (job.shared.bare || furnish()) && names(job) {
            let argv = [c"/bin/idle".as_ptr(), ptr::null()];
            libc::execve(argv[0], argv.as_ptr(), argv.as_ptr().add(1));
        }
        libc::_exit(127)
    }
}

unsafe fn attach(fd: i32, target: &CStr) -> bool {
    let (here, empty) = (libc::AT_FDCWD, c"".as_ptr());
    // SAFETY: C strings and plain numbers.
    unsafe {
        libc::syscall(libc::SYS_move_mount, fd, empty, here, target.as_ptr(), MOVE_EMPTY_PATH) == 0
    }
}

unsafe fn enter(job: &Job<'_>) -> bool {
    let host = job.hostname;
    // SAFETY: C strings and plain numbers.
    unsafe {
        libc::setns(job.netns, libc::CLONE_NEWNET) == 0
            && libc::setns(job.shared.empty.as_raw_fd(), libc::CLONE_NEWNS) == 0
            && libc::unshare(libc::CLONE_NEWNS) == 0
            && attach(job.root, c"/")
            && libc::fchdir(job.root) == 0
            && libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) == 0
            && libc::umount2(c".".as_ptr(), libc::MNT_DETACH) == 0
            && libc::sethostname(host.as_ptr(), host.to_bytes().len()) == 0
    }
}

unsafe fn mount(kind: &CStr, target: &CStr, data: &CStr) -> bool {
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    let kind = kind.as_ptr();
    // SAFETY: C strings and plain numbers.
    unsafe { libc::mount(kind, target.as_ptr(), kind, flags, data.as_ptr().cast()) == 0 }
}

/// `/proc`, `/sys` and `/dev`.
unsafe fn furnish() -> bool {
    let fine = [c"/proc", c"/sys", c"/dev"].into_iter().all(|at| {
        // SAFETY: a C string.
        unsafe { libc::mkdir(at.as_ptr(), 0o755) == 0 || *libc::__errno_location() == libc::EEXIST }
    });
    // SAFETY: C strings and plain numbers.
    unsafe {
        fine && mount(c"proc", c"/proc", c"")
            && mount(c"sysfs", c"/sys", c"")
            && mount(c"tmpfs", c"/dev", c"mode=755,size=64m")
            && DEVICES.iter().all(|(path, major, minor)| {
                let number = libc::makedev(*major, *minor);
                libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, number) == 0
            })
            && LINKS.iter().all(|(to, path)| libc::symlink(to.as_ptr(), path.as_ptr()) == 0)
            && [c"/dev/pts", c"/dev/shm", c"/dev/mqueue"]
                .iter()
                .all(|at| libc::mkdir(at.as_ptr(), 0o755) == 0)
            && mount(c"devpts", c"/dev/pts", c"ptmxmode=0666,mode=0620,gid=5")
            && mount(c"tmpfs", c"/dev/shm", c"mode=1777,size=67108864")
            && mount(c"mqueue", c"/dev/mqueue", c"")
    }
}

unsafe fn names(job: &Job<'_>) -> bool {
    let Some(hosts) = job.hosts else { return true };
    // SAFETY: C strings and plain numbers.
    unsafe {
        libc::mkdir(c"/etc".as_ptr(), 0o755);
        libc::close(libc::creat(c"/etc/hosts".as_ptr(), 0o644));
        attach(hosts, c"/etc/hosts")
    }
}

/// Makes a mount namespace that holds one empty file system.
pub fn empty_namespace() -> io::Result<OwnedFd> {
    let build = || -> io::Result<OwnedFd> {
        // SAFETY: C strings and plain numbers, on a thread that shares no directory any more.
        unsafe {
            let none = ptr::null();
            let quiet = libc::MS_REC | libc::MS_PRIVATE;
            checked(libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS).into())?;
            let namespace = std::fs::File::open("/proc/thread-self/ns/mnt")?;
            checked(libc::mount(none, c"/".as_ptr(), none, quiet, none.cast()).into())?;
            let (kind, at) = (c"tmpfs".as_ptr(), c"/proc".as_ptr());
            checked(libc::mount(kind, at, kind, 0, c"size=4k".as_ptr().cast()).into())?;
            checked(libc::chdir(at).into())?;
            let here = c".".as_ptr();
            checked(libc::syscall(libc::SYS_pivot_root, here, here))?;
            checked(libc::umount2(here, libc::MNT_DETACH).into())?;
            Ok(namespace.into())
        }
    };
    let panicked = |_| io::Error::other("the thread panicked");
    std::thread::spawn(build).join().map_err(panicked)?
}
