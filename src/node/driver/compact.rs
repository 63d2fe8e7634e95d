//! The driver's part of compaction: an operator wants what is applied in the state file now, and the log no longer than it
//! has to be.
//!
//! A fold takes in what was applied when it began. So one that ran already when it was asked for does not do, and another
//! one follows. A fold that waits for room (H18) waits on, but whoever asked is told. What was folded so the log forgets as
//! soon as no member needs it, however little that is; that may be a moment later, for a leader hears first how far they are.

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
    /// Up to where the log is to forget what it can.
    folded: Index,
}

impl Compactions {
    /// Whether a log that begins behind `purged` is to be purged, however little it is.
    pub fn want_purge(&self, purged: Index) -> bool {
        purged < self.folded
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
        for (_, reply) in std::mem::take(&mut self.compactions).waiting {
            let text = "this node's state was replaced before it was folded: retry";
            let _ = reply.send(Err(Error::new(ErrorKind::Unavailable, text)));
        }
    }

    fn answer_compactions(&mut self) {
        let (folded, _) = self.parts.store.folded();
        self.compactions.folded = folded;
        // Before anybody is told that it is done: the log is part of it.
        self.maybe_purge();
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
