//! Snapshots: the whole state on its way to a node that needs entries the log no longer has.
//!
//! ```text
//!  sender    Store::snapshot -> manifest, next_chunk, next_chunk, ... trailer        one redb read transaction
//!                                   |          |                       |
//!  receiver  Builder::begin ------ add ------ add ------ ... -------- finish -> Fresh -> Store::install
//!            a new file, unformed                        formed                          readers see it
//! ```
//!
//! The sender reads the state of the last fold, a row at a time, while everything goes on. The receiver writes a file of
//! its own that nobody points to; when it is whole, the node makes the log's pointer to it durable, and only then is
//! it installed. So a crash at any step leaves one state or the other, never a mixture, and what was there is
//! *replaced*: nothing of it can survive in a file that never held it (H27, H29).
//!
//! # What is checked
//!
//! Each chunk has a CRC that covers its place. The trailer has a hash over manifest and stream and the number of rows.
//! Keys must ascend, so that no row comes twice; and count and state hash of the rows must be what the manifest says,
//! which was kept by applying and not by reading: a sender that lost or mixed up rows on its way is found as well.
//! Whatever fails is an [`Error::Snapshot`], which says that this transfer was in vain and nothing else.
//!
//! # Memory
//!
//! The sender holds a chunk and a row; the receiver a chunk, a row that is not whole yet, the cache of redb, and the
//! sessions, as every node does. A length that is announced allocates nothing: memory grows with bytes that came.
//!
//! # Compression
//!
//! Each chunk is an LZ4 block where that saves an eighth or more, and plain where it does not. Measured on this stream,
//! optimised, one core, against copying and summing a chunk alone: rows with small JSON documents shrink to 46 %, at a
//! tenth of the speed (370-430 MB/s, unpacked at 1.4-2 GB/s); rows with 1 KiB of noise would shrink to 97 % and are sent
//! plain, but for the attempt, at a seventh of it (520-580 MB/s). Even the slowest is three times what a gigabit carries:
//! where the network is the bottleneck it pays, elsewhere it does not matter.
//!
//! # What it costs
//!
//! A read transaction pins the pages that folds would free, for as long as it lives, and the file grows instead. Who begins a
//! snapshot says by how much it may; a fold that finds that it has grown by more ends the snapshot before it writes, and the next
//! chunk is an [`Error::Revoked`] (see [`super::pin`]). When all rows have been read nothing is pinned any more.
//!
//! # What it does not do
//!
//! It does not resume: a transfer that broke off begins anew, at the state of then. And it knows no clock: who drives a
//! transfer must drop a [`Snapshot`] that no longer makes progress. While nothing is folded it costs nothing, but on a file that
//! another one replaced it keeps that file open.

mod builder;
pub(super) mod format;
mod install;

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

pub use builder::Builder;
pub use format::{CHUNK_BYTES_MAX, Manifest};
pub use install::Fresh;

use super::base::{Base, Rows};
use super::pin::Pin;
use super::schema::Table;
use super::{Error, Store};
use crate::types::{Index, Term};
use format::{CONTENT_BYTES_MAX, Trailer};

impl Store {
    /// The state as of the last fold, to be sent. A fold ends it, and calls `on_revoked`, if the file has grown by more than
    /// `growth_bytes_max` on the disk meanwhile, unless all has been read by then.
    ///
    /// # Errors
    /// Any error of the file.
    pub fn snapshot(
        &self,
        growth_bytes_max: u64,
        on_revoked: impl FnOnce() + Send + 'static,
    ) -> Result<Snapshot, Error> {
        let (base, txn, written_bytes, manifest) = self.shared.reading(|| {
            let base = self.shared.base();
            base.latch.check()?;
            let written_bytes = base.file.written_bytes();
            let txn = base.begin_read()?;
            // From the transaction and not from the view: a fold may be durable and not known there yet.
            let manifest = Manifest::of(&base.head(&txn)?, base.footprint_of(&txn)?);
            Ok((base, txn, written_bytes, manifest))
        })?;
        let rows = Rows::of(txn, Table::Records);
        let pin = base.pins.add(rows, written_bytes, growth_bytes_max, Box::new(on_revoked));
        let encoded = manifest.encode();
        let mut hasher = Xxh3::new();
        hasher.update(&encoded);
        Ok(Snapshot {
            pin,
            base,
            manifest,
            encoded,
            row: Vec::new(),
            row_sent: 0,
            piece: Vec::new(),
            compressed: Vec::new(),
            hasher: Box::new(hasher),
            trailer: Trailer::default(),
            number: 0,
            is_over: false,
        })
    }
}

/// A state on its way out. The same state gives the same manifest and the same chunks, on every node.
pub struct Snapshot {
    /// Before `base`, whose database must outlive the transaction in it.
    pin: Arc<Pin>,
    base: Arc<Base>,
    manifest: Manifest,
    encoded: Bytes,
    /// The row that is being sent, encoded.
    row: Vec<u8>,
    /// How much of it is in earlier chunks.
    row_sent: usize,
    /// The piece of the stream that becomes the next chunk.
    piece: Vec<u8>,
    /// Where it is compressed.
    compressed: Vec<u8>,
    hasher: Box<Xxh3>,
    /// What was sent so far; the hash is added last.
    trailer: Trailer,
    /// The number of the next chunk.
    number: u64,
    is_over: bool,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("manifest", &self.manifest).field("number", &self.number).finish()
    }
}

impl Snapshot {
    /// How far the state is.
    pub fn applied(&self) -> (Index, Term) {
        self.manifest.applied
    }

    /// What the receiver must have before the first chunk.
    pub fn manifest(&self) -> Bytes {
        self.encoded.clone()
    }

    /// The next chunk, at most [`CHUNK_BYTES_MAX`] long; `None` after the last. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Revoked`] if it has ended before its time, [`Error::Undone`] if the file was full meanwhile, and is opened again:
    /// another snapshot is to be begun. Any other error of the file; it is latched, as for any other reader.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.is_over {
            return Ok(None);
        }
        self.fill().map_err(Error::undone)?;
        let number = self.number;
        self.number += 1;
        if self.piece.is_empty() {
            self.is_over = true;
            self.trailer.hash = self.hasher.digest128();
            return Ok(Some(format::encode_trailer(number, &self.trailer)));
        }
        self.hasher.update(&self.piece);
        self.trailer.bytes += self.piece.len() as u64;
        let chunk = format::encode_piece(number, &self.piece, &mut self.compressed);
        self.piece.clear();
        Ok(Some(chunk))
    }

    /// Fills the next piece, as far as there are rows.
    fn fill(&mut self) -> Result<(), Error> {
        let mut rows = self.pin.reading()?;
        loop {
            let rest = &self.row[self.row_sent..];
            let fits = rest.len().min(CONTENT_BYTES_MAX - self.piece.len());
            self.piece.extend_from_slice(&rest[..fits]);
            self.row_sent += fits;
            if self.row_sent < self.row.len() || self.piece.len() == CONTENT_BYTES_MAX {
                return Ok(());
            }
            self.row.clear();
            self.row_sent = 0;
            let row = &mut self.row;
            let shown = rows.next(&self.base, |table, key, value| {
                format::encode_row(row, table as u8, key, value);
                table
            })?;
            let Some(table) = shown else { return Ok(()) };
            self.trailer.rows[table as usize] += 1;
        }
    }
}
