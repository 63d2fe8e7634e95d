//! Folding: the write set goes into redb, in one durable transaction.
//!
//! The set is frozen first, by whoever sees that a fold is due: the applier gets a fresh one at once and never waits for
//! the disk. Until the frozen set is written, readers and the applier go on looking into it; only when the transaction is
//! durable is it dropped.
//!
//! The transaction is committed in two phases with redb's allocator state in it ("quick repair"). Both matter: with
//! two phases the header on disk never refers to a page that was not synced, on which [`super::backend`]'s
//! crash-safety rests; with the allocator state in it, opening after a crash does not walk the whole file, nor does opening
//! it again after a full disk ([`super::undo`]).
//!
//! # Two transactions
//!
//! After a durable commit redb frees the pages that it replaced, in a commit of its own that is not durable. Its pages stay in
//! the write buffer until the next durable commit, that is, until the end of the next fold; and as long as there are such, a
//! reader that misses redb's cache looks into that buffer first, and makes room in the cache by writing pages out of it. So
//! readers, the applier among them, waited for the locks under which a fold writes and syncs, and wrote and synced its pages
//! themselves (measured: 5,800 writes and 87 syncs of the state file by the threads that serve requests, within 8 s of folds).
//!
//! So a reader is held over the commit, which keeps redb from freeing anything behind it, and a second transaction without
//! any change frees it then, durably. Between folds the buffer is empty, and nobody but a fold ever writes.

use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, Table as Opened, WriteTransaction};

use super::base::{Base, cost};
use super::schema::{self, Head, META, META_FOOTPRINT, META_MEMBERSHIP, META_STATE, Table};
use super::store::Frozen;
use super::write_set::{Change, WriteSet};
use super::{Error, Store};
use crate::types::{Index, Term};

impl Store {
    /// Sets the write set aside for the next [`Store::fold`]: what is applied from now on goes into a fresh one. Nothing
    /// if one is set aside already, or redb is as far as it.
    pub fn freeze(&self) {
        drop(self.set_aside());
    }

    /// Makes durable in the file what was set aside, or else all that was applied when this is called, and returns how
    /// far that is. Blocks on the disk. Without anything new it writes nothing.
    ///
    /// # Errors
    /// [`Error::Undone`] if there was no room for it: nothing has changed, what was set aside still is, and it may be tried
    /// again. Any other error of the file; it is latched. The frozen set stays visible to readers.
    pub fn fold(&self) -> Result<(Index, Term), Error> {
        let shared = &*self.shared;
        let folding = shared.folding();
        shared.undo(&folding)?;
        let Some((base, frozen)) = self.set_aside() else { return Ok(self.folded()) };
        // First into the copy that may be the one a restart opens: what `folded` says is in both.
        folding.fold(&base, &frozen)?;
        let written = base.fold(&frozen);
        if base.latch.is_full() {
            shared.undo(&folding)?;
            let folded = self.folded();
            // The commit may have come before the write that found no room; or another state did.
            return if folded >= frozen.head.applied { Ok(folded) } else { Err(base.latch.undone()) };
        }
        written?;
        let folded = frozen.head.applied;
        {
            // A batch holds the set while it runs, and whoever lets go of it last frees it, which takes a while: with
            // no batch under way that is this thread, or a list's, and not the applier.
            let _no_batch_is_under_way = shared.applier();
            let mut view = shared.view_mut();
            if !Arc::ptr_eq(&view.base, &base) {
                // A snapshot was installed meanwhile: what was folded belongs to a state that is gone.
                return Ok(view.folded);
            }
            drop(view.take_frozen(folded));
        }
        // The set is freed here, outside the lock: that takes a while.
        drop(frozen);
        Ok(folded)
    }

    /// The set that is set aside, if need be now, and the file it goes into; `None` if redb is as far as the write set.
    fn set_aside(&self) -> Option<(Arc<Base>, Arc<Frozen>)> {
        let _no_batch_is_under_way = self.shared.applier();
        let mut view = self.shared.view_mut();
        let base = view.base.clone();
        if let Some(frozen) = &view.frozen {
            return Some((base, frozen.clone()));
        }
        if view.head.applied == view.folded {
            assert!(view.active.is_empty(), "changes without an entry that made them");
            return None;
        }
        base.file.set_hurried(false);
        let set = std::mem::take(&mut view.active);
        let frozen = Arc::new(Frozen { set, head: view.head.clone() });
        view.frozen = Some(frozen.clone());
        Some((base, frozen))
    }
}

impl Base {
    /// Makes the tables and the head of an empty store.
    pub(super) fn form(&self) -> Result<(), Error> {
        self.fold(&Frozen { set: WriteSet::default(), head: Head::empty() })
    }

    /// Makes a set durable, with the head it leads to.
    pub(super) fn fold(&self, frozen: &Frozen) -> Result<(), Error> {
        self.revoke_pins()?;
        let mut footprint = self.footprint();
        commit(&self.db, |txn| {
            footprint = write(txn, frozen, footprint)?;
            Ok(())
        })
        .map_err(|error| self.fault(error))?;
        self.set_footprint(footprint);
        Ok(())
    }

    /// Ends the readers that cost too much, and frees what was kept for them: see [`super::pin`].
    fn revoke_pins(&self) -> Result<(), Error> {
        match self.pins.revoke(self.file.written_bytes()) {
            true => free_replaced(&self.db).map_err(|error| self.fault(error)),
            false => Ok(()),
        }
    }
}

/// Makes changes durable in one transaction, and gives the pages that it replaced back in another: see the [module](self).
pub(super) fn commit(
    db: &Database,
    write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let kept = db.begin_read()?;
    let txn = begin_durable(db)?;
    write(&txn)?;
    txn.commit()?;
    drop(kept);
    free_replaced(db)
}

/// Frees the pages that were replaced and that no reader needs any more.
fn free_replaced(db: &Database) -> Result<(), redb::Error> {
    begin_durable(db)?.commit()?;
    Ok(())
}

fn begin_durable(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    // Implies two-phase commit.
    txn.set_quick_repair(true);
    Ok(txn)
}

/// Writes a set over rows that cost `footprint`, and returns what they cost then.
fn write(txn: &WriteTransaction, frozen: &Frozen, footprint: u64) -> Result<u64, redb::Error> {
    let mut footprint = footprint;
    for table in [Table::Records, Table::Sessions, Table::Replies] {
        let mut rows = txn.open_table(table.definition())?;
        for (key, change) in frozen.set.changes(table) {
            let (added, removed) = replace(&mut rows, key, change)?;
            assert!(footprint + added >= removed, "rows of {footprint} bytes lost {removed}");
            footprint = footprint + added - removed;
        }
    }
    write_head(txn, &frozen.head, footprint)?;
    Ok(footprint)
}

/// Changes a row, and says what it costs and what the one before it did.
fn replace(
    rows: &mut Opened<'_, &'static [u8], &'static [u8]>,
    key: &[u8],
    change: &Change,
) -> Result<(u64, u64), redb::Error> {
    let (added, before) = match change {
        Some(row) => (cost(key, row), rows.insert(key, row.as_ref())?),
        None => (0, rows.remove(key)?),
    };
    Ok((added, before.map_or(0, |row| cost(key, row.value()))))
}

/// Writes the meta rows.
pub(super) fn write_head(txn: &WriteTransaction, head: &Head, footprint: u64) -> Result<(), redb::Error> {
    let mut meta = txn.open_table(META)?;
    meta.insert(META_STATE, head.encode().as_slice())?;
    meta.insert(META_FOOTPRINT, schema::encode_footprint(footprint).as_slice())?;
    if let Some(membership) = &head.membership {
        meta.insert(META_MEMBERSHIP, membership.as_ref())?;
    }
    Ok(())
}
