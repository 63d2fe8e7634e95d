//! A file that is being written to take the state file's place: by a snapshot that comes in, or by a rewrite.
//!
//! Until its superblock says that it is formed it is no state: [`super::backend`] empties such a file when it is opened.
//! And until the log points to it, nobody opens it at all. So its rows go in without a sync for each, and whatever goes
//! wrong with it is an [`Error::Staged`]: the file is given up, and the state is as it was.
//!
//! Memory is bounded by redb's cache and by one transaction ([`TRANSACTION_BYTES`] and a row). Now and then a transaction
//! is durable, since redb remembers every page that it wrote since the last one that was.
//!
//! When all rows are in, redb's database is closed and opened again: only a closing gives the unused tail of the file
//! back, and what was opened once will be after the next restart.

use redb::{Durability, WriteTransaction};

use super::backend::Checked;
use super::base::{Base, cost};
use super::fold::{commit, write_head};
use super::schema::{Head, Table};
use super::{Error, Options, RawFile};

/// What a transaction may insert before it is committed.
pub(super) const TRANSACTION_BYTES: usize = 2 << 20;

/// How many transactions there may be between two durable ones.
const TRANSACTIONS_UNSYNCED_MAX: u32 = 64;

/// A file that is not formed yet.
pub(super) struct Stage {
    base: Base,
    options: Options,
    /// What the rows cost that are in.
    footprint: u64,
    /// Transactions since the last durable one.
    unsynced: u32,
}

impl Stage {
    /// Begins the file, which must be empty or never formed.
    pub(super) fn begin(raw: RawFile, options: &Options) -> Result<Stage, Error> {
        let file = Checked::open(raw, options.owner).map_err(staged)?;
        if file.is_formed() {
            return Err(Error::Staged { what: "it is a state file already".to_owned() });
        }
        let base = Base::over(file, options.cache_bytes).map_err(staged)?;
        Ok(Stage { base, options: options.clone(), footprint: 0, unsynced: 0 })
    }

    /// Inserts rows, all or none. They are not durable yet.
    pub(super) fn insert(
        &mut self,
        rows: impl FnOnce(&mut Inserter<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fault = |error: redb::Error| staged(self.base.fault(error));
        let mut txn = self.base.db.begin_write().map_err(|error| fault(error.into()))?;
        self.unsynced += 1;
        let is_durable = self.unsynced >= TRANSACTIONS_UNSYNCED_MAX;
        let durability = if is_durable { Durability::Immediate } else { Durability::None };
        txn.set_durability(durability).map_err(|error| fault(error.into()))?;
        let mut inserter = Inserter { base: &self.base, txn: &txn, cost: 0 };
        rows(&mut inserter)?;
        let added = inserter.cost;
        txn.commit().map_err(|error| fault(error.into()))?;
        if is_durable {
            self.unsynced = 0;
        }
        self.footprint += added;
        Ok(())
    }

    /// Adds the head to the rows, makes all of it durable, and opens it. It is still not formed.
    pub(super) fn settle(self, head: &Head) -> Result<Base, Error> {
        let Stage { base, options, footprint, .. } = self;
        commit(&base.db, |txn| {
            // Also those that have no row yet.
            for table in [Table::Records, Table::Sessions, Table::Replies] {
                txn.open_table(table.definition())?;
            }
            write_head(txn, head, footprint)
        })
        .map_err(|error| staged(base.fault(error)))?;
        let Base { db, file, latch, .. } = base;
        drop(db);
        // redb has no word for an error while it closes.
        latch.check().map_err(staged)?;
        let mut base = Base::over(file, options.cache_bytes).map_err(staged)?;
        base.set_footprint(footprint);
        base.set_written_whole();
        Ok(base)
    }
}

/// Inserts rows in one transaction.
pub(super) struct Inserter<'a> {
    base: &'a Base,
    txn: &'a WriteTransaction,
    cost: u64,
}

impl Inserter<'_> {
    /// Inserts a row that was not there.
    pub(super) fn insert(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), Error> {
        let mut rows =
            self.txn.open_table(table.definition()).map_err(|error| staged(self.base.fault(error)))?;
        let before = rows.insert(key, row).map_err(|error| staged(self.base.fault(error)))?;
        assert!(before.is_none(), "a key of {table:?} came twice");
        self.cost += cost(key, row);
        Ok(())
    }
}

/// An error of a file that nobody points to.
pub(super) fn staged(error: Error) -> Error {
    match error {
        Error::Snapshot { .. } | Error::Staged { .. } | Error::GivenUp { .. } | Error::Undone { .. } => error,
        Error::NoRoom { what } => Error::GivenUp { what },
        error => Error::Staged { what: error.to_string() },
    }
}
