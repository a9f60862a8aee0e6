//! Who the first process runs as, looked up in the container's own files.

use crate::mountfd::open_in;
use netloom_runtime::RuntimeError;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

/// A user of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Longest account file read.
const LONGEST: u64 = 4 << 20;

/// Finds `user[:group]` (names or numbers, empty for root) below `root`.
pub(crate) fn lookup(root: BorrowedFd<'_>, text: &str) -> Result<User, RuntimeError> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    resolve(name, group, &read(root, "etc/passwd"), || read(root, "etc/group"))
}

fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let mut text = Vec::new();
    // A missing or unreadable file has no entries; numbers work without. A fifo must not block.
    if let Ok(fd) = open_in(root, path, libc::O_RDONLY | libc::O_NONBLOCK) {
        let _ = File::from(fd).take(LONGEST).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn resolve(
    name: &str,
    group: Option<&str>,
    passwd: &str,
    groups: impl FnOnce() -> String,
) -> Result<User, RuntimeError> {
    let wanted = if name.is_empty() { "0" } else { name };
    let number = wanted.parse::<u32>().ok();
    let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6
            && (fields[0] == wanted || number.is_some() && fields[2].parse().ok() == number)
    });
    let missing = |what: String, file: &str| RuntimeError::Unsupported {
        what,
        why: format!("the container's {file} does not have it; use a number or another name"),
    };
    // An entry that is broken must not make anybody root.
    let id = |text: &str| {
        text.parse::<u32>().map_err(|_| RuntimeError::Unsupported {
            what: format!("user `{wanted}`"),
            why: format!("the container's /etc/passwd has `{text}` where a number belongs"),
        })
    };
    let mut user = match (&entry, number) {
        (Some(fields), _) => User {
            uid: id(fields[2])?,
            gid: id(fields[3])?,
            groups: Vec::new(),
            home: fields[5].to_owned(),
        },
        (None, Some(uid)) => User { uid, ..User::default() },
        (None, None) => return Err(missing(format!("user `{wanted}`"), "/etc/passwd")),
    };
    let text = groups();
    let entries = || text.lines().map(|l| l.split(':').collect::<Vec<_>>()).filter(|f| f.len() > 2);
    if let Some(group) = group.filter(|g| !g.is_empty()) {
        user.gid = match group.parse() {
            Ok(gid) => gid,
            Err(_) => entries()
                .find(|f| f[0] == group)
                .and_then(|f| f[2].parse().ok())
                .ok_or_else(|| missing(format!("group `{group}`"), "/etc/group"))?,
        };
    } else if let Some(fields) = entry {
        user.groups = entries()
            .filter(|f| f.get(3).is_some_and(|m| m.split(',').any(|n| n == fields[0])))
            .filter_map(|f| f[2].parse().ok())
            .collect();
    }
    if user.home.is_empty() {
        user.home = if user.uid == 0 { "/root".into() } else { "/".into() };
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nfrr:x:92:93::/var/run/frr:/bin/false\n";
    const GROUP: &str = "root:x:0:\nfrr:x:93:\nfrrvty:x:94:frr\nwheel:x:10:root,frr\n";

    fn find(text: &str) -> Result<User, RuntimeError> {
        let (name, group) =
            text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        resolve(name, group, PASSWD, || GROUP.to_owned())
    }

    #[test]
    fn names_and_numbers() {
        let frr = find("frr").unwrap();
        assert_eq!((frr.uid, frr.gid, frr.groups.as_slice()), (92, 93, &[94, 10][..]));
        assert_eq!(find("92").unwrap(), frr);
        assert_eq!(find("1000").unwrap().gid, 0);
        assert_eq!(find("frr:wheel").unwrap().gid, 10);
        assert_eq!(find("").unwrap().home, "/root");
        assert!(find("nobody").is_err() && find("frr:none").is_err());
    }
}
