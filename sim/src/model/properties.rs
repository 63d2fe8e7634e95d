//! What must hold in every state (Raft paper, Figure 3, and what Quorate promises beyond it), and what must be
//! reached in some state, so that an exploration cannot be clean because nothing happens in it.
//!
//! Each step changes one node, and the state before it was judged: so a step is judged by what it changed.

use std::sync::Arc;

use quorate::raft::{ReadOutcome, RoleName};
use quorate::types::{Index, NodeId};

use super::node::{Effect, Node, at};
use super::state::{Broken, Committed, Memory, State, position};

/// At most one leader in a term; not even the same node leads one term twice.
pub const ELECTION_SAFETY: &str = "election safety";
/// Logs that agree in the term at an index agree in all up to there.
pub const LOG_MATCHING: &str = "log matching";
/// What is committed is in the logs of all leaders of later terms.
pub const LEADER_COMPLETENESS: &str = "leader completeness";
/// All nodes apply the same entry at an index, and only what is committed and on their own disks.
pub const STATE_MACHINE_SAFETY: &str = "state machine safety";
/// What any node ever knew to be committed never changes.
pub const COMMITTED_IS_FINAL: &str = "committed is final";
/// And a majority of disks has it.
pub const COMMITTED_IS_STORED: &str = "committed is on a quorum of disks";
/// Term, vote and commit index never go back; on disk not even over a crash.
pub const MONOTONE: &str = "monotone term, vote and commit";
/// A read sees all that was committed before it began.
pub const READS: &str = "reads are not stale";
/// What the core asserts of itself.
pub const ASSERTIONS: &str = "the core's own assertions";

/// Judges a step of `before` that had this effect, and remembers what it tells. `state` is the one after it.
pub fn judge(state: &mut State, before: &Node, effect: &Effect) -> Result<(), Broken> {
    let node = &*effect.node;
    if let Some(panic) = &effect.panic {
        return fail(ASSERTIONS, format!("node {}: {panic}", before.id));
    }
    monotone(before, node)?;
    elected(state, before, node)?;
    committed(state, node)?;
    applied(&state.memory, effect)?;
    stored(state)?;
    log_matching(state, node)?;
    leader_completeness(state)?;
    reads(state, effect)
}

fn fail(property: &'static str, why: String) -> Result<(), Broken> {
    Err(Broken { property, why })
}

fn monotone(before: &Node, node: &Node) -> Result<(), Broken> {
    let (old, new) = (before.disk.hard_state, node.disk.hard_state);
    let is_vote_kept = old.term < new.term || old.vote.is_none() || old.vote == new.vote;
    if new.term < old.term || new.commit < old.commit || !is_vote_kept {
        return fail(MONOTONE, format!("node {}: {old:?} on disk became {new:?}", node.id));
    }
    let (old, new) = (&before.raft, &node.raft);
    if before.crashes == node.crashes {
        let is_vote_kept = old.term() < new.term() || old.vote().is_none() || old.vote() == new.vote();
        if new.term() < old.term() || new.commit() < old.commit() || !is_vote_kept {
            return fail(MONOTONE, format!("node {}: term, vote or commit went back", node.id));
        }
    }
    Ok(())
}

fn elected(state: &mut State, before: &Node, node: &Node) -> Result<(), Broken> {
    let leads = |node: &Node| node.raft.role() == RoleName::Leader;
    if !leads(node) || (leads(before) && before.raft.term() == node.raft.term()) {
        return Ok(());
    }
    let term = node.raft.term();
    let memory = Arc::make_mut(&mut state.memory);
    let at = usize::try_from(term.0).expect("few terms");
    if memory.leaders.len() <= at {
        memory.leaders.resize(at + 1, None);
    }
    match memory.leaders[at].replace(node.id) {
        None => Ok(()),
        Some(other) => {
            fail(ELECTION_SAFETY, format!("term {term} was led by {other}, and then by {}", node.id))
        }
    }
}

fn committed(state: &mut State, node: &Node) -> Result<(), Broken> {
    let known = state.memory.committed.len() as u64;
    for index in 1..=node.raft.commit().0 {
        let Some(entry) = at(&node.log, Index(index)) else {
            return fail(
                COMMITTED_IS_FINAL,
                format!("node {} lacks entry {index}, which it commits", node.id),
            );
        };
        if index > known {
            let committed = Committed { entry: entry.clone(), by: node.raft.term() };
            Arc::make_mut(&mut state.memory).committed.push(committed);
            continue;
        }
        let other = &state.memory.committed[usize::try_from(index - 1).expect("a short log")].entry;
        if other != entry {
            let why = format!("node {} commits {entry:?}, committed was {other:?}", node.id);
            return fail(COMMITTED_IS_FINAL, why);
        }
    }
    Ok(())
}

fn applied(memory: &Memory, effect: &Effect) -> Result<(), Broken> {
    for entry in &effect.applied {
        let position = usize::try_from(entry.index.0 - 1).expect("a short log");
        let is_committed = memory.committed.get(position).is_some_and(|committed| committed.entry == *entry);
        if !is_committed || !effect.node.disk.holds(entry) {
            return fail(STATE_MACHINE_SAFETY, format!("node {} applies {entry:?}", effect.node.id));
        }
    }
    Ok(())
}

fn stored(state: &State) -> Result<(), Broken> {
    for Committed { entry, .. } in &state.memory.committed {
        let holders = state.nodes.iter().filter(|node| node.disk.holds(entry)).count();
        if holders * 2 <= state.nodes.len() {
            return fail(COMMITTED_IS_STORED, format!("{entry:?} is on {holders} disks"));
        }
    }
    Ok(())
}

fn log_matching(state: &State, node: &Node) -> Result<(), Broken> {
    for other in &state.nodes {
        let pairs = node.log.iter().zip(&other.log);
        let mut unequal = pairs.skip_while(|(a, b)| a == b);
        if let Some((a, b)) = unequal.find(|(a, b)| a.term == b.term) {
            let why = format!("nodes {} and {} have {a:?} and {b:?}, or differ before", node.id, other.id);
            return fail(LOG_MATCHING, why);
        }
    }
    Ok(())
}

fn leader_completeness(state: &State) -> Result<(), Broken> {
    let leaders = state.nodes.iter().filter(|node| node.raft.role() == RoleName::Leader);
    for leader in leaders {
        let term = leader.raft.term();
        let earlier = state.memory.committed.iter().filter(|committed| committed.by < term);
        for Committed { entry, by } in earlier {
            if at(&leader.log, entry.index) != Some(entry) {
                let why = format!("{entry:?}, committed in term {by}, is not in the log of {}", leader.id);
                return fail(LEADER_COMPLETENESS, format!("{why}, which leads term {term}"));
            }
        }
    }
    Ok(())
}

fn reads(state: &mut State, effect: &Effect) -> Result<(), Broken> {
    for (id, outcome) in &effect.reads {
        let memory = Arc::make_mut(&mut state.memory);
        let Some(position) = memory.reads.iter().position(|read| read.id == *id) else {
            return fail(READS, format!("read {} is answered twice", id.0));
        };
        let read = memory.reads.remove(position);
        if let ReadOutcome::At(index) = outcome
            && index.0 < read.floor as u64
        {
            let why = format!("node {} reads at {index}, {} were committed", read.node, read.floor);
            return fail(READS, why);
        }
    }
    Ok(())
}

/// What must happen somewhere, if the bounds allow it.
pub mod witness {
    use quorate::raft::EntryKind;

    use super::State;

    /// Somebody led this term.
    pub fn is_led(state: &State, term: usize) -> bool {
        state.memory.leaders.get(term).is_some_and(Option::is_some)
    }

    /// Two commands were committed.
    pub fn two_commands(state: &State) -> bool {
        state.memory.committed.iter().filter(|committed| committed.entry.kind == EntryKind::Command).count()
            >= 2
    }

    /// A leader committed what one before it had left behind (section 5.4.2).
    pub fn inherited(state: &State) -> bool {
        state.memory.committed.iter().any(|committed| committed.entry.term < committed.by)
    }

    /// Every node crashed.
    pub fn all_crashed(state: &State) -> bool {
        state.nodes.iter().all(|node| node.crashes > 0)
    }

    /// Two nodes have different entries at an index: one of them will be replaced.
    pub fn conflict(state: &State) -> bool {
        let logs = || state.nodes.iter().map(|node| &node.log);
        logs().any(|a| logs().any(|b| a.iter().zip(b).any(|(a, b)| a != b)))
    }
}

/// The reads at a node that crashes are nobody's any more.
pub fn forget_reads(state: &mut State, node: NodeId) {
    debug_assert!(position(node) < state.nodes.len(), "no node {node}");
    if state.memory.reads.iter().any(|read| read.node == node) {
        Arc::make_mut(&mut state.memory).reads.retain(|read| read.node != node);
    }
}
