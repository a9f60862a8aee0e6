//! Sparse maps: the old GNU header map, and PAX formats 0.0, 0.1 and 1.0.

use super::{BLOCK, Extent, Fault, header, pax::Records};

/// More stretches than this in one file is taken for an attack.
pub(super) const MOST_EXTENTS: usize = 1 << 20;

/// The map of a PAX member, as far as its records tell.
pub(super) enum PaxMap {
    /// Not a sparse member.
    None,
    /// Formats 0.0 and 0.1: the map is in the records.
    Inline { map: Vec<Extent>, length: u64 },
    /// Format 1.0: the map comes first in the data.
    InData { length: u64 },
}

/// Finds out which format the records speak of; `None` when they contradict themselves.
pub(super) fn from_records(records: &Records) -> Option<PaxMap> {
    if let Some(major) = records.number("GNU.sparse.major") {
        if major? != 1 || records.number("GNU.sparse.minor")?? != 0 {
            return None;
        }
        return Some(PaxMap::InData { length: records.number("GNU.sparse.realsize")?? });
    }
    let Some(length) = records.number("GNU.sparse.size") else {
        return Some(PaxMap::None);
    };
    let length = length?;
    if let Some(map) = records.get("GNU.sparse.map") {
        let numbers = std::str::from_utf8(map).ok()?;
        let numbers: Vec<u64> =
            numbers.split(',').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MOST_EXTENTS {
            return None;
        }
        let map = numbers.chunks_exact(2);
        let map = map.map(|pair| Extent { offset: pair[0], length: pair[1] }).collect();
        return Some(PaxMap::Inline { map, length });
    }
    let mut map = Vec::new();
    let mut offset = None;
    for (key, value) in records.iter() {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"GNU.sparse.offset" => offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                map.push(Extent { offset: offset.take()?, length: number()? });
            }
            _ => {}
        }
    }
    Some(PaxMap::Inline { map, length })
}

/// Reads pairs out of an old GNU header or extension block, up to the first empty one.
pub(super) fn old_gnu(area: &[u8], map: &mut Vec<Extent>) -> Option<()> {
    for pair in area.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = u64::try_from(header::number(&pair[..12])?).ok()?;
        let length = u64::try_from(header::number(&pair[12..])?).ok()?;
        map.push(Extent { offset, length });
    }
    (map.len() <= MOST_EXTENTS).then_some(())
}

/// Feeds on blocks of decimal lines until a PAX 1.0 map is complete.
#[derive(Default)]
pub(super) struct MapInData {
    line: u64,
    digits: usize,
    count: Option<u64>,
    pending: Option<u64>,
    map: Vec<Extent>,
}

impl MapInData {
    /// Takes one block; true when the map is complete. `None` when it is not a map.
    pub fn feed(&mut self, block: &[u8; BLOCK]) -> Option<bool> {
        for &byte in block {
            match byte {
                b'0'..=b'9' => {
                    self.line = self.line.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
                    self.digits += 1;
                }
                b'\n' if self.digits > 0 => {
                    if self.number()? {
                        return Some(true);
                    }
                }
                _ => return None,
            }
        }
        Some(false)
    }

    /// The finished map.
    pub fn finish(self) -> Vec<Extent> {
        self.map
    }

    fn number(&mut self) -> Option<bool> {
        let value = std::mem::take(&mut self.line);
        self.digits = 0;
        match (self.count, self.pending.take()) {
            (None, _) if value > MOST_EXTENTS as u64 => return None,
            (None, _) => self.count = Some(value),
            (Some(_), None) => self.pending = Some(value),
            (Some(_), Some(offset)) => self.map.push(Extent { offset, length: value }),
        }
        Some(self.pending.is_none() && self.count == Some(self.map.len() as u64))
    }
}

/// Checks that the map is in order, fits the file, and accounts for the stored bytes.
pub(super) fn check(map: &[Extent], length: u64, stored: u64, at: u64) -> Result<(), Fault> {
    let wrong = |why: &str| Fault::Malformed { at, why: format!("the sparse map {why}") };
    let (mut end, mut total) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err(wrong("is out of order"));
        }
        end = extent.offset.checked_add(extent.length).ok_or_else(|| wrong("overflows"))?;
        total = total.checked_add(extent.length).ok_or_else(|| wrong("overflows"))?;
    }
    if end > length {
        return Err(wrong("runs past the end of the file"));
    }
    if total != stored {
        return Err(wrong("does not match the data stored"));
    }
    Ok(())
}
