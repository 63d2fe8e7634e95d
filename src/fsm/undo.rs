//! Undoing: a fold that finds no room on the disk is taken back, and tried again when there is some (H18).
//!
//! Whoever starts folds asks first whether what they may write fits (see [`super::room`]). That is an estimate, and others
//! write to the disk, too. So a fold may find out in the middle. redb has no way back from there: after a write that failed it
//! believes in nothing any more, and neither reads nor writes. But its file has one. Nothing that the last commit refers to was
//! overwritten (see [`super::backend`]), so the file holds that commit, as it would after a crash of this process at that
//! instant; and all that the fold was to write is in the frozen set, which is kept until a fold of it is durable.
//!
//! ```text
//!   1 a write finds no room; the latch says so             redb refuses everything from here on, and so does `Checked`
//!   2 the raw file is taken from the old base              whoever is at it is waited for; nobody reaches it any more
//!   3 the raw file is synced                               what it shows from here on no crash takes back
//!   4 redb is opened over it again, in a new base          it knows the sums already; two writes of redb's header
//!   5 the new base takes the old one's place               under the applier's lock and the view's, as for any other file
//!   6 [`Store::fold`] says [`Error::Undone`]               the frozen set lies over the new base, as it did over the old one
//! ```
//!
//! # Crashes
//!
//! A crash before, between or after these steps leaves what a crash in the middle of a fold leaves: pages and sums that
//! nothing refers to, of this fold or of the next one that is written over it, in any mixture, and a header that names the last
//! commit. One case is different: the commit is durable, and the transaction after it, which gives back the pages that it
//! replaced (see [`super::fold`]), finds no room. Then the new base is found to be as far as the frozen set, and the fold
//! counts: after step 3 that is true for every crash to come, also where the header's last turn had not been synced.
//!
//! A *sync* that fails is never repeated (H15): it has no way back, even if it gives want of room as its reason, and step 3 is
//! no repetition, since no sync of this file failed before. Any other failure, met before or beside this one, has none either.
//!
//! Step 4 needs no room: it writes the header alone, in place, since every commit of ours holds the allocator's state. A file
//! system that writes nothing in place may refuse even that; then the header stays as it is, which says the same. Sums that are
//! not in the file yet are of pages that nothing refers to: they wait for the next fold.
//!
//! # Readers
//!
//! Between 1 and 5 a reader may fail. It begins anew ([`Shared::reading`]), on the new base: nobody outside hears of it. An
//! applier does the same: what it needs of the file it reads before it changes anything. What was read before 1 is as good as
//! ever: the new base holds the same. Two things span calls, and are broken off: a [`Snapshot`](super::Snapshot) that is sent
//! ends with [`Error::Undone`], a file that is being rewritten is given up ([`super::rewrite`]).
//!
//! An old reader must never see a page that a new fold has overwritten. The old sums would not match it, but that would be
//! called damage. So the old base is cut off from the file, for reads as well, before anything is written to it.
//!
//! A fold alone writes, but who sees such a latch first may be anybody: a fold, a reader or the applier. Whoever it is does 2
//! to 5, and the others wait for that.

use std::sync::Arc;

use super::Error;
use super::rewrite::Folding;
use super::store::Shared;

impl Shared {
    /// Reads from the file, and again if what it was read from met a full disk meanwhile.
    pub(super) fn reading<T>(&self, mut read: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        loop {
            match read() {
                Err(Error::NoRoom { .. }) => self.undo(&self.folding())?,
                done => return done,
            }
        }
    }

    /// Opens the file again if a write to it found no room; nothing if it is well. No lock but that of the folds may be held.
    ///
    /// # Errors
    /// Any failure of the file that has no way back. It is latched.
    pub(super) fn undo(&self, folding: &Folding) -> Result<(), Error> {
        let old = self.base();
        if !old.latch.is_full() {
            return old.latch.check();
        }
        let (base, head) = old.reopen().map_err(|error| old.latch.set(error))?;
        let base = Arc::new(base);
        let _replaced = {
            let _no_batch_is_under_way = self.applier();
            let mut view = self.view_mut();
            if !Arc::ptr_eq(&view.base, &old) {
                // Another state was installed meanwhile.
                return Ok(());
            }
            // It was condemned meanwhile.
            old.latch.check_failed()?;
            let folded = view.folded;
            assert!(head.applied >= folded, "{folded:?} was folded, and the file is at {:?}", head.applied);
            let frozen = if head.applied > folded { view.take_frozen(head.applied) } else { None };
            folding.follow(&old, &base);
            (std::mem::replace(&mut view.base, base), frozen)
        };
        // To close a file and to free a set takes a while: not under the locks.
        Ok(())
    }
}
