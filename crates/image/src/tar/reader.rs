//! Walking the members of a tar stream.

use std::io::BufRead;

use super::header::{BLOCK, Header};
use super::pax::Records;
use super::sparse::{self, MapInData, PaxMap};
use super::{Extent, Fault, Kind, Member};

/// Ceiling on one extended header or long name.
const MOST_META: u64 = 1 << 20;

/// A member's place in the stream.
pub(crate) struct Reader<R> {
    inner: R,
    at: u64,
    /// Data of the current member not yet read, and the padding behind it.
    remaining: u64,
    padding: u64,
    globals: Records,
    ended: bool,
}

/// Meta records gathered ahead of the member they describe.
#[derive(Default)]
struct Ahead {
    local: Records,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(inner: R) -> Self {
        let globals = Records::default();
        Self { inner, at: 0, remaining: 0, padding: 0, globals, ended: false }
    }

    /// Whether the end marker was seen, and not just the end of the stream.
    pub fn ended_properly(&self) -> bool {
        self.ended
    }

    /// Position in the stream; right after [`Reader::next`] it is where the data begins.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The stream underneath.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next member; skips what was left of the one before.
    pub fn next(&mut self) -> Result<Option<Member>, Fault> {
        self.skip_rest()?;
        let mut ahead = Ahead::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.size()?;
            match header.type_flag() {
                b'x' | b'X' => {
                    let records = self.records(&header, size)?;
                    ahead.local.extend(records);
                    if ahead.local.weight() as u64 > MOST_META {
                        return Err(header.malformed("its extended headers are too large".into()));
                    }
                }
                b'g' => {
                    let records = self.records(&header, size)?;
                    self.globals.extend(records);
                    if self.globals.weight() as u64 > MOST_META {
                        return Err(header.malformed("the global headers are too large".into()));
                    }
                }
                b'L' => ahead.long_path = Some(self.name(&header, size)?),
                b'K' => ahead.long_link = Some(self.name(&header, size)?),
                // Volume labels and the like name no file.
                b'V' | b'N' => {
                    self.data(size)?;
                    self.skip_rest()?;
                }
                _ => return self.member(&header, size, ahead).map(Some),
            }
        }
    }

    /// The next stretch of the current member's data; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], Fault> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let at = self.at;
        let bytes = self.inner.fill_buf()?;
        if bytes.is_empty() {
            return Err(Fault::Truncated { at, inside: "a file's data" });
        }
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..length])
    }

    /// Marks `count` bytes of the last chunk as used.
    pub fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.at += count as u64;
        self.remaining = self.remaining.saturating_sub(count as u64);
    }

    fn member(&mut self, header: &Header, size: u64, ahead: Ahead) -> Result<Member, Fault> {
        let records = if self.globals.is_empty() {
            ahead.local
        } else {
            let mut all = self.globals.clone();
            all.extend(ahead.local);
            all
        };
        let number = |key: &str, otherwise: u64| match records.number(key) {
            Some(None) => Err(header.malformed(format!("the record `{key}` is not a number"))),
            Some(Some(value)) => Ok(value),
            None => Ok(otherwise),
        };
        let id = |key: &str, otherwise: Result<u32, Fault>| match records.number(key) {
            None => otherwise,
            Some(value) => value
                .and_then(|value| u32::try_from(value).ok())
                .ok_or_else(|| header.malformed(format!("the record `{key}` is out of range"))),
        };
        let mtime = match records.time("mtime") {
            Some(Some(time)) => time,
            Some(None) => return Err(header.malformed("the record `mtime` is not a time".into())),
            None => (header.mtime()?, 0),
        };
        let record = |key: &str| records.get(key).map(<[u8]>::to_vec);
        let path = record("GNU.sparse.name").or_else(|| record("path")).or(ahead.long_path);
        let path = path.unwrap_or_else(|| header.path());
        let link = record("linkpath").or(ahead.long_link).unwrap_or_else(|| header.link());
        let kind = kind(header, &path)?;
        // Links, devices and directories have no data; writers put the size of a link's target into
        // its header.
        let stored = match header.type_flag() {
            b'1'..=b'6' => 0,
            _ => number("size", size)?,
        };
        let mut member = Member {
            kind,
            mode: header.mode()?,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mtime,
            device: match kind {
                Kind::CharDevice | Kind::BlockDevice => header.device()?,
                _ => (0, 0),
            },
            stored,
            length: stored,
            xattrs: records.xattrs(),
            sparse: None,
            path,
            link,
        };
        self.sparse_map(header, &records, &mut member)?;
        Ok(member)
    }

    /// Reads the sparse map, wherever it is kept, and opens the member's data.
    fn sparse_map(
        &mut self,
        header: &Header,
        records: &Records,
        member: &mut Member,
    ) -> Result<(), Fault> {
        let broken = || header.malformed("the sparse map is broken".into());
        let map: Vec<Extent>;
        if header.type_flag() == b'S' {
            let bytes = header.bytes();
            let mut found = Vec::new();
            sparse::old_gnu(&bytes[386..482], &mut found).ok_or_else(broken)?;
            let mut more = bytes[482] != 0;
            while more {
                let block = self
                    .block("a sparse map")?
                    .ok_or(Fault::Truncated { at: self.at, inside: "a sparse map" })?;
                sparse::old_gnu(&block[..504], &mut found).ok_or_else(broken)?;
                more = block[504] != 0;
            }
            let length = super::header::number(&bytes[483..495]).ok_or_else(broken)?;
            member.length = u64::try_from(length).map_err(|_| broken())?;
            self.data(member.stored)?;
            map = found;
        } else {
            self.data(member.stored)?;
            if member.kind != Kind::File {
                return Ok(());
            }
            match sparse::from_records(records).ok_or_else(broken)? {
                PaxMap::None => return Ok(()),
                PaxMap::Inline { map: found, length } => {
                    member.length = length;
                    map = found;
                }
                PaxMap::InData { length } => {
                    member.length = length;
                    let mut lines = MapInData::default();
                    loop {
                        member.stored =
                            member.stored.checked_sub(BLOCK as u64).ok_or_else(broken)?;
                        let block = self.data_block()?;
                        if lines.feed(&block).ok_or_else(broken)? {
                            break;
                        }
                    }
                    map = lines.finish();
                }
            }
        }
        sparse::check(&map, member.length, member.stored, header.at())?;
        member.sparse = Some(map);
        Ok(())
    }

    /// Declares that `size` bytes of data come next.
    fn data(&mut self, size: u64) -> Result<(), Fault> {
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(Fault::Malformed { at: self.at, why: "a size is out of range".into() });
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn data_block(&mut self) -> Result<[u8; BLOCK], Fault> {
        let block = self
            .block("a sparse map")?
            .ok_or(Fault::Truncated { at: self.at, inside: "a sparse map" })?;
        self.remaining = self.remaining.saturating_sub(BLOCK as u64);
        Ok(block)
    }

    fn records(&mut self, header: &Header, size: u64) -> Result<Records, Fault> {
        let data = self.meta(header, size)?;
        Records::parse(&data)
            .ok_or_else(|| header.malformed("the extended header is broken".into()))
    }

    fn name(&mut self, header: &Header, size: u64) -> Result<Vec<u8>, Fault> {
        let mut name = self.meta(header, size)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn meta(&mut self, header: &Header, size: u64) -> Result<Vec<u8>, Fault> {
        if size > MOST_META {
            return Err(header.malformed(format!("an extended header of {size} bytes")));
        }
        self.data(size)?;
        let mut data = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            data.extend_from_slice(chunk);
            let used = chunk.len();
            self.consume(used);
        }
        self.skip_rest()?;
        Ok(data)
    }

    /// The next header; `None` at the end marker or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let at = self.at;
        let Some(block) = self.block("a header")? else { return Ok(None) };
        let header = Header::check(block, at)?;
        self.ended = header.is_none();
        Ok(header)
    }

    /// One whole block; `None` when the stream ends right here.
    fn block(&mut self, inside: &'static str) -> Result<Option<[u8; BLOCK]>, Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.inner.fill_buf()?;
            if bytes.is_empty() {
                return if filled == 0 {
                    Ok(None)
                } else {
                    Err(Fault::Truncated { at: self.at, inside })
                };
            }
            let count = bytes.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&bytes[..count]);
            self.inner.consume(count);
            self.at += count as u64;
            filled += count;
        }
        Ok(Some(block))
    }

    fn skip_rest(&mut self) -> Result<(), Fault> {
        self.remaining += std::mem::take(&mut self.padding);
        loop {
            let count = self.chunk()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, Fault> {
    Ok(match header.type_flag() {
        // Before ustar a directory was a file whose name ends in a slash.
        b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'M' => return Err(header.malformed("multi-volume archives are not supported".into())),
        other => {
            let shown = (other as char).escape_default();
            return Err(header.malformed(format!("member type `{shown}` is not known")));
        }
    })
}
