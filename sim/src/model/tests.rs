//! A small world explored to its end, and the claims that the model rests on.

use std::sync::Arc;
use std::time::Duration;

use quorate::raft::RoleName;
use quorate::types::NodeId;
use stateright::Model;

use super::bounds::Bounds;
use super::explore::explore;
use super::group::{Action, Event, Group};
use super::network::is_spent;
use super::node::{Input, Node, Pace};
use super::state::State;

const SMALL: Bounds = Bounds {
    nodes: 3,
    terms: 2,
    campaigns: 2,
    pre_votes: false,
    proposals: 1,
    proposals_each: 1,
    crashes: 0,
    crashes_total: 0,
    idle_crashes: false,
    messages: 2,
    writes: 2,
    heartbeats: 0,
    step_downs: 0,
    reads: 0,
    slow_writes: 0,
    outdated: false,
};

/// Everything that a walk can meet.
const ALL: Bounds = Bounds {
    terms: 4,
    campaigns: 8,
    pre_votes: true,
    proposals: 4,
    proposals_each: 2,
    crashes: 1,
    crashes_total: 3,
    idle_crashes: true,
    messages: 12,
    heartbeats: 3,
    step_downs: 1,
    reads: 2,
    slow_writes: 3,
    outdated: true,
    ..SMALL
};

#[test]
fn a_small_world_is_clean_to_its_end() {
    let bounds = Bounds { terms: 1, campaigns: 1, crashes: 1, crashes_total: 1, ..SMALL };
    let found = explore(bounds, 2, Duration::from_secs(3_600));
    assert!(found.violation.is_none(), "{:?}", found.violation);
    assert!(found.complete && found.unique > 500, "{found:?}");
}

/// A walk through a model, step by step, drawn from a seed.
fn walk(seed: u64, steps: usize, mut each: impl FnMut(&State, &Action)) -> State {
    let group = Group::new(ALL);
    let mut random = crate::seed::generator(seed, "model", 0);
    let mut state = group.init_states().remove(0);
    for _ in 0..steps {
        let mut actions = Vec::new();
        group.actions(&state, &mut actions);
        if actions.is_empty() {
            break;
        }
        let action = actions.swap_remove(random.usize(..actions.len()));
        each(&state, &action);
        state = group.next_state(&state, action).unwrap_or(state);
        assert_eq!(state.broken, None);
    }
    state
}

/// A node that compares as equal, with other deadlines and other dice: messages that change nothing draw a new
/// election deadline and move the lease.
fn twin(node: &Arc<Node>, state: &State) -> Arc<Node> {
    let mut twin = Arc::clone(node);
    for packet in state.network.packets().iter().filter(|packet| packet.to() == node.id) {
        let again = twin.after(Input::Deliver(&packet.envelope), Pace::Prompt);
        if again.node == twin {
            twin = again.node;
        }
    }
    twin
}

#[test]
fn equal_nodes_have_equal_futures() {
    let (mut compared, mut different) = (0, 0);
    for seed in 0..60 {
        walk(seed, 150, |state, action| {
            let node = state.node(action.node);
            let twin = twin(node, state);
            assert_eq!(*node, twin);
            let input = match &action.event {
                Event::Campaign | Event::PreVote(_) => Input::Campaign,
                Event::Deliver(packet) => Input::Deliver(&packet.envelope),
                Event::Propose => Input::Propose(1),
                Event::Read => return,
                Event::Persist => Input::Persist,
                Event::Heartbeat => Input::Heartbeat,
                Event::StepDown => Input::StepDown,
                Event::Crash => Input::Crash,
            };
            let (one, other) = (node.after(input, action.pace), twin.after(input, action.pace));
            assert_eq!(one.node, other.node, "after {action}");
            assert_eq!((one.sent, one.applied), (other.sent, other.applied), "after {action}");
            compared += 1;
            different += u32::from(node.raft.next_tick() != twin.raft.next_tick());
        });
    }
    assert!(compared > 3_000 && different > 100, "{compared} compared, {different} with other deadlines");
}

#[test]
fn what_is_spent_changes_nothing() {
    let mut seen = Vec::new();
    let mut spent = 0;
    for seed in 0..60 {
        seen.clear();
        walk(seed, 150, |state, _| {
            for packet in state.network.packets() {
                if !seen.contains(packet) {
                    seen.push(packet.clone());
                }
            }
            for packet in &seen {
                let to = state.node(packet.to());
                if is_spent(&packet.envelope, to) {
                    let effect = to.after(Input::Deliver(&packet.envelope), Pace::Prompt);
                    assert_eq!((&*effect.node, effect.sent.len()), (&**to, 0), "{:?}", packet.envelope);
                    spent += 1;
                }
            }
        });
    }
    assert!(spent > 1_000, "{spent} messages were spent");
}

#[test]
fn a_leader_that_hears_nobody_steps_down_and_heartbeats_leave_when_asked() {
    let (mut stepped, mut heard) = (0, 0);
    for seed in 0..200 {
        walk(seed, 120, |state, action| {
            let node = state.node(action.node);
            if node.raft.role() == RoleName::Leader {
                let after = node.after(Input::StepDown, Pace::Prompt).node;
                assert_eq!((after.raft.role(), after.raft.term()), (RoleName::Follower, node.raft.term()));
                stepped += 1;
                let sent = node.after(Input::Heartbeat, Pace::Prompt).sent;
                let told: Vec<NodeId> = sent.iter().map(super::network::Packet::to).collect();
                assert!(told.len() >= 2, "heartbeats to {told:?}");
                heard += 1;
            }
        });
    }
    assert!(stepped > 100 && heard > 100, "{stepped} stepped down");
}
