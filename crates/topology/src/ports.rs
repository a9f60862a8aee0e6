//! Published ports: `[ip:][host:]container[/protocol]`, with ranges.

use crate::lab::PortBinding;

/// Reads one entry; a range gives several bindings. The error says what is wrong.
pub fn parse(text: &str) -> Result<Vec<PortBinding>, String> {
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(format!("`{protocol}` is not a protocol; tcp, udp and sctp are"));
    }
    let (front, container) = match rest.rsplit_once(':') {
        Some((front, port)) => (Some(front), port),
        None => (None, rest),
    };
    let (ip, host) = match front {
        None => ("", ""),
        Some(f) => f.rsplit_once(':').map_or(("", f), |(ip, port)| (ip, port)),
    };
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("`{ip}` is not an address of the host"));
    }
    let inside = range(container)?;
    let outside = if host.is_empty() { None } else { Some(range(host)?) };
    let count = inside.1 - inside.0;
    if let Some(o) = outside
        && o.1 - o.0 != count
        && count > 0
    {
        return Err("the two ranges differ in length".into());
    }
    Ok((0..=count)
        .map(|i| PortBinding {
            host_ip: ip.to_string(),
            host_port: outside.map_or(0, |o| o.0 + i),
            port: inside.0 + i,
            protocol: protocol.to_string(),
        })
        .collect())
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (a, b) = text.split_once('-').unwrap_or((text, text));
    let number = |t: &str| match t.parse::<u16>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("`{t}` is not a port number (1 to 65535)")),
    };
    let (a, b) = (number(a)?, number(b)?);
    if b < a { Err(format!("`{text}` runs backwards")) } else { Ok((a, b)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let one = |t| parse(t).unwrap().remove(0);
        assert_eq!(
            one("8080:80"),
            PortBinding { host_ip: "".into(), host_port: 8080, port: 80, protocol: "tcp".into() }
        );
        assert_eq!(one("127.0.0.1:53:53/udp").host_ip, "127.0.0.1");
        assert_eq!(one("[::1]:53:53/udp").host_ip, "::1");
        assert_eq!(one("80").host_port, 0);
        assert_eq!(parse("7000-7002:8000-8002").unwrap().len(), 3);
        assert!(parse("80:abc").is_err());
        assert!(parse("99999:80").is_err());
        assert!(parse("80:80/xyz").is_err());
    }
}
