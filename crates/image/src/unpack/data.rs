//! File data: where it comes from and how it reaches the disk.

use std::fs::File;
use std::io::{BufRead, Seek, SeekFrom, Write};

use super::{Unpacker, stream_fault};
use crate::error::Error;
use crate::tar::{Extent, Fault, Member, Reader};

/// The data of the member at hand, in pieces.
pub(crate) trait Data {
    /// The next piece; empty at the end.
    fn piece(&mut self) -> Result<&[u8], Fault>;
    /// Marks bytes of the last piece as used.
    fn used(&mut self, count: usize);
}

impl<R: BufRead> Data for Reader<R> {
    fn piece(&mut self) -> Result<&[u8], Fault> {
        self.chunk()
    }

    fn used(&mut self, count: usize) {
        self.consume(count);
    }
}

impl Unpacker {
    /// Writes the member's data, leaving holes where it has holes.
    pub(super) fn write(
        &mut self,
        member: &Member,
        file: &mut File,
        data: &mut impl Data,
    ) -> Result<(), Error> {
        match &member.sparse {
            None => self.copy(member, file, data, member.stored)?,
            Some(map) => {
                for &Extent { offset, length } in map {
                    file.seek(SeekFrom::Start(offset))
                        .map_err(|error| self.failed(member, "write", error))?;
                    self.copy(member, file, data, length)?;
                }
                file.set_len(member.length).map_err(|error| self.failed(member, "write", error))?;
            }
        }
        Ok(())
    }

    fn copy(
        &mut self,
        member: &Member,
        file: &mut File,
        data: &mut impl Data,
        length: u64,
    ) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            let piece = data.piece().map_err(|fault| stream_fault(&self.input, fault))?;
            if piece.is_empty() {
                let detail = format!("{left} bytes of a file are missing");
                return Err(Error::Truncated { input: self.input.clone(), detail });
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let written = file.write_all(&piece[..count]);
            written.map_err(|error| self.failed(member, "write", error))?;
            data.used(count);
            left -= count as u64;
        }
        self.tally.bytes += length;
        Ok(())
    }
}
