//! Network namespaces held by a descriptor; nothing is mounted.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result};
use crate::link;
use crate::socket::Socket;

/// Stack of a worker thread that only talks to the kernel.
const WORKER_STACK: usize = 256 * 1024;
/// More threads than this only queue for the kernel's lock.
const MAX_CREATORS: usize = 4;

/// Identity of a namespace: device and inode of its nsfs file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device number of nsfs.
    pub device: u64,
    /// Inode number, the number in `net:[4026531840]`.
    pub inode: u64,
}

/// A network namespace. It lives as long as a descriptor, a process or a
/// mount refers to it.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
    label: String,
}

impl Netns {
    /// Makes a namespace with `lo` up.
    pub fn create() -> Result<Self> {
        on_worker(create_here)?
    }

    /// Makes `n` namespaces with `lo` up, on a few threads.
    pub fn create_many(n: usize) -> Result<Vec<Self>> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.min(MAX_CREATORS).min(n.max(1));
        thread::scope(|scope| {
            let handles: Vec<_> = (0..workers)
                .map(|worker| {
                    let share = n / workers + usize::from(worker < n % workers);
                    thread::Builder::new()
                        .stack_size(WORKER_STACK)
                        .spawn_scoped(scope, move || {
                            (0..share).map(|_| create_here()).collect::<Result<Vec<_>>>()
                        })
                        .map_err(|error| Error::io("start", "a worker thread", &error))
                })
                .collect();
            let mut all = Vec::with_capacity(n);
            for handle in handles {
                all.extend(join(handle?)?);
            }
            Ok(all)
        })
    }

    /// Opens the namespace a file refers to, e.g. `/run/netns/x` or
    /// `/proc/1/ns/net`.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let label = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::io("open netns", &label, &e))?;
        Ok(Self::from_fd(file.into())?.with_label(label))
    }

    /// Opens the namespace of a process.
    pub fn from_pid(pid: u32) -> Result<Self> {
        Self::from_path(format!("/proc/{pid}/ns/net"))
    }

    /// Opens the namespace of the calling thread.
    pub fn current() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let file = File::open(path).map_err(|e| Error::io("open netns", path, &e))?;
        Self::from_fd(file.into())
    }

    /// Takes over a descriptor of a namespace.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let stat = nix::sys::stat::fstat(&fd).map_err(|e| Error::kernel("stat", "netns", e))?;
        let id = NetnsId { device: stat.st_dev, inode: stat.st_ino };
        Ok(Self { fd, id, label: format!("net:[{}]", id.inode) })
    }

    /// Names the namespace for error messages, usually after its node.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The name used in error messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A second descriptor of the same namespace.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("duplicate netns", &self.label, &e))?;
        Ok(Self { fd, id: self.id, label: self.label.clone() })
    }

    /// Device and inode.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The inode, the number in `net:[...]`.
    pub fn inode(&self) -> u64 {
        self.id.inode
    }

    /// Whether both are the same namespace.
    pub fn same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Runs `f` in the namespace: on a helper thread that has entered it, unless the caller is there
    /// already. To enter one's own takes privileges over it that looking around does not.
    pub fn run_in<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        if self.is_here() {
            return Ok(f());
        }
        on_worker(|| {
            self.enter()?;
            Ok(f())
        })?
    }

    /// Whether the calling thread is in the namespace.
    fn is_here(&self) -> bool {
        let here = nix::sys::stat::stat("/proc/thread-self/ns/net");
        here.is_ok_and(|s| NetnsId { device: s.st_dev, inode: s.st_ino } == self.id)
    }

    /// Moves the calling thread into the namespace; for worker threads only.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::kernel("enter netns", &self.label, errno))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.fd
    }
}

/// Unshares the calling thread and opens what it got, with `lo` up.
fn create_here() -> Result<Netns> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::kernel("make", "a netns", errno))?;
    let netns = Netns::current()?;
    link::set_loopback_up(&mut Socket::open()?)?;
    Ok(netns)
}

/// Runs `f` on a thread of its own and waits for it.
pub(crate) fn on_worker<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .stack_size(WORKER_STACK)
            .spawn_scoped(scope, f)
            .map_err(|error| Error::io("start", "a worker thread", &error))?;
        Ok(join(handle))
    })
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Visits namespaces one after the other on one worker thread, with a socket
/// in each; results come in the order of the items.
pub fn visit_each<'a, I: Send, T: Send>(
    items: Vec<(&'a Netns, I)>,
    visit: impl Fn(Socket, &'a Netns, I) -> T + Sync,
) -> Result<Vec<Result<T>>> {
    on_worker(|| {
        items
            .into_iter()
            .map(|(netns, item)| {
                netns.enter()?;
                Ok(visit(Socket::open()?.with_label(netns.label()), netns, item))
            })
            .collect()
    })
}

/// Groups items by namespace, keeping for each its position in the input.
pub(crate) fn group<'a, T>(
    items: impl IntoIterator<Item = (&'a Netns, T)>,
) -> Vec<(&'a Netns, Vec<(usize, T)>)> {
    let mut groups: Vec<(&Netns, Vec<(usize, T)>)> = Vec::new();
    let mut index: HashMap<NetnsId, usize> = HashMap::new();
    for (position, (netns, item)) in items.into_iter().enumerate() {
        let slot = *index.entry(netns.id()).or_insert_with(|| {
            groups.push((netns, Vec::new()));
            groups.len() - 1
        });
        groups[slot].1.push((position, item));
    }
    groups
}

/// Answers for one group of items: each item's position with its result.
pub(crate) type Answers<U> = Vec<(usize, Result<U>)>;

/// Works on items grouped by namespace and gives the results in the order of
/// the items. A namespace that cannot be entered fails its own items only.
pub(crate) fn work_in_each<'a, T: Send, U: Send>(
    items: impl IntoIterator<Item = (&'a Netns, T)>,
    work: impl Fn(&mut Socket, &'a Netns, Vec<(usize, T)>) -> Answers<U> + Sync,
) -> Result<Vec<Result<U>>> {
    let groups = group(items);
    let positions: Vec<Vec<usize>> =
        groups.iter().map(|(_, items)| items.iter().map(|(i, _)| *i).collect()).collect();
    let visited = visit_each(groups, |mut socket, netns, items| work(&mut socket, netns, items))?;
    let mut results = Vec::new();
    for (positions, visited) in positions.into_iter().zip(visited) {
        match visited {
            Ok(answers) => results.extend(answers),
            Err(error) => results.extend(positions.into_iter().map(|i| (i, Err(error.clone())))),
        }
    }
    results.sort_by_key(|(position, _)| *position);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
