//! Linearizable reads on their way to an index (thesis, section 6.4).
//!
//! All reads that arrive in one turn of the driver share one question to the core, and so one round of the leader. The
//! core answers with an index; once that is applied here, the waiting callers are released and read the store
//! themselves. A lost question (leader change, lost message) is asked again under a new number, since a read may be
//! repeated freely; only the caller's deadline ends that.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind};
use crate::raft::{ReadId, ReadOutcome};
use crate::types::{Index, Monotonic};

/// A caller that waits until it may read.
pub(super) type Waiter = oneshot::Sender<Result<(), Error>>;

struct Asked {
    since: Monotonic,
    waiters: Vec<Waiter>,
}

/// All reads that wait.
pub(super) struct Reads {
    queued: Vec<Waiter>,
    asked: BTreeMap<ReadId, Asked>,
    confirmed: BTreeMap<Index, Vec<Waiter>>,
    lost: Vec<Waiter>,
    next_id: u64,
    count: usize,
    count_max: usize,
}

impl Reads {
    pub fn new(count_max: usize) -> Reads {
        Reads {
            queued: Vec::new(),
            asked: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            lost: Vec::new(),
            next_id: 1,
            count: 0,
            count_max,
        }
    }

    /// Queues a read, or refuses it if too many wait already.
    pub fn push(&mut self, waiter: Waiter) {
        if self.count >= self.count_max {
            let text = format!("{} reads wait on this node, its limit: retry after a pause", self.count_max);
            let _ = waiter.send(Err(Error::new(ErrorKind::Overloaded, text)));
            return;
        }
        self.count += 1;
        self.queued.push(waiter);
    }

    /// Puts all queued reads under one new question; `None` if there are none.
    pub fn ask(&mut self, now: Monotonic) -> Option<ReadId> {
        if self.queued.is_empty() {
            return None;
        }
        let id = ReadId(self.next_id);
        self.next_id += 1;
        self.asked.insert(id, Asked { since: now, waiters: std::mem::take(&mut self.queued) });
        Some(id)
    }

    /// The core's answer. One to a question that was given up meanwhile changes nothing.
    pub fn answered(&mut self, id: ReadId, outcome: ReadOutcome, applied: Index) {
        let Some(asked) = self.asked.remove(&id) else { return };
        match outcome {
            ReadOutcome::At(index) if index <= applied => self.release(asked.waiters),
            ReadOutcome::At(index) => self.confirmed.entry(index).or_default().extend(asked.waiters),
            ReadOutcome::Lost => self.lost.extend(asked.waiters),
        }
    }

    /// The state machine has reached `applied`.
    pub fn applied(&mut self, applied: Index) {
        while let Some(first) = self.confirmed.first_entry() {
            if *first.key() > applied {
                return;
            }
            let waiters = first.remove();
            self.release(waiters);
        }
    }

    fn release(&mut self, waiters: Vec<Waiter>) {
        self.count -= waiters.len();
        for waiter in waiters {
            // A caller past its deadline is gone.
            let _ = waiter.send(Ok(()));
        }
    }

    /// Asks lost questions, and those unanswered since before `oldest`, again; forgets callers that are gone.
    pub fn sweep(&mut self, oldest: Monotonic) {
        let late: Vec<ReadId> =
            self.asked.iter().filter(|(_, asked)| asked.since < oldest).map(|(id, _)| *id).collect();
        for id in late {
            let asked = self.asked.remove(&id).expect("the id was just listed");
            self.lost.extend(asked.waiters);
        }
        self.queued.append(&mut self.lost);
        self.queued.retain(|waiter| !waiter.is_closed());
        for waiters in self.confirmed.values_mut() {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        self.confirmed.retain(|_, waiters| !waiters.is_empty());
        self.count = self.queued.len()
            + self.asked.values().map(|asked| asked.waiters.len()).sum::<usize>()
            + self.confirmed.values().map(Vec::len).sum::<usize>();
    }

    /// How many reads wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(reads: &mut Reads) -> oneshot::Receiver<Result<(), Error>> {
        let (waiter, receiver) = oneshot::channel();
        reads.push(waiter);
        receiver
    }

    #[test]
    fn one_question_serves_all_that_wait() {
        let mut reads = Reads::new(10);
        let mut first = push(&mut reads);
        let mut second = push(&mut reads);
        let id = reads.ask(Monotonic(0)).expect("reads wait");
        assert_eq!(reads.ask(Monotonic(0)), None);
        reads.answered(id, ReadOutcome::At(Index(5)), Index(5));
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert_eq!(second.try_recv(), Ok(Ok(())));
        assert_eq!(reads.len(), 0);
    }

    /// Covers H21: no read before its index is applied.
    #[test]
    fn a_read_waits_until_its_index_is_applied() {
        let mut reads = Reads::new(10);
        let mut receiver = push(&mut reads);
        let id = reads.ask(Monotonic(0)).expect("a read waits");
        reads.answered(id, ReadOutcome::At(Index(5)), Index(3));
        reads.applied(Index(4));
        assert!(receiver.try_recv().is_err());
        reads.applied(Index(5));
        assert_eq!(receiver.try_recv(), Ok(Ok(())));
    }

    /// Covers H38: an answer to an abandoned attempt serves nobody.
    #[test]
    fn a_late_answer_to_a_question_asked_again_serves_nobody() {
        let mut reads = Reads::new(10);
        let mut receiver = push(&mut reads);
        let first = reads.ask(Monotonic(0)).expect("a read waits");
        reads.sweep(Monotonic(1));
        let second = reads.ask(Monotonic(2)).expect("the read waits again");
        assert_ne!(first, second);
        reads.answered(first, ReadOutcome::At(Index(1)), Index(9));
        assert!(receiver.try_recv().is_err());
        reads.answered(second, ReadOutcome::At(Index(1)), Index(9));
        assert_eq!(receiver.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn a_lost_read_is_asked_again() {
        let mut reads = Reads::new(10);
        let _receiver = push(&mut reads);
        let id = reads.ask(Monotonic(0)).expect("a read waits");
        reads.answered(id, ReadOutcome::Lost, Index(9));
        assert_eq!(
            reads.ask(Monotonic(0)),
            None,
            "not before the sweep: the core would lose it again at once"
        );
        reads.sweep(Monotonic(0));
        assert!(reads.ask(Monotonic(0)).is_some());
    }

    #[test]
    fn the_queue_is_bounded_and_gone_callers_are_swept() {
        let mut reads = Reads::new(1);
        let first = push(&mut reads);
        let mut second = push(&mut reads);
        assert_eq!(second.try_recv().expect("answered").expect_err("refused").kind(), ErrorKind::Overloaded);
        drop(first);
        reads.sweep(Monotonic(0));
        assert_eq!(reads.len(), 0);
    }
}
