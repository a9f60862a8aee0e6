//! What runs in the child. Nothing here may allocate, lock, or call into libc beyond `syscall`
//! and `clone`: memory is shared with a parent whose other threads go on running.

use super::clone::STACK;
use super::step::{Op, Program, Step, Tolerate};
use std::ffi::CStr;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, Ordering};

/// Everything the child needs, and where it leaves its failure.
pub(super) struct Job<'a> {
    steps: &'a [Step],
    program: &'a Program,
    argv: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
    second_stack: *mut c_void,
    next: AtomicI32,
    pub(super) pid: AtomicI32,
    failed: AtomicI32,
    errno: AtomicI32,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        steps: &'a [Step],
        program: &'a Program,
        argv: &'a [*const libc::c_char],
        env: &'a [*const libc::c_char],
        second_stack: *mut c_void,
    ) -> Self {
        let zero = || AtomicI32::new(0);
        Job {
            steps,
            program,
            argv,
            env,
            second_stack,
            next: zero(),
            pid: zero(),
            failed: AtomicI32::new(-1),
            errno: zero(),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Acquire)
    }

    /// Step and errno of what failed.
    pub(super) fn failure(&self) -> Option<(usize, i32)> {
        let at = usize::try_from(self.failed.load(Ordering::Acquire)).ok()?;
        Some((at, self.errno.load(Ordering::Acquire)))
    }

    fn fail(&self, at: usize, errno: i32) -> ! {
        self.errno.store(errno, Ordering::Release);
        self.failed.store(at as i32, Ordering::Release);
        exit(127)
    }
}

/// One system call; the result, or minus the error.
macro_rules! call {
    ($number:expr $(, $arg:expr)*) => {{
        // SAFETY: every pointer passed refers to memory of the parent, which sleeps until this
        // child has executed or ended; all else are plain numbers.
        let result = unsafe { libc::syscall($number $(, ($arg) as usize)*) };
        if result == -1 { -i64::from(errno()) } else { result }
    }};
}

fn errno() -> i32 {
    // SAFETY: the thread-local of the sleeping parent thread, which this child borrows.
    unsafe { *libc::__errno_location() }
}

fn exit(code: i32) -> ! {
    loop {
        call!(libc::SYS_exit_group, code);
    }
}

/// Entry point of a child, also of the second one after [`Op::Fork`].
pub(super) extern "C" fn child_main(argument: *mut c_void) -> i32 {
    // SAFETY: `spawn` passed a pointer to a job that outlives this child's use of it.
    let job = unsafe { &*argument.cast::<Job<'_>>() };
    let mut at = job.next.load(Ordering::Acquire) as usize;
    while let Some(step) = job.steps.get(at) {
        if matches!(step.op, Op::Fork) {
            fork(job, argument, at);
        }
        let result = perform(&step.op, job);
        if result < 0 && !tolerated(step.tolerate, -result as i32) {
            job.fail(at, -result as i32);
        }
        at += 1;
    }
    reset_signals();
    execute(job, at)
}

fn tolerated(tolerate: Tolerate, errno: i32) -> bool {
    match tolerate {
        Tolerate::Nothing => false,
        Tolerate::Exists => errno == libc::EEXIST,
        Tolerate::Missing => errno == libc::ENOENT || errno == libc::ENOTDIR,
        Tolerate::Anything => true,
    }
}

/// Goes on with the next step in a new child with the same parent, and ends this one.
fn fork(job: &Job<'_>, argument: *mut c_void, at: usize) -> ! {
    job.next.store(at as i32 + 1, Ordering::Release);
    let flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_PARENT
        | libc::CLONE_PARENT_SETTID
        | libc::SIGCHLD;
    // SAFETY: as in `spawn`: an unused stack of STACK bytes, and this child sleeps meanwhile.
    let pid = unsafe {
        libc::clone(
            child_main,
            job.second_stack,
            flags,
            argument,
            job.pid.as_ptr(),
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<libc::pid_t>(),
        )
    };
    const { assert!(STACK >= 32 << 10) };
    if pid < 0 {
        job.fail(at, errno());
    }
    exit(0)
}

const EMPTY: &CStr = c"";

fn perform(op: &Op, job: &Job<'_>) -> i64 {
    match op {
        Op::RecordPid { fd } => record_pid(*fd, job.pid()),
        Op::WriteFd { fd, data, .. } => whole(*fd, data),
        Op::SetNs { fd, kind, .. } => call!(libc::SYS_setns, *fd, *kind),
        Op::Unshare { kind, .. } => call!(libc::SYS_unshare, *kind),
        Op::Fork => 0,
        Op::OpenTree { path, to } => {
            let fd = open(path, libc::O_PATH);
            if fd < 0 { fd } else { call!(libc::SYS_dup3, fd as i32, *to, libc::O_CLOEXEC) }
        }
        Op::Attach { fd, target } => {
            // Empty source path, symbolic links followed in the target.
            let flags = 0x4 | 0x10;
            let at = libc::AT_FDCWD;
            call!(libc::SYS_move_mount, *fd, EMPTY.as_ptr(), at, target.as_ptr(), flags)
        }
        Op::EnterRoot { fd } => {
            let result = call!(libc::SYS_fchdir, *fd);
            if result < 0 { result } else { call!(libc::SYS_chroot, c".".as_ptr()) }
        }
        Op::Mount(m) => {
            let (source, target) = (m.source.as_ptr(), m.target.as_ptr());
            let (fstype, data) = (m.fstype.as_ptr(), m.data.as_ptr());
            call!(libc::SYS_mount, source, target, fstype, m.flags, data)
        }
        Op::Mkdir { path, mode } => {
            call!(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), *mode)
        }
        Op::Touch { path } => touch(path),
        Op::Mknod { path, mode, device } => mknod(path, *mode, *device),
        Op::Parameter { path, data } => set_parameter(path, data),
        Op::Hostname { name } => call!(libc::SYS_sethostname, name.as_ptr(), name.len()),
        Op::Session => call!(libc::SYS_setsid),
        Op::ControllingTty { fd } => call!(libc::SYS_ioctl, *fd, libc::TIOCSCTTY, 0),
        Op::Dup { from, to } => call!(libc::SYS_dup3, *from, *to, 0),
        Op::CloseFrom { first } => {
            // The table is this child's own copy, and no later step uses a descriptor: what is
            // left open could be entered through /proc/self/fd.
            call!(libc::SYS_close_range, *first, u32::MAX, 0)
        }
        Op::Limit { resource, soft, hard } => {
            let limit = [*soft, *hard];
            call!(libc::SYS_prlimit64, 0, *resource, limit.as_ptr(), 0)
        }
        Op::Bounding { keep, last } => bounding(*keep, *last),
        Op::NoInheritable => no_inheritable(),
        Op::NoNewPrivileges => call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        Op::Identity { uid, gid, groups } => identity(*uid, *gid, groups),
        Op::Chdir { path } => call!(libc::SYS_chdir, path.as_ptr()),
        Op::Umask { mask } => call!(libc::SYS_umask, *mask),
    }
}

fn whole(fd: i32, data: &[u8]) -> i64 {
    let written = call!(libc::SYS_write, fd, data.as_ptr(), data.len());
    if written >= 0 && written as usize != data.len() { -i64::from(libc::EIO) } else { written }
}

fn record_pid(fd: i32, pid: i32) -> i64 {
    let mut line = *b"pid           \n";
    let mut left = pid;
    let mut at = line.len() - 2;
    while left > 0 {
        line[at] = b'0' + (left % 10) as u8;
        left /= 10;
        at -= 1;
    }
    whole(fd, &line)
}

fn open(path: &CStr, flags: i32) -> i64 {
    call!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0o644)
}

fn touch(path: &CStr) -> i64 {
    // O_EXCL: whatever is there already (a device, a socket) must not be opened.
    let fd = open(path, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOCTTY);
    if fd < 0 { fd } else { call!(libc::SYS_close, fd as i32) }
}

fn mknod(path: &CStr, mode: u32, device: u64) -> i64 {
    let made = call!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), mode, device);
    if made < 0 {
        return made;
    }
    call!(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), mode & 0o7777)
}

/// Sets a kernel parameter unless it has the value already: writing some of them fights for a lock
/// that everything which makes links holds, and the kernel has the writer spin for it.
fn set_parameter(path: &CStr, data: &[u8]) -> i64 {
    const LONGEST: usize = 64;
    let mut now = [0u8; LONGEST];
    let fd = open(path, libc::O_RDONLY);
    if fd >= 0 {
        let read = call!(libc::SYS_read, fd as i32, now.as_mut_ptr(), LONGEST);
        call!(libc::SYS_close, fd as i32);
        let same = read == data.len() as i64 + 1 && now[data.len()] == b'\n';
        if same && now[..data.len()] == *data {
            return 0;
        }
    }
    let fd = open(path, libc::O_WRONLY);
    if fd < 0 {
        return fd;
    }
    let result = whole(fd as i32, data);
    call!(libc::SYS_close, fd as i32);
    result
}

fn bounding(keep: u64, last: u32) -> i64 {
    for capability in 0..=last.min(63) {
        if keep & (1 << capability) == 0 {
            let result = call!(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            if result < 0 {
                return result;
            }
        }
    }
    0
}

/// Empties the inheritable set and, with it, the ambient one: both would pass the bounding set by.
fn no_inheritable() -> i64 {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; twice.
    let mut sets = [0u32; 6];
    let result = call!(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr());
    if result < 0 {
        return result;
    }
    sets[2] = 0;
    sets[5] = 0;
    call!(libc::SYS_capset, header.as_ptr(), sets.as_ptr())
}

fn identity(uid: u32, gid: u32, groups: &[u32]) -> i64 {
    let result = call!(libc::SYS_setgroups, groups.len(), groups.as_ptr());
    // In a user namespace without setgroups there are no groups to give up.
    if result < 0 && !(result == -i64::from(libc::EPERM) && groups.is_empty()) {
        return result;
    }
    let result = call!(libc::SYS_setresgid, gid, gid, gid);
    if result < 0 { result } else { call!(libc::SYS_setresuid, uid, uid, uid) }
}

fn reset_signals() {
    // handler SIG_DFL, no flags, no restorer, empty mask: all zero in the kernel's layout.
    let default = [0u64; 8];
    for signal in 1..=64 {
        call!(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, 8);
    }
    let empty = 0u64;
    let how = libc::SIG_SETMASK;
    call!(libc::SYS_rt_sigprocmask, how, &raw const empty, 0, 8);
}

/// Tries the candidates; the first error other than "not there" wins, as in a shell.
fn execute(job: &Job<'_>, at: usize) -> ! {
    let mut worst = libc::ENOENT;
    for path in &job.program.candidates {
        let result = call!(libc::SYS_execve, path.as_ptr(), job.argv.as_ptr(), job.env.as_ptr());
        match -result as i32 {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => worst = libc::EACCES,
            other => job.fail(at, other),
        }
    }
    job.fail(at, worst)
}
