//! The reading thread: hash, decompress, enforce the limits.

use std::cell::RefCell;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use super::{Bomb, Limits, Piece, Totals};
use crate::digest::Digest;
use crate::error::Refusal;

const CHUNK: usize = 256 << 10;
const AHEAD: usize = 8;
/// The most memory an xz stream may ask for.
const XZ_MEMORY_KIB: u32 = 512 << 10;

type Source = Box<dyn Read + Send>;

pub(super) fn start(source: Source, limits: Limits) -> io::Result<Receiver<io::Result<Piece>>> {
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::Builder::new().name("image-read".into()).spawn(move || {
        // When the consumer is gone, nobody wants to know how it ended.
        let _ = match produce(source, &limits, &sender) {
            Ok(Some(totals)) => sender.send(Ok(Piece::End(totals))),
            Ok(None) => Ok(()),
            Err(error) => sender.send(Err(error)),
        };
    })?;
    Ok(receiver)
}

/// `None` when the consumer has gone away.
fn produce(
    source: Source,
    limits: &Limits,
    sender: &SyncSender<io::Result<Piece>>,
) -> io::Result<Option<Totals>> {
    let counter = Rc::new(RefCell::new(Counter { source, hash: Sha256::new(), count: 0 }));
    let mut raw = Raw(Rc::clone(&counter));
    let mut head = Vec::with_capacity(6);
    (&mut raw).take(6).read_to_end(&mut head)?;
    let compression = Compression::of(&head);
    let mut decoder = compression.decoder(Cursor::new(head).chain(raw))?;
    let mut hash = Sha256::new();
    let mut unpacked = 0_u64;
    loop {
        let chunk = read_chunk(&mut *decoder)?;
        if chunk.is_empty() {
            break;
        }
        unpacked += chunk.len() as u64;
        if compression != Compression::None {
            hash.update(&chunk);
            check_ratio(counter.borrow().count, unpacked, limits)?;
        }
        if unpacked > limits.bytes {
            return Err(bomb(Refusal::TooLarge { limit: limits.bytes }));
        }
        if sender.send(Ok(Piece::Data(chunk))).is_err() {
            return Ok(None);
        }
    }
    drop(decoder);
    // Bytes behind the compressed data belong to the blob and its digest.
    let mut rest = Raw(Rc::clone(&counter));
    while !read_chunk(&mut rest)?.is_empty() {}
    drop(rest);
    let mut counter = counter.borrow_mut();
    let packed = Digest::from_hash(std::mem::take(&mut counter.hash));
    let unpacked = match compression {
        Compression::None => packed.clone(),
        _ => Digest::from_hash(hash),
    };
    Ok(Some(Totals { packed, packed_size: counter.count, unpacked }))
}

fn check_ratio(packed: u64, unpacked: u64, limits: &Limits) -> io::Result<()> {
    let limit = limits.ratio;
    if unpacked > limits.ratio_from && unpacked / limit.max(1) > packed {
        return Err(bomb(Refusal::Ratio { packed, unpacked, limit }));
    }
    Ok(())
}

fn bomb(refusal: Refusal) -> io::Error {
    io::Error::other(Bomb(refusal))
}

/// A full chunk, or what is left.
fn read_chunk(source: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK];
    let mut filled = 0;
    while filled < CHUNK {
        match source.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk)
}

/// The source, hashed and counted as it is read.
struct Counter {
    source: Source,
    hash: Sha256,
    count: u64,
}

/// A handle on the counter, so that the decoder and the end of the job can both read.
struct Raw(Rc<RefCell<Counter>>);

impl Read for Raw {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut counter = self.0.borrow_mut();
        let count = counter.source.read(out)?;
        counter.hash.update(&out[..count]);
        counter.count += count as u64;
        Ok(count)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
}

impl Compression {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable frame in front of one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            _ => Self::None,
        }
    }

    fn decoder<'r>(self, raw: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        if self == Self::None {
            return Ok(Box::new(raw));
        }
        let raw = BufReader::with_capacity(CHUNK, raw);
        Ok(match self {
            Self::None => Box::new(raw),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(raw)?),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(raw, true, XZ_MEMORY_KIB)),
        })
    }
}
