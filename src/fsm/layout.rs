//! Where the blocks, their checksums and the superblock lie in the raw file.
//!
//! ```text
//! raw block   content                                   (a block is 4,096 bytes)
//! 0           superblock: the first 512 bytes, the rest unused
//! 1           redb's block 0: the first 512 bytes, the rest unused
//! 2           checksums of redb's blocks 1 ..= 1,024    } group 0
//! 3 ..        redb's blocks 1 ..= 1,024                 }
//! 1,027       checksums of redb's blocks 1,025 ..= 2,048 } group 1
//! ...
//!
//! superblock (512 bytes, one sector)
//!   0  magic "QRTSTATE"   8  format version u32   12  formed u8   13  zero
//!  16  cluster id u64   24  node id u64   32  incarnation u64   40  zero ...     508  CRC-32, as below
//! header sector (redb's block 0, 512 bytes, one sector)
//!   0  the bytes redb wrote, 320 of them in redb 4.6, then zeroes                508  CRC-32, as below
//! CRC-32 of a sector: over (0 as u64, bytes 0..508)
//! checksum block
//!   1,024 CRC-32s, each over (block number u64, content 4,096 bytes); 0: the block was never written (a sum that
//!   comes out as 0 is stored as all ones)
//! ```
//! All integers are little endian. The owner (cluster, node, incarnation) is the one that made the file; no other node
//! may serve from it.

use crate::types::{ClusterId, Incarnation, NodeId, Owner};

/// A block of the file: redb's page.
pub(super) const BLOCK_BYTES: usize = 4_096;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// Data blocks that one checksum block covers.
pub(super) const GROUP_BLOCKS: u64 = (BLOCK_BYTES / 4) as u64;

/// The superblock and redb's block 0.
pub(super) const HEAD_BLOCKS: u64 = 2;

/// Where a sector's own CRC stands.
pub(super) const SECTOR_CRC_AT: usize = SECTOR_BYTES - 4;

pub(super) const MAGIC: [u8; 8] = *b"QRTSTATE";

/// The version of the layout above.
pub(super) const FORMAT_VERSION: u32 = 1;

/// The sum of a block that was written: never 0.
pub(super) fn block_sum(block: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block.to_le_bytes());
    hasher.update(content);
    match hasher.finalize() {
        0 => u32::MAX,
        sum => sum,
    }
}

/// A data block's group and its slot in it.
pub(super) fn position(block: u64) -> (usize, usize) {
    debug_assert!(block > 0, "block 0 has its sum in its own sector");
    let index = block - 1;
    ((index / GROUP_BLOCKS) as usize, (index % GROUP_BLOCKS) as usize)
}

/// How many groups a file of so many blocks has.
pub(super) fn groups(blocks: u64) -> u64 {
    blocks.saturating_sub(1).div_ceil(GROUP_BLOCKS)
}

/// Where one of redb's blocks lies in the raw file.
pub(super) fn raw_offset(block: u64) -> u64 {
    let raw = match block {
        0 => 1,
        block => HEAD_BLOCKS + (block - 1) + (block - 1) / GROUP_BLOCKS + 1,
    };
    raw * BLOCK_BYTES as u64
}

/// Where a group's checksum block lies in the raw file.
pub(super) fn sums_offset(group: u64) -> u64 {
    (HEAD_BLOCKS + group * (GROUP_BLOCKS + 1)) * BLOCK_BYTES as u64
}

/// The raw file's length when redb's is so many blocks.
pub(super) fn raw_bytes(blocks: u64) -> u64 {
    let raw = match blocks {
        0 => 1,
        blocks => HEAD_BLOCKS + (blocks - 1) + groups(blocks),
    };
    raw * BLOCK_BYTES as u64
}

/// The inverse of [`raw_bytes`]; `None` for a length that it never gives.
pub(super) fn blocks_of_raw(raw: u64) -> Option<u64> {
    if raw < BLOCK_BYTES as u64 || !raw.is_multiple_of(BLOCK_BYTES as u64) {
        return None;
    }
    let raw_blocks = raw / BLOCK_BYTES as u64;
    let Some(body) = raw_blocks.checked_sub(HEAD_BLOCKS) else { return Some(0) };
    let blocks = 1 + body / (GROUP_BLOCKS + 1) * GROUP_BLOCKS + (body % (GROUP_BLOCKS + 1)).saturating_sub(1);
    (raw_bytes(blocks) == raw).then_some(blocks)
}

/// Splits a page's bytes where a checksum block lies between two of its blocks: (first block, range of bytes).
pub(super) fn runs(first: u64, bytes: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut block = first;
    let mut from = 0;
    std::iter::from_fn(move || {
        if from >= bytes {
            return None;
        }
        let until_group_ends = (GROUP_BLOCKS - (block - 1) % GROUP_BLOCKS) as usize * BLOCK_BYTES;
        let to = bytes.min(from + until_group_ends);
        let run = (block, from..to);
        block += ((to - from) / BLOCK_BYTES) as u64;
        from = to;
        Some(run)
    })
}

pub(super) fn is_on_grid(offset: u64, bytes: usize) -> bool {
    offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.is_multiple_of(BLOCK_BYTES)
}

pub(super) fn seal_sector(sector: &mut [u8; SECTOR_BYTES]) {
    let sum = block_sum(0, &sector[..SECTOR_CRC_AT]);
    sector[SECTOR_CRC_AT..].copy_from_slice(&sum.to_le_bytes());
}

pub(super) fn sector_is_intact(sector: &[u8; SECTOR_BYTES]) -> bool {
    block_sum(0, &sector[..SECTOR_CRC_AT]).to_le_bytes() == sector[SECTOR_CRC_AT..]
}

/// The superblock of `owner`'s file.
pub(super) fn superblock(owner: Owner, formed: bool) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..8].copy_from_slice(&MAGIC);
    sector[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    sector[12] = u8::from(formed);
    sector[16..24].copy_from_slice(&owner.cluster.0.to_le_bytes());
    sector[24..32].copy_from_slice(&owner.node.0.to_le_bytes());
    sector[32..40].copy_from_slice(&owner.incarnation.0.to_le_bytes());
    seal_sector(&mut sector);
    sector
}

/// Whose file a superblock is of.
pub(super) fn owner_of(sector: &[u8; SECTOR_BYTES]) -> Owner {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| sector[at + byte]));
    Owner { cluster: ClusterId(word(16)), node: NodeId(word(24)), incarnation: Incarnation(word(32)) }
}
