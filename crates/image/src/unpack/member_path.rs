//! Member paths: made plain, or refused.

use crate::error::Refusal;

/// A relative path without `.`, empty parts or trailing slash; empty for the root itself.
pub(crate) fn normalise(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    // Deeper trees exist only to exhaust whoever removes them.
    const DEEPEST: usize = 256;
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).count();
    if path.is_empty() || path.contains(&0) || path.len() > 4096 || parts > DEEPEST {
        return Err(Refusal::NotAPath);
    }
    if path[0] == b'/' {
        return Err(Refusal::AbsolutePath);
    }
    let mut plain = Vec::with_capacity(path.len());
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Refusal::UpwardPath),
            part => {
                if !plain.is_empty() {
                    plain.push(b'/');
                }
                plain.extend_from_slice(part);
            }
        }
    }
    Ok(plain)
}

/// Parent and last name; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None => Some((b"", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths() {
        for (path, plain) in [("./a//b/./c/", "a/b/c"), (".", ""), ("./", ""), ("a", "a")] {
            assert_eq!(normalise(path.as_bytes()), Ok(plain.as_bytes().to_vec()), "{path}");
        }
        assert!(normalise("a/".repeat(256).as_bytes()).is_ok());
        assert!(normalise("a/".repeat(257).as_bytes()).is_err());
        assert_eq!(split(b"a/b/c"), Some((b"a/b".as_slice(), b"c".as_slice())));
        assert_eq!(split(b"a"), Some((b"".as_slice(), b"a".as_slice())));
        assert_eq!(split(b""), None);
    }

    #[test]
    fn refused_paths() {
        for (path, refusal) in [
            (b"/etc/passwd".as_slice(), Refusal::AbsolutePath),
            (b"../x", Refusal::UpwardPath),
            (b"a/../../x", Refusal::UpwardPath),
            (b"a/..", Refusal::UpwardPath),
            (b"a\0b", Refusal::NotAPath),
            (b"", Refusal::NotAPath),
        ] {
            assert_eq!(normalise(path), Err(refusal), "{path:?}");
        }
    }
}
