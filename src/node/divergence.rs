//! Comparing states: what members report at a mark, and what follows from it.
//!
//! Now and then the leader logs a mark. Whoever applies it has a hash of its state at that very entry (`fsm/hash.rs`), the
//! same on all nodes, or something is wrong with one of them: its memory, its processor, a bug. No checksum finds that, since
//! what was stored is what was computed.
//!
//! Members report their hash to the leader and wait for its word. As soon as a quorum has the same one, that is the state that
//! the log leads to, and everybody is told it: whoever has another one knows that it is wrong. If all have reported and
//! no quorum agrees, nobody can tell who is right, and everybody is told so.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use crate::raft::{Membership, Quorum};
use crate::types::{Index, NodeId};

/// Marks of which reports are kept: one that comes later than so many marks is not judged.
const MARKS_MAX: usize = 4;

/// What becomes of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A quorum has this hash.
    Agreed(u128),
    /// All voters have reported, and no quorum agrees.
    Split,
}

/// Tells a member the verdict.
pub(super) type Answer = oneshot::Sender<Verdict>;

/// All that a node knows of marks.
#[derive(Default)]
pub(super) struct Marks(BTreeMap<Index, Mark>);

#[derive(Default)]
struct Mark {
    hashes: BTreeMap<NodeId, u128>,
    waiting: Vec<Answer>,
    verdict: Option<Verdict>,
    /// Members that were found to differ.
    differing: BTreeSet<NodeId>,
}

impl Marks {
    /// A member has this hash at a mark. `answer`: where it waits for the verdict.
    pub fn reported(&mut self, index: Index, member: NodeId, hash: u128, answer: Option<Answer>) {
        let mark = self.0.entry(index).or_default();
        mark.hashes.insert(member, hash);
        match (answer, mark.verdict) {
            // Nobody waits any more: then it asks again at the next mark.
            (Some(answer), Some(verdict)) => drop(answer.send(verdict)),
            (answer, _) => mark.waiting.extend(answer),
        }
        while self.0.len() > MARKS_MAX {
            self.0.pop_first();
        }
    }

    /// Judges a mark: its verdict, and the members that differ from it and were not named before. Those who wait are told.
    pub fn judge(&mut self, index: Index, membership: &Membership) -> Option<(Verdict, Vec<NodeId>)> {
        let mark = self.0.get_mut(&index)?;
        let before = mark.verdict;
        let verdict = before.or_else(|| mark.find(membership))?;
        mark.verdict = Some(verdict);
        for answer in mark.waiting.drain(..) {
            let _ = answer.send(verdict);
        }
        let differing: Vec<NodeId> = match verdict {
            Verdict::Agreed(agreed) => {
                let others = mark.hashes.iter().filter(|(_, hash)| **hash != agreed);
                others.map(|(id, _)| *id).filter(|id| !mark.differing.contains(id)).collect()
            }
            Verdict::Split => Vec::new(),
        };
        mark.differing.extend(&differing);
        (before.is_none() || !differing.is_empty()).then_some((verdict, differing))
    }

    /// Forgets what others have reported: this node does not lead any more, and those who wait ask the next leader.
    pub fn forget_others(&mut self, own: NodeId) {
        for mark in self.0.values_mut() {
            mark.hashes.retain(|id, _| *id == own);
            mark.waiting.clear();
            mark.verdict = None;
        }
    }

    /// Forgets a member's reports: its state is another one.
    pub fn forget(&mut self, member: NodeId) {
        for mark in self.0.values_mut() {
            mark.hashes.remove(&member);
        }
    }
}

impl Mark {
    fn find(&self, membership: &Membership) -> Option<Verdict> {
        let quorum = Quorum::of(membership);
        let has = |id: NodeId, hash: u128| self.hashes.get(&id) == Some(&hash);
        let agreed = self.hashes.values().copied().find(|hash| quorum.is_reached(|id| has(id, *hash)));
        let is_complete = quorum.voters().all(|id| self.hashes.contains_key(&id));
        agreed.map(Verdict::Agreed).or(is_complete.then_some(Verdict::Split))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Index = Index(7);

    fn members(count: u64) -> Membership {
        Membership::bootstrap((1..=count).map(|id| (NodeId(id), format!("node{id}:7000"))))
    }

    fn report(marks: &mut Marks, id: u64, hash: u128) -> oneshot::Receiver<Verdict> {
        let (answer, told) = oneshot::channel();
        marks.reported(MARK, NodeId(id), hash, Some(answer));
        told
    }

    #[test]
    fn a_quorum_says_what_is_right_and_the_rest_is_named_once() {
        let (mut marks, group) = (Marks::default(), members(3));
        let mut first = report(&mut marks, 1, 5);
        assert_eq!(marks.judge(MARK, &group), None, "one of three");
        assert!(first.try_recv().is_err(), "nobody knows yet");
        let mut odd = report(&mut marks, 2, 6);
        assert_eq!(marks.judge(MARK, &group), None, "each may be right");
        let mut last = report(&mut marks, 3, 5);
        assert_eq!(marks.judge(MARK, &group), Some((Verdict::Agreed(5), vec![NodeId(2)])));
        for told in [&mut first, &mut odd, &mut last] {
            assert_eq!(told.try_recv(), Ok(Verdict::Agreed(5)));
        }
        assert_eq!(marks.judge(MARK, &group), None, "it was said");
    }

    #[test]
    fn who_reports_later_is_told_at_once() {
        let (mut marks, group) = (Marks::default(), members(3));
        for id in [1, 2] {
            drop(report(&mut marks, id, 5));
        }
        assert_eq!(marks.judge(MARK, &group), Some((Verdict::Agreed(5), vec![])));
        let mut late = report(&mut marks, 3, 6);
        assert_eq!(late.try_recv(), Ok(Verdict::Agreed(5)));
        assert_eq!(marks.judge(MARK, &group), Some((Verdict::Agreed(5), vec![NodeId(3)])));
    }

    #[test]
    fn without_a_quorum_nobody_is_right() {
        let (mut marks, group) = (Marks::default(), members(2));
        drop(report(&mut marks, 1, 5));
        assert_eq!(marks.judge(MARK, &group), None);
        let mut told = report(&mut marks, 2, 6);
        assert_eq!(marks.judge(MARK, &group), Some((Verdict::Split, vec![])));
        assert_eq!(told.try_recv(), Ok(Verdict::Split));
        assert_eq!(marks.judge(MARK, &group), None, "it was said");
    }

    #[test]
    fn a_learner_is_compared_and_not_asked() {
        let (mut marks, mut group) = (Marks::default(), members(3));
        group.members.get_mut(&NodeId(3)).expect("a member").role = crate::raft::Role::Learner;
        drop(report(&mut marks, 3, 6));
        drop(report(&mut marks, 1, 5));
        assert_eq!(marks.judge(MARK, &group), None, "a learner is no quorum");
        drop(report(&mut marks, 2, 5));
        assert_eq!(marks.judge(MARK, &group), Some((Verdict::Agreed(5), vec![NodeId(3)])));
    }

    #[test]
    fn old_marks_are_forgotten() {
        let mut marks = Marks::default();
        for index in 1..=10 {
            marks.reported(Index(index), NodeId(1), 5, None);
        }
        assert_eq!(marks.0.len(), MARKS_MAX);
        assert_eq!(marks.judge(Index(1), &members(1)), None);
    }

    #[test]
    fn a_state_that_was_replaced_has_reported_nothing() {
        let (mut marks, group) = (Marks::default(), members(3));
        drop(report(&mut marks, 1, 5));
        marks.forget(NodeId(1));
        drop(report(&mut marks, 2, 5));
        assert_eq!(marks.judge(MARK, &group), None);
        marks.forget_others(NodeId(1));
        drop(report(&mut marks, 3, 5));
        assert_eq!(marks.judge(MARK, &group), None);
    }
}
