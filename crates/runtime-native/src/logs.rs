//! Reading a container's log.

use netloom_runtime::{LogsRequest, RuntimeError};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Copies the log at `path` to `out`; `running` tells whether more can come.
pub(crate) fn copy(
    path: &Path,
    request: &LogsRequest,
    out: &mut dyn Write,
    running: &mut dyn FnMut() -> Result<bool, RuntimeError>,
) -> Result<(), RuntimeError> {
    let failed = |e| RuntimeError::io(format!("read {}", path.display()), e);
    let mut log = loop {
        match File::open(path) {
            Ok(log) => break log,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if !request.follow || !running()? {
                    return Ok(());
                }
                std::thread::sleep(PAUSE);
            }
            Err(e) => return Err(failed(e)),
        }
    };
    if let Some(lines) = request.tail {
        let at = tail(&mut log, lines).map_err(failed)?;
        log.seek(SeekFrom::Start(at)).map_err(failed)?;
    }
    let mut buffer = vec![0; 64 << 10];
    let mut last_round = !request.follow;
    loop {
        let got = log.read(&mut buffer).map_err(failed)?;
        if got > 0 {
            // Whoever reads may have enough.
            if out.write_all(&buffer[..got]).is_err() {
                return Ok(());
            }
            continue;
        }
        if out.flush().is_err() || last_round {
            return Ok(());
        }
        // What was written before the end is read in one more round.
        last_round = !running()?;
        if !last_round {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Where the last `lines` lines begin.
fn tail(log: &mut File, lines: usize) -> io::Result<u64> {
    const BLOCK: u64 = 16 << 10;
    let end = log.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let mut left = lines;
    let mut block_end = end;
    while block_end > 0 {
        let start = block_end.saturating_sub(BLOCK);
        let mut block = vec![0; (block_end - start) as usize];
        log.seek(SeekFrom::Start(start))?;
        log.read_exact(&mut block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            let position = start + at as u64;
            // The newline that ends the last line begins no other.
            if *byte == b'\n' && position + 1 != end {
                left -= 1;
                if left == 0 {
                    return Ok(position + 1);
                }
            }
        }
        block_end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_counts_lines() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&mut file, 1).unwrap(), 8);
        assert_eq!(tail(&mut file, 2).unwrap(), 4);
        assert_eq!(tail(&mut file, 9).unwrap(), 0);
        assert_eq!(tail(&mut file, 0).unwrap(), 14);
    }
}
