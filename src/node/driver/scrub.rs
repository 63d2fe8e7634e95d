//! The driver's part of damage: the log is read through now and then, so that bit rot is found while others have what it
//! took, and not by the next crash; and it is said loudly when nobody has it.
//!
//! One part is read at a time, on a lane of its own, and the next one a while later: about [`SCRUB_BYTES_PER_SECOND`]. A
//! round goes through all of the log; the next one begins [`SCRUB_PAUSE`] after it.

use std::time::Duration;

use tracing::{error, info};

use super::{Driver, Internal};
use crate::node::Fatal;
use crate::node::executor::Lane;
use crate::types::{GroupId, Index, Monotonic};
use crate::wal::{self, Scrubbed};

/// How fast the log is read through, about.
const SCRUB_BYTES_PER_SECOND: usize = 4 << 20;
/// How often a part is read.
const SCRUB_INTERVAL: Duration = Duration::from_millis(250);
/// Between two rounds.
const SCRUB_PAUSE: Duration = Duration::from_secs(600);

/// Where the scrub is.
pub(super) struct Scrub {
    lane: Lane,
    next: (GroupId, Index),
    /// When the next part is read; none while one is.
    due: Option<Monotonic>,
    /// The entry that nobody has, as it was last said.
    lost: Option<Index>,
    /// Whether it was said that the end of the log is lost.
    in_doubt: bool,
}

impl Scrub {
    pub fn new(lane: Lane, group: GroupId, now: Monotonic) -> Scrub {
        Scrub { lane, next: (group, Index(0)), due: Some(now.plus(SCRUB_PAUSE)), lost: None, in_doubt: false }
    }
}

impl Driver {
    /// Reads the next part if it is due.
    pub(super) fn maybe_scrub(&mut self, now: Monotonic) {
        self.report_losses();
        self.report_doubt();
        if self.scrub.due.is_none_or(|due| now < due) {
            return;
        }
        self.scrub.due = None;
        let (reader, from, internal) = (self.parts.reader.clone(), self.scrub.next, self.internal.clone());
        let bytes = SCRUB_BYTES_PER_SECOND
            / (Duration::from_secs(1).as_millis() / SCRUB_INTERVAL.as_millis()) as usize;
        let lane = self.scrub.lane.clone();
        tokio::spawn(async move {
            if let Some(scrubbed) = lane.run(move || reader.scrub(from, bytes)).await {
                let _ = internal.send(Internal::Scrubbed(scrubbed));
            }
        });
    }

    pub(super) fn on_scrubbed(&mut self, scrubbed: Result<Scrubbed, wal::Error>) {
        let Scrubbed { next, damaged, .. } = match scrubbed {
            Ok(scrubbed) => scrubbed,
            Err(error) => return self.parts.fatal.report(Fatal::of_log(&error)),
        };
        for (_, index) in damaged.into_iter().filter(|(group, _)| *group == self.parts.group) {
            error!(%index, "an entry of the log is damaged on the disk: repaired from another member");
            self.parts.raft.damaged(index);
        }
        let now = self.parts.clock.now();
        let (next, pause) = match next {
            Some(next) => (next, SCRUB_INTERVAL),
            None => ((self.parts.group, Index(0)), SCRUB_PAUSE),
        };
        self.scrub.next = next;
        self.scrub.due = Some(now.plus(pause));
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
        let lost = self.parts.raft.irreparable();
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
