//! Kernel names of interfaces: what fits stays, what does not gets a short stable one.

use sha2::{Digest, Sha256};

/// Longest interface name the kernel takes.
const MAX: usize = 15;

/// Where an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a node's namespace.
    Node,
    /// In the host's.
    Host,
}

/// The kernel's name of an interface, and the written one as alternative name where they differ.
pub fn kernel_name(written: &str) -> (String, Vec<String>) {
    let fits = written.len() <= MAX && !written.contains('/');
    if fits {
        return (written.to_string(), Vec::new());
    }
    (format!("nl{}", &hash(&[written])[..12]), vec![written.replace('/', "-")])
}

/// Name of the host's end of something of ours: a word, and what makes it unique.
pub fn port_name(word: &str, parts: &[&str]) -> String {
    format!("{word}{}", &hash(parts)[..MAX - word.len() - 1])
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay() {
        assert_eq!(kernel_name("eth1"), ("eth1".into(), vec![]));
        let (name, alt) = kernel_name("external_service");
        assert!(name.len() <= MAX && name.starts_with("nl"));
        assert_eq!(alt, ["external_service"]);
        assert_eq!(kernel_name("1/1/1").1, ["1-1-1"]);
        assert!(port_name("nlm", &["lab", "node"]).len() <= MAX);
        assert_ne!(port_name("nlm", &["lab", "a"]), port_name("nlm", &["lab", "b"]));
    }
}
