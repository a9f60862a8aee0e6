//! An archive as a stream: read, hashed and decompressed on a thread of its own.
//!
//! ```text
//! source ─► hash, count ─► gzip | zstd | xz | plain ─► hash, limits ─► chunks ═► Stream (BufRead)
//! ```

mod producer;

use std::io::{self, BufRead, Read};
use std::sync::mpsc::Receiver;

use crate::digest::Digest;
use crate::error::Refusal;

/// Ceilings on what an archive may unpack to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of tar after decompression.
    pub bytes: u64,
    /// Members of one archive.
    pub members: u64,
    /// Unpacked bytes to one packed byte.
    pub ratio: u64,
    /// The ratio is not looked at below this many unpacked bytes.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, members: 20_000_000, ratio: 250, ratio_from: 4 << 30 }
    }
}

/// Sizes and digests, known when the stream has been read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Totals {
    /// Of the bytes as they came.
    pub packed: Digest,
    pub packed_size: u64,
    /// Of the tar inside.
    pub unpacked: Digest,
}

/// A refusal on its way through an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Bomb(pub Refusal);

enum Piece {
    Data(Vec<u8>),
    End(Totals),
}

/// The unpacked bytes.
pub(crate) struct Stream {
    pieces: Receiver<io::Result<Piece>>,
    current: Vec<u8>,
    used: usize,
    totals: Option<Totals>,
}

impl Stream {
    /// Starts reading `source`; the compression is told from its first bytes.
    pub fn open(source: impl Read + Send + 'static, limits: &Limits) -> io::Result<Self> {
        let pieces = producer::start(Box::new(source), limits.clone())?;
        Ok(Self { pieces, current: Vec::new(), used: 0, totals: None })
    }

    /// Reads what is left and returns the totals.
    pub fn finish(mut self) -> io::Result<Totals> {
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                break;
            }
            self.consume(count);
        }
        self.totals.ok_or_else(gone)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used == self.current.len() && self.totals.is_none() {
            match self.pieces.recv().map_err(|_| gone())?? {
                Piece::Data(data) => (self.current, self.used) = (data, 0),
                Piece::End(totals) => self.totals = Some(totals),
            }
        }
        Ok(&self.current[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.current.len());
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

fn gone() -> io::Error {
    io::Error::other("the reading thread ended before the data did")
}
