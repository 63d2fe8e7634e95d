//! The receiver's side: chunks become a new state file.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::Fresh;
use super::format::{self, Content, Manifest, ROW_HEADER_BYTES, Trailer, refused};
use crate::codec;
use crate::fsm::schema::{self, ReplyRow, SessionRow, Table};
use crate::fsm::stage::{Inserter, Stage, staged};
use crate::fsm::{Error, Options, RawFile, hash};
use crate::types::{Index, Term};

/// A state file in the making. Dropped before it is finished, it leaves a file that is no state.
pub struct Builder {
    stage: Stage,
    stream: Stream,
    /// What ended it: a builder that failed never goes on.
    failed: Option<Error>,
}

/// The stream as far as it came.
struct Stream {
    manifest: Manifest,
    /// The number of the chunk that is due.
    number: u64,
    /// Bytes of the stream that are no whole row yet.
    rest: Vec<u8>,
    /// The last row's table and key: the next one must be greater.
    last: Option<(Table, Vec<u8>)>,
    hasher: Box<Xxh3>,
    /// What came so far; without the hash.
    seen: Trailer,
    /// The sum over the records that came: see [`crate::fsm::hash`].
    sum: u128,
    is_over: bool,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stream { manifest, number, .. } = &self.stream;
        f.debug_struct("Builder").field("manifest", manifest).field("number", number).finish()
    }
}

impl Builder {
    /// Begins a file of `options.owner` in `raw`, which must be empty or never have been formed.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if the manifest is no good, [`Error::Staged`] if the file's disk fails.
    pub fn begin(raw: RawFile, options: Options, manifest: &Bytes) -> Result<Builder, Error> {
        let mut hasher = Xxh3::new();
        hasher.update(manifest);
        let manifest = Manifest::decode(manifest)?;
        let stream = Stream {
            manifest,
            number: 0,
            rest: Vec::new(),
            last: None,
            hasher: Box::new(hasher),
            seen: Trailer::default(),
            sum: 0,
            is_over: false,
        };
        Ok(Builder { stage: Stage::begin(raw, &options)?, stream, failed: None })
    }

    /// How far the state will be.
    pub fn applied(&self) -> (Index, Term) {
        self.stream.manifest.applied
    }

    /// Takes the next chunk. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if it is damaged or not the one that is due, [`Error::Staged`] if the file's disk fails. The
    /// builder is of no use after either: every later call gives the same error.
    pub fn add(&mut self, chunk: &Bytes) -> Result<(), Error> {
        self.check()?;
        let Builder { stage, stream, failed } = self;
        stream.add(chunk, stage).inspect_err(|error| *failed = Some(error.clone()))
    }

    /// Compares everything with what it must add up to, and makes the file a state that may be pointed to. Durable when
    /// it returns. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Snapshot`] if something is missing or not as the manifest and the trailer say, [`Error::Staged`] if the
    /// file's disk fails.
    pub fn finish(self) -> Result<Fresh, Error> {
        self.check()?;
        let Builder { stage, stream, .. } = self;
        stream.check()?;
        let head = stream.manifest.head();
        let base = stage.settle(&head)?;
        // The rows of the sessions are read here for the first time, and what does not fit together is found.
        let loaded = base.load().map_err(|error| match error {
            Error::Damaged { what, .. } => refused(what),
            Error::Version { found, known } => refused(format!("row format {found}, known is {known}")),
            error => staged(error),
        })?;
        assert_eq!(loaded.head, head, "what was written is not what is read");
        base.file.set_formed().map_err(staged)?;
        Ok(Fresh::new(base, loaded))
    }

    fn check(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

impl Stream {
    fn add(&mut self, chunk: &[u8], stage: &mut Stage) -> Result<(), Error> {
        if self.is_over {
            return Err(refused("a chunk after the trailer".to_owned()));
        }
        let before = self.rest.len();
        let content = format::decode(self.number, chunk, &mut self.rest)?;
        self.number += 1;
        if let Content::End(trailer) = content {
            return self.end(&trailer);
        }
        let piece = &self.rest[before..];
        self.hasher.update(piece);
        self.seen.bytes += piece.len() as u64;
        let mut taken = 0;
        stage.insert(|inserter| {
            while let Some(bytes) = self.next_row(taken, inserter)? {
                taken += bytes;
            }
            Ok(())
        })?;
        self.rest.drain(..taken);
        Ok(())
    }

    /// Takes the row that begins at `at` in the rest, if it is whole; returns how long it is with its header.
    fn next_row(&mut self, at: usize, inserter: &mut Inserter<'_>) -> Result<Option<usize>, Error> {
        let Some((header, rest)) = self.rest[at..].split_first_chunk::<ROW_HEADER_BYTES>() else {
            return Ok(None);
        };
        let (number, key_bytes, row_bytes) = format::decode_row_header(header)?;
        let table = Table::of_number(number).ok_or_else(|| refused(format!("a row of table {number}")))?;
        let Some(pair) = rest.get(..key_bytes + row_bytes) else { return Ok(None) };
        let (key, row) = pair.split_at(key_bytes);
        if let Some((last_table, last)) = &self.last
            && (*last_table as u8, last.as_slice()) >= (number, key)
        {
            return Err(refused(format!("the key {key:?} of {table:?} is not after the one before it")));
        }
        check_row(table, key, row)?;
        if table == Table::Records {
            self.sum = self.sum.wrapping_add(hash::pair(key, row));
        }
        inserter.insert(table, key, row)?;
        self.seen.rows[table as usize] += 1;
        let (_, last) = self.last.get_or_insert_with(|| (table, Vec::new()));
        last.clear();
        last.extend_from_slice(key);
        self.last = self.last.take().map(|(_, key)| (table, key));
        Ok(Some(ROW_HEADER_BYTES + pair.len()))
    }

    fn end(&mut self, trailer: &Trailer) -> Result<(), Error> {
        if !self.rest.is_empty() {
            return Err(refused(format!("the last row lacks bytes: {} of it came", self.rest.len())));
        }
        self.seen.hash = self.hasher.digest128();
        if self.seen != *trailer {
            return Err(refused(format!("{:?} came, the trailer says {trailer:?}", self.seen)));
        }
        self.is_over = true;
        Ok(())
    }

    /// Whether all came, and adds up.
    fn check(&self) -> Result<(), Error> {
        let Manifest { keys, hash, .. } = self.manifest;
        if !self.is_over {
            return Err(refused(format!("it ends after {} chunks, without a trailer", self.number)));
        }
        if (self.seen.rows[Table::Records as usize], self.sum) != (keys, hash) {
            return Err(refused(format!(
                "{} keys with the state hash {:032x} came, the manifest says {keys} with {hash:032x}",
                self.seen.rows[0], self.sum
            )));
        }
        Ok(())
    }
}

/// Whether a row can be read: what a reader would stop the node for must not get in.
fn check_row(table: Table, key: &[u8], row: &[u8]) -> Result<(), Error> {
    let checked = match table {
        Table::Records if key.len() < schema::KEYSPACE_BYTES => {
            return Err(refused(format!("a record under a key of {} bytes", key.len())));
        }
        Table::Records => codec::decode_record_header(row).map(drop).map_err(|error| error.to_string()),
        Table::Sessions => schema::session_of_key(key)
            .and(SessionRow::decode(row).map(drop))
            .map_err(|error| error.to_string()),
        Table::Replies => {
            schema::reply_of_key(key).and(ReplyRow::decode(row).map(drop)).map_err(|error| error.to_string())
        }
    };
    checked.map_err(|error| refused(format!("a row of {table:?}: {error}")))
}
