//! The lowest layer of the format: 512-byte sectors, each framed by itself, and batches laid out over them.
//!
//! A disk writes sectors, in any order, each whole or not at all. So every sector says for itself whether it is
//! what was written, which batch it belongs to, and where in it: recovery can judge each one alone, and a lost one
//! never hides what the others are.
//!
//! ```text
//! a sector             0   4  CRC-32 of: segment number (8), sector number (8), bytes 4..512
//!                      4   4  place: bits 0..21   the sector's position in its batch, from 0
//!                                    bits 21..30  where in the data the first record begins that begins in this sector,
//!                                                 and 1 more; 0: none does
//!                                    bit  31      the batch ends with this sector
//!                      8   8  batch number, from 1
//!                     16 496  data: records, back to back, across sectors; zeroes after the last one
//! ```
//!
//! All numbers are little-endian. A written sector is never wholly zero, whatever its data, because its batch
//! number is not: a wholly zero sector is one that was never written. The CRC covers the sector's address, so a
//! sector that the disk put in the wrong place is not taken for the one that belongs there. Since each sector says where a
//! record begins, a lost one takes only those records with it that lie in it.

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// The frame at the head of each sector.
pub const FRAME_BYTES: usize = 16;
/// What a sector holds besides its frame.
pub const DATA_BYTES: usize = SECTOR_BYTES - FRAME_BYTES;

/// No honest batch, segment, index or term comes near this. Whatever says so is damaged, whatever its checksum says: so
/// the one after a number that was read can always be reckoned.
pub const NUMBER_MAX: u64 = u64::MAX / 2;

const BEGINS_SHIFT: u32 = 21;
const BEGINS_MASK: u32 = 0x1ff << BEGINS_SHIFT;
const BATCH_ENDS: u32 = 1 << 31;
const UNWRITTEN: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
const PLACE_MASK: u32 = (1 << BEGINS_SHIFT) - 1;

/// The file offset of a sector.
pub const fn offset_of(sector: u64) -> u64 {
    sector * SECTOR_BYTES as u64
}

/// What a sector's frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The batch it belongs to.
    pub batch: u64,
    /// Its position in the batch.
    pub place: u32,
    /// Where in its data the first record begins that begins in it.
    pub record_begins: Option<usize>,
    /// Whether it is the batch's last sector.
    pub batch_ends: bool,
}

/// What a sector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// Wholly zero: never written, or written and lost in a crash.
    Unwritten,
    /// What was written here.
    Whole(Frame),
    /// Neither: no crash does this, so it is damage.
    Bad,
}

/// Judges a sector read from `sector` of `segment`.
pub fn judge(bytes: &[u8], segment: u64, sector: u64) -> Sector {
    assert_eq!(bytes.len(), SECTOR_BYTES, "a sector has {SECTOR_BYTES} bytes");
    if *bytes == UNWRITTEN {
        return Sector::Unwritten;
    }
    let place = u32_at(bytes, 4);
    let frame = Frame {
        batch: u64_at(bytes, 8),
        place: place & PLACE_MASK,
        record_begins: ((place & BEGINS_MASK) >> BEGINS_SHIFT).checked_sub(1).map(|at| at as usize),
        batch_ends: place & BATCH_ENDS != 0,
    };
    if u32_at(bytes, 0) != checksum(&bytes[4..], segment, sector)
        || frame.batch == 0
        || frame.batch >= NUMBER_MAX
        || frame.record_begins.is_some_and(|at| at >= DATA_BYTES)
    {
        return Sector::Bad;
    }
    Sector::Whole(frame)
}

fn checksum(bytes: &[u8], segment: u64, sector: u64) -> u32 {
    let mut address = [0; 16];
    address[..8].copy_from_slice(&segment.to_le_bytes());
    address[8..].copy_from_slice(&sector.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&address);
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads a little-endian number.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// Reads a little-endian number.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// A batch being laid out over sectors. The buffer is kept from batch to batch.
#[derive(Default)]
pub struct Layout {
    bytes: Vec<u8>,
}

impl Layout {
    /// A buffer larger than this is given back after its batch.
    const KEPT_BYTES_MAX: usize = 8 << 20;

    /// Begins a batch.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > Layout::KEPT_BYTES_MAX {
            self.bytes.shrink_to(Layout::KEPT_BYTES_MAX);
        }
    }

    /// Says that a record begins with the next byte, and at which offset from the start of the batch that is.
    pub fn begin_record(&mut self) -> u64 {
        if self.bytes.len().is_multiple_of(SECTOR_BYTES) {
            self.begin_sector();
        }
        let within = self.bytes.len() % SECTOR_BYTES;
        let place = self.bytes.len() - within + 4;
        if u32_at(&self.bytes, place) == 0 {
            let begins = u32::try_from(within - FRAME_BYTES + 1).expect("within a sector") << BEGINS_SHIFT;
            self.bytes[place..place + 4].copy_from_slice(&begins.to_le_bytes());
        }
        self.bytes.len() as u64
    }

    /// Adds data.
    pub fn put(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.bytes.len().is_multiple_of(SECTOR_BYTES) {
                self.begin_sector();
            }
            let room = SECTOR_BYTES - self.bytes.len() % SECTOR_BYTES;
            let (now, later) = data.split_at(room.min(data.len()));
            self.bytes.extend_from_slice(now);
            data = later;
        }
    }

    /// Leaves the rest of the sector empty: what comes next begins a fresh one.
    pub fn fresh_sector(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR_BYTES), 0);
    }

    /// How many sectors the batch has so far, the one begun included.
    pub fn sectors(&self) -> u64 {
        self.bytes.len().div_ceil(SECTOR_BYTES) as u64
    }

    /// Ends the batch: fills in the frames for its place on disk and returns the bytes to write there.
    pub fn seal(&mut self, segment: u64, first_sector: u64, batch: u64) -> &[u8] {
        assert!(batch > 0, "batch numbers begin with 1");
        assert!(!self.bytes.is_empty(), "a batch has at least one sector");
        self.fresh_sector();
        let count = self.bytes.len() / SECTOR_BYTES;
        assert!(count <= PLACE_MASK as usize, "a batch of {count} sectors is too large for the format");
        for (place, bytes) in self.bytes.chunks_exact_mut(SECTOR_BYTES).enumerate() {
            let mut word = u32_at(bytes, 4) | u32::try_from(place).expect("bounded above");
            if place + 1 == count {
                word |= BATCH_ENDS;
            }
            bytes[4..8].copy_from_slice(&word.to_le_bytes());
            bytes[8..16].copy_from_slice(&batch.to_le_bytes());
            let crc = checksum(&bytes[4..], segment, first_sector + place as u64);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
        }
        &self.bytes
    }

    fn begin_sector(&mut self) {
        self.bytes.extend_from_slice(&[0; FRAME_BYTES]);
    }
}
