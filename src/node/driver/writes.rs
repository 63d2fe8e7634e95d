//! The driver's part of writes: taken in, proposed by the leader, forwarded by everybody else. What becomes of them is in
//! [`proposals`](super::super::proposals).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Driver, Internal};
use crate::codec;
use crate::command::{Envelope, Forward, Forwarded, Reply};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use crate::node::admin::{Asker, encode_not_leader};
use crate::node::forward::{self, Answers, Batches};
use crate::node::handle::check;
use crate::node::proposals::{Origin, Pending, Ticket, stopping};
use crate::raft::{Entry, RoleName};
use crate::transport::ForwardError;
use crate::types::{GroupId, Monotonic, NodeId};

impl Driver {
    /// A write of this node's own clients enters, unless too many are under way; forwards count too.
    pub(super) fn accept(&mut self, pending: Pending) {
        let limit = self.parts.limits.proposals_inflight_max;
        if self.forwarding.load(Ordering::Relaxed) >= limit {
            let text =
                format!("{limit} writes are being forwarded by this node, its limit: retry after a pause");
            pending.origin.resolve(Err(Error::new(ErrorKind::Overloaded, text)));
        } else {
            self.proposals.push(pending);
        }
    }

    pub(super) fn on_forward(
        &mut self,
        from: NodeId,
        group: GroupId,
        request: &Bytes,
        reply: oneshot::Sender<Bytes>,
    ) {
        let leads = group == self.parts.group && self.parts.raft.role() == RoleName::Leader;
        let answer = match forward::decode(request) {
            Ok(forward::Request::Ask(_)) if !leads => {
                let _ = reply.send(encode_not_leader());
                return;
            }
            Ok(forward::Request::Writes(writes)) => return self.accept_all(writes, leads, reply),
            _ if !leads => Forwarded::NotLeader,
            Ok(forward::Request::Ask(ask)) => return self.on_ask(ask, Asker::Remote(reply)),
            Ok(forward::Request::Hash(index, hash)) => return self.on_hash(from, (index, hash), reply),
            Ok(forward::Request::Publish(record)) if record.id == from => self.publish(*record),
            Ok(forward::Request::Publish(record)) => {
                let text = format!("node {from} cannot publish the record of node {}", record.id);
                forward::failed(&Error::new(ErrorKind::Invalid, text))
            }
            Err(error) => {
                warn!(%from, error, "a forwarded request cannot be understood");
                forward::failed(&Error::new(ErrorKind::Invalid, error))
            }
        };
        let _ = reply.send(codec::encode_forwarded(&answer));
    }

    /// Writes of another node enter, all of them or none: who is refused is told at once, and not when the others are.
    fn accept_all(&mut self, writes: Vec<Forward>, leads: bool, reply: oneshot::Sender<Bytes>) {
        let bytes = writes.iter().map(|write| write.command.bytes()).sum();
        let refusal = match leads {
            true => self.proposals.refusal(writes.len(), bytes).map(|error| forward::failed(&error)),
            false => Some(Forwarded::NotLeader),
        };
        let places = Answers::places(writes.len(), reply);
        for (Forward { session, command }, place) in writes.into_iter().zip(places) {
            if let Some(refusal) = &refusal {
                place.answer(refusal);
                continue;
            }
            // The other node has checked by its own limits, which may be others.
            match check(&self.parts.limits, &command) {
                Ok(()) => self.proposals.admit(Pending { session, command, origin: Origin::Peer(place) }),
                Err(error) => place.answer(&forward::failed(&error)),
            }
        }
    }

    /// Proposes what waits if this node leads, forwards it if another one does, else lets it wait.
    pub(super) fn propose(&mut self, now: Monotonic) {
        self.gathering.end();
        if !self.proposals.has_waiting() {
            return;
        }
        match self.parts.raft.leader() {
            // While leadership is handed over they wait: for the next leader, or for this one to lead on.
            Some(leader) if leader == self.parts.id && self.parts.raft.transferring().is_some() => {}
            // So they do where the state is lost, and with it the group's time, or a part of the log: it is about to hand over.
            Some(leader) if leader == self.parts.id && self.hands_over_soon() => {}
            Some(leader) if leader == self.parts.id && !self.knows_group_time() => {}
            Some(leader) if leader == self.parts.id && self.should_gather(now) => {}
            Some(leader) if leader == self.parts.id => self.propose_here(now),
            Some(leader) => self.forward_all(leader),
            None if self.leaves_at.is_some() => self.send_away(),
            None => {}
        }
    }

    /// Whether what waits is to wait for more; see [`gathering`](super::gathering).
    fn should_gather(&mut self, now: Monotonic) -> bool {
        let raft = &self.parts.raft;
        let is_committed = raft.commit() == raft.last_index();
        self.gathering.holds(now, is_committed, self.proposals.waiting_bytes())
    }

    /// This node was removed, and hears of no leader any more: what waits here has to be done elsewhere.
    fn send_away(&mut self) {
        for Pending { origin, .. } in self.proposals.take_waiting() {
            match origin {
                Origin::Local { .. } => origin.resolve(Err(stopping())),
                Origin::Peer(place) => place.answer(&Forwarded::NotLeader),
            }
        }
    }

    pub(super) fn propose_here(&mut self, now: Monotonic) {
        let full = self.parts.log.bytes() > self.parts.limits.wal_bytes_max;
        let term = self.parts.raft.term();
        let group_time_ms = self.group_time(now);
        let mut batch = Vec::new();
        let mut origins = Vec::new();
        let mut room = 0;
        let raft = &self.parts.raft;
        let batch_bytes_max = self.parts.limits.append_batch_bytes_max;
        // What does not fit waits: there is another turn when some of it is on disk.
        let mut fits = |bytes: usize| {
            let total = room + bytes + Entry::OVERHEAD_BYTES + ENVELOPE_BYTES_MAX;
            let fits = (room == 0 || total <= batch_bytes_max) && raft.has_room(total);
            room = if fits { total } else { room };
            fits
        };
        while let Some(Pending { session, command, origin }) = self.proposals.pop_waiting_if(&mut fits) {
            if !origin.start() {
                continue;
            }
            if full {
                origin.resolve(Err(log_full(&self.parts.limits)));
                continue;
            }
            if let Err(error) = self.check_room(&command) {
                self.gauges.refused_for_room += 1;
                origin.resolve(Err(error));
                continue;
            }
            let bytes = command.bytes();
            let envelope = Envelope { term, group_time_ms, session, principal: String::new(), command };
            batch.push(codec::encode_envelope(&envelope));
            origins.push((origin, bytes));
        }
        if batch.is_empty() {
            return;
        }
        match self.parts.raft.propose(now, batch) {
            Ok(proposed) => {
                self.gathering.begin(now);
                assert!(proposed.term == term, "proposed in term {}, encoded for {term}", proposed.term);
                let mut index = proposed.first;
                for (origin, bytes) in origins {
                    self.proposals.proposed(index, term, origin, bytes);
                    index = index.next();
                }
            }
            Err(error) => {
                let text =
                    format!("the leader takes no more writes for now ({error:?}): retry after a pause");
                for (origin, _) in origins {
                    origin.resolve(Err(Error::new(ErrorKind::Overloaded, text.clone())));
                }
            }
        }
    }

    /// Passes all that waits on to the leader. What came from another node goes back there: it knows the leader as well.
    fn forward_all(&mut self, leader: NodeId) {
        let mut batches = Batches::new(self.parts.limits.frame_bytes_max);
        for Pending { session, command, origin } in self.proposals.take_waiting() {
            match origin {
                Origin::Local { ticket, reply } if !reply.is_closed() && ticket.start() => {
                    let weight = forward::weight(&command);
                    batches.add(Forwarding { write: Forward { session, command }, ticket, reply }, weight);
                }
                Origin::Local { .. } => {}
                Origin::Peer(place) => place.answer(&Forwarded::NotLeader),
            }
        }
        for batch in batches.into_vec() {
            self.forward(leader, batch);
        }
    }

    /// Passes writes on to the leader in one request. Never repeated once their outcome is unknown.
    fn forward(&mut self, leader: NodeId, mut batch: Vec<Forwarding>) {
        self.gauges.forwarded += batch.len() as u64;
        let request = forward::encode_writes(batch.iter().map(|forwarding| &forwarding.write));
        let (transport, group) = (self.parts.transport.clone(), self.parts.group);
        let internal = self.internal.clone();
        let counted = Counted::new(&self.forwarding, batch.len());
        tokio::spawn(async move {
            let _counted = counted;
            let answer = tokio::select! {
                biased;
                answer = transport.forward(leader, group, request) => answer,
                // Nobody waits any more: free the slot. What became of the writes stays unknown.
                () = abandoned(&mut batch) => return,
            };
            let answers = match answer.map(|answer| forward::decode_answers(answer, batch.len())) {
                Ok(Ok(answers)) => answers,
                Err(ForwardError::NotSent) => vec![Forwarded::NotLeader; batch.len()],
                Ok(Err(error)) => vec![not_understood(&error); batch.len()],
                Err(ForwardError::Lost) => vec![lost(); batch.len()],
            };
            for (forwarding, answer) in batch.into_iter().zip(answers) {
                if let Some(returned) = forwarding.answer(answer) {
                    let _ = internal.send(Internal::Returned(returned));
                }
            }
        });
    }
}

/// A write of this node on its way to the leader.
struct Forwarding {
    write: Forward,
    ticket: Ticket,
    reply: oneshot::Sender<Result<Reply, Error>>,
}

impl Forwarding {
    /// Tells whoever waits. One that was certainly not executed comes back.
    fn answer(self, answer: Forwarded) -> Option<Pending> {
        let Forwarding { write: Forward { session, command }, ticket, reply } = self;
        let result = match answer {
            Forwarded::Done { reply } => Ok(reply),
            Forwarded::Failed { kind, outcome, message } => Err(forward::error_of(kind, outcome, message)),
            Forwarded::NotLeader => {
                ticket.restart();
                return Some(Pending { session, command, origin: Origin::Local { ticket, reply } });
            }
        };
        // The waiter may be gone, then nobody hears it.
        let _ = reply.send(result);
        None
    }
}

/// Completes once nobody waits for any of them.
async fn abandoned(batch: &mut [Forwarding]) {
    for forwarding in batch {
        forwarding.reply.closed().await;
    }
}

fn not_understood(error: &str) -> Forwarded {
    forward::failed(&Error::unknown(
        ErrorKind::Internal,
        format!("the leader's answer cannot be understood ({error}): do all nodes run one version?"),
    ))
}

fn lost() -> Forwarded {
    forward::failed(&Error::unknown(
        ErrorKind::Unavailable,
        "the leader was lost before it answered: the write may have been executed, or may still be",
    ))
}

/// What an envelope adds to the keys and values of a write without session, rounded up generously.
const ENVELOPE_BYTES_MAX: usize = 256;

fn log_full(limits: &Limits) -> Error {
    let text = format!(
        "the log has reached its limit of {} bytes, and the entries in it are not folded into the state file yet: retry \
         after a pause, or raise wal-bytes-max; reads go on",
        limits.wal_bytes_max
    );
    Error::new(ErrorKind::LogFull, text)
}

/// Counts forwards for as long as they live.
struct Counted(Arc<AtomicUsize>, usize);

impl Counted {
    fn new(count: &Arc<AtomicUsize>, forwards: usize) -> Counted {
        count.fetch_add(forwards, Ordering::Relaxed);
        Counted(count.clone(), forwards)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}
