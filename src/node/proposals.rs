//! Writes on their way: from the queue to an index of the log, or to the leader, and back to whoever waits.
//!
//! A local write carries a [`Ticket`]. The caller's deadline and the driver race for it: whoever moves it off
//! `WAITING` first decides. A caller that wins knows that the write was *not applied*, since the driver will never
//! propose it; a caller that comes too late must say *unknown*. That is how "definitely not done" is told from
//! "may still be done" without asking anyone.
//!
//! A proposed write waits under (index, term). It is resolved by what is applied at that index: its own entry means
//! done, an entry of another term means that it can never be (Log Matching: an index holds one entry for ever). Losing
//! the leadership alone resolves nothing: the entry may survive and be committed by the next leader.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

use super::forward::{self, Place};
use crate::command::{Command, Forwarded, Reply, SessionSeq};
use crate::error::{Error, ErrorKind};
use crate::types::{Index, Term};

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const CANCELLED: u8 = 2;

/// Who decides the fate of a write that has not been proposed yet; see the module doc.
#[derive(Clone, Debug)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    pub fn new() -> Ticket {
        Ticket(Arc::new(AtomicU8::new(WAITING)))
    }

    /// The driver is about to propose or forward; false if the caller has given up.
    pub fn start(&self) -> bool {
        self.0.compare_exchange(WAITING, STARTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The write came back untouched: a forward that was certainly not executed.
    pub fn restart(&self) {
        let was = self.0.swap(WAITING, Ordering::AcqRel);
        assert!(was == STARTED, "only a started write can come back, this one was in state {was}");
    }

    /// The caller gives up; true if the write was never started and now never will be.
    pub fn cancel(&self) -> bool {
        self.0.compare_exchange(WAITING, CANCELLED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Who waits for a write.
#[derive(Debug)]
pub(super) enum Origin {
    /// A caller on this node.
    Local { ticket: Ticket, reply: oneshot::Sender<Result<Reply, Error>> },
    /// Another node, that forwarded it.
    Peer(Place),
}

impl Origin {
    /// Claims the write for execution; false if nobody wants it any more.
    pub fn start(&self) -> bool {
        match self {
            Origin::Local { ticket, reply } => !reply.is_closed() && ticket.start(),
            Origin::Peer(place) => !place.is_abandoned(),
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Origin::Local { reply, .. } => reply.is_closed(),
            Origin::Peer(place) => place.is_abandoned(),
        }
    }

    /// Answers; the waiter may be gone, then nobody hears it.
    pub fn resolve(self, result: Result<Reply, Error>) {
        match self {
            Origin::Local { reply, .. } => {
                let _ = reply.send(result);
            }
            Origin::Peer(place) => place.answer(&match result {
                Ok(reply) => Forwarded::Done { reply },
                Err(error) => forward::failed(&error),
            }),
        }
    }
}

/// A write that is neither proposed nor forwarded yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub session: Option<SessionSeq>,
    pub command: Command,
    pub origin: Origin,
}

/// All writes that this node owes an answer.
#[derive(Debug)]
pub(super) struct Proposals {
    waiting: VecDeque<Pending>,
    /// Keys and values of those that wait.
    waiting_bytes: usize,
    /// With the bytes of each.
    inflight: BTreeMap<(Index, Term), (Origin, usize)>,
    /// Keys and values of all of them.
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Proposals {
    pub fn new(count_max: usize, bytes_max: usize) -> Proposals {
        Proposals {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            inflight: BTreeMap::new(),
            bytes: 0,
            count_max,
            bytes_max,
        }
    }

    /// Queues a write, or refuses it if too many, or too large ones, are under way already.
    pub fn push(&mut self, pending: Pending) {
        let bytes = pending.command.bytes();
        if let Some(refusal) = self.refusal(1, bytes) {
            pending.origin.resolve(Err(refusal));
        } else {
            self.admit(pending);
        }
    }

    /// Queues a write of those for which there is room, as [`Proposals::refusal`] says.
    pub fn admit(&mut self, pending: Pending) {
        let bytes = pending.command.bytes();
        self.bytes += bytes;
        self.waiting_bytes += bytes;
        self.waiting.push_back(pending);
    }

    /// Why there is no room for so many writes more, of so many bytes together.
    pub fn refusal(&self, count: usize, bytes: usize) -> Option<Error> {
        let has_room =
            self.len() + count <= self.count_max && (self.bytes == 0 || self.bytes + bytes <= self.bytes_max);
        (!has_room).then(|| {
            let text = format!(
                "this node's limit of writes under way is reached ({} writes, {} bytes): retry after a pause",
                self.count_max, self.bytes_max
            );
            Error::new(ErrorKind::Overloaded, text)
        })
    }

    /// Takes the first waiting write out, if `fits` says so of its bytes.
    pub fn pop_waiting_if(&mut self, fits: impl FnOnce(usize) -> bool) -> Option<Pending> {
        let bytes = self.waiting.front()?.command.bytes();
        if !fits(bytes) {
            return None;
        }
        self.bytes -= bytes;
        self.waiting_bytes -= bytes;
        self.waiting.pop_front()
    }

    /// Takes all waiting writes out.
    pub fn take_waiting(&mut self) -> VecDeque<Pending> {
        self.bytes -= std::mem::take(&mut self.waiting_bytes);
        std::mem::take(&mut self.waiting)
    }

    /// Keys and values of the writes that wait to be proposed or forwarded.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether writes wait to be proposed or forwarded.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many writes are owed an answer.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.inflight.len()
    }

    /// The write, of so many bytes, was appended at this position of the leader's log.
    pub fn proposed(&mut self, index: Index, term: Term, origin: Origin, bytes: usize) {
        self.bytes += bytes;
        let previous = self.inflight.insert((index, term), (origin, bytes));
        assert!(previous.is_none(), "a leader of term {term} proposed index {index} twice");
    }

    /// Whether any write waits at or below `index`: if not, the replies of applied entries are not needed.
    pub fn wants(&self, index: Index) -> bool {
        self.inflight.first_key_value().is_some_and(|((first, _), _)| *first <= index)
    }

    /// The entry (index, term) was applied with this reply.
    pub fn applied(&mut self, index: Index, term: Term, reply: Reply) {
        while let Some(((at, _), _)) = self.inflight.first_key_value() {
            if *at > index {
                return;
            }
            let ((at, of), (origin, bytes)) = self.inflight.pop_first().expect("there is a first entry");
            self.bytes -= bytes;
            if (at, of) == (index, term) {
                origin.resolve(Ok(reply.clone()));
            } else {
                let text = "another leader's entry took this write's place: it was not executed, repeat it";
                origin.resolve(Err(Error::new(ErrorKind::Unavailable, text)));
            }
        }
    }

    /// A snapshot took the place of all entries up to `index`: what became of the writes among them it does not tell (H25).
    pub fn installed(&mut self, index: Index) {
        while let Some(first) = self.inflight.first_entry() {
            if first.key().0 > index {
                return;
            }
            let (origin, bytes) = first.remove();
            self.bytes -= bytes;
            let text = "the entries of that time came to this node as a snapshot: it may have been executed";
            origin.resolve(Err(Error::unknown(ErrorKind::Unavailable, text)));
        }
    }

    /// Forgets writes that nobody waits for any more.
    pub fn sweep(&mut self) {
        self.waiting.retain(|pending| !pending.origin.is_abandoned());
        self.inflight.retain(|_, (origin, _)| !origin.is_abandoned());
        self.waiting_bytes = self.waiting.iter().map(|pending| pending.command.bytes()).sum();
        self.bytes = self.waiting_bytes + self.inflight.values().map(|(_, bytes)| *bytes).sum::<usize>();
    }

    /// The node stops: answers all, by what is known of each.
    pub fn stop(&mut self) {
        for pending in self.take_waiting() {
            let started = !pending.origin.start();
            if !started {
                pending.origin.resolve(Err(stopping()));
            }
        }
        for (origin, _) in std::mem::take(&mut self.inflight).into_values() {
            let text = "the node stopped before this write was committed: it may still be";
            origin.resolve(Err(Error::unknown(ErrorKind::Stopping, text)));
        }
    }
}

/// The error of a request that meets a stopping node.
pub(super) fn stopping() -> Error {
    Error::new(ErrorKind::Stopping, "this node is stopping: use another one")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::{Op, Write};
    use crate::error::Outcome;
    use crate::types::{Keyspace, Revision};

    fn local() -> (Origin, Ticket, oneshot::Receiver<Result<Reply, Error>>) {
        let (reply, receiver) = oneshot::channel();
        let ticket = Ticket::new();
        (Origin::Local { ticket: ticket.clone(), reply }, ticket, receiver)
    }

    fn done(revision: u64) -> Reply {
        Reply::Written { revision: Revision(revision), deleted: 0 }
    }

    fn pending(origin: Origin) -> Pending {
        let command = Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops: vec![] });
        Pending { session: None, command, origin }
    }

    #[test]
    fn a_cancelled_write_is_never_started() {
        let (origin, ticket, _receiver) = local();
        assert!(ticket.cancel());
        assert!(!origin.start());
    }

    #[test]
    fn a_started_write_cannot_be_called_not_applied() {
        let (origin, ticket, _receiver) = local();
        assert!(origin.start());
        assert!(!ticket.cancel());
        ticket.restart();
        assert!(ticket.cancel());
    }

    #[test]
    fn the_own_entry_means_done() {
        let mut proposals = Proposals::new(10, 100);
        let (origin, _, mut receiver) = local();
        proposals.proposed(Index(7), Term(2), origin, 1);
        assert!(!proposals.wants(Index(6)));
        assert!(proposals.wants(Index(7)));
        proposals.applied(Index(7), Term(2), done(9));
        assert_eq!(receiver.try_recv(), Ok(Ok(done(9))));
    }

    /// Covers H25: an index is taken by another term's entry after a leader change.
    #[test]
    fn another_terms_entry_means_not_applied() {
        let mut proposals = Proposals::new(10, 100);
        let (old, _, mut old_receiver) = local();
        let (new, _, mut new_receiver) = local();
        proposals.proposed(Index(7), Term(2), old, 1);
        proposals.proposed(Index(7), Term(4), new, 1);
        proposals.applied(Index(7), Term(4), done(9));
        let error = old_receiver.try_recv().expect("resolved").expect_err("not done");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(new_receiver.try_recv(), Ok(Ok(done(9))));
    }

    #[test]
    fn a_stopping_node_calls_proposed_writes_unknown_and_waiting_ones_not_applied() {
        let mut proposals = Proposals::new(10, 100);
        let (proposed, _, mut proposed_receiver) = local();
        let (waiting, _, mut waiting_receiver) = local();
        proposals.proposed(Index(7), Term(2), proposed, 1);
        proposals.push(pending(waiting));
        proposals.stop();
        let outcome = |receiver: &mut oneshot::Receiver<Result<Reply, Error>>| {
            receiver.try_recv().expect("resolved").expect_err("not done").outcome()
        };
        assert_eq!(outcome(&mut proposed_receiver), Outcome::Unknown);
        assert_eq!(outcome(&mut waiting_receiver), Outcome::NotApplied);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut proposals = Proposals::new(1, 100);
        let (first, _, _first_receiver) = local();
        let (second, _, mut second_receiver) = local();
        proposals.push(pending(first));
        proposals.push(pending(second));
        let error = second_receiver.try_recv().expect("resolved").expect_err("refused");
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Overloaded, Outcome::NotApplied));
    }

    #[test]
    fn large_writes_fill_the_queue_before_many_do() {
        let put = |len: usize| {
            let ops = vec![Op::Put { key: Bytes::from_static(b"k"), value: Bytes::from(vec![0; len]) }];
            Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops })
        };
        let mut proposals = Proposals::new(10, 100);
        let (first, _, _first_receiver) = local();
        let (second, _, mut second_receiver) = local();
        proposals.push(Pending { command: put(200), ..pending(first) });
        proposals.push(Pending { command: put(1), ..pending(second) });
        let error = second_receiver.try_recv().expect("resolved").expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!(proposals.pop_waiting_if(|bytes| bytes < 201).is_none());
        assert!(proposals.pop_waiting_if(|bytes| bytes == 201).is_some());
        let (third, _, mut third_receiver) = local();
        proposals.push(Pending { command: put(1), ..pending(third) });
        assert!(third_receiver.try_recv().is_err(), "there is room again");
    }

    /// Writes of another node enter with one answer for all of them: whoever is told so finds room for each.
    #[test]
    fn where_there_is_room_for_all_each_of_them_enters() {
        let mut proposals = Proposals::new(3, 100);
        let put = |len: usize| {
            let ops = vec![Op::Put { key: Bytes::from_static(b"k"), value: Bytes::from(vec![0; len]) }];
            Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops })
        };
        assert!(proposals.refusal(3, 303).is_none(), "whatever they weigh, if there is nothing else");
        let mut receivers = Vec::new();
        for _ in 0..3 {
            let (origin, _, receiver) = local();
            proposals.admit(Pending { command: put(100), ..pending(origin) });
            receivers.push(receiver);
        }
        assert!(
            receivers.iter_mut().all(|receiver| receiver.try_recv().is_err()),
            "none of them is answered"
        );
        assert_eq!((proposals.len(), proposals.waiting_bytes()), (3, 303));
    }

    #[test]
    fn abandoned_writes_are_swept() {
        let mut proposals = Proposals::new(10, 100);
        let (origin, _, receiver) = local();
        proposals.proposed(Index(7), Term(2), origin, 1);
        drop(receiver);
        proposals.sweep();
        assert_eq!(proposals.len(), 0);
    }

    #[test]
    fn what_waits_is_counted_in_bytes() {
        let put = |len: usize| {
            let ops = vec![Op::Put { key: Bytes::from_static(b"k"), value: Bytes::from(vec![0; len]) }];
            Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops })
        };
        let mut proposals = Proposals::new(10, 1_000);
        let mut receivers = Vec::new();
        for len in [9, 19, 29] {
            let (origin, _, receiver) = local();
            proposals.push(Pending { command: put(len), ..pending(origin) });
            receivers.push(receiver);
        }
        assert_eq!(proposals.waiting_bytes(), 60);
        assert!(proposals.pop_waiting_if(|_| true).is_some());
        assert_eq!(proposals.waiting_bytes(), 50);
        receivers.pop();
        proposals.sweep();
        assert_eq!(proposals.waiting_bytes(), 20);
        assert_eq!(proposals.take_waiting().len(), 1);
        assert_eq!(proposals.waiting_bytes(), 0);
        assert!(proposals.refusal(10, 1_000).is_none());
        assert!(proposals.refusal(11, 1).is_some(), "too many at once");
    }
}
