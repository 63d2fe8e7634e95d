//! The scrub of the state file: finds bit rot before a reader or a crash does.
//!
//! A reader meets a rotten block only when redb reads it, and redb reads none that it has in its cache, nor those that nobody
//! asks for. So the file is read through in the background, past redb, each block compared with its sum.
//!
//! A block that differs need not be damage: where a crash tore the last fold, pages may be left that nothing refers to
//! (see [`super::backend`]). redb does not say whether it refers to a page, and one that it has in its cache would not show when
//! its rows are read. Nothing needs to be known, though: the file is *rewritten* ([`Store::rewrite`]), which reads all that redb
//! refers to. If the block is needed and was not cached, the copy meets it, and the state is lost; else what is copied is
//! whole, and the block is left behind with the old file. So what a crash left is looked at once and is gone.

use super::{Error, Store};

/// A block of the file: redb's page.
const BLOCK_BYTES: usize = super::layout::BLOCK_BYTES;

/// What a part of the file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where the next part begins; `None` if this was the last.
    pub next: Option<u64>,
    /// Blocks that do not match their sums.
    pub strays: u64,
    /// Where the first of them lies in the file.
    pub first_stray: Option<u64>,
}

impl Store {
    /// Reads a part of the file through, about `bytes` of it. Blocks on the disk. A part that begins behind the end, since
    /// the file is another one meanwhile, is the last.
    ///
    /// # Errors
    /// Any error of the file, but for blocks that differ.
    pub fn scrub(&self, from: u64, bytes: usize) -> Result<Scrubbed, Error> {
        let blocks = (bytes / BLOCK_BYTES).max(1) as u64;
        let scanned = self.shared.reading(|| {
            let base = self.shared.base();
            base.latch.check()?;
            base.file.scrub(from, blocks)
        })?;
        let next = (scanned.blocks >= blocks).then_some(from + scanned.blocks);
        Ok(Scrubbed { next, strays: scanned.strays, first_stray: scanned.first_stray })
    }
}
