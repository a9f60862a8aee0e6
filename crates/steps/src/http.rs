//! HTTP calls to the node: HTTP/1.1 without TLS, one request a connection.

use crate::walk::{Try, short};
use netloom_kinds::step::Http;
use std::io::{Read, Write};

/// Longest answer.
const MOST: u64 = 16 << 20;

/// Makes a call; an answer of 200 to 299 passes.
pub fn run(step: &Http, one: &Try<'_>) -> Result<(), String> {
    let url = one.fill(&step.url)?;
    let body = step.body.as_deref().map(|b| one.fill(b)).transpose()?.unwrap_or_default();
    let (host, port, path) = parts(&url)?;
    let mut stream = one.node.connect(port, one.limit).map_err(|e| format!("{url}: {e}"))?;
    let limit = Some(one.limit).filter(|l| !l.is_zero());
    let ask = |stream: &mut std::net::TcpStream| -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        write!(
            stream,
            "{} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            step.method.to_ascii_uppercase(),
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask(&mut stream).map_err(|e| format!("{url}: {e}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code: u16 = head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
    if !(200..300).contains(&code) {
        let first = head.lines().next().unwrap_or("no answer");
        return Err(format!("{url} answers `{first}`: {}", short(text)));
    }
    one.expect(step.expect.as_deref(), text)
}

/// Host, port and path of an address without TLS.
fn parts(url: &str) -> Result<(&str, u16, &str), String> {
    let rest =
        url.strip_prefix("http://").ok_or_else(|| format!("`{url}` is no http:// address"))?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let port = authority.rsplit_once(':').filter(|(_, p)| !p.contains(']'));
    let port =
        port.map_or(Ok(80), |(_, p)| p.parse().map_err(|_| format!("`{url}` has no port")))?;
    Ok((authority, port, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parts("http://10.0.0.1:8080/a/b"), Ok(("10.0.0.1:8080", 8080, "/a/b")));
        assert_eq!(parts("http://[::1]"), Ok(("[::1]", 80, "/")));
        assert!(parts("https://x/").is_err() && parts("http://x:y/").is_err());
    }
}
