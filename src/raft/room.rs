//! Room: a disk that is nearly full, and what a group then still takes (H18).
//!
//! A log that meets a full disk in the middle of a write has no way back, so the group stops before it comes to that. The
//! driver measures, and tells its core how it stands; followers tell their leader, with every answer. There are three
//! levels, and each node judges for itself, since disks differ:
//!
//! ```text
//! Ample   above the reserve                 takes everything
//! Short   in the reserve                    takes everything; as a leader, or where too many voters are so,
//!                                           nothing is proposed any more that makes the state grow
//! Full    below the floor                   takes no further commands; votes and answers as always
//! ```
//!
//! - *Refused before it is proposed* ([`Raft::admits`]): what grows needs the leader and a quorum above the reserve. What
//!   frees space, and all that is small (configurations, sessions, the no-op of a new leader), may use the reserve: for
//!   this it is there. Below the floor of a quorum nothing would be committed, so nothing is taken that only waits.
//! - *A follower without room* takes of an append what it has already, up to the first command that it has not, and
//!   acknowledges just that. Nothing of what it promised before is touched. What is no command is small and rare, and taken:
//!   without the first entry of a new leader nobody could read any more. Its vote is worth what it always was: a vote is small,
//!   too, and a group that counted it out would lose its leader to a full disk. Its leader sends it no commands until it says
//!   that it has room. But for those that an earlier leader could not commit any more: they stand before the new one's first
//!   entry, which cannot be taken without them. They are few, since none is proposed that would only wait, and at most
//!   `uncommitted_bytes_max`.
//! - *A leader without room makes way* if others can do better without it: for a leader in its reserve, if the voters above
//!   theirs are a quorum; for one below its floor, if those above theirs are. Else it stays, and takes what frees space as long
//!   as its log does. A hand-over that fails is tried again only after [`MAKE_WAY_DEADLINES`], since nothing is
//!   proposed meanwhile.
//!
//! All of it is judged by what was last said, and nothing is remembered beyond that: once there is room it clears by itself,
//! with the next answer. What a member said counts by the round that it answers, so that a late word changes nothing.

use crate::types::{Index, Monotonic, NodeId};

use super::membership::Membership;
use super::progress::Progress;
use super::raft::RoleState;
use super::{Entry, EntryKind, Raft, Round};

/// What a node's disk has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Room {
    /// More than the reserve is free.
    #[default]
    Ample,
    /// Only the reserve is left.
    Short(Lack),
    /// Less than the floor is left: no further command is taken.
    Full(Lack),
}

/// Which limit it is that a node has come near to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// The file system's.
    Disk,
    /// The one that its operator has set.
    Quota,
}

/// What a proposal does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Growth {
    /// It may make it larger.
    Grows,
    /// It does not, or by next to nothing.
    Frees,
}

/// After a hand-over for want of room that came to nothing, so many check-quorum deadlines pass before the next one.
const MAKE_WAY_DEADLINES: u32 = 8;

impl Room {
    /// All there are, by their number on the wire.
    const ALL: [Room; 5] = [
        Room::Ample,
        Room::Short(Lack::Disk),
        Room::Full(Lack::Disk),
        Room::Short(Lack::Quota),
        Room::Full(Lack::Quota),
    ];

    /// Its number on the wire.
    pub fn code(self) -> u32 {
        Room::ALL.iter().position(|room| *room == self).map_or(0, |code| code as u32)
    }

    /// The room of a number.
    pub fn from_code(code: u32) -> Option<Room> {
        Room::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether no command is taken.
    pub fn is_full(self) -> bool {
        matches!(self, Room::Full(_))
    }

    /// What is lacking, if anything is.
    pub fn lack(self) -> Option<Lack> {
        match self {
            Room::Ample => None,
            Room::Short(lack) | Room::Full(lack) => Some(lack),
        }
    }

    /// The level's name in answers and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Room::Ample => "ample",
            Room::Short(_) => "short",
            Room::Full(_) => "full",
        }
    }
}

/// What a leader has been told of a member's room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    room: Room,
    /// The round with whose answer it came.
    round: Round,
}

impl Heard {
    pub(super) fn hear(&mut self, room: Room, round: Round) {
        if round >= self.round {
            *self = Heard { room, round };
        }
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }
}

impl Raft {
    /// How this node's disk stands, from now on.
    pub fn set_room(&mut self, now: Monotonic, room: Room) {
        self.timers.see(now);
        self.room = room;
        self.make_way();
    }

    /// How this node's disk stands, as the driver has said.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Whether such a proposal may be made: to be asked by whoever proposes, where this node leads.
    ///
    /// # Errors
    /// What is lacking: the operator's limit if nothing else is.
    pub fn admits(&self, growth: Growth) -> Result<(), Lack> {
        let RoleState::Leader(_) = &self.role else { return Ok(()) };
        let id = self.config.id;
        let takes = |voter| match growth {
            Growth::Grows => self.room_of(voter) == Room::Ample,
            // The leader's own log takes what it can.
            Growth::Frees => voter == id || !self.room_of(voter).is_full(),
        };
        if takes(id) && self.quorum.is_reached(takes) {
            return Ok(());
        }
        let short = self.quorum.voters().chain([id]).filter(|voter| !takes(*voter));
        let is_disk = short.filter_map(|voter| self.room_of(voter).lack()).any(|lack| lack == Lack::Disk);
        Err(if is_disk { Lack::Disk } else { Lack::Quota })
    }

    /// As the leader knows it. Of who has not answered yet the best is believed: the reserve is for that, too.
    fn room_of(&self, id: NodeId) -> Room {
        match &self.role {
            _ if id == self.config.id => self.room,
            RoleState::Leader(leader) => leader.peers.get(&id).map(Progress::room).unwrap_or_default(),
            _ => Room::Ample,
        }
    }

    /// Check-quorum has looked: a leader without room tries again to make way.
    pub(super) fn make_way_again(&mut self) {
        if let RoleState::Leader(leader) = &mut self.role {
            leader.deadlines_to_stay = leader.deadlines_to_stay.saturating_sub(1);
        }
        self.make_way();
    }

    /// A leader without room hands over, if others can do better without it.
    fn make_way(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        if self.room == Room::Ample || leader.transfer_target().is_some() || leader.deadlines_to_stay > 0 {
            return;
        }
        let does_better = |voter: NodeId| {
            let answers = leader.peers.get(&voter).is_some_and(Progress::is_reachable);
            let room = self.room_of(voter);
            voter != self.config.id
                && answers
                && (room == Room::Ample || (self.room.is_full() && !room.is_full()))
        };
        if !self.quorum.is_reached(does_better) {
            return;
        }
        let Some(to) = self.best_voter().filter(|&to| does_better(to)) else { return };
        if let RoleState::Leader(leader) = &mut self.role {
            leader.deadlines_to_stay = MAKE_WAY_DEADLINES;
        }
        self.begin_transfer(to, None);
    }

    /// Of the entries of a leader that has committed so far those that are taken: without room, none from the first command
    /// on that is not in the log, unless an earlier leader left it behind.
    pub(super) fn taken(
        &self,
        committed: Index,
        mut entries: Vec<Entry>,
        mut memberships: Vec<(Index, Membership)>,
    ) -> (Vec<Entry>, Vec<(Index, Membership)>) {
        if self.room.is_full() {
            let purged = self.log.purged().0;
            let is_taken = |entry: &&Entry| {
                let is_known = entry.index <= purged || self.log.term_at(entry.index) == Some(entry.term);
                let is_left_over = entry.index > committed && entry.term < self.term;
                is_known || is_left_over || entry.kind != EntryKind::Command
            };
            entries.truncate(entries.iter().take_while(is_taken).count());
            let last = entries.last().map_or(Index(0), |entry| entry.index);
            memberships.retain(|&(index, _)| index <= last);
        }
        (entries, memberships)
    }
}
