//! What will be broken, in which order: drawn from a seed before anything runs, so that a seed names the whole plan.
//!
//! A step says what kind of fault it is and whose turn it is; who leads at that moment, only the run knows. So a plan
//! repeats exactly, and a run follows it as closely as real processes allow.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the leader; started again at the end of the step.
    KillLeader,
    /// kill -9 of as many followers as may be missing.
    KillFollowers,
    /// kill -9 of all at once. Nobody serves until they are back.
    KillAll,
    /// SIGSTOP of the leader; SIGCONT at the end of the step.
    PauseLeader,
    /// SIGSTOP of as many followers as may be missing.
    PauseFollowers,
    /// SIGTERM of one node after the other, each started again before the next.
    RestartInTurn,
    /// The leader is cut off from all others, both ways.
    IsolateLeader,
    /// A follower is cut off from all others, both ways.
    IsolateFollower,
    /// Nothing that the leader sends arrives; it hears the others.
    MuteLeader,
    /// Nothing arrives at the leader; the others hear it.
    DeafLeader,
    /// Nothing that a follower sends arrives.
    MuteFollower,
    /// Nothing arrives at a follower.
    DeafFollower,
    /// The largest minority, the leader in it, is cut off from the majority; both sides are whole.
    SplitWithoutLeader,
    /// The largest minority, all followers, is cut off from the majority.
    SplitWithLeader,
    /// Leader and one follower do not reach each other; all else does.
    BreakLink,
    /// The leader is cut off and, while it is, a follower is killed as far as the majority can spare one; a cluster of
    /// three kills the leader that is cut off.
    IsolateAndKill,
}

/// Every kind.
pub const ALL: [Fault; 16] = [
    Fault::KillLeader,
    Fault::KillFollowers,
    Fault::KillAll,
    Fault::PauseLeader,
    Fault::PauseFollowers,
    Fault::RestartInTurn,
    Fault::IsolateLeader,
    Fault::IsolateFollower,
    Fault::MuteLeader,
    Fault::DeafLeader,
    Fault::MuteFollower,
    Fault::DeafFollower,
    Fault::SplitWithoutLeader,
    Fault::SplitWithLeader,
    Fault::BreakLink,
    Fault::IsolateAndKill,
];

/// A fault, and what is drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub fault: Fault,
    /// Which follower is first in turn.
    pub turn: usize,
    /// Whether all connections break before the network heals: what was held back is lost, not late.
    pub forgets: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = if self.forgets { ", what is held back is lost" } else { "" };
        write!(f, "{:?} (turn {}{ending})", self.fault, self.turn)
    }
}

/// A generator that belongs to a seed and a number. What neighbouring seeds draw has nothing in common.
pub fn generator(seed: u64, number: u64) -> fastrand::Rng {
    let mixed = (seed ^ number.rotate_left(32)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    fastrand::Rng::with_seed(mixed ^ (mixed >> 29))
}

/// Each of `kinds` once, in a drawn order.
pub fn draw(seed: u64, kinds: &[Fault]) -> Vec<Step> {
    let mut random = generator(seed, 0);
    let mut kinds = kinds.to_vec();
    random.shuffle(&mut kinds);
    let step = |fault| Step { fault, turn: random.usize(..16), forgets: random.bool() };
    kinds.into_iter().map(step).collect()
}

#[test]
fn a_seed_names_the_plan() {
    let plan = |seed| draw(seed, &ALL);
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
    let mut kinds: Vec<Fault> = plan(7).iter().map(|step| step.fault).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ALL);
}
