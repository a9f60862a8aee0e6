//! Creating the child: clone with shared memory, on a stack of its own, all signals blocked.

use super::perform::{Job, child_main};
use super::step::{Program, Step};
use std::ffi::CString;
use std::io;
use std::ptr;

/// Stack of a child; the walk is flat, most of it is never touched.
pub(super) const STACK: usize = 64 << 10;

/// Why no program runs.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Which step; `steps.len()` is the execution itself, `None` the clone.
    pub step: Option<usize>,
    pub error: io::Error,
}

/// Memory for a stack, unmapped on drop.
struct Stack(*mut libc::c_void);

impl Stack {
    fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), STACK, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Stack(start))
    }

    fn top(&self) -> *mut libc::c_void {
        // SAFETY: one past the end of the mapping, where a stack growing down starts.
        unsafe { self.0.byte_add(STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size; no child runs on it any more.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Creates a child with `flags` (namespaces, CLONE_PARENT), lets it take the steps and execute the
/// program, and returns its pid once it has. A child of an intermediate child ([`super::Op::Fork`])
/// is the one meant then; the intermediate one, if it is ours, is reaped here.
pub(crate) fn spawn(steps: &[Step], program: &Program, flags: i32) -> Result<i32, Failed> {
    let no_clone = |error| Failed { step: None, error };
    let first = Stack::new().map_err(no_clone)?;
    let second = Stack::new().map_err(no_clone)?;
    let argv = pointers(&program.argv);
    let env = pointers(&program.env);
    let job = Job::new(steps, program, &argv, &env, second.top());
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID;
    // SAFETY: both signal sets are plain memory; the mask is restored below. The child runs on a
    // stack of its own while this thread sleeps (CLONE_VFORK) until it has executed or ended, so
    // `job` and all it points to outlive the child's use of them.
    let (pid, error) = unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let pid = libc::clone(
            child_main,
            first.top(),
            flags | libc::SIGCHLD,
            ptr::from_ref(&job).cast_mut().cast(),
            job.pid.as_ptr(),
            ptr::null_mut::<libc::c_void>(),
            ptr::null_mut::<libc::pid_t>(),
        );
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        (pid, error)
    };
    if pid < 0 {
        return Err(no_clone(error));
    }
    let running = job.pid();
    let failure = job.failure();
    if flags & libc::CLONE_PARENT == 0 && (running != pid || failure.is_some()) {
        reap(pid);
        if failure.is_some() && running != pid {
            reap(running);
        }
    }
    match failure {
        None => Ok(running),
        Some((step, errno)) => {
            Err(Failed { step: Some(step), error: io::Error::from_raw_os_error(errno) })
        }
    }
}

fn reap(pid: i32) {
    // SAFETY: waits for a child of ours; no status is asked for.
    unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) };
}
