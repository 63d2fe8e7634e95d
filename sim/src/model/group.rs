//! The model as the checker sees it: the first state, what can happen in a state, and what becomes of it.
//!
//! # Reductions
//!
//! Each leaves out only what changes nothing:
//!
//! - A step that changes no node and sends nothing new is none.
//! - A crash that takes nothing from a node but one of its crashes is none.
//! - Nodes to which nothing has happened yet are interchangeable, and the messages for them are the same: so of these
//!   only the first may be the next one to which something happens.
//! - Messages that can have no effect are forgotten (see [`network`](super::network)), and a write completes at once
//!   where nobody could tell (see [`node`](super::node)).

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use quorate::raft::{EntryKind, Membership, ReadId, RoleName};
use quorate::types::NodeId;
use stateright::{Model, Property};

use super::bounds::Bounds;
use super::network::{Network, Packet, describe, is_outdated, is_pre_vote, is_spent};
use super::node::{Effect, Input, Node, Pace};
use super::properties::{self, witness};
use super::state::{Memory, Reading, State, Used, position};

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It begins an election: its pre-votes leave.
    Campaign,
    /// It begins an election, and its pre-vote reaches this node and is answered at once.
    PreVote(NodeId),
    /// A message arrives.
    Deliver(Packet),
    /// A client proposes the next command.
    Propose,
    /// A client reads.
    Read,
    /// Its oldest write under way is on disk.
    Persist,
    /// As a leader, it makes itself heard.
    Heartbeat,
    /// As a leader, it hears nobody and steps down.
    StepDown,
    /// It crashes and starts again.
    Crash,
}

/// What happens to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The node.
    pub node: NodeId,
    /// What happens to it.
    pub event: Event,
    /// Whether the write that this causes takes long.
    pub pace: Pace,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        match &self.event {
            Event::Campaign => write!(f, "node {node} campaigns"),
            Event::PreVote(peer) => {
                write!(f, "node {node} campaigns, and asks {peer} whether it would vote for it")
            }
            Event::Deliver(packet) => write!(f, "node {node} receives {}", describe(&packet.envelope)),
            Event::Propose => write!(f, "node {node} gets a proposal"),
            Event::Read => write!(f, "node {node} is asked to read"),
            Event::Persist => write!(f, "node {node} has its oldest write on disk"),
            Event::Heartbeat => write!(f, "node {node} sends heartbeats"),
            Event::StepDown => write!(f, "node {node} hears no quorum"),
            Event::Crash => write!(f, "node {node} crashes and starts again"),
        }?;
        if self.pace == Pace::Slow { write!(f, " (its disk is slow)") } else { Ok(()) }
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Group {
    bounds: Bounds,
}

impl Group {
    /// A new group within these bounds.
    pub fn new(bounds: Bounds) -> Group {
        Group { bounds }
    }

    /// The nodes to which something may happen next, apart from `but`.
    fn eligible<'a>(&self, state: &'a State, but: Option<NodeId>) -> impl Iterator<Item = &'a Arc<Node>> {
        let is_touched = |node: &Node| state.touched & (1 << position(node.id)) != 0;
        let others = move || state.nodes.iter().filter(move |node| Some(node.id) != but);
        let first_untouched = others().find(|node| !is_touched(node)).map(|node| node.id);
        others().filter(move |node| is_touched(node) || Some(node.id) == first_untouched)
    }

    fn events(&self, state: &State, node: &Node, events: &mut Vec<Event>) {
        let Bounds { terms, campaigns, proposals, crashes, crashes_total, .. } = self.bounds;
        let Bounds { heartbeats, step_downs, reads, .. } = self.bounds;
        let (used, raft) = (&state.used, &node.raft);
        let crashed: u8 = state.nodes.iter().map(|node| node.crashes).sum();
        if node.crashes < crashes && crashed < crashes_total && self.loses_by_crash(node) {
            events.push(Event::Crash);
        }
        if !node.underway.is_empty() {
            events.push(Event::Persist);
        }
        if node.underway.len() >= usize::from(self.bounds.writes) {
            return;
        }
        let leads = raft.role() == RoleName::Leader;
        let mine = state.network.packets().iter().filter(|packet| packet.to() == node.id);
        events.extend(mine.cloned().map(Event::Deliver));
        if !leads && used.campaigns < campaigns && raft.term().0 < u64::from(terms) {
            if self.bounds.pre_votes {
                events.push(Event::Campaign);
            } else {
                let peers = self.eligible(state, Some(node.id));
                events.extend(peers.map(|peer| Event::PreVote(peer.id)));
            }
        }
        let taken =
            node.log.iter().filter(|entry| entry.term == raft.term() && entry.kind == EntryKind::Command);
        if leads && used.proposals < proposals && taken.count() < usize::from(self.bounds.proposals_each) {
            events.push(Event::Propose);
        }
        if leads && used.heartbeats < heartbeats {
            events.push(Event::Heartbeat);
        }
        if leads && used.step_downs < step_downs {
            events.push(Event::StepDown);
        }
        if used.reads < reads && raft.leader().is_some() {
            events.push(Event::Read);
        }
    }

    /// Lets something happen to a node and judges it. Returns whether that changed anything, and what the node sent.
    fn step(&self, state: &mut State, id: NodeId, event: &Event, pace: Pace) -> Option<Arc<Effect>> {
        let before = Arc::clone(state.node(id));
        let mut effect = remembered(&before, event, Pace::Prompt, &state.used);
        if pace == Pace::Slow {
            if !effect.was_prompt {
                return None; // no write of this step could be slower than it is
            }
            effect = remembered(&before, event, Pace::Slow, &state.used);
        }
        if effect.panic.is_none() && effect.node == before && state.network.contains_all(&effect.sent) {
            return None;
        }
        self.advance(state, id, event, &effect);
        if let Err(broken) = properties::judge(state, &before, &effect) {
            state.broken = Some(Arc::new(broken));
        }
        Some(effect)
    }

    fn advance(&self, state: &mut State, id: NodeId, event: &Event, effect: &Effect) {
        state.nodes[position(id)] = Arc::clone(&effect.node);
        state.touched |= 1 << position(id);
        for packet in &effect.sent {
            if self.bounds.pre_votes || !is_pre_vote(&packet.envelope) {
                state.network.add(packet.clone(), self.bounds.messages);
            }
        }
        let State { nodes, network, .. } = state;
        network.retain(|packet| self.is_kept(packet, nodes));
        match event {
            Event::Crash => properties::forget_reads(state, id),
            Event::Read => {
                let read =
                    Reading { id: read_id(&state.used), node: id, floor: state.memory.committed.len() };
                Arc::make_mut(&mut state.memory).reads.push(read);
            }
            _ => {}
        }
    }

    /// A pre-vote in one step: the question, the answer of `peer`, and what the node makes of it.
    fn pre_vote(&self, state: &mut State, id: NodeId, peer: NodeId, pace: Pace) -> Option<()> {
        let asked = self.step(state, id, &Event::Campaign, pace)?;
        let question =
            asked.sent.iter().find(|packet| packet.to() == peer && is_pre_vote(&packet.envelope))?;
        let Some(answered) = self.step(state, peer, &Event::Deliver(question.clone()), Pace::Prompt) else {
            return Some(());
        };
        let answer = answered.sent.iter().find(|packet| packet.to() == id && is_pre_vote(&packet.envelope));
        if let Some(answer) = answer.filter(|_| state.broken.is_none()) {
            self.step(state, id, &Event::Deliver(answer.clone()), Pace::Prompt);
        }
        Some(())
    }

    /// A crash of a node that waits for nothing and knows nothing but what is on its disk costs it nothing.
    fn loses_by_crash(&self, node: &Node) -> bool {
        let raft = &node.raft;
        let is_idle = raft.role() == RoleName::Follower && node.underway.is_empty();
        let knows = raft.leader().is_some() || raft.commit() != node.disk.hard_state.commit;
        !is_idle || (self.bounds.idle_crashes && knows)
    }

    fn is_kept(&self, packet: &Packet, nodes: &[Arc<Node>]) -> bool {
        let to = &nodes[position(packet.to())];
        !is_spent(&packet.envelope, to) && (self.bounds.outdated || !is_outdated(&packet.envelope, to))
    }
}

impl Model for Group {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let ids = || (1..=u64::from(self.bounds.nodes)).map(NodeId);
        let membership = Arc::new(Membership::bootstrap(ids().map(|id| (id, String::new()))));
        let nodes = ids().map(|id| Arc::new(Node::new(id, Arc::clone(&membership))));
        vec![State {
            nodes: nodes.collect(),
            touched: 0,
            network: Network::default(),
            used: Used::default(),
            memory: Arc::new(Memory::default()),
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let mut events = Vec::new();
        for node in self.eligible(state, None) {
            self.events(state, node, &mut events);
            for event in events.drain(..) {
                let may_be_slow = !matches!(event, Event::Persist | Event::Crash)
                    && state.used.slow_writes < self.bounds.slow_writes;
                if may_be_slow {
                    actions.push(Action { node: node.id, event: event.clone(), pace: Pace::Slow });
                }
                actions.push(Action { node: node.id, event, pace: Pace::Prompt });
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match &action.event {
            Event::PreVote(peer) => self.pre_vote(&mut next, action.node, *peer, action.pace)?,
            event => {
                self.step(&mut next, action.node, event, action.pace)?;
            }
        }
        spend(&mut next.used, &action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Group>> {
        use properties::{ASSERTIONS, COMMITTED_IS_FINAL, COMMITTED_IS_STORED, ELECTION_SAFETY};
        use properties::{LEADER_COMPLETENESS, LOG_MATCHING, MONOTONE, READS, STATE_MACHINE_SAFETY};
        vec![
            Property::always(ELECTION_SAFETY, |_, state| holds(state, ELECTION_SAFETY)),
            Property::always(LOG_MATCHING, |_, state| holds(state, LOG_MATCHING)),
            Property::always(LEADER_COMPLETENESS, |_, state| holds(state, LEADER_COMPLETENESS)),
            Property::always(STATE_MACHINE_SAFETY, |_, state| holds(state, STATE_MACHINE_SAFETY)),
            Property::always(COMMITTED_IS_FINAL, |_, state| holds(state, COMMITTED_IS_FINAL)),
            Property::always(COMMITTED_IS_STORED, |_, state| holds(state, COMMITTED_IS_STORED)),
            Property::always(MONOTONE, |_, state| holds(state, MONOTONE)),
            Property::always(READS, |_, state| holds(state, READS)),
            Property::always(ASSERTIONS, |_, state| holds(state, ASSERTIONS)),
            Property::sometimes("term 2 has a leader", |_, state| witness::is_led(state, 2)),
            Property::sometimes("term 3 has a leader", |_, state| witness::is_led(state, 3)),
            Property::sometimes("two commands are committed", |_, state| witness::two_commands(state)),
            Property::sometimes("a later leader commits what was left", |_, state| witness::inherited(state)),
            Property::sometimes("logs conflict", |_, state| witness::conflict(state)),
            Property::sometimes("all nodes have crashed", |_, state| witness::all_crashed(state)),
        ]
    }
}

fn holds(state: &State, property: &str) -> bool {
    state.broken.as_ref().is_none_or(|broken| broken.property != property)
}

fn spend(used: &mut Used, action: &Action) {
    match action.event {
        Event::Campaign | Event::PreVote(_) => used.campaigns += 1,
        Event::Propose => used.proposals += 1,
        Event::Read => used.reads += 1,
        Event::Heartbeat => used.heartbeats += 1,
        Event::StepDown => used.step_downs += 1,
        Event::Deliver(_) | Event::Persist | Event::Crash => {}
    }
    used.slow_writes += u8::from(action.pace == Pace::Slow);
}

fn read_id(used: &Used) -> ReadId {
    ReadId(u64::from(used.reads) + 1)
}

fn input<'a>(event: &'a Event, used: &Used) -> Input<'a> {
    match event {
        Event::Campaign | Event::PreVote(_) => Input::Campaign,
        Event::Deliver(packet) => Input::Deliver(&packet.envelope),
        Event::Propose => Input::Propose(used.proposals + 1),
        Event::Read => Input::Read(read_id(used)),
        Event::Persist => Input::Persist,
        Event::Heartbeat => Input::Heartbeat,
        Event::StepDown => Input::StepDown,
        Event::Crash => Input::Crash,
    }
}

type Remembered = HashMap<(u64, u64), Arc<Effect>, BuildHasherDefault<DefaultHasher>>;

/// How many steps a thread remembers.
const REMEMBERED_MAX: usize = 150_000;

thread_local! {
    static STEPS: RefCell<Remembered> = RefCell::default();
}

/// What an event does to a node depends on nothing else, and the same happens to the same node in many states of the
/// whole: so it is worked out once, as long as it is remembered.
fn remembered(node: &Arc<Node>, event: &Event, pace: Pace, used: &Used) -> Arc<Effect> {
    let input = input(event, used);
    let mut hasher = DefaultHasher::new();
    match event {
        Event::Deliver(packet) => (1_u8, packet.digest(), pace).hash(&mut hasher),
        _ => (2_u8, input, pace).hash(&mut hasher),
    }
    let key = (node.digest(), hasher.finish());
    STEPS.with_borrow_mut(|steps| {
        if steps.len() >= REMEMBERED_MAX {
            steps.clear();
        }
        Arc::clone(steps.entry(key).or_insert_with(|| Arc::new(node.after(input, pace))))
    })
}
