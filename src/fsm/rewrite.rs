//! Rewriting: a file that is mostly free is copied into a new one, while everything goes on.
//!
//! redb gives no page back that lies below one in use, so a file keeps the size of its best days. The node copies it
//! and switches over, by the same pointer as for a snapshot:
//!
//! ```text
//!   rewrite:  copy the rows of the last fold -> catch up with the folds meanwhile -> form         (folds go on)
//!   node:     make the pointer to the new file durable                       (folds go into both files)
//!   adopt:    the new file takes the old one's place; the old one is closed
//! ```
//!
//! While the copy is made, the sets that are folded are kept for it, up to [`KEPT_SETS_MAX`] full write sets; beyond that the
//! rewrite is given up at once, since it would never catch up, and the file would grow under its reading (see [`super::pin`]). From the moment it has caught up every fold is made durable in
//! both files, first in the new one, before it counts: whichever of them a crash leaves the pointer at, it holds
//! everything up to [`Store::folded`], and the log may be purged up to there (H27).
//!
//! A full disk is no failure of either file (see [`super::undo`]). While the copy is made it gives the rewrite up: its own want of
//! room, and that of the old file too, since the reading breaks off when that is opened again. From the moment it has caught up
//! it may not be given up any more, since the pointer may be on its way: a fold that has no room in one of the two
//! counts in neither, and comes again. The new file may then be one fold ahead; adopted, it brings that along.
//!
//! The copy is checked on its way: its rows must add up to the head's count and state hash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::base::{Base, Rows};
use super::pin::Pin;
use super::schema::{Head, Table};
use super::stage::{Stage, TRANSACTION_BYTES, staged};
use super::store::Frozen;
use super::{Error, RawFile, Store, hash};
use crate::types::{Index, Term};

/// How much is kept of what is folded while the file is copied, in full write sets.
const KEPT_SETS_MAX: usize = 4;

/// How often the copy tries to catch up while folds go on.
const CATCH_UP_ROUNDS_MAX: usize = 8;

/// What a fold must know: the rewrite that is under way, if one is. Its owner is whoever drives the rewrite; when that
/// is gone, so is this.
#[derive(Default)]
pub(super) struct Folding(Weak<Twin>);

impl Folding {
    /// Whether a rewrite is under way: then a fold may go into two files.
    pub(super) fn is_twofold(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Gives a set that is about to be folded into `base` to the rewrite of `base`, if there is one.
    pub(super) fn fold(&self, base: &Arc<Base>, frozen: &Arc<Frozen>) -> Result<(), Error> {
        match self.0.upgrade() {
            Some(twin) if twin.is_of(base) => twin.take(frozen),
            _ => Ok(()),
        }
    }

    /// The file that is copied was opened again: folds into it still go into the copy.
    pub(super) fn follow(&self, old: &Arc<Base>, new: &Arc<Base>) {
        if let Some(twin) = self.0.upgrade().filter(|twin| twin.is_of(old)) {
            *twin.source() = Arc::downgrade(new);
        }
    }
}

/// The new file, as folds see it.
struct Twin {
    /// The file that is copied. It only tells whether that is still the one in use; it keeps nothing open.
    source: Mutex<Weak<Base>>,
    state: Mutex<State>,
}

enum State {
    /// It is being copied, from what this pin holds; these folds it lacks.
    Behind { pin: Arc<Pin>, sets: Vec<Arc<Frozen>>, kept: Kept },
    /// It lacked too much.
    GivenUp,
    /// It holds what the old one holds, up to this entry.
    Beside(Arc<Base>, (Index, Term)),
}

/// What is in memory for the copy, in bytes of sets.
struct Kept {
    /// Sets that it lacks.
    waiting: usize,
    /// Those that are being folded into it.
    following: usize,
    max: usize,
}

impl Kept {
    /// A set comes; false if that is too much.
    fn add(&mut self, bytes: usize) -> bool {
        self.waiting += bytes;
        self.waiting + self.following <= self.max
    }

    /// All that waits is being folded into the copy now, and what was before is in it.
    fn follow(&mut self) {
        self.following = std::mem::take(&mut self.waiting);
    }
}

impl Twin {
    fn is_of(&self, base: &Arc<Base>) -> bool {
        // The weak handle keeps the address from being used again.
        self.source().as_ptr() == Arc::as_ptr(base)
    }

    fn source(&self) -> MutexGuard<'_, Weak<Base>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, frozen: &Arc<Frozen>) -> Result<(), Error> {
        let mut state = self.state();
        match &mut *state {
            State::GivenUp => {}
            State::Behind { pin, sets, kept } => {
                sets.push(frozen.clone());
                if !kept.add(frozen.set.bytes()) {
                    // The fold that calls this ends it, before it writes: see `Base::fold`.
                    pin.outrun();
                    *state = State::GivenUp;
                }
            }
            // The old file had no room for this one the last time.
            State::Beside(_, applied) if *applied == frozen.head.applied => {}
            State::Beside(base, applied) => {
                let written = base.fold(frozen);
                if !base.latch.is_full() {
                    written.map_err(staged)?;
                    *applied = frozen.head.applied;
                    return Ok(());
                }
                let undone = base.latch.undone();
                let (reopened, head) = base.reopen().map_err(staged)?;
                (*base, *applied) = (Arc::new(reopened), head.applied);
                if *applied < frozen.head.applied {
                    return Err(undone);
                }
            }
        }
        Ok(())
    }

    /// The folds that the copy lacks; it counts as having them from now on. Those of the last time are in it.
    fn catch_up(&self) -> Result<Vec<Arc<Frozen>>, Error> {
        match &mut *self.state() {
            State::Behind { sets, kept, .. } => {
                kept.follow();
                Ok(std::mem::take(sets))
            }
            State::GivenUp => Err(outrun()),
            State::Beside(..) => unreachable!("it has caught up already"),
        }
    }
}

/// A rewritten file that may take the old one's place. Folds go into both until it does, or this is dropped.
pub struct Rewritten {
    twin: Arc<Twin>,
}

impl std::fmt::Debug for Rewritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewritten").field("applied", &self.applied()).finish()
    }
}

impl Rewritten {
    /// How far the file is.
    pub fn applied(&self) -> (Index, Term) {
        match &*self.twin.state() {
            State::Beside(_, applied) => *applied,
            _ => unreachable!("a rewritten file has caught up"),
        }
    }
}

impl Store {
    /// Copies the state as of the last fold into `raw`, a new and empty file, and catches up with the folds meanwhile.
    /// Blocks on the disk for as long as that takes; appliers, readers and folds go on beside it.
    ///
    /// # Errors
    /// [`Error::Staged`] if the new file's disk fails, if folds outran the copy, if another state was installed meanwhile
    /// or another rewrite is under way, [`Error::Undone`] if a fold found no room: the store goes on as if nothing had been tried. Any error of the old file,
    /// [`Error::Damaged`] also if its rows are not what its head says; that one is latched.
    pub fn rewrite(&self, raw: RawFile) -> Result<Rewritten, Error> {
        self.copy_all(raw).map_err(Error::undone)
    }

    fn copy_all(&self, raw: RawFile) -> Result<Rewritten, Error> {
        let shared = &*self.shared;
        let (source, twin, pin, head) = {
            let mut folding = shared.folding();
            if folding.0.strong_count() > 0 {
                return Err(Error::GivenUp { what: "another rewrite is under way".to_owned() });
            }
            // No fold is under way: what redb shows now lacks exactly the folds that come after.
            let source = shared.base();
            source.latch.check()?;
            let txn = source.begin_read()?;
            let head = source.head(&txn)?;
            let max = KEPT_SETS_MAX * shared.options.write_set_bytes_max;
            // It ends by what is folded, and not by what the file grows by: most of that is free.
            let pin = source.pins.add(Rows::of(txn, Table::Records), 0, u64::MAX, Box::new(|| ()));
            let state = State::Behind {
                pin: pin.clone(),
                sets: Vec::new(),
                kept: Kept { waiting: 0, following: 0, max },
            };
            let (weak, state) = (Mutex::new(Arc::downgrade(&source)), Mutex::new(state));
            let twin = Arc::new(Twin { source: weak, state });
            folding.0 = Arc::downgrade(&twin);
            (source, twin, pin, head)
        };
        let mut stage = Stage::begin(raw, &shared.options)?;
        let mut row = (Vec::new(), Vec::new());
        copy(&source, |visit| copied(&pin, &source, &mut row, visit), &head, &mut stage)?;
        let base = stage.settle(&head)?;
        let mut applied = head.applied;
        // Each round is as long as what was folded during the one before, so the last one is short; unless folds come one
        // on the heels of the other, and then they must wait at some time.
        for _ in 0..CATCH_UP_ROUNDS_MAX {
            let sets = twin.catch_up()?;
            if sets.is_empty() {
                break;
            }
            follow(&base, &sets, &mut applied)?;
        }
        // From here on folds wait, for what was folded during the last round.
        let _folds_wait = shared.folding();
        follow(&base, &twin.catch_up()?, &mut applied)?;
        // Not formed before the old file is known to be sound to the end, and still the one in use.
        source.latch.check()?;
        if !twin.is_of(&shared.base()) {
            return Err(Error::GivenUp { what: "another state was installed meanwhile".to_owned() });
        }
        base.file.set_formed().map_err(staged)?;
        *twin.state() = State::Beside(Arc::new(base), applied);
        Ok(Rewritten { twin })
    }

    /// Puts a rewritten file in the old one's place. The state stays what it is, and no reader notices. To be called when
    /// the pointer to the file is durable, and not before: from now on folds go into it alone. Waits for a fold that
    /// is under way, and for the old file to be closed.
    ///
    /// # Errors
    /// Any error of the old file that is latched. [`Error::Staged`] if another state was installed since: the store
    /// goes on with that one, and the caller must see to it that the pointer does so too.
    pub fn adopt(&self, rewritten: Rewritten) -> Result<(), Error> {
        let shared = &*self.shared;
        let mut folding = shared.folding();
        let old = {
            let _no_batch_is_under_way = shared.applier();
            let mut view = shared.view_mut();
            view.base.latch.check_failed()?;
            if !rewritten.twin.is_of(&view.base) {
                return Err(Error::GivenUp { what: "another state was installed meanwhile".to_owned() });
            }
            let State::Beside(base, applied) = &*rewritten.twin.state() else {
                unreachable!("a rewritten file has caught up")
            };
            assert!(
                *applied >= view.folded,
                "the new file is at {applied:?}, the old one at {:?}",
                view.folded
            );
            // The last fold had room in the new file alone.
            let frozen = if *applied > view.folded { view.take_frozen(*applied) } else { None };
            (std::mem::replace(&mut view.base, base.clone()), frozen)
        };
        *folding = Folding::default();
        drop(folding);
        // Closing it takes a while: not under the locks.
        drop(old);
        Ok(())
    }
}

fn outrun() -> Error {
    let what = "more was folded while it was copied than may be kept: it is too busy for that now";
    Error::GivenUp { what: what.to_owned() }
}

/// Shows `visit` the next row of a pin. It is copied out, so that the pin is held for the reading alone: the fold that is to end it
/// must not wait for the disk of the new file.
fn copied(
    pin: &Pin,
    source: &Base,
    (key, value): &mut (Vec<u8>, Vec<u8>),
    visit: Visit<'_>,
) -> Result<Option<()>, Error> {
    let mut reading = pin.reading().map_err(|_| outrun())?;
    let shown = reading.next(source, |table, shown_key, shown_value| {
        key.clear();
        key.extend_from_slice(shown_key);
        value.clear();
        value.extend_from_slice(shown_value);
        table
    })?;
    drop(reading);
    shown.map(|table| visit(table, key, value)).transpose()
}

/// What becomes of a row.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Table, &[u8], &[u8]) -> Result<(), Error>;

/// Copies all rows of `source`, as `next` shows them one by one, and compares them with the head.
pub(super) fn copy(
    source: &Base,
    mut next: impl FnMut(Visit<'_>) -> Result<Option<()>, Error>,
    head: &Head,
    stage: &mut Stage,
) -> Result<(), Error> {
    let (mut keys, mut sum) = (0, 0_u128);
    let mut more = true;
    while more {
        stage.insert(|inserter| {
            let mut bytes = 0;
            while bytes < TRANSACTION_BYTES {
                let shown = next(&mut |table, key, row| {
                    if table == Table::Records {
                        keys += 1;
                        sum = sum.wrapping_add(hash::pair(key, row));
                    }
                    bytes += key.len() + row.len();
                    inserter.insert(table, key, row)
                })?;
                if shown.is_none() {
                    more = false;
                    break;
                }
            }
            Ok(())
        })?;
    }
    if (keys, sum) != (head.keys, head.hash) {
        let what = format!(
            "{keys} keys with the state hash {sum:032x} were read, {} with {:032x} are noted",
            head.keys, head.hash
        );
        return Err(source.latch.set(Error::Damaged { offset: None, what }));
    }
    Ok(())
}

/// Folds into the copy what was folded into the original.
fn follow(base: &Base, sets: &[Arc<Frozen>], applied: &mut (Index, Term)) -> Result<(), Error> {
    for frozen in sets {
        base.fold(frozen).map_err(staged)?;
        *applied = frozen.head.applied;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_folded_into_the_copy_counts_until_it_is_in_it() {
        let mut kept = Kept { waiting: 0, following: 0, max: 4 };
        assert!(kept.add(3));
        kept.follow();
        assert!(kept.add(1));
        assert!(!kept.add(1), "three are in memory still");
        kept.follow();
        assert!(kept.add(2), "those are in the copy");
        assert!(!kept.add(1));
    }
}
