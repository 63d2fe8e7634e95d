//! Snapshots on their way: what a driver does beside the core for one that falls behind.
//!
//! ```text
//! Ready.snapshots -> open -> chunk, chunk, ... -> staged on the receiver's disk, then its core is told -> report
//!                    pins the log                                                                        unpins it
//! ```
//!
//! A transfer takes its time and may end at any point of it: by a cut, by either side's crash, by itself. It goes on
//! though its sender is deposed. Its report may be wrong in the one direction that is allowed: all has arrived, and the
//! sender hears that it has not. And a whole transfer may come again, long after.
//!
//! What is transferred is the [state](State): the index and a hash over all that was applied up to it.

use std::hash::{DefaultHasher, Hash, Hasher};

use quorate::raft::{Entry, Envelope, Message, SessionId, SnapshotFor};
use quorate::types::{Index, NodeId};

use super::clock::Instant;
use super::queue::Event;
use super::weather::{chance, up_to};
use super::world::{World, position};
use crate::trace::event::What;

/// A state machine: where it stands, and a hash of all that brought it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The last entry that it took.
    pub index: Index,
    /// The hash of that and all before.
    pub hash: u64,
}

impl State {
    /// The state after one more entry.
    pub(super) fn after(self, entry: &Entry) -> State {
        let mut hasher = DefaultHasher::new();
        (self.hash, entry.index, entry.term, entry.kind, entry.crc).hash(&mut hasher);
        State { index: entry.index, hash: hasher.finish() }
    }
}

/// So many transfers are kept to come again.
const KEPT_MAX: usize = 4;

/// A snapshot on its way.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    /// Its number in the trace.
    number: u64,
    /// The sender's boot; none if it comes again without anybody to send it.
    sender: Option<u64>,
    /// The receiver's boot, once the first chunk has come.
    receiver: Option<u64>,
    session: SessionId,
    envelope: Envelope,
    state: State,
    chunks_left: u32,
}

impl World {
    /// A core wants a snapshot to be sent: its driver will see to it.
    pub(super) fn want_snapshot(&mut self, node: usize, wanted: SnapshotFor) {
        self.count("snapshots wanted");
        let at = self.now + up_to(&mut self.rng, self.weather.work_max);
        let boot = self.nodes[node].boot;
        self.queue.push(at, Event::Open { node, boot, wanted });
    }

    /// A driver opens a snapshot at its last checkpoint, which it may make for the purpose.
    pub(super) fn on_open(&mut self, node: usize, wanted: SnapshotFor) {
        self.steps += 1;
        if self.rng.bool() || self.nodes[node].disk.folded().index < wanted.at_least {
            self.nodes[node].fold();
        }
        let target = &self.nodes[node];
        let (state, boot) = (target.disk.folded(), target.boot);
        let (term, membership) = target.disk.at(state.index);
        let membership = membership.encode();
        let SnapshotFor { to, session, .. } = wanted;
        if state.index.0 == 0 || chance(&mut self.rng, self.weather.broken_transfer) {
            self.input(node, |raft, _| raft.snapshot_sent(to, session, false));
            return;
        }
        let begun =
            self.input(node, |raft, _| raft.snapshot_begun(to, session, state.index, term, membership));
        let Some(envelope) = begun else { return };
        self.count("snapshots sent");
        self.messages += 1;
        let number = self.messages;
        self.nodes[node].pins.insert(number, state.index);
        if self.is_shown {
            self.show_sent(number, &envelope);
        }
        let chunks_left = self.rng.u32(1..=4);
        let transfer =
            Transfer { number, sender: Some(boot), receiver: None, session, envelope, state, chunks_left };
        if self.kept_transfers.len() == KEPT_MAX {
            self.kept_transfers.remove(self.rng.usize(..KEPT_MAX));
        }
        self.kept_transfers.push(transfer.clone());
        self.go_on(transfer);
    }

    /// The next chunk leaves.
    fn go_on(&mut self, transfer: Transfer) {
        let takes = self.weather.delay_min + up_to(&mut self.rng, self.weather.transfer_max);
        let at: Instant = self.now + takes;
        self.sent_until = self.sent_until.max(at);
        self.queue.push(at, Event::Chunk { transfer: Box::new(transfer) });
    }

    /// A chunk of a snapshot arrives, or does not.
    pub(super) fn on_chunk(&mut self, mut transfer: Transfer) {
        let (from, to) = (transfer.envelope.from, transfer.envelope.to);
        let (sender, receiver) = (&self.nodes[position(from)], &self.nodes[position(to)]);
        let is_abandoned = transfer.sender.is_some_and(|boot| sender.boot != boot || sender.raft.is_none());
        let is_refused =
            receiver.raft.is_none() || transfer.receiver.is_some_and(|boot| receiver.boot != boot);
        let is_stalled = receiver.is_paused
            || receiver.is_hung
            || receiver.room.is_full()
            || !self.net.is_open(from, to)
            || !self.net.is_open(to, from);
        transfer.receiver = Some(receiver.boot);
        if is_abandoned {
            return self.lose(transfer.number, &transfer.envelope, "down");
        }
        if is_refused
            || (is_stalled && self.rng.u8(..4) == 0)
            || chance(&mut self.rng, self.weather.broken_transfer)
        {
            self.fired("broken transfer");
            self.lose(transfer.number, &transfer.envelope, "broken");
            return self.report(&transfer, false);
        }
        if !is_stalled {
            transfer.chunks_left -= 1;
        }
        if transfer.chunks_left > 0 {
            return self.go_on(transfer);
        }
        self.arrive(&transfer);
    }

    /// All of a snapshot is there: it is made durable beside what the node has, and then the core is told.
    fn arrive(&mut self, transfer: &Transfer) {
        let Transfer { number, envelope, state, .. } = transfer;
        let node = position(envelope.to);
        assert!(matches!(envelope.message, Message::Snapshot(_)), "a snapshot's message: {envelope:?}");
        self.count("snapshots received");
        self.nodes[node].disk.stage(*state);
        self.notable.push(envelope.to);
        self.take_in(node, *number, envelope.clone());
        // The last acknowledgement may be lost, whatever came before it.
        let is_heard = !chance(&mut self.rng, self.weather.loss);
        self.report(transfer, is_heard);
    }

    /// The sender's driver will hear how the transfer ended.
    fn report(&mut self, transfer: &Transfer, ok: bool) {
        let Some(boot) = transfer.sender else { return };
        let (node, to) = (position(transfer.envelope.from), transfer.envelope.to);
        let at = self.now + self.weather.delay_min + up_to(&mut self.rng, self.weather.delay_spread);
        let (number, at_least) = (transfer.number, Index(0));
        let wanted = SnapshotFor { to, session: transfer.session, at_least };
        self.queue.push(at, Event::Reported { node, boot, number, wanted, ok });
    }

    pub(super) fn on_reported(&mut self, node: usize, number: u64, wanted: SnapshotFor, ok: bool) {
        self.steps += 1;
        self.nodes[node].pins.remove(&number);
        self.input(node, |raft, _| raft.snapshot_sent(wanted.to, wanted.session, ok));
    }

    /// A transfer of the past comes once more, whole. False if there was none.
    pub(super) fn repeat_transfer(&mut self) -> bool {
        if self.kept_transfers.is_empty() {
            return false;
        }
        let kept = self.rng.usize(..self.kept_transfers.len());
        self.messages += 1;
        let mut transfer = self.kept_transfers[kept].clone();
        (transfer.number, transfer.sender) = (self.messages, None);
        if self.is_shown {
            self.show_sent(transfer.number, &transfer.envelope);
        }
        self.go_on(transfer);
        true
    }

    /// The state machine of a node takes a snapshot that is on its disk in place of the log.
    pub(super) fn on_installed(&mut self, node: usize, state: State) {
        self.count("snapshots installed");
        let target = &mut self.nodes[node];
        assert!(state.index > target.state.index, "snapshot {state:?} takes the place of {:?}", target.state);
        (target.state, target.takes_nothing) = (state, false);
        let id: NodeId = target.id;
        let judged = self.oracle.installed(id, state);
        self.judge(judged);
        self.trace
            .event(0, || What::Fault { fault: "snapshot", text: format!("{id} is at {}", state.index) });
    }
}
