//! Folding: the write set goes into redb, in one durable transaction.
//!
//! The set is frozen first, by whoever sees that a fold is due: the applier gets a fresh one at once and never waits for
//! the disk. Until the frozen set is written, readers and the applier go on looking into it; only when the transaction is
//! durable is it dropped.
//!
//! The transaction is committed in two phases with redb's allocator state in it ("quick repair"). Both matter: with
//! two phases the header on disk never refers to a page that was not synced, on which [`super::backend`]'s
//! crash-safety rests; with the allocator state in it, opening after a crash does not walk the whole file.

use std::sync::{Arc, PoisonError};

use redb::{Database, Durability, WriteTransaction};

use super::schema::{DEFINITIONS, Head, META, META_MEMBERSHIP, META_STATE, Table};
use super::store::Frozen;
use super::write_set::WriteSet;
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
    /// Any error of the file; it is latched, and the frozen set stays visible to readers.
    pub fn fold(&self) -> Result<(Index, Term), Error> {
        let shared = &*self.shared;
        let _one_at_a_time = shared.folding.lock().unwrap_or_else(PoisonError::into_inner);
        shared.latch.check()?;
        let Some(frozen) = self.set_aside() else { return Ok(self.folded()) };
        commit(&shared.db, |txn| write(txn, &frozen)).map_err(|error| shared.fault(error))?;
        let folded = frozen.head.applied;
        {
            let mut view = shared.view_mut();
            assert!(folded > view.folded, "a fold of {folded:?} after one of {:?}", view.folded);
            view.folded = folded;
            view.frozen = None;
        }
        // The set is freed here, outside the lock: that takes a while.
        drop(frozen);
        Ok(folded)
    }

    /// The set that is set aside, if need be now; `None` if redb is as far as the write set.
    fn set_aside(&self) -> Option<Arc<Frozen>> {
        let _no_batch_is_under_way = self.shared.applier();
        let mut view = self.shared.view_mut();
        if view.frozen.is_some() {
            return view.frozen.clone();
        }
        if view.head.applied == view.folded {
            assert!(view.active.is_empty(), "changes without an entry that made them");
            return None;
        }
        let set = std::mem::take(&mut view.active);
        let frozen = Arc::new(Frozen { set, head: view.head.clone() });
        view.frozen = Some(frozen.clone());
        Some(frozen)
    }
}

/// Makes the tables and the head of an empty store.
pub(super) fn form(db: &Database) -> Result<(), redb::Error> {
    let empty = Frozen { set: WriteSet::default(), head: Head::empty() };
    commit(db, |txn| write(txn, &empty))
}

/// One durable transaction.
fn commit(
    db: &Database,
    write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    // Implies two-phase commit.
    txn.set_quick_repair(true);
    write(&txn)?;
    txn.commit()?;
    Ok(())
}

fn write(txn: &WriteTransaction, frozen: &Frozen) -> Result<(), redb::Error> {
    for table in [Table::Records, Table::Sessions, Table::Replies] {
        let mut rows = txn.open_table(DEFINITIONS[table as usize])?;
        for (key, change) in frozen.set.changes(table) {
            match change {
                Some(row) => drop(rows.insert(key.as_ref(), row.as_ref())?),
                None => drop(rows.remove(key.as_ref())?),
            }
        }
    }
    let mut meta = txn.open_table(META)?;
    meta.insert(META_STATE, frozen.head.encode().as_slice())?;
    if let Some(membership) = &frozen.head.membership {
        meta.insert(META_MEMBERSHIP, membership.as_ref())?;
    }
    Ok(())
}
