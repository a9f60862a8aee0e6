//! The 512-byte header block: fields, numbers, checksum.

use super::Fault;

/// Tar's unit.
pub(crate) const BLOCK: usize = 512;

/// A header block whose checksum has been verified.
pub(super) struct Header {
    block: [u8; BLOCK],
    at: u64,
}

impl Header {
    /// Verifies the checksum; `None` for an all-zero block (the end marker).
    pub fn check(block: [u8; BLOCK], at: u64) -> Result<Option<Self>, Fault> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Self { block, at };
        let wanted = header.number(148, 8, "checksum")?;
        let sums = |signed: bool| -> i64 {
            let value =
                |byte: u8| if signed { i64::from(byte.cast_signed()) } else { i64::from(byte) };
            let (before, after) = (&block[..148], &block[156..]);
            before.iter().chain(after).map(|&byte| value(byte)).sum::<i64>() + 8 * 32
        };
        if wanted != sums(false) && wanted != sums(true) {
            return Err(Fault::Malformed { at, why: "the header checksum does not match".into() });
        }
        Ok(Some(header))
    }

    pub fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub fn mode(&self) -> Result<u32, Fault> {
        Ok(self.number(100, 8, "mode")? as u32 & 0o7777)
    }

    pub fn uid(&self) -> Result<u32, Fault> {
        self.id(108, "uid")
    }

    pub fn gid(&self) -> Result<u32, Fault> {
        self.id(116, "gid")
    }

    pub fn size(&self) -> Result<u64, Fault> {
        self.length(124, "size")
    }

    pub fn mtime(&self) -> Result<i64, Fault> {
        self.number(136, 12, "mtime")
    }

    pub fn device(&self) -> Result<(u32, u32), Fault> {
        let part = |offset, name| {
            u32::try_from(self.number(offset, 8, name)?)
                .map_err(|_| self.malformed(format!("the {name} number is out of range")))
        };
        Ok((part(329, "device major")?, part(337, "device minor")?))
    }

    /// The member path: ustar prefix and name joined; old GNU headers have no prefix.
    pub fn path(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = text(&self.block[345..500]);
        if !self.is_gnu() && self.block[257..262] == *b"ustar" && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    pub fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// Old GNU format ("ustar  \0"), which uses the prefix area for sparse maps.
    pub fn is_gnu(&self) -> bool {
        self.block[257..265] == *b"ustar  \0"
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    /// Raw bytes, for the sparse map kept inside the header.
    pub fn bytes(&self) -> &[u8; BLOCK] {
        &self.block
    }

    pub fn malformed(&self, why: String) -> Fault {
        Fault::Malformed { at: self.at, why }
    }

    fn id(&self, offset: usize, name: &str) -> Result<u32, Fault> {
        u32::try_from(self.number(offset, 8, name)?)
            .map_err(|_| self.malformed(format!("the {name} is out of range")))
    }

    fn length(&self, offset: usize, name: &str) -> Result<u64, Fault> {
        u64::try_from(self.number(offset, 12, name)?)
            .map_err(|_| self.malformed(format!("the {name} is negative")))
    }

    fn number(&self, offset: usize, width: usize, name: &str) -> Result<i64, Fault> {
        number(&self.block[offset..offset + width])
            .ok_or_else(|| self.malformed(format!("the {name} field is not a number")))
    }
}

/// A number field: octal text, or base-256 when the top bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (index, &byte) in field.iter().enumerate() {
            let byte = match (index, negative) {
                (0, false) => byte & 0x7f,
                _ => byte,
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let digits = field.iter().skip_while(|&&byte| byte == b' ' || byte == 0);
    let mut value: i64 = 0;
    for &byte in digits.take_while(|&&byte| byte != b' ' && byte != 0) {
        if !(b'0'..=b'7').contains(&byte) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?;
    }
    Some(value)
}

/// A NUL-terminated field, or the whole of it.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"9\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80 | 0x3f, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]), None);
        assert_eq!(number(b"777777777777777777777777"), None);
    }
}
