//! The driver's part of damage: log and state file are read through now and then, so that bit rot is found while others have
//! what it took, and not by the next crash; and it is said loudly when nobody has it.
//!
//! One part is read at a time, on a lane of its own, and the next one a while later: about [`SCRUB_BYTES_PER_SECOND`]. A
//! round goes through all of the log and then through the state file; the next one begins `scrub_pause` after it.
//!
//! A damaged entry is repaired (`raft/repair.rs`). Blocks of the state file that differ from their sums have the file
//! rewritten; if a block is needed, that finds out, and the state is rebuilt (`fsm/scrub.rs`, `rebuild.rs`).
//!
//! An entry that nobody has any more, and that the state holds, is not missed: it is folded, and the log forgets it. Whoever
//! lacks it gets a snapshot.

use std::time::Duration;

use tracing::{error, info, warn};

use super::{Driver, Internal};
use crate::fsm;
use crate::node::Fatal;
use crate::node::applier::Work;
use crate::node::executor::Lane;
use crate::types::{GroupId, Index, Monotonic};
use crate::wal;

/// How fast log and state file are read through, about.
const SCRUB_BYTES_PER_SECOND: usize = 4 << 20;
/// How often a part is read.
const SCRUB_INTERVAL: Duration = Duration::from_millis(250);

/// Where the scrub is.
pub(super) struct Scrub {
    lane: Lane,
    next: Place,
    pause: Duration,
    /// When the next part is read; none while one is.
    due: Option<Monotonic>,
    /// The entry that nobody has, as it was last said.
    lost: Option<Index>,
    /// Whether it was said that the end of the log is lost.
    in_doubt: bool,
    /// Blocks of the state file that did not match.
    pub strays: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Log(GroupId, Index),
    /// A block of the state file.
    State(u64),
}

/// What a part was found to be.
pub(super) enum Scrubbed {
    Log(Result<wal::Scrubbed, wal::Error>),
    State(Result<fsm::Scrubbed, fsm::Error>),
}

impl Scrub {
    /// A thread that nobody waits for, and that is free now and then.
    pub fn lane(&self) -> Lane {
        self.lane.clone()
    }

    pub fn new(lane: Lane, group: GroupId, now: Monotonic, pause: Duration) -> Scrub {
        let next = Place::Log(group, Index(0));
        Scrub { lane, next, pause, due: Some(now.plus(pause)), lost: None, in_doubt: false, strays: 0 }
    }
}

impl Driver {
    /// Reads the next part if it is due.
    pub(super) fn maybe_scrub(&mut self, now: Monotonic) {
        self.forget_irreparable();
        self.report_losses();
        self.report_doubt();
        if self.scrub.due.is_none_or(|due| now < due) {
            return;
        }
        self.scrub.due = None;
        let (reader, store, internal) =
            (self.parts.reader.clone(), self.parts.store.clone(), self.internal.clone());
        let bytes = SCRUB_BYTES_PER_SECOND
            / (Duration::from_secs(1).as_millis() / SCRUB_INTERVAL.as_millis()) as usize;
        let (lane, place) = (self.scrub.lane.clone(), self.scrub.next);
        let read = move || match place {
            Place::Log(group, from) => Scrubbed::Log(reader.scrub((group, from), bytes)),
            Place::State(from) => Scrubbed::State(store.scrub(from, bytes)),
        };
        tokio::spawn(async move {
            if let Some(scrubbed) = lane.run(read).await {
                let _ = internal.send(Internal::Scrubbed(scrubbed));
            }
        });
    }

    pub(super) fn on_scrubbed(&mut self, scrubbed: Scrubbed) {
        let next = match scrubbed {
            Scrubbed::Log(Ok(wal::Scrubbed { next, damaged, .. })) => {
                for (_, index) in damaged.into_iter().filter(|(group, _)| *group == self.parts.group) {
                    error!(%index, "an entry of the log is damaged on the disk: repaired from another member");
                    self.parts.raft.damaged(index);
                }
                Some(next.map_or(Place::State(0), |(group, index)| Place::Log(group, index)))
            }
            Scrubbed::Log(Err(error)) => return self.parts.fatal.report(Fatal::of_log(&error)),
            Scrubbed::State(Ok(fsm::Scrubbed { next, strays: 0, .. })) => next.map(Place::State),
            Scrubbed::State(Ok(fsm::Scrubbed { strays, first_stray, .. })) => {
                self.on_strays(strays, first_stray);
                None
            }
            // The rest of the round is about another file.
            Scrubbed::State(Err(error)) => {
                self.rebuild.faults.report(&error);
                None
            }
        };
        let pause = if next.is_some() { SCRUB_INTERVAL } else { self.scrub.pause };
        self.scrub.next = next.unwrap_or(Place::Log(self.parts.group, Index(0)));
        self.scrub.due = Some(self.parts.clock.now().plus(pause));
    }

    /// Blocks of the state file are not what was written there.
    fn on_strays(&mut self, strays: u64, first: Option<u64>) {
        self.scrub.strays += strays;
        let (file, offset) = (self.parts.files.path(self.snapshots.number()), first.unwrap_or_default());
        warn!(
            file = %file.display(), offset, blocks = strays,
            "the state file has blocks that fail their checksums, where a crash left them or the disk lost them: rewriting it"
        );
        self.rewrite_soon();
    }

    /// What nobody has any more and the state holds is let go of.
    fn forget_irreparable(&mut self) {
        let raft = &self.parts.raft;
        let Some(index) = raft.irreparable().filter(|index| *index <= raft.applied_index()) else { return };
        if index <= self.parts.store.folded().0 {
            warn!(%index, "an entry is damaged on every member, and this node's state holds it: the log forgets it");
            self.purge_to(index);
        } else {
            // The applier is gone only when the node is stopping.
            let _ = self.work.send(Work::Fold);
        }
    }

    /// Says so when the end of the log is lost, and when it is there again.
    fn report_doubt(&mut self) {
        let in_doubt = self.parts.raft.is_in_doubt();
        if std::mem::replace(&mut self.scrub.in_doubt, in_doubt) == in_doubt {
            return;
        }
        match in_doubt {
            true => error!(
                "the end of this node's log is damaged, and nobody can tell what stood there: it grants no vote until it has \
                 again all that its leader has. Where no leader is left, and as many nodes say this as a majority, nobody \
                 can be elected: see `quorate recover`"
            ),
            false => info!("the end of this node's log is there again: it votes"),
        }
    }

    /// Says so, once, when all copies of an entry are damaged: nothing more can be applied here until one is found.
    fn report_losses(&mut self) {
        let applied = self.parts.raft.applied_index();
        let lost = self.parts.raft.irreparable().filter(|index| *index > applied);
        if lost == self.scrub.lost {
            return;
        }
        self.scrub.lost = lost;
        match lost {
            Some(index) => error!(
                %index,
                "an entry is damaged here and every other member lacks it, too: this node goes no further; bring back a \
                 member that has it"
            ),
            None => info!("no entry is missing any more"),
        }
    }
}
