//! Who must agree: the one place that knows what a majority is.
//!
//! Votes, commit, reads and check-quorum all ask this type, so that no side path can count differently (real systems
//! committed with a majority less one there, or forgot the joint half). In a joint configuration a decision needs a
//! majority of the incoming voters *and* a majority of the outgoing ones (thesis, section 4.3). A half without voters
//! does not constrain: it is a configuration that is not joint.
//!
//! The arithmetic is a plain sort of at most [`VOTERS_MAX`] numbers. It is tested against a naive second
//! implementation; cleverness here has cost other projects committed data.

use crate::types::NodeId;

use super::Membership;

/// The most voters that one half of a configuration may have.
pub const VOTERS_MAX: usize = 31;

/// The voters whose agreement decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quorum {
    incoming: Vec<NodeId>,
    outgoing: Vec<NodeId>,
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A quorum said yes.
    Won,
    /// A quorum can no longer be reached.
    Lost,
    /// Not decided yet.
    Pending,
}

impl Quorum {
    /// The quorum of these two sets of voters; ids may come in any order, repeated ones count once.
    pub fn new(
        incoming: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
    ) -> Quorum {
        Quorum { incoming: half(incoming), outgoing: half(outgoing) }
    }

    /// The quorum of a configuration.
    pub fn of(membership: &Membership) -> Quorum {
        Quorum::new(membership.voters(), membership.outgoing.iter().flatten().copied())
    }

    /// Whether `id` counts at all.
    pub fn contains(&self, id: NodeId) -> bool {
        self.incoming.contains(&id) || self.outgoing.contains(&id)
    }

    /// The voters of both halves; one that is in both comes twice.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.incoming.iter().chain(&self.outgoing).copied()
    }

    /// Whether all voters for whom `yes` holds are a quorum.
    pub fn is_reached(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        self.tally(|id| Some(yes(id))) == Tally::Won
    }

    /// How an election stands in which `vote` says what each voter answered, if it did.
    pub fn tally(&self, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
        let halves = [tally(&self.incoming, &vote), tally(&self.outgoing, &vote)];
        if halves.contains(&Tally::Lost) {
            Tally::Lost
        } else if halves.contains(&Tally::Pending) {
            Tally::Pending
        } else {
            Tally::Won
        }
    }

    /// The largest number that a quorum has reached, each voter having reached `value`. `u64::MAX` without voters.
    pub fn watermark(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        watermark(&self.incoming, &value).min(watermark(&self.outgoing, &value))
    }
}

/// The smallest number of voters, of `voters`, that is a majority.
pub(super) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

fn half(ids: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() <= VOTERS_MAX, "{} voters, at most {VOTERS_MAX} are possible", ids.len());
    ids
}

fn tally(voters: &[NodeId], vote: &impl Fn(NodeId) -> Option<bool>) -> Tally {
    if voters.is_empty() {
        return Tally::Won;
    }
    let (mut yes, mut no) = (0, 0);
    for &id in voters {
        match vote(id) {
            Some(true) => yes += 1,
            Some(false) => no += 1,
            None => {}
        }
    }
    if yes >= majority(voters.len()) {
        Tally::Won
    } else if voters.len() - no < majority(voters.len()) {
        Tally::Lost
    } else {
        Tally::Pending
    }
}

fn watermark(voters: &[NodeId], value: &impl Fn(NodeId) -> u64) -> u64 {
    if voters.is_empty() {
        return u64::MAX;
    }
    // On the stack: this runs for every acknowledgement.
    let mut values = [0; VOTERS_MAX];
    let values = &mut values[..voters.len()];
    for (slot, &id) in values.iter_mut().zip(voters) {
        *slot = value(id);
    }
    values.sort_unstable();
    values[voters.len() - majority(voters.len())]
}
