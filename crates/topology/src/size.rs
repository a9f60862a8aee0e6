//! Sizes with units, as existing files mean them: `MB` is a million bytes, `MiB` 1,048,576.

/// Bytes of `512MB`, `2g`, `64kb`, `1GiB`; `None` when it is not a size.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let unit = text[split..].trim().to_ascii_lowercase();
    let bare = unit.trim_end_matches('b');
    let (base, letter) = match bare.strip_suffix('i') {
        Some(letter) if !letter.is_empty() => (1024f64, letter),
        _ => (1000f64, bare),
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some((number * base.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn units() {
        assert_eq!(bytes("64mb"), Some(64_000_000));
        assert_eq!(bytes("128MiB"), Some(128 << 20));
        assert_eq!(bytes("1.5G"), Some(1_500_000_000));
        assert_eq!(bytes("2GiB"), Some(2 << 30));
        assert_eq!(bytes("2gi"), Some(2 << 30));
        assert_eq!(bytes("1000"), Some(1000));
        assert_eq!(bytes("lots"), None);
        assert_eq!(bytes("4 parsecs"), None);
    }
}
