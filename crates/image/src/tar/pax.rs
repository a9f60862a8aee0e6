//! PAX extended headers: records of the form `length key=value\n`.

use std::collections::BTreeMap;

/// Records in the order they were written; a later one overrides an earlier one.
#[derive(Debug, Default, Clone)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Parses a whole extended header; `None` when its framing is broken.
    pub fn parse(mut data: &[u8]) -> Option<Self> {
        let mut records = Vec::new();
        while !data.is_empty() {
            // GNU tar pads nothing, but some writers leave NULs behind the last record.
            if data.iter().all(|&byte| byte == 0) {
                break;
            }
            let space = data.iter().take(20).position(|&byte| byte == b' ')?;
            let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return None;
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|&byte| byte == b'=')?;
            records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
            data = &data[length..];
        }
        Some(Self(records))
    }

    /// Appends `later`, whose records then win.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Size in memory, for the ceiling on global headers.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(name, _)| name == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// A number; `Some(None)` when it is there but is not one.
    pub fn number(&self, key: &str) -> Option<Option<u64>> {
        self.get(key).map(|value| std::str::from_utf8(value).ok()?.parse().ok())
    }

    /// `seconds[.fraction]`, possibly negative.
    pub fn time(&self, key: &str) -> Option<Option<(i64, u32)>> {
        self.get(key).map(|value| time(std::str::from_utf8(value).ok()?))
    }

    /// Every record, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Extended attributes, the last of each name.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for (key, value) in self.iter() {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                found.insert(name, value);
            }
        }
        found.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }
}

fn time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let records = Records::parse(b"12 path=a/b\n27 SCHILY.xattr.user.k=a\nb\n").expect("valid");
        assert_eq!(records.get("path"), Some(b"a/b".as_slice()));
        assert_eq!(records.xattrs(), [(b"user.k".to_vec(), b"a\nb".to_vec())]);
        for broken in [b"99 a=b\n".as_slice(), b"x a=b\n", b"6 a=bb", b"5 ab\n", b"0 a=b\n"] {
            assert!(Records::parse(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("7"), Some((7, 0)));
        assert_eq!(time("7.x"), None);
    }
}
