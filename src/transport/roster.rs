//! Who may talk to this node: members, guests, and who was removed.
//!
//! The configuration of the group names the *members*. A node that lags behind does not know the newest ones, and must
//! hear them nevertheless, or it never learns of them: servers process requests without consulting their configuration
//! (Ongaro's thesis, 4.1). So a node of the same cluster that is no member is a **guest**: what it sends is heard, and
//! it is dialed at the address that it gave, so that it can be answered. Knowing the cluster's id is all that this
//! takes; that the peer port is open to friends only is a premise. What a guest can do is bounded: there are few
//! ([`GUESTS_MAX`]), one is forgotten soon after its connections are gone, and nothing durable is written of it.
//!
//! An id that was *removed* is refused for ever, and told so: the node has to stop. Its open connections are ended with
//! the same words.
//!
//! # Which data directory
//!
//! - If the member's record names an incarnation, that one may talk in its name and no other; [`Admission`] is not even
//!   asked. The record was agreed upon by a quorum, while what this node met first is hearsay: a record that was taken
//!   back (a truncated entry) must leave nothing durable behind that would refuse the member that gets the id in the
//!   end. It is safe only since the record of an id never changes from one incarnation to another, and since whoever
//!   puts one there was admitted first; both is the core's and the leader's to see to.
//! - If it names none, [`Admission`] decides and records, before a single message passes: a founding member that has
//!   not published its record yet.
//! - Of a guest the first incarnation counts until it is forgotten. Another one is turned away, but is not told that it
//!   must not take part: this node has no proof of that.
//!
//! A connection is judged by its handshake, and again whenever the members change: one that would not be accepted now,
//! or whose node has another standing than when it came, is ended. Its dialer comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use crate::clock;
use crate::types::{Incarnation, NodeId};

use super::handshake::{Introduced, Reason, Refusal};
use super::peers::{Peer, not_recorded};
use super::shared::{Shared, raised};
use super::{Members, PeerInfo};

/// Guests at once. More than join or lag at a time in any cluster that is cared for.
pub(super) const GUESTS_MAX: usize = 8;
/// So often it is checked whether a guest is still there.
const GUEST_LINGER: Duration = Duration::from_secs(2);

/// See the module doc.
#[derive(Default)]
pub(super) struct Roster {
    members: BTreeMap<NodeId, Arc<Peer>>,
    guests: BTreeMap<NodeId, Guest>,
    removed: BTreeSet<NodeId>,
}

struct Guest {
    peer: Arc<Peer>,
    incarnation: Incarnation,
}

/// What an accepted connection was accepted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A member whose record names its data directory.
    Recorded,
    /// A member whose record does not, yet.
    Admitted,
    /// No member.
    Guest,
}

impl Roster {
    /// Member or guest.
    pub fn peer(&self, id: NodeId) -> Option<&Arc<Peer>> {
        self.members.get(&id).or_else(|| self.guests.get(&id).map(|guest| &guest.peer))
    }

    /// The members.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied()
    }

    /// Takes everybody out.
    pub fn drain(&mut self) -> Vec<Arc<Peer>> {
        let members = std::mem::take(&mut self.members).into_values();
        let guests = std::mem::take(&mut self.guests).into_values().map(|guest| guest.peer);
        members.chain(guests).collect()
    }

    /// What a connection would be accepted as now that came from this node with this data directory.
    pub fn standing(&self, id: NodeId, incarnation: Incarnation) -> Result<Standing, Refusal> {
        if self.removed.contains(&id) {
            let text = format!("node {id} was removed from the cluster");
            return Err(Refusal::new(Reason::Removed, text));
        }
        let Some(member) = self.members.get(&id) else { return Ok(Standing::Guest) };
        match member.recorded() {
            Some(recorded) if recorded == incarnation => Ok(Standing::Recorded),
            Some(recorded) => Err(not_recorded(id, recorded, incarnation)),
            None => Ok(Standing::Admitted),
        }
    }

    /// Puts these members in place of those before.
    fn set_members(&mut self, shared: &Arc<Shared>, wanted: Members) {
        let Members { peers: mut wanted, removed } = wanted;
        wanted.remove(&shared.identity.node);
        let both = wanted.keys().find(|id| removed.contains(id));
        assert!(both.is_none(), "node {both:?} is a member and was removed");
        self.removed = removed;
        let mut stopped = Vec::new();
        let is_gone = |id: &NodeId| wanted.contains_key(id) || self.removed.contains(id);
        for (_, guest) in self.guests.extract_if(.., |id, _| is_gone(id)) {
            stopped.push(guest.peer);
        }
        let is_kept = |id: &NodeId, peer: &Peer| {
            wanted.get(id).is_some_and(|info| info.address == peer.address && peer.record(info.incarnation))
        };
        stopped.extend(self.members.extract_if(.., |id, peer| !is_kept(id, peer)).map(|(_, peer)| peer));
        for peer in &stopped {
            shared.stop(peer);
        }
        for (id, info) in wanted {
            self.members.entry(id).or_insert_with(|| Peer::start(shared, id, info));
        }
    }

    /// Lets a guest in. True if it is a new one.
    fn admit_guest(&mut self, shared: &Arc<Shared>, guest: &Introduced) -> Result<bool, Refusal> {
        let refuse = |text| Err(Refusal::new(Reason::Stranger, text));
        let id = guest.node;
        if let Some(known) = self.guests.get(&id) {
            if known.incarnation != guest.incarnation {
                return refuse(format!("node {id} is a guest here with another data directory"));
            }
            known.peer.set_given(&guest.address);
            return Ok(false);
        }
        if self.guests.len() >= GUESTS_MAX {
            return refuse(format!(
                "node {} knows of no member {id} and has {GUESTS_MAX} guests",
                shared.identity.node
            ));
        }
        let info = PeerInfo { address: guest.address.clone(), incarnation: Some(guest.incarnation) };
        let peer = Peer::start(shared, id, info);
        self.guests.insert(id, Guest { peer, incarnation: guest.incarnation });
        Ok(true)
    }
}

impl Shared {
    /// See [`super::Transport::set_peers`].
    pub fn set_peers(self: &Arc<Shared>, wanted: Members) {
        let mut roster = self.roster_mut();
        if *self.closed().borrow() {
            return;
        }
        roster.set_members(self, wanted);
        // Under the same lock: a connection is judged and counted under it, too, so none slips through in between.
        self.end_accepted(|call| match roster.standing(call.node, call.incarnation) {
            Err(refusal) => Some(refusal.to_status()),
            // Recorded now: what was admitted, or met as a guest, is that very data directory.
            Ok(now) if now == call.standing || now == Standing::Recorded => {
                call.standing = now;
                None
            }
            Ok(_) => Some(Status::unavailable("the members changed: introduce yourself again")),
        });
    }

    /// Decides about a dialer whose introduction is right. See the module doc.
    pub fn admit(self: &Arc<Shared>, dialer: &Introduced) -> Result<(), Refusal> {
        let member = {
            let roster = self.roster();
            roster.standing(dialer.node, dialer.incarnation)?;
            roster.members.get(&dialer.node).cloned()
        };
        if let Some(member) = member {
            member.admit(&*self.admission, dialer.incarnation)?;
            member.set_given(&dialer.address);
            return Ok(());
        }
        let mut roster = self.roster_mut();
        if *self.closed().borrow() || roster.members.contains_key(&dialer.node) {
            return Err(Refusal::new(Reason::Stranger, "this node's members change just now"));
        }
        if roster.admit_guest(self, dialer)? {
            drop(roster);
            self.counters.guests.increment();
            tracing::info!(
                node = dialer.node.0,
                address = dialer.address,
                "hears a node that it knows no member of"
            );
            tokio::spawn(Arc::clone(self).watch_guest(dialer.node));
        }
        Ok(())
    }

    /// Forgets a guest once it is gone.
    async fn watch_guest(self: Arc<Shared>, id: NodeId) {
        let Some(peer) = self.peer(id) else { return };
        let mut stopped = peer.stopped();
        loop {
            tokio::select! {
                biased;
                () = raised(&mut stopped) => return,
                () = clock::sleep(&*self.clock, GUEST_LINGER) => {}
            }
            let mut roster = self.roster_mut();
            if !self.has_accepted(id) {
                let is_same = roster.guests.get(&id).is_some_and(|guest| Arc::ptr_eq(&guest.peer, &peer));
                if is_same {
                    roster.guests.remove(&id);
                    self.stop(&peer);
                }
                return;
            }
        }
    }
}
