//! Pins: readers that last, and what they may cost.
//!
//! A read transaction keeps its state as it was: no page of it is written over for as long as it lives. So a fold, which
//! writes each page that it touches anew, finds none of those free again that were replaced since, and takes others, up to the
//! end of the file and beyond; and the file keeps the size of its best days. Readers of the store's own end soon. A snapshot
//! that is sent lasts as long as its receiver likes, which may stand still.
//!
//! So what it costs is bounded, and by the one who writes: before a fold begins it ends each pin under which the file has grown
//! by more than that one may cost. It takes the transaction away, waiting at most for the chunk that is being read, and has
//! redb free what was kept. How fast a receiver is, when a sender's task gets its turn, and how much is written meanwhile, all
//! make no difference:
//!
//! ```text
//! a fold begins, and the file has grown by at most what the pin may cost     it stays, the fold is written
//! a fold begins, and the file has grown by more                              it ends, the fold is written where it was free
//!
//! so it costs at most what it may, and one fold more
//! ```
//!
//! Growth is counted in blocks that were never written before ([`Checked::written_bytes`]), as the disk counts it, and not by
//! the file's length, which redb doubles where it needs little.
//!
//! A pin belongs to a base: nothing is folded into one that was replaced. The copying of a rewrite is a pin as well: it ends
//! with the fold that outruns it (see [`super::rewrite`]), whatever the file has grown by.
//!
//! A row is lent for as long as the pin is being read from, and no longer: once the pin has ended, redb writes other rows where
//! that one lies.
//!
//! [`Checked::written_bytes`]: super::backend::Checked::written_bytes

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Error;
use super::base::{Base, Rows};
use super::schema::Table;

/// Tells that a pin has ended before its time.
pub(super) type OnRevoked = Box<dyn FnOnce() + Send>;

/// A reader's hold on one state.
pub(super) struct Pin {
    slot: Mutex<Slot>,
    /// What of the file was written when it began.
    written_bytes: u64,
    /// What may be written in addition before it ends.
    growth_bytes_max: u64,
    /// It is of no use any more.
    is_outrun: AtomicBool,
}

struct Slot {
    /// The rows that are left, with their transaction; none once all were read.
    held: Option<(Rows, OnRevoked)>,
    is_revoked: bool,
}

/// The pins of a base. Who holds one holds the base as well; the base holds none of them.
#[derive(Default)]
pub(super) struct Pins(Mutex<Vec<Weak<Pin>>>);

impl Pins {
    /// Pins what these rows are read from. When their transaction began, no more of the file was written than is given here.
    pub(super) fn add(
        &self,
        rows: Rows,
        written_bytes: u64,
        growth_bytes_max: u64,
        on_revoked: OnRevoked,
    ) -> Arc<Pin> {
        let slot = Mutex::new(Slot { held: Some((rows, on_revoked)), is_revoked: false });
        let pin = Arc::new(Pin { slot, written_bytes, growth_bytes_max, is_outrun: AtomicBool::new(false) });
        let mut pins = self.pins();
        pins.retain(|pin| pin.strong_count() > 0);
        pins.push(Arc::downgrade(&pin));
        pin
    }

    /// Ends those that cost too much, now that so much is written, or cost anything for nothing, and says whether there were any.
    pub(super) fn revoke(&self, written_bytes: u64) -> bool {
        let mut costly: Vec<Arc<Pin>> = self.pins().iter().filter_map(Weak::upgrade).collect();
        costly.retain(|pin| pin.is_costly(written_bytes));
        // Each of them: it is no search.
        costly.iter().filter(|pin| pin.revoke()).count() > 0
    }

    fn pins(&self) -> MutexGuard<'_, Vec<Weak<Pin>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin {
    /// To read from it: a fold that would end it waits until this is dropped.
    ///
    /// # Errors
    /// [`Error::Revoked`] if it has ended before all was read.
    pub(super) fn reading(&self) -> Result<Reading<'_>, Error> {
        let slot = self.slot();
        match slot.is_revoked {
            true => Err(Error::Revoked),
            false => Ok(Reading(slot)),
        }
    }

    /// Nobody needs it any more: the fold that is about to be written ends it.
    pub(super) fn outrun(&self) {
        self.is_outrun.store(true, Ordering::Release);
    }

    fn is_costly(&self, written_bytes: u64) -> bool {
        let grown = written_bytes.saturating_sub(self.written_bytes);
        grown > self.growth_bytes_max || self.is_outrun.load(Ordering::Acquire)
    }

    /// Ends it; false if nothing was held any more. Waits for what is being read.
    fn revoke(&self) -> bool {
        let mut slot = self.slot();
        let Some((rows, on_revoked)) = slot.held.take() else { return false };
        slot.is_revoked = true;
        drop(slot);
        drop(rows);
        on_revoked();
        true
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pin that is being read from.
pub(super) struct Reading<'a>(MutexGuard<'a, Slot>);

impl Reading<'_> {
    /// Shows `visit` the next row of the state in `base`: its table, key and value. After the last one, of which `None` tells,
    /// nothing is held any more.
    pub(super) fn next<T>(
        &mut self,
        base: &Base,
        visit: impl FnOnce(Table, &[u8], &[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let Some((rows, _)) = &mut self.0.held else { return Ok(None) };
        let row = rows.next(base)?;
        if row.is_none() {
            self.0.held = None;
        }
        Ok(row.map(|(table, key, value)| visit(table, key.value(), value.value())))
    }
}
