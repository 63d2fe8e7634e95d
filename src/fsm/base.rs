//! A base: one state file, opened. The store's sets lie over it, folds go into it, and a snapshot that is installed or
//! a file that was rewritten takes its place whole.
//!
//! All that belongs to the file is here, its latch included: a reader that still holds the base that was replaced may
//! fail with it without a word about the one that counts. redb closes its file when the last handle goes, whatever
//! transactions are left; so whoever holds a transaction holds the base as well.
//!
//! # Free pages
//!
//! redb counts its free pages only on a walk over every page of the file. Instead each fold keeps the sum of what the rows
//! cost ([`cost`]), beside the head, in its own transaction; what the file has beyond that sum is free. How full redb's
//! pages are is a guess, until the file was once written as a whole: then what it took is known, and goes for its later
//! content too. So a file that was just rewritten is never taken for one that needs it.
//!
//! A fold writes a page anew before the old one is free, and a file grows by doubling: one that holds keys written in no
//! order is two thirds free most of the time, and would be so again soon after a rewrite (measured). So what counts for a
//! rewrite is what is free beyond room for a second copy of the rows.

use std::sync::atomic::{AtomicU64, Ordering};

use redb::{AccessGuard, Database, ReadTransaction, ReadableDatabase};

use super::backend::{Checked, Latch};
use super::layout::BLOCK_BYTES;
use super::pin::Pins;
use super::schema::{self, Head, META, META_FOOTPRINT, META_MEMBERSHIP, META_STATE};
use super::schema::{ReplyRow, SessionRow, Table};
use super::sessions::Sessions;
use super::{Error, Options, RawFile};

/// A file below this is never rewritten: redb's own smallest files are of this order.
const REWRITE_FILE_BYTES_MIN: u64 = 8 << 20;

/// What redb keeps with each row in its leaf, and with its page.
const ROW_OVERHEAD_BYTES: usize = 16;

/// One state file and what is known of it.
pub(super) struct Base {
    pub(super) db: Database,
    pub(super) file: Checked,
    pub(super) latch: Latch,
    /// Its readers that last.
    pub(super) pins: Pins,
    /// What the rows cost, as of the last fold.
    footprint: AtomicU64,
    /// The file's bytes and its rows' cost when it was written as a whole, if it was in this process.
    written_whole: Option<(u64, u64)>,
    cache_bytes: usize,
}

/// What the store keeps in memory of a file.
pub(super) struct Loaded {
    pub(super) head: Head,
    pub(super) sessions: Sessions,
}

impl Base {
    /// Opens a file, or makes that of an empty state.
    pub(super) fn open(raw: RawFile, options: &Options) -> Result<(Base, Loaded), Error> {
        let file = Checked::open(raw, options.owner)?;
        if file.is_formed() && file.raw_bytes() <= BLOCK_BYTES as u64 {
            // redb would begin it anew.
            let what = "the file was cut short: it ends behind the superblock".to_owned();
            return Err(Error::Damaged { offset: Some(file.raw_bytes()), what });
        }
        let base = Base::over(file, options.cache_bytes)?;
        if !base.file.is_formed() {
            base.form()?;
            base.file.set_formed()?;
        }
        let loaded = base.load()?;
        Ok((base, loaded))
    }

    /// redb over a file, formed or not.
    pub(super) fn over(file: Checked, cache_bytes: usize) -> Result<Base, Error> {
        let latch = file.latch().clone();
        let db = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(file.clone())
            .map_err(|error| fault(&latch, error))?;
        let (pins, footprint) = (Pins::default(), AtomicU64::new(0));
        Ok(Base { db, file, latch, pins, footprint, written_whole: None, cache_bytes })
    }

    /// Opens the file again, as the last transaction left it that counts, and says how far that is. This base reads and
    /// writes no more; see [`super::undo`].
    pub(super) fn reopen(&self) -> Result<(Base, Head), Error> {
        let file = self.file.reopen()?;
        let mut base = Base::over(file, self.cache_bytes)?;
        base.file.set_reopened();
        base.written_whole = self.written_whole;
        let txn = base.begin_read()?;
        let head = base.head(&txn)?;
        base.load_footprint(&txn)?;
        drop(txn);
        Ok((base, head))
    }

    /// Turns redb's error into ours and latches it.
    pub(super) fn fault(&self, error: impl Into<redb::Error>) -> Error {
        fault(&self.latch, error)
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.db.begin_read().map_err(|error| self.fault(error))
    }

    /// Reads what is kept in memory: the head and the sessions.
    pub(super) fn load(&self) -> Result<Loaded, Error> {
        let txn = self.begin_read()?;
        let head = self.head(&txn)?;
        self.load_footprint(&txn)?;
        let mut sessions = Sessions::default();
        let mut rows = Rows::of(txn, Table::Sessions);
        while let Some((table, key, row)) = rows.next(self)? {
            let (key, row) = (key.value(), row.value());
            load_row(&mut sessions, table, key, row).map_err(|error| self.latch.set(error))?;
        }
        Ok(Loaded { head, sessions })
    }

    fn load_footprint(&self, txn: &ReadTransaction) -> Result<(), Error> {
        let meta = txn.open_table(META).map_err(|error| self.fault(error))?;
        let row = meta.get(META_FOOTPRINT).map_err(|error| self.fault(error))?;
        // A file from before that row was kept is counted once, by a walk; its next fold writes the row.
        let footprint = match row {
            Some(row) => schema::decode_footprint(row.value()).map_err(|error| self.latch.set(error))?,
            None => self.count()?,
        };
        self.set_footprint(footprint);
        Ok(())
    }

    /// What the rows cost, by reading them all.
    fn count(&self) -> Result<u64, Error> {
        let mut rows = Rows::of(self.begin_read()?, Table::Records);
        let mut sum = 0;
        while let Some((_, key, row)) = rows.next(self)? {
            sum += cost(key.value(), row.value());
        }
        Ok(sum)
    }

    /// How far the transaction's state is.
    pub(super) fn head(&self, txn: &ReadTransaction) -> Result<Head, Error> {
        let meta = txn.open_table(META).map_err(|error| self.fault(error))?;
        let state = meta.get(META_STATE).map_err(|error| self.fault(error))?;
        let membership = meta.get(META_MEMBERSHIP).map_err(|error| self.fault(error))?;
        let Some(state) = state else {
            return Err(self.latch.set(schema::broken("state", "there is none")));
        };
        Head::decode(state.value(), membership.as_ref().map(|row| row.value()))
            .map_err(|error| self.latch.set(error))
    }

    /// What the rows of a transaction's state cost.
    pub(super) fn footprint_of(&self, txn: &ReadTransaction) -> Result<u64, Error> {
        let meta = txn.open_table(META).map_err(|error| self.fault(error))?;
        match meta.get(META_FOOTPRINT).map_err(|error| self.fault(error))? {
            Some(row) => schema::decode_footprint(row.value()).map_err(|error| self.latch.set(error)),
            None => Ok(self.footprint()),
        }
    }

    /// What the rows cost, as of the last fold.
    pub(super) fn footprint(&self) -> u64 {
        self.footprint.load(Ordering::Acquire)
    }

    pub(super) fn set_footprint(&self, footprint: u64) {
        self.footprint.store(footprint, Ordering::Release);
    }

    /// Notes that the file holds its rows and nothing else: what it takes now is what they need.
    pub(super) fn set_written_whole(&mut self) {
        self.written_whole = Some((self.file.raw_bytes(), self.footprint()));
    }

    /// Bytes of the file that hold nothing, by the reckoning above.
    pub(super) fn free_bytes(&self) -> u64 {
        self.file.raw_bytes().saturating_sub(self.needed_bytes())
    }

    /// Whether more than half of the file is free though a second copy of its rows were in it.
    pub(super) fn is_mostly_free(&self) -> bool {
        let file_bytes = self.file.raw_bytes();
        let free_bytes = file_bytes.saturating_sub(2 * self.needed_bytes());
        file_bytes >= REWRITE_FILE_BYTES_MIN && free_bytes > file_bytes / 2
    }

    /// What the rows need.
    pub(super) fn needed_bytes(&self) -> u64 {
        let rows = u128::from(self.footprint());
        let (file_then, rows_then) = self.written_whole.map_or((3, 2), |(file, rows)| (file, rows.max(1)));
        let needed = rows * u128::from(file_then) / u128::from(rows_then);
        // A file of next to no rows is all overhead, and says nothing about what more rows need.
        u64::try_from(needed.clamp(rows, 4 * rows)).unwrap_or(u64::MAX / 2)
    }
}

/// What a row takes in the file, in a leaf that is full: redb gives a page of its own, of a power of two, to a row that
/// would not share one.
pub(super) fn cost(key: &[u8], row: &[u8]) -> u64 {
    let bytes = key.len() + row.len() + ROW_OVERHEAD_BYTES;
    match bytes * 2 > BLOCK_BYTES {
        true => bytes.max(BLOCK_BYTES).next_power_of_two() as u64,
        false => bytes as u64,
    }
}

/// The latch knows better than redb what happened below it.
fn fault(latch: &Latch, error: impl Into<redb::Error>) -> Error {
    if let Err(first) = latch.check() {
        return first;
    }
    latch.set(match error.into() {
        redb::Error::Corrupted(what) => Error::Damaged { offset: None, what },
        // redb reads what it has written: something cut it short.
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Damaged { offset: None, what: error.to_string() }
        }
        // Every state has all tables.
        error @ redb::Error::TableDoesNotExist(_) => Error::Damaged { offset: None, what: error.to_string() },
        redb::Error::Io(error) => Error::io(error.to_string(), &error),
        error => Error::Io { what: error.to_string() },
    })
}

/// Takes a row of a session or of a reply over.
fn load_row(sessions: &mut Sessions, table: Table, key: &[u8], row: &[u8]) -> Result<(), Error> {
    match table {
        Table::Records => Ok(()),
        Table::Sessions => {
            sessions.load_session(schema::session_of_key(key)?, SessionRow::decode(row)?);
            Ok(())
        }
        Table::Replies => {
            let (client, seq) = schema::reply_of_key(key)?;
            sessions.load_reply(client, seq, ReplyRow::decode(row)?)
        }
    }
}

pub(super) type Guard = AccessGuard<'static, &'static [u8]>;

/// The rows of one state: table by table, each in key order.
pub(super) struct Rows {
    txn: ReadTransaction,
    table: Option<Table>,
    range: Option<redb::Range<'static, &'static [u8], &'static [u8]>>,
}

impl Rows {
    /// From the beginning of a table to the end of the last one.
    pub(super) fn of(txn: ReadTransaction, first: Table) -> Rows {
        Rows { txn, table: Some(first), range: None }
    }

    /// The next row of the state in `base`.
    pub(super) fn next(&mut self, base: &Base) -> Result<Option<(Table, Guard, Guard)>, Error> {
        base.latch.check()?;
        while let Some(table) = self.table {
            if self.range.is_none() {
                let opened = self.txn.open_table(table.definition()).map_err(|error| base.fault(error))?;
                self.range = Some(opened.range::<&[u8]>(..).map_err(|error| base.fault(error))?);
            }
            let next = self.range.as_mut().and_then(Iterator::next);
            if let Some((key, row)) = next.transpose().map_err(|error| base.fault(error))? {
                return Ok(Some((table, key, row)));
            }
            (self.table, self.range) = (table.next(), None);
        }
        Ok(None)
    }
}
