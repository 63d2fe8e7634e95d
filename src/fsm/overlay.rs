//! A raw file that is never changed: what is written to it stays in memory and goes with it.
//!
//! redb writes when it opens a file and when it closes one, if only to say that it is open. To look at a state file and
//! leave it as it is, it is given this. Meant for those few writes; there is no bound on what it keeps.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::RawFile;
use super::layout::BLOCK_BYTES;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A file, and what was written over it.
#[derive(Debug)]
pub(super) struct Overlay {
    below: RawFile,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// The length by now.
    len: u64,
    /// How much of the file below still shows. At most its length, and falls only.
    shown: u64,
    /// Blocks that were written to.
    blocks: BTreeMap<u64, Box<[u8; BLOCK_BYTES]>>,
}

impl Overlay {
    /// Over a file.
    pub(super) fn over(below: RawFile) -> io::Result<Overlay> {
        let len = below.len()?;
        Ok(Overlay { below, written: Mutex::new(Written { len, shown: len, blocks: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What shows of the file below, zeroes beyond it.
    fn read_below(&self, shown: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(shown.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (from_below, beyond) = out.split_at_mut(rest.min(out.len()));
        beyond.fill(0);
        match from_below.is_empty() {
            true => Ok(()),
            false => self.below.read(offset, from_below),
        }
    }
}

/// The pieces of a range that lie in one block each: block, where in it, where in the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = offset + at as u64;
        let within = (place % BLOCK) as usize;
        let to = len.min(at + BLOCK_BYTES - within);
        let piece = (at < len).then_some((place / BLOCK, within, at..to));
        at = to;
        piece
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_below(written.shown, offset, out)?;
        for (block, within, range) in pieces(offset, out.len()) {
            if let Some(content) = written.blocks.get(&block) {
                let to = within + range.len();
                out[range].copy_from_slice(&content[within..to]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(BLOCK) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a length that is not of whole blocks"));
        }
        let mut written = self.written();
        written.blocks.split_off(&(len / BLOCK));
        written.len = len;
        written.shown = written.shown.min(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > written.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, range) in pieces(offset, data.len()) {
            let to = within + range.len();
            if let Some(content) = written.blocks.get_mut(&block) {
                content[within..to].copy_from_slice(&data[range]);
                continue;
            }
            let mut content = Box::new([0; BLOCK_BYTES]);
            let shown = written.shown.saturating_sub(block * BLOCK).min(BLOCK) as usize;
            self.read_below(written.shown, block * BLOCK, &mut content[..shown])?;
            content[within..to].copy_from_slice(&data[range]);
            written.blocks.insert(block, content);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::testing::CrashFile;

    /// Against a plain vector, with random calls; and the file below stays what it was.
    #[test]
    fn it_is_a_file_of_its_own() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(5 * BLOCK_BYTES).collect();
            let below = CrashFile::with_bytes(bytes.clone());
            let overlay = Overlay::over(Box::new(below.clone())).expect("a length");
            let mut model = bytes.clone();
            for _ in 0..100 {
                match rng.u8(0..8) {
                    0 => {
                        let blocks = rng.usize(0..8);
                        overlay.set_len((blocks * BLOCK_BYTES) as u64).expect("whole blocks");
                        model.resize(blocks * BLOCK_BYTES, 0);
                    }
                    kind => {
                        let offset = rng.usize(0..=model.len());
                        let len = rng.usize(0..=(model.len() - offset).min(3 * BLOCK_BYTES));
                        if kind < 4 {
                            let data: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
                            overlay.write(offset as u64, &data).expect("inside");
                            model[offset..offset + len].copy_from_slice(&data);
                        }
                        let mut out = vec![0; len];
                        overlay.read(offset as u64, &mut out).expect("inside");
                        assert_eq!(out, model[offset..offset + len]);
                    }
                }
                assert_eq!(overlay.len().expect("a length"), model.len() as u64);
                assert!(overlay.read(model.len() as u64, &mut [0]).is_err());
                assert!(overlay.write(model.len() as u64, &[0]).is_err());
            }
            assert_eq!((below.bytes(), below.calls()), (bytes, 0));
        }
    }
}
