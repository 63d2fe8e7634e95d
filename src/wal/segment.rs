//! Segment files: their names, their first sector, and how a new one comes into being.
//!
//! ```text
//! a segment file, DIR/0000000000000007.wal (its number, 16 hexadecimal digits)
//!
//! sector 0             0   8  magic "QRTWAL\r\n"
//!                      8   4  format version, 2
//!                     12   4  sector size, 512
//!                     16   8  segment number, from 1
//!                     24   8  length of the file in bytes
//!                     32   8  end of the segment before: the offset at which its records end; 0 if there was none
//!                     40   8  batch number of the preamble
//!                     48   4  chain: the header CRC of the last record before this segment; 0 if there was none
//!                     52   4  0
//!                     56   8  owner: the cluster's id
//!                     64   8  owner: the node's id
//!                     72   8  owner: the incarnation of the node's data directory
//!                     80 428  0
//!                    508   4  CRC-32 of bytes 0..508
//! sector 1                    the same once more
//! sectors 2..                 the preamble: one batch with two copies of a group record for every group
//! after it                    batches
//! after the last one          zeroes
//! ```
//!
//! Magic, version and the CRC's place are the same in all versions of the format, so that an old binary can tell a
//! newer file from a damaged one.
//!
//! The owner is the same in all segments of a log and decided when the log is made. A log is opened by its owner alone:
//! the votes in it are that node's.
//!
//! A segment is made under the name `spare`: filled with zeroes (written, not left as a hole: the blocks must exist,
//! and an fdatasync that need not change them is faster) and synced; then its first sector and its preamble are
//! written and synced; only then is it renamed to its number and the directory synced (H14). So a numbered file is
//! always complete up to the end of its preamble, and whatever is called `spare` holds nothing of worth.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{ClusterId, Incarnation, NodeId, Owner};

use super::error::Error;
use super::fs::{File, Fs};
use super::sector::{NUMBER_MAX, SECTOR_BYTES, offset_of, u32_at, u64_at};
use super::syncs::Syncs;

/// The version of the format.
pub const VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"QRTWAL\r\n";
const CRC_AT: usize = SECTOR_BYTES - 4;
const SPARE: &str = "spare";
const SUFFIX: &str = ".wal";

/// Where the preamble begins.
pub const PREAMBLE_SECTOR: u64 = 2;

/// An open segment file, shared with readers.
pub type SharedFile = Arc<dyn File>;

/// The path of a segment.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

/// The numbers of the segments in a directory, ascending. Other files are left alone.
pub fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>, Error> {
    let names = fs.list(dir).map_err(Error::io(dir, "listing the directory"))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (number > 0 && format!("{number:016x}") == digits).then_some(number)
}

/// The first sector of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number.
    pub number: u64,
    /// The file's length.
    pub bytes: u64,
    /// Where the segment before ends.
    pub previous_end: u64,
    /// The batch number of the preamble.
    pub batch: u64,
    /// The header CRC of the last record before this segment.
    pub chain: u32,
    /// Whose log it is.
    pub owner: Owner,
}

impl SegmentHeader {
    /// Encodes the sector.
    pub fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        sector[..8].copy_from_slice(&MAGIC);
        sector[8..12].copy_from_slice(&VERSION.to_le_bytes());
        sector[12..16].copy_from_slice(&512_u32.to_le_bytes());
        sector[16..24].copy_from_slice(&self.number.to_le_bytes());
        sector[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        sector[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        sector[40..48].copy_from_slice(&self.batch.to_le_bytes());
        sector[48..52].copy_from_slice(&self.chain.to_le_bytes());
        sector[56..64].copy_from_slice(&self.owner.cluster.0.to_le_bytes());
        sector[64..72].copy_from_slice(&self.owner.node.0.to_le_bytes());
        sector[72..80].copy_from_slice(&self.owner.incarnation.0.to_le_bytes());
        let crc = crc32fast::hash(&sector[..CRC_AT]);
        sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    /// Decodes and checks the first sector of the segment that is called `number` and is `bytes` long.
    fn decode(sector: &[u8], file: &Path, number: u64, bytes: u64) -> Result<SegmentHeader, Error> {
        assert_eq!(sector.len(), SECTOR_BYTES, "the header is one sector");
        let damaged = |what: &str| Error::damaged(file, 0, what);
        if sector[..8] != MAGIC || u32_at(sector, CRC_AT) != crc32fast::hash(&sector[..CRC_AT]) {
            return Err(damaged("the first sector fails its checksum"));
        }
        let found = u32_at(sector, 8);
        if found != VERSION {
            return Err(Error::Version { file: file.to_path_buf(), found, known: VERSION });
        }
        let header = SegmentHeader {
            number: u64_at(sector, 16),
            bytes: u64_at(sector, 24),
            previous_end: u64_at(sector, 32),
            batch: u64_at(sector, 40),
            chain: u32_at(sector, 48),
            owner: Owner {
                cluster: ClusterId(u64_at(sector, 56)),
                node: NodeId(u64_at(sector, 64)),
                incarnation: Incarnation(u64_at(sector, 72)),
            },
        };
        if header.number != number {
            return Err(damaged(&format!("the file says that it is segment {:016x}", header.number)));
        }
        if header.bytes != bytes {
            return Err(damaged(&format!("the file has {bytes} bytes, it was made with {}", header.bytes)));
        }
        let is_counted = (1..NUMBER_MAX).contains(&header.batch) && header.number < NUMBER_MAX;
        if !bytes.is_multiple_of(SECTOR_BYTES as u64) || !is_counted {
            return Err(damaged("the first sector contradicts itself"));
        }
        Ok(header)
    }
}

/// An open segment.
pub struct Opened {
    /// Its file.
    pub file: SharedFile,
    /// What its first sectors say.
    pub header: SegmentHeader,
    /// Which of the two is not what was written, if one is not.
    pub damaged: Option<u64>,
}

/// Opens a segment and reads its first sectors. Either of the two is enough.
pub fn open(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Opened, Error> {
    let path = path(dir, number);
    let file: SharedFile = Arc::from(fs.open(&path).map_err(Error::io(&path, "opening"))?);
    let bytes = file.len().map_err(Error::io(&path, "reading the length"))?;
    let mut sectors = [0; 2 * SECTOR_BYTES];
    if bytes < offset_of(PREAMBLE_SECTOR + 1) {
        return Err(Error::damaged(&path, bytes, "the file ends before its preamble"));
    }
    file.read_at(0, &mut sectors).map_err(Error::io(&path, "reading"))?;
    let (first, second) = sectors.split_at(SECTOR_BYTES);
    let (header, damaged) = match SegmentHeader::decode(first, &path, number, bytes) {
        Ok(header) => (header, (first != second).then_some(1)),
        Err(error) => match SegmentHeader::decode(second, &path, number, bytes) {
            Ok(header) if matches!(error, Error::Damaged { .. }) => (header, Some(0)),
            _ => return Err(error),
        },
    };
    Ok(Opened { file, header, damaged })
}

/// The next segment, under way.
pub struct Spare {
    path: PathBuf,
    file: Box<dyn File>,
    bytes: u64,
    zeroed: u64,
    syncs: Syncs,
}

impl Spare {
    /// How much is filled with zeroes and synced at a time: small enough not to be felt.
    pub const STEP_BYTES: u64 = 1 << 20;

    /// Removes what a crash may have left of a spare.
    pub fn remove(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
        let path = dir.join(SPARE);
        match fs.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io(&path, "removing")),
        }
    }

    /// Begins a new segment of `bytes`.
    pub fn create(fs: &dyn Fs, dir: &Path, bytes: u64, syncs: &Syncs) -> Result<Spare, Error> {
        assert_eq!(bytes % SECTOR_BYTES as u64, 0, "a segment of {bytes} bytes is not made of whole sectors");
        let path = dir.join(SPARE);
        let file = fs.create(&path).map_err(Error::making(&path, bytes, "creating"))?;
        Ok(Spare { path, file, bytes, zeroed: 0, syncs: syncs.clone() })
    }

    /// The length it has when it is done.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much of it is zeroed and synced.
    pub fn zeroed(&self) -> u64 {
        self.zeroed
    }

    /// Fills the next step with zeroes and syncs it.
    pub fn step(&mut self) -> Result<(), Error> {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        let end = self.bytes.min(self.zeroed + Spare::STEP_BYTES);
        let mut at = self.zeroed;
        while at < end {
            let len = usize::try_from(end - at).map_or(ZEROES.len(), |rest| rest.min(ZEROES.len()));
            let written = self.file.write_at(at, &ZEROES[..len]);
            written.map_err(self.making("writing zeroes"))?;
            at += len as u64;
        }
        self.syncs.sync(&*self.file).map_err(self.making("syncing"))?;
        self.zeroed = end;
        Ok(())
    }

    fn making(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::making(&self.path, self.bytes, doing)
    }

    /// Makes it the segment `header.number`: finishes the zeroes, writes the first sector and the preamble, syncs,
    /// renames, syncs the directory. When this returns, the segment is durable.
    pub fn publish(
        mut self,
        fs: &dyn Fs,
        dir: &Path,
        header: &SegmentHeader,
        preamble: &[u8],
    ) -> Result<SharedFile, Error> {
        assert_eq!(header.bytes, self.bytes, "the header of another segment");
        while self.zeroed < self.bytes {
            self.step()?;
        }
        let mut head = header.encode().repeat(2);
        head.extend_from_slice(preamble);
        assert!(head.len() as u64 <= self.bytes, "a preamble of {} bytes does not fit", preamble.len());
        self.file.write_at(0, &head).map_err(self.making("writing the preamble"))?;
        self.syncs.sync(&*self.file).map_err(self.making("syncing"))?;
        let path = path(dir, header.number);
        fs.rename(&self.path, &path).map_err(Error::making(&path, self.bytes, "renaming"))?;
        fs.sync_dir(dir).map_err(Error::io(dir, "syncing the directory"))?;
        Ok(Arc::from(self.file))
    }
}
