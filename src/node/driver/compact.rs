//! The driver's part of compaction: an operator wants what is applied in the state file now, and the log no longer than it
//! has to be.
//!
//! A fold takes in what was applied when it began. So one that ran already when it was asked for does not do, and another
//! one follows. A fold that waits for room (H18) waits on, but whoever asked is told.
//!
//! What was folded so the log forgets, however little that is, at most twice: at once, what can go then; and the rest when it
//! all can, which may be a moment later, for a leader hears first how far the members are. In between one that lags would
//! have the log purged with every entry that reaches it.

use tokio::sync::oneshot;

use super::Driver;
use crate::error::{Error, ErrorKind};
use crate::node::applier::Work;
use crate::types::Index;

/// Who may wait for a fold at once.
const WAITING_MAX: usize = 64;

/// Who waits for a fold, and how far that has to go.
#[derive(Default)]
pub(super) struct Compactions {
    waiting: Vec<(Index, oneshot::Sender<Result<Index, Error>>)>,
    /// A fold waits for room.
    fold_waits: bool,
    /// Up to where the log is to forget.
    folded: Index,
    /// What can go is to go now.
    is_due: bool,
}

impl Compactions {
    /// Whether a log that begins behind `purged` is to be purged up to `to`, however little it is.
    pub fn want_purge(&self, purged: Index, to: Index) -> bool {
        purged < self.folded && (self.is_due || to >= self.folded)
    }

    /// Whoever waits. What else is known stays: a fold that waits for room goes on, whatever becomes of the state.
    fn forget(&mut self) -> Vec<(Index, oneshot::Sender<Result<Index, Error>>)> {
        self.folded = Index(0);
        std::mem::take(&mut self.waiting)
    }
}

impl Driver {
    pub(super) fn compact(&mut self, reply: oneshot::Sender<Result<Index, Error>>) {
        if self.compactions.fold_waits {
            // Who is gone hears nothing; here and below.
            let _ = reply.send(Err(no_room()));
            return;
        }
        self.compactions.waiting.retain(|(_, reply)| !reply.is_closed());
        if self.compactions.waiting.len() >= WAITING_MAX {
            let text = format!("{WAITING_MAX} wait for a fold of this node, its limit: retry after a pause");
            let _ = reply.send(Err(Error::new(ErrorKind::Overloaded, text)));
            return;
        }
        let (applied, _) = self.parts.store.applied();
        self.compactions.waiting.push((applied, reply));
        self.answer_compactions();
    }

    pub(super) fn on_folded(&mut self) {
        self.compactions.fold_waits = false;
        if !self.compactions.waiting.is_empty() {
            self.answer_compactions();
        }
    }

    pub(super) fn on_fold_waits(&mut self) {
        self.compactions.fold_waits = true;
        for (_, reply) in self.compactions.waiting.drain(..) {
            let _ = reply.send(Err(no_room()));
        }
    }

    /// There is no state to fold any more, or another one.
    pub(super) fn forget_compactions(&mut self) {
        for (_, reply) in self.compactions.forget() {
            let text = "this node's state was replaced before it was folded: retry";
            let _ = reply.send(Err(Error::new(ErrorKind::Unavailable, text)));
        }
    }

    fn answer_compactions(&mut self) {
        let (folded, _) = self.parts.store.folded();
        self.compactions.folded = folded;
        // Before anybody is told that it is done: the log is part of it.
        self.compactions.is_due = true;
        self.maybe_purge();
        self.compactions.is_due = false;
        let compactions = &mut self.compactions;
        for (_, reply) in compactions.waiting.extract_if(.., |(wanted, _)| *wanted <= folded) {
            let _ = reply.send(Ok(folded));
        }
        compactions.waiting.retain(|(_, reply)| !reply.is_closed());
        if !compactions.waiting.is_empty() {
            let _ = self.work.send(Work::Fold);
        }
    }
}

fn no_room() -> Error {
    let text = "the disk has no room for what a fold may write: make room; it is done by itself then";
    Error::new(ErrorKind::DiskFull, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_lags_is_not_followed_entry_by_entry() {
        let mut compactions = Compactions { folded: Index(100), is_due: true, ..Compactions::default() };
        assert!(compactions.want_purge(Index(9), Index(10)), "once, what can go");
        compactions.is_due = false;
        assert!(
            (11..100).all(|to| !compactions.want_purge(Index(10), Index(to))),
            "and then not little by little"
        );
        assert!(compactions.want_purge(Index(10), Index(100)), "but when all can");
        assert!(!compactions.want_purge(Index(100), Index(101)), "which is the end of it");
    }

    #[test]
    fn a_fold_that_waits_is_not_forgotten_with_the_state() {
        let mut compactions = Compactions { fold_waits: true, folded: Index(100), ..Compactions::default() };
        compactions.waiting.push((Index(101), oneshot::channel().0));
        assert_eq!(compactions.forget().len(), 1);
        assert!(compactions.fold_waits && compactions.waiting.is_empty());
        assert!(!compactions.want_purge(Index(0), Index(100)), "the log of another state is another one");
    }
}
