//! What a snapshot is on the wire: a manifest, and chunks.
//!
//! ```text
//! manifest
//!   0  format version u32    4  schema version u32
//!   8  applied index u64    16  applied term u64    24  revision u64    32  group time u64    40  keys u64
//!  48  state hash u128      64  what the rows cost in a state file, in bytes u64
//!  72  1 if there is a membership u8           73  its bytes, to the end - 4
//!  end - 4  CRC-32 over all before it
//!
//! chunk, at most 1 MiB                                     (the first one has number 0)
//!   0  format version u8     1  flags u8: 1 compressed, 2 the trailer    2  zero u16
//!   4  length of the content when it is not compressed u32
//!   8  CRC-32 over (chunk number u64, bytes 0..8, content as it is sent) u32
//!  12  content: a piece of the stream, compressed as one LZ4 block if the flag says so
//!
//! stream: the rows of the tables records, sessions, replies, in this order, each in the order of its keys
//!   table u8: 0, 1, 2 | length of the key u32 | length of the row u32 | key | row          (see schema)
//!
//! content of the trailer, never compressed
//!   0  rows of records u64    8  rows of sessions u64    16  rows of replies u64    24  bytes of the stream u64
//!  32  XXH3-128 over (manifest, stream) u128
//! ```
//! All integers are little endian. The stream is cut wherever a chunk is full: a row may begin in one chunk and end in
//! another, or span several. A chunk does not say its number; who expects it at another place finds its CRC wrong.

use bytes::Bytes;

use crate::fsm::Error;
use crate::fsm::schema::{Head, SCHEMA_VERSION};
use crate::types::{Index, Revision, Term};

/// The most that an encoded chunk takes, its header included.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The version of the layout above.
const FORMAT_VERSION: u8 = 1;

/// The bytes of a chunk before its content.
pub(in crate::fsm) const HEADER_BYTES: usize = 12;

/// The most of the stream that one chunk carries.
pub(in crate::fsm) const CONTENT_BYTES_MAX: usize = CHUNK_BYTES_MAX - HEADER_BYTES;

const FLAG_COMPRESSED: u8 = 1;
const FLAG_TRAILER: u8 = 2;

/// A manifest without a membership.
const MANIFEST_BYTES_MIN: usize = 77;

/// A manifest with the greatest membership that is believed.
const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// A row's table and lengths.
pub(in crate::fsm) const ROW_HEADER_BYTES: usize = 9;

/// No key is longer. (What clients may write is bounded far below, by the configuration.)
const KEY_BYTES_MAX: usize = 1 << 20;

/// No row is longer.
const ROW_BYTES_MAX: usize = 1 << 30;

/// What a snapshot is of: all of the state that is not in its rows, and what the rows must add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The last applied entry.
    pub applied: (Index, Term),
    /// The revision of the last write transaction.
    pub revision: Revision,
    /// Group time.
    pub group_time_ms: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The state hash.
    pub hash: u128,
    /// What the rows cost in a state file: whoever has no room for it need not begin.
    pub cost_bytes: u64,
    /// The last applied membership, as its entry carried it.
    pub membership: Option<Bytes>,
}

impl Manifest {
    pub(in crate::fsm) fn of(head: &Head, cost_bytes: u64) -> Manifest {
        let Head { applied, revision, group_time_ms, keys, hash, membership } = head.clone();
        Manifest { applied, revision, group_time_ms, keys, hash, cost_bytes, membership }
    }

    pub(in crate::fsm) fn head(&self) -> Head {
        let Manifest { applied, revision, group_time_ms, keys, hash, membership, .. } = self.clone();
        Head { applied, revision, group_time_ms, keys, hash, membership }
    }

    pub(in crate::fsm) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(MANIFEST_BYTES_MIN);
        out.extend_from_slice(&u32::from(FORMAT_VERSION).to_le_bytes());
        out.extend_from_slice(&SCHEMA_VERSION.to_le_bytes());
        let numbers = [self.applied.0.0, self.applied.1.0, self.revision.0, self.group_time_ms, self.keys];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.cost_bytes.to_le_bytes());
        out.push(u8::from(self.membership.is_some()));
        out.extend_from_slice(self.membership.as_deref().unwrap_or_default());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        Bytes::from(out)
    }

    /// Reads a manifest that came from another node.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if it is damaged, of another version, or says what no state can be.
    pub fn decode(bytes: &Bytes) -> Result<Manifest, Error> {
        if !(MANIFEST_BYTES_MIN..=MANIFEST_BYTES_MAX).contains(&bytes.len()) {
            return Err(refused(format!("a manifest of {} bytes", bytes.len())));
        }
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err(refused("the checksum of the manifest does not match".to_owned()));
        }
        check_version("format", u32_at(body, 0), FORMAT_VERSION.into())?;
        check_version("schema", u32_at(body, 4), SCHEMA_VERSION)?;
        let membership = bytes.slice(73..body.len());
        let manifest = Manifest {
            applied: (Index(u64_at(body, 8)), Term(u64_at(body, 16))),
            revision: Revision(u64_at(body, 24)),
            group_time_ms: u64_at(body, 32),
            keys: u64_at(body, 40),
            hash: u128_at(body, 48),
            cost_bytes: u64_at(body, 64),
            membership: match body[72] {
                0 if membership.is_empty() => None,
                // A copy: the slice would keep the whole message alive, for as long as the state.
                1 => Some(Bytes::copy_from_slice(&membership)),
                flag => return Err(refused(format!("a membership of {} with {flag}", membership.len()))),
            },
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether there can be such a state.
    fn check(&self) -> Result<(), Error> {
        let (index, term) = self.applied;
        // Each revision after the first was an entry; keys and hash come with revisions.
        let is_possible = (index.0 == 0) == (term.0 == 0)
            && self.revision >= Revision::EMPTY
            && self.revision.0 - Revision::EMPTY.0 <= index.0
            && (self.keys > 0 || self.hash == 0)
            && (self.revision > Revision::EMPTY || self.keys == 0);
        match is_possible {
            true => Ok(()),
            false => Err(refused(format!(
                "a state of {} keys at revision {}, index {index} and term {term}, which there cannot be",
                self.keys, self.revision
            ))),
        }
    }
}

/// What the whole stream must have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fsm) struct Trailer {
    /// Rows, by table.
    pub rows: [u64; 3],
    /// Bytes of the stream.
    pub bytes: u64,
    /// The hash over manifest and stream.
    pub hash: u128,
}

const TRAILER_BYTES: usize = 48;

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        for (at, number) in self.rows.iter().chain([&self.bytes]).enumerate() {
            out[at * 8..at * 8 + 8].copy_from_slice(&number.to_le_bytes());
        }
        out[32..].copy_from_slice(&self.hash.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; TRAILER_BYTES]) -> Trailer {
        let rows = [u64_at(bytes, 0), u64_at(bytes, 8), u64_at(bytes, 16)];
        Trailer { rows, bytes: u64_at(bytes, 24), hash: u128_at(bytes, 32) }
    }
}

/// A chunk's content, taken out of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::fsm) enum Content {
    /// The next piece of the stream is in the buffer.
    Piece,
    /// The stream is over.
    End(Trailer),
}

/// Encodes a piece of the stream as a chunk: compressed if `compressed` pays, as it stands otherwise.
pub(in crate::fsm) fn encode_piece(number: u64, piece: &[u8], compressed: &mut Vec<u8>) -> Bytes {
    assert!((1..=CONTENT_BYTES_MAX).contains(&piece.len()), "a piece of {} bytes", piece.len());
    compressed.resize(lz4_flex::block::get_maximum_output_size(piece.len()), 0);
    // What would not fit is not worth sending either.
    let packed = lz4_flex::block::compress_into(piece, compressed).unwrap_or(usize::MAX);
    match packed <= piece.len() - piece.len() / 8 && packed < piece.len() {
        true => encode(number, FLAG_COMPRESSED, piece.len(), &compressed[..packed]),
        false => encode(number, 0, piece.len(), piece),
    }
}

/// Encodes the last chunk.
pub(in crate::fsm) fn encode_trailer(number: u64, trailer: &Trailer) -> Bytes {
    encode(number, FLAG_TRAILER, TRAILER_BYTES, &trailer.encode())
}

fn encode(number: u64, flags: u8, bytes: usize, content: &[u8]) -> Bytes {
    let mut chunk = Vec::with_capacity(HEADER_BYTES + content.len());
    chunk.extend_from_slice(&[FORMAT_VERSION, flags, 0, 0]);
    let bytes = u32::try_from(bytes).expect("a chunk is at most 1 MiB");
    chunk.extend_from_slice(&bytes.to_le_bytes());
    chunk.extend_from_slice(&chunk_crc(number, &chunk, content).to_le_bytes());
    chunk.extend_from_slice(content);
    Bytes::from(chunk)
}

pub(in crate::fsm) fn chunk_crc(number: u64, head: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(head);
    hasher.update(content);
    hasher.finalize()
}

/// Decodes the chunk that is to be the `number`th, and appends its piece of the stream to `out`.
pub(in crate::fsm) fn decode(number: u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<Content, Error> {
    let refused = |what: String| refused(format!("chunk {number}: {what}"));
    if chunk.len() <= HEADER_BYTES || chunk.len() > CHUNK_BYTES_MAX {
        return Err(refused(format!("it has {} bytes", chunk.len())));
    }
    let (header, content) = chunk.split_at(HEADER_BYTES);
    if u32_at(header, 8) != chunk_crc(number, &header[..8], content) {
        return Err(refused("its checksum does not match: it is damaged, or not the one that is due".into()));
    }
    check_version("format", header[0].into(), FORMAT_VERSION.into())?;
    let bytes = u32_at(header, 4) as usize;
    let is_whole = bytes == content.len();
    match (header[1], &header[2..4]) {
        (0, [0, 0]) if is_whole => out.extend_from_slice(content),
        (FLAG_COMPRESSED, [0, 0]) if (1..=CONTENT_BYTES_MAX).contains(&bytes) => {
            let begin = out.len();
            out.resize(begin + bytes, 0);
            let unpacked = lz4_flex::block::decompress_into(content, &mut out[begin..])
                .map_err(|error| refused(format!("it cannot be decompressed: {error}")))?;
            if unpacked != bytes {
                return Err(refused(format!("{bytes} bytes were announced, {unpacked} came out")));
            }
        }
        (FLAG_TRAILER, [0, 0]) if is_whole => {
            let content = content.try_into().map_err(|_| refused(format!("a trailer of {bytes} bytes")))?;
            return Ok(Content::End(Trailer::decode(content)));
        }
        (flags, _) => return Err(refused(format!("flags {flags:#04x} and {bytes} bytes make no sense"))),
    }
    Ok(Content::Piece)
}

/// Appends a row to the stream.
pub(in crate::fsm) fn encode_row(out: &mut Vec<u8>, table: u8, key: &[u8], row: &[u8]) {
    out.push(table);
    for bytes in [key.len(), row.len()] {
        out.extend_from_slice(&u32::try_from(bytes).expect("a row is below 1 GiB").to_le_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(row);
}

/// A row's table and the lengths of its key and row, before any byte of them is waited for.
pub(in crate::fsm) fn decode_row_header(
    header: &[u8; ROW_HEADER_BYTES],
) -> Result<(u8, usize, usize), Error> {
    let (key, row) = (u32_at(header, 1) as usize, u32_at(header, 5) as usize);
    if key == 0 || key > KEY_BYTES_MAX || row == 0 || row > ROW_BYTES_MAX {
        return Err(refused(format!("a key of {key} bytes with a row of {row}")));
    }
    Ok((header[0], key, row))
}

pub(in crate::fsm) fn refused(what: String) -> Error {
    Error::Snapshot { what }
}

fn check_version(what: &str, found: u32, known: u32) -> Result<(), Error> {
    match found == known {
        true => Ok(()),
        false => Err(refused(format!("{what} version {found}, this binary reads {known}"))),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}
