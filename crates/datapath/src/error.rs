//! What can go wrong, said with the action, the interface and a hint.

use nix::errno::Errno;

/// Result of a datapath operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a datapath operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {action} {subject}: {}{}{}", errno.desc(), bracket(detail), hint_text(hint))]
    Kernel {
        /// What was being done, as a verb phrase ("create veth").
        action: String,
        /// On which interface or namespace.
        subject: String,
        /// The errno of the answer.
        errno: Errno,
        /// The kernel's own words, where it gave some.
        detail: Option<String>,
        /// What usually causes this and what to try.
        hint: Option<String>,
    },
    /// Something of that name is there, but it is not what was asked for.
    #[error("{subject} exists but differs: {field} is {found}, wanted {wanted}")]
    Differs {
        /// The interface, address or route.
        subject: String,
        /// The first field that differs.
        field: &'static str,
        /// What was asked for.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// The thing to be read or changed is not there.
    #[error("{subject} does not exist")]
    NotFound {
        /// The interface, address or route.
        subject: String,
    },
    /// The request makes no sense; nothing was sent.
    #[error("invalid {what} `{value}`: {reason}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel's answer could not be understood.
    #[error("cannot {action} {subject}: unexpected answer: {reason}")]
    Answer {
        /// What was being done.
        action: String,
        /// On which interface or namespace.
        subject: String,
        /// What was wrong with the answer.
        reason: String,
    },
    /// A program run for us failed.
    #[error("cannot {action}: `{program}` {status}: {stderr}")]
    Program {
        /// Its name.
        program: String,
        /// What it was run for.
        action: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
}

fn bracket(detail: &Option<String>) -> String {
    detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

fn hint_text(hint: &Option<String>) -> String {
    hint.as_ref().map(|text| format!("; {text}")).unwrap_or_default()
}

impl Error {
    /// An error of the kernel, with the hint for its errno.
    pub fn kernel(action: impl Into<String>, subject: impl Into<String>, errno: Errno) -> Self {
        Failure { errno, detail: None }.during(action, subject)
    }

    /// An error of the standard library's IO, with the hint for its errno.
    pub(crate) fn io(
        action: impl Into<String>,
        subject: impl Into<String>,
        error: &std::io::Error,
    ) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let detail = error.raw_os_error().is_none().then(|| error.to_string());
        Failure { errno, detail }.during(action, subject)
    }

    /// The errno, where the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// A refused request before it is known what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The errno of the answer.
    pub errno: Errno,
    /// The kernel's own words (extended ACK), where it gave some.
    pub detail: Option<String>,
}

impl Failure {
    /// Says what was being done and on what.
    pub fn during(self, action: impl Into<String>, subject: impl Into<String>) -> Error {
        let action = action.into();
        let hint = hint(self.errno, &action).map(str::to_owned);
        Error::Kernel {
            action,
            subject: subject.into(),
            errno: self.errno,
            detail: self.detail,
            hint,
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, detail: None }
    }
}

/// What an errno of a link operation usually means.
fn hint(errno: Errno, action: &str) -> Option<&'static str> {
    let creating = action.starts_with("create");
    Some(match errno {
        Errno::EEXIST if creating => {
            "the name is taken in that namespace: delete it or choose another"
        }
        Errno::EEXIST => "it is there already",
        Errno::EPERM | Errno::EACCES => {
            "CAP_NET_ADMIN in the namespace's user namespace is needed: run as root or inside `unshare -Urn`"
        }
        Errno::EOPNOTSUPP if creating => {
            "the kernel lacks this link type: load its module or use a kernel that has it"
        }
        Errno::EOPNOTSUPP => "the kernel or the driver of the interface does not support this",
        Errno::ENODEV if creating => "the parent interface is missing",
        Errno::ENODEV => "there is no such interface in that namespace",
        Errno::EINVAL if creating => {
            "a value is out of range: check the MTU (68 to 65535), the MAC (unicast) and the name"
        }
        Errno::ENOENT if action.contains("filter") || action.contains("qdisc") => {
            "the kernel lacks this classifier or qdisc"
        }
        Errno::EBUSY => {
            "the interface is in use: it has a master, or its parent is taken exclusively"
        }
        Errno::EXFULL | Errno::ENOSPC if action.contains("bridge") => {
            "a bridge holds at most 1,023 ports"
        }
        Errno::ENETUNREACH => "the gateway is not on a network of an interface that is up",
        Errno::ENOBUFS => "the netlink receive buffer overflowed: raise net.core.rmem_max",
        Errno::EMFILE | Errno::ENFILE => "too many open files: raise `ulimit -n`",
        Errno::ENOSPC => {
            "a limit of the namespace is reached: see /proc/sys/user/max_net_namespaces"
        }
        _ => return None,
    })
}
