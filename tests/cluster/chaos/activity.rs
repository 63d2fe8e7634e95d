//! Whether anything happens: what the clients were answered since the last turn of events, by node.
//!
//! A run in which nobody asks anything is always linearizable. So every fault has a minimum of answers before it, while
//! it lasts and after it is healed, and waiting for these is at the same time how the nemesis knows that a fault took
//! effect: it counts only what was asked *and* answered since the last turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::harness::poll::{PATIENCE, try_poll_until};

/// How one request ended, as far as activity is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A write was acknowledged.
    Acknowledged,
    /// A linearizable read was answered.
    Read,
    /// A stale read was answered.
    Stale,
    /// A write or a linearizable read was refused, or nobody can tell.
    Refused,
    /// A stale read got no answer: it says nothing about a majority.
    Failed,
}

/// Answers by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub reads: u64,
    pub stale: u64,
    pub refused: u64,
}

/// What clients and nemesis share. Clones are the same board.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    turn: u64,
    since: BTreeMap<u64, Counts>,
    complaint: Option<String>,
}

impl Counts {
    fn add(&mut self, ended: Ended) {
        match ended {
            Ended::Acknowledged => self.acknowledged += 1,
            Ended::Read => self.reads += 1,
            Ended::Stale => self.stale += 1,
            Ended::Refused => self.refused += 1,
            Ended::Failed => {}
        }
    }

    /// Whether each of these is at least what `least` says.
    pub fn reaches(&self, least: &Counts) -> bool {
        self.acknowledged >= least.acknowledged
            && self.reads >= least.reads
            && self.stale >= least.stale
            && self.refused >= least.refused
    }
}

impl std::ops::AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.stale += other.stale;
        self.refused += other.refused;
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn that a request begins in; it is counted only if it ends in the same.
    pub fn turn(&self) -> u64 {
        self.state().turn
    }

    /// Something changed: what was asked before says nothing about what comes.
    pub fn next_turn(&self) {
        let mut state = self.state();
        state.turn += 1;
        state.since.clear();
    }

    /// A request of `turn` at `node` ended.
    pub fn count(&self, turn: u64, node: u64, ended: Ended) {
        let mut state = self.state();
        if state.turn == turn {
            state.since.entry(node).or_default().add(ended);
        }
    }

    /// A client saw what the contract forbids: the next wait fails with it.
    pub fn complain(&self, what: String) {
        self.state().complaint.get_or_insert(what);
    }

    /// Fails the test if a client complained.
    pub fn check(&self) {
        let complaint = self.state().complaint.clone();
        if let Some(complaint) = complaint {
            panic!("a client saw what is not allowed: {complaint}");
        }
    }

    /// Waits until the nodes `ids` together have answered `sum`, and each of them `each`, since the last turn.
    pub fn wait(&self, what: &str, ids: &[u64], sum: &Counts, each: &Counts) {
        let reached = try_poll_until(PATIENCE, || {
            self.check();
            let state = self.state();
            let of = |id: &u64| state.since.get(id).copied().unwrap_or_default();
            let mut together = Counts::default();
            ids.iter().for_each(|id| together += &of(id));
            (together.reaches(sum) && ids.iter().all(|id| of(id).reaches(each))).then_some(())
        });
        assert!(
            reached.is_some(),
            "too little activity, {what}: nodes {ids:?} were to reach {sum:?} together and {each:?} each within \
             {PATIENCE:?}, and reached {:?}",
            self.state().since
        );
    }
}
