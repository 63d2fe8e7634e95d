//! One file's bytes: as written, as durable, and the writes between the two.
//!
//! A crash gives each sector its own place in the sequence of writes: the sector holds what it held after the first
//! `k` of them. [`Loss::Whole`] is k = 0 everywhere, [`Loss::Tail`] one k with the write at k decided sector by sector,
//! [`Loss::Sectors`] a k for each sector. The length has a k too; what a sector keeps beyond the length is gone, and what
//! the length covers without a sector is zero. [`Loss::Nothing`] changes nothing: what is not synced stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Loss, SECTOR_BYTES};

/// What a file takes up on a disk is counted in blocks of this size.
const BLOCK_BYTES: usize = 4096;

/// A file's content.
#[derive(Debug, Default)]
pub struct Inode {
    /// What a running node reads.
    bytes: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// What was done since the last sync, in order.
    pending: Vec<Write>,
    /// The blocks that were ever written to; the rest are holes, which take up nothing.
    blocks: BTreeSet<usize>,
}

#[derive(Debug)]
enum Write {
    Bytes {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// The length was `before` when it was set to `len`.
    Length {
        before: usize,
        len: usize,
    },
}

impl Inode {
    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes that are not synced.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Whether the platter has what is read. After a sync that failed it has not, and nothing waits to be synced either.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.bytes == self.durable
    }

    /// What the file takes up on the disk.
    pub fn allocated(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// What it would take up besides, if this range were written to.
    pub fn lacking(&self, range: Range<usize>) -> usize {
        blocks_of(range).filter(|block| !self.blocks.contains(block)).count() * BLOCK_BYTES
    }

    /// Writes at `offset`, growing the file if need be.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.bytes, offset, bytes);
        self.blocks.extend(blocks_of(offset..offset + bytes.len()));
        self.pending.push(Write::Bytes { offset, bytes: bytes.to_vec() });
    }

    /// Cuts the file, or extends it with zeroes.
    pub fn set_len(&mut self, len: usize) {
        self.pending.push(Write::Length { before: self.bytes.len(), len });
        self.bytes.resize(len, 0);
        self.blocks.split_off(&len.div_ceil(BLOCK_BYTES));
    }

    /// What is on the platter.
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// A sync failed: what was not on the platter never will be by a later sync, and is still read until a crash (H15).
    pub fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// Changes bytes on the platter, and what is read of them. Nothing if one of them waits to be synced.
    pub fn garble(&mut self, offset: usize, len: usize, garble: impl FnOnce(&mut [u8])) -> bool {
        let end = offset + len;
        let is_settled = match (self.bytes.get(offset..end), self.durable.get(offset..end)) {
            (Some(read), Some(durable)) => read == durable,
            _ => false,
        };
        if is_settled {
            garble(&mut self.durable[offset..end]);
            self.bytes[offset..end].copy_from_slice(&self.durable[offset..end]);
        }
        is_settled
    }

    /// The last write that is not synced lands at another multiple of `align` on the platter, where something was
    /// synced before, and not where it should. Returns from where to where, if there is such a write and such a place.
    pub fn misdirect(&mut self, align: usize, rng: &mut fastrand::Rng) -> Option<(usize, usize)> {
        let last = self.pending.iter().rposition(|write| matches!(write, Write::Bytes { .. }))?;
        let Write::Bytes { offset, bytes } = &self.pending[last] else { return None };
        let (offset, len) = (*offset, bytes.len());
        let places = (0..self.durable.len().saturating_sub(len)).step_by(align);
        let used: Vec<usize> = places
            .filter(|place| {
                *place != offset && self.durable[*place..place + len].iter().any(|byte| *byte != 0)
            })
            .collect();
        let place = *used.get(rng.usize(..used.len().max(1)))?;
        if let Write::Bytes { bytes, .. } = self.pending.remove(last) {
            put(&mut self.durable, place, &bytes);
        }
        Some((offset, place))
    }

    /// Makes all of it durable.
    pub fn sync(&mut self) {
        for write in self.pending.drain(..) {
            match write {
                Write::Bytes { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Write::Length { len, .. } => self.durable.resize(len, 0),
            }
        }
        // After a sync that failed it may be shorter: the length is made good, the bytes are not.
        self.durable.resize(self.bytes.len(), 0);
    }

    /// Only what the platter holds is left, unless the machine lived on (see the module doc).
    pub fn crash(&mut self, loss: Loss, rng: &mut fastrand::Rng) {
        if loss == Loss::Nothing {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let kept = Kept::draw(&pending, loss, rng);
            self.durable = kept.replay(&self.durable, &pending);
        }
        self.bytes = self.durable.clone();
        self.blocks.split_off(&self.bytes.len().div_ceil(BLOCK_BYTES));
    }
}

fn blocks_of(range: Range<usize>) -> Range<usize> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

/// How many of the pending writes each sector, and the length, have seen.
struct Kept {
    sectors: BTreeMap<u64, usize>,
    length: usize,
}

impl Kept {
    fn draw(pending: &[Write], loss: Loss, rng: &mut fastrand::Rng) -> Kept {
        let all = pending.len();
        let tail = rng.usize(..=all);
        let draw = |rng: &mut fastrand::Rng| match loss {
            Loss::Whole => 0,
            Loss::Nothing => unreachable!("there is nothing to draw"),
            // The write after the first `tail` is torn: a sector has seen it or not.
            Loss::Tail => (tail + usize::from(rng.bool())).min(all),
            // Mostly all or nothing, so that neither drowns in the middle where writes are many.
            Loss::Sectors => [0, all, rng.usize(..=all)][rng.usize(..3)],
        };
        let mut sectors = BTreeMap::new();
        for write in pending {
            let (start, end) = write.range();
            for sector in sectors_of(start, end) {
                sectors.entry(sector).or_insert_with(|| draw(rng));
            }
        }
        let length = draw(rng);
        Kept { sectors, length }
    }

    fn replay(&self, durable: &[u8], pending: &[Write]) -> Vec<u8> {
        let mut image = durable.to_vec();
        let mut length = durable.len();
        for (number, write) in pending.iter().enumerate() {
            let (start, end) = write.range();
            for sector in sectors_of(start, end) {
                if number < self.sectors[&sector] {
                    let first = start.max(to_usize(sector * SECTOR_BYTES));
                    let last = end.min(to_usize((sector + 1) * SECTOR_BYTES));
                    match write {
                        Write::Bytes { offset, bytes } => {
                            put(&mut image, first, &bytes[first - offset..last - offset]);
                        }
                        // Bytes that a shorter length cut off are zero if the file grows over them again.
                        Write::Length { .. } => put(&mut image, first, &vec![0; last - first]),
                    }
                }
            }
            if number < self.length {
                length = match write {
                    Write::Bytes { .. } => length.max(end),
                    Write::Length { len, .. } => *len,
                };
            }
        }
        image.resize(length, 0);
        image
    }
}

impl Write {
    /// The bytes it changes, `start..end`.
    fn range(&self) -> (usize, usize) {
        match self {
            Write::Bytes { offset, bytes } => (*offset, offset + bytes.len()),
            Write::Length { before, len } => ((*len).min(*before), *before),
        }
    }
}

fn sectors_of(start: usize, end: usize) -> std::ops::Range<u64> {
    if start >= end {
        return 0..0;
    }
    start as u64 / SECTOR_BYTES..(end as u64).div_ceil(SECTOR_BYTES)
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// A file of four synced sectors of 1s, then two un-synced writes over sectors 1 to 3.
    fn written() -> Inode {
        let mut inode = Inode::default();
        inode.write(0, &[1; 4 * SECTOR]);
        inode.sync();
        inode.write(SECTOR, &[2; 2 * SECTOR]);
        inode.write(2 * SECTOR, &[3; 2 * SECTOR]);
        inode
    }

    fn sectors(inode: &Inode) -> Vec<u8> {
        inode
            .bytes()
            .chunks(SECTOR)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
                sector[0]
            })
            .collect()
    }

    fn outcomes(loss: Loss) -> std::collections::BTreeSet<Vec<u8>> {
        let mut rng = fastrand::Rng::with_seed(1);
        (0..2_000)
            .map(|_| {
                let mut inode = written();
                inode.crash(loss, &mut rng);
                sectors(&inode)
            })
            .collect()
    }

    #[test]
    fn losses_of_whole_and_nothing() {
        assert_eq!(outcomes(Loss::Whole), [vec![1, 1, 1, 1]].into());
        assert_eq!(outcomes(Loss::Nothing), [vec![1, 2, 3, 3]].into());
    }

    /// The next process reads what the last one wrote, and can lose it all the same.
    #[test]
    fn what_a_dead_process_wrote_is_durable_once_it_is_synced() {
        let mut rng = fastrand::Rng::with_seed(5);
        for is_synced in [false, true] {
            let mut inode = written();
            inode.crash(Loss::Nothing, &mut rng);
            if is_synced {
                inode.sync();
            }
            inode.crash(Loss::Whole, &mut rng);
            assert_eq!(sectors(&inode), if is_synced { [1, 2, 3, 3] } else { [1; 4] });
        }
    }

    #[test]
    fn a_lost_tail_is_a_prefix_of_the_writes_with_the_last_one_torn() {
        let expected = [
            // The first write torn, in any way.
            vec![1, 1, 1, 1],
            vec![1, 2, 1, 1],
            vec![1, 1, 2, 1],
            vec![1, 2, 2, 1],
            // The second torn after the first came whole.
            vec![1, 2, 3, 1],
            vec![1, 2, 2, 3],
            vec![1, 2, 3, 3],
        ];
        assert_eq!(outcomes(Loss::Tail), expected.into());
    }

    #[test]
    fn sectors_survive_in_every_combination() {
        let mut expected = std::collections::BTreeSet::new();
        for first in [1, 2] {
            for second in [1, 2, 3] {
                for third in [1, 3] {
                    expected.insert(vec![1, first, second, third]);
                }
            }
        }
        assert_eq!(outcomes(Loss::Sectors), expected);
    }

    #[test]
    fn synced_bytes_survive_every_loss() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..200 {
            let mut inode = written();
            inode.sync();
            inode.crash(Loss::draw(&mut rng), &mut rng);
            assert_eq!(sectors(&inode), vec![1, 2, 3, 3]);
        }
    }

    #[test]
    fn a_length_can_be_lost_with_or_without_its_bytes() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let mut inode = Inode::default();
            inode.write(0, &[1; SECTOR]);
            inode.sync();
            inode.write(SECTOR, &[2; SECTOR]);
            inode.crash(Loss::Sectors, &mut rng);
            seen.insert(sectors(&inode));
        }
        assert_eq!(seen, [vec![1], vec![1, 0], vec![1, 2]].into());
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_one_brings() {
        let mut inode = written();
        inode.fail_sync();
        inode.write(0, &[4; SECTOR]);
        inode.sync();
        assert_eq!(sectors(&inode), vec![4, 2, 3, 3], "it is read as long as the machine lives");
        let mut rng = fastrand::Rng::with_seed(1);
        inode.crash(Loss::Nothing, &mut rng);
        assert_eq!(sectors(&inode), vec![4, 2, 3, 3], "whichever process reads it");
        inode.crash(Loss::Whole, &mut rng);
        assert_eq!(sectors(&inode), vec![4, 1, 1, 1]);
    }

    #[test]
    fn a_misdirected_write_lands_on_another_that_was_synced() {
        for seed in 0..20 {
            let mut inode = written();
            let mut rng = fastrand::Rng::with_seed(seed);
            let (from, to) = inode.misdirect(SECTOR, &mut rng).expect("there is a write and a place");
            assert_eq!(from, 2 * SECTOR);
            inode.crash(Loss::Whole, &mut rng);
            let mut expected = vec![1, 1, 1, 1];
            expected[to / SECTOR..to / SECTOR + 2].fill(3);
            assert_eq!(sectors(&inode), expected);
        }
    }

    #[test]
    fn a_cut_file_grows_again_over_zeroes() {
        let mut inode = written();
        inode.set_len(SECTOR);
        inode.set_len(4 * SECTOR);
        assert_eq!(sectors(&inode), vec![1, 0, 0, 0]);
        inode.crash(Loss::Nothing, &mut fastrand::Rng::with_seed(4));
        assert_eq!(sectors(&inode), vec![1, 0, 0, 0]);
    }
}
