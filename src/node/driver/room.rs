//! The driver's part of room: has the disk asked about once a second, and sooner where much is written; tells the core, and
//! says loudly when the node has come to its reserve or its floor, and when it is over.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::{Driver, Internal};
use crate::command::{Command, Keyed, Op};
use crate::error::{Error, ErrorKind};
use crate::node::applier::Work;
use crate::node::executor::Lane;
use crate::node::space::{Measured, Space};
use crate::raft::{Growth, Lack, Room};
use crate::types::Monotonic;

/// How often the disk is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// And each time that this share of the reserve was written to the log since.
const RESERVE_SHARE: u64 = 8;

/// What the driver knows of its disk's room.
pub(super) struct RoomKeeper {
    lane: Lane,
    pub space: Space,
    /// When the disk is asked next; none while it is.
    due: Option<Monotonic>,
    /// Bytes handed to the log since it was asked.
    written_bytes: u64,
    /// What it said last, if it ever did.
    pub measured: Option<Measured>,
    /// It could not be asked, and that was said.
    has_failed: bool,
}

impl RoomKeeper {
    pub fn new(lane: Lane, space: Space, now: Monotonic) -> RoomKeeper {
        RoomKeeper { lane, space, due: Some(now), written_bytes: 0, measured: None, has_failed: false }
    }

    /// So much was handed to the log.
    pub fn on_written(&mut self, bytes: u64) {
        self.written_bytes += bytes;
    }

    /// What is free: what was said last, of the volume or of the limit, whichever is less.
    pub fn free_bytes(&self) -> u64 {
        let least = |measured: Measured| {
            measured.quota_bytes.map_or(measured.free_bytes, |left| left.min(measured.free_bytes))
        };
        self.measured.map_or(0, least)
    }

    /// When the driver has to look.
    pub fn due(&self) -> Monotonic {
        self.due.unwrap_or(Monotonic(u64::MAX))
    }
}

impl Driver {
    /// Has the disk asked if it is time.
    pub(super) fn maybe_measure(&mut self, now: Monotonic) {
        let keeper = &mut self.room;
        let is_much = keeper.written_bytes >= keeper.space.bounds().reserve_bytes / RESERVE_SHARE;
        if keeper.due.is_none_or(|due| now < due && !is_much) {
            return;
        }
        (keeper.due, keeper.written_bytes) = (None, 0);
        let (lane, space, internal) = (keeper.lane.clone(), keeper.space.clone(), self.internal.clone());
        tokio::spawn(async move {
            if let Some(measured) = lane.run(move || space.measure()).await {
                let _ = internal.send(Internal::Measured(measured));
            }
        });
    }

    pub(super) fn on_measured(&mut self, measured: std::io::Result<Measured>) {
        let now = self.parts.clock.now();
        self.room.due = Some(now.plus(INTERVAL));
        match measured {
            Ok(measured) => {
                self.room.has_failed = false;
                self.room.measured = Some(measured);
                let before = self.parts.raft.room();
                let room = self.room.space.bounds().judge(before, &measured);
                if room != before {
                    self.say_room(before, room, &measured);
                    self.room.space.set_short(room != Room::Ample);
                    self.parts.raft.set_room(now, room);
                }
            }
            // Nothing is wrong with what is stored; what was said last goes on to count.
            Err(error) if !self.room.has_failed => {
                self.room.has_failed = true;
                warn!(%error, "the disk does not say how much room it has");
            }
            Err(error) => debug!(%error, "the disk does not say how much room it has"),
        }
        if self.parts.raft.room() != Room::Ample {
            // What was deleted is room only once it is folded, and nothing else may come to bring that about.
            let _ = self.work.send(Work::Fold);
        }
        self.room.space.tell();
        self.begin_state_again();
    }

    fn say_room(&self, before: Room, room: Room, measured: &Measured) {
        let bounds = self.room.space.bounds();
        let (reserve_bytes, floor_bytes) = (bounds.reserve_bytes, bounds.floor_bytes);
        let (free_bytes, volume_bytes) = (measured.free_bytes, measured.volume_bytes);
        let left = match room.lack() {
            Some(Lack::Quota) => measured.quota_bytes.unwrap_or(0),
            _ => free_bytes,
        };
        let what = match room.lack() {
            Some(Lack::Quota) => "storage-bytes-max is nearly reached",
            _ => "the disk is nearly full",
        };
        match room {
            Room::Ample => info!(was = before.name(), free_bytes, reserve_bytes, "there is room again"),
            Room::Short(_) => warn!(
                was = before.name(),
                left_bytes = left,
                volume_bytes,
                reserve_bytes,
                "{what}: only the reserve is left, and writes that need room are refused where this node leads or too many \
                 are so; delete keys, or make room"
            ),
            Room::Full(_) => error!(
                was = before.name(),
                left_bytes = left,
                volume_bytes,
                floor_bytes,
                "{what}: less than the floor is left, and this node takes no further commands; make room"
            ),
        }
    }

    /// Whether the leader may propose this now.
    pub(super) fn check_room(&self, command: &Command) -> Result<(), Error> {
        let growth = growth_of(command);
        self.parts.raft.admits(growth).map_err(|lack| no_room(lack, growth))
    }
}

/// What a command does to the state. A put over another one grows: the old one is gone only when it is folded.
fn growth_of(command: &Command) -> Growth {
    let puts = match command {
        Command::Write(write) | Command::Keyed(Keyed { write, .. }) => {
            write.ops.iter().any(|op| matches!(op, Op::Put { .. }))
        }
        Command::Txn(txn) => txn.may_put(),
        Command::OpenSession { .. } | Command::CloseSession { .. } | Command::HashMark => false,
    };
    if puts { Growth::Grows } else { Growth::Frees }
}

fn no_room(lack: Lack, growth: Growth) -> Error {
    let text = match (lack, growth) {
        (Lack::Disk, Growth::Grows) => {
            "the leader's disk, or those of too many voters, have no room but their reserve: delete keys, or make room; \
             reads and deletes go on"
        }
        (Lack::Quota, Growth::Grows) => {
            "log and state have come near to storage-bytes-max on the leader, or on too many voters: delete keys, or raise \
             it on all nodes; reads and deletes go on"
        }
        (Lack::Disk, Growth::Frees) => {
            "the disks of too many voters are full, and nothing can be committed: make room; reads go on"
        }
        (Lack::Quota, Growth::Frees) => {
            "too many voters have used up storage-bytes-max, and nothing can be committed: raise it; reads go on"
        }
    };
    let kind = match lack {
        Lack::Disk => ErrorKind::DiskFull,
        Lack::Quota => ErrorKind::StorageFull,
    };
    Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::{Keys, Txn, TxnOp, Write};
    use crate::error::Outcome;
    use crate::types::{ClientId, Keyspace};

    #[test]
    fn whatever_puts_grows_and_nothing_else() {
        let key = Bytes::from_static(b"k");
        let put = Op::Put { key: key.clone(), value: Bytes::new() };
        let delete = Op::Delete { key };
        let write = |ops| Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops });
        assert_eq!(growth_of(&write(vec![delete.clone(), put])), Growth::Grows);
        assert_eq!(growth_of(&write(vec![delete])), Growth::Frees);
        let txn = |failure| Txn { keyspace: Keyspace(0), compares: vec![], success: vec![], failure };
        let delete = TxnOp::Delete { keys: Keys::all(), previous: false };
        let put = TxnOp::Put { key: Bytes::from_static(b"k"), value: None, previous: false };
        let within = |ops| Command::Txn(txn(vec![delete.clone(), TxnOp::Txn(txn(ops))]));
        assert_eq!(growth_of(&within(vec![put])), Growth::Grows);
        assert_eq!(growth_of(&within(vec![delete.clone()])), Growth::Frees);
        assert_eq!(growth_of(&Command::OpenSession { client: ClientId(1) }), Growth::Frees);
    }

    #[test]
    fn a_refusal_is_not_applied_and_may_be_tried_again() {
        for (lack, kind) in [(Lack::Disk, ErrorKind::DiskFull), (Lack::Quota, ErrorKind::StorageFull)] {
            for growth in [Growth::Grows, Growth::Frees] {
                let error = no_room(lack, growth);
                assert_eq!((error.kind(), error.outcome()), (kind, Outcome::NotApplied));
                assert!(error.is_retryable());
            }
        }
    }
}
