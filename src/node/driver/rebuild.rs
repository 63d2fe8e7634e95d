//! The driver's part of a state that is lost: how it is given up, and how the node comes to another one.
//!
//! ```text
//! damage is latched by the store, wherever it was met: a reader, applying, a fold, the scrub, a rewrite, another member
//!   look        the file that counts, and no snapshot is about to replace it?
//!   set aside   its name is taken from it, durably: no start trusts it again          (a crash before: it is met again)
//!   give up     the applier, behind all that it was given before: the store holds nothing from now on
//!   the core    is told: it applies nothing, does not campaign, and makes way if it leads (`raft/stateless.rs`)
//!
//! the log reaches back to the beginning           it does not
//!   begin    an empty file under the same number    a snapshot is asked for, and comes as any other (`snapshots.rs`)
//!   apply    all that is committed, once more       and the log's record points to its file
//! ```
//!
//! The log's pointer stays as it is until the end: at the file that was set aside, and is therefore missing, or is an empty
//! one that the log goes on from. Either is what a start makes of it too (`state_files.rs`), so a crash between any two steps
//! leads to the same end. What was set aside is kept until there is another state, and then removed.
//!
//! Meanwhile the node refuses to read, at once and with a text that says so, and proposes nothing.
//!
//! A node that has nobody to ask and whose log begins later ends with exit 3, and leaves its directory as it is.

use tracing::{error, info, warn};

use super::{Driver, Internal};
use crate::fsm::{self, Fresh};
use crate::node::Fatal;
use crate::node::applier::Work;
use crate::node::state_faults::StateFaults;
use crate::types::{Index, NodeId};

/// Where the node is with its state.
pub(super) struct Rebuild {
    pub faults: StateFaults,
    step: Step,
    /// There was no room to begin a state: once there is, it is tried again.
    wants_room: bool,
    /// States that were lost, at the start included, and those that took their place.
    pub lost: u64,
    pub rebuilt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is a state.
    Whole,
    /// The file's name is being taken from it.
    SettingAside,
    /// The applier is to let go of it.
    GivingUp,
    /// There is none.
    Stateless,
}

/// News for the driver.
pub(super) enum StateNews {
    SetAside(Result<(), fsm::Error>),
    Begun(Result<Box<Fresh>, fsm::Error>),
}

impl Rebuild {
    /// `has_state`: whether the node starts with one. `lost`: whether it had to do without the one that it had.
    pub fn new(faults: StateFaults, has_state: bool, lost: bool) -> Rebuild {
        let step = if has_state { Step::Whole } else { Step::Stateless };
        // One that begins anew from the log is as good as rebuilt.
        let rebuilt = u64::from(lost && has_state);
        Rebuild { faults, step, wants_room: false, lost: u64::from(lost), rebuilt }
    }

    /// Whether the node has a state, and nothing is wrong with it as far as it knows.
    pub fn is_whole(&self) -> bool {
        self.step == Step::Whole
    }
}

/// Whether a member of this configuration can be given a state by another one: only who leads sends snapshots.
pub fn can_be_helped(id: NodeId, membership: &crate::raft::Membership) -> bool {
    membership.electors().any(|voter| voter != id)
}

impl Driver {
    /// Whether this node, if it leads, lacks what a leader needs, and so leads only until another one does.
    pub(super) fn hands_over_soon(&self) -> bool {
        !self.rebuild.is_whole() || self.parts.raft.is_caretaker()
    }

    /// Whether this node, if it leads, may propose by the group's time. It is in the state, and a state that was never folded comes
    /// from the log alone: until that is applied nothing says that the group has a time already. Only a group that has none begins
    /// it, by the wall clock.
    pub(super) fn knows_group_time(&self) -> bool {
        let store = &self.parts.store;
        store.group_time_ms() > 0 || store.applied().1 == self.parts.raft.term()
    }

    /// Damage was met, somewhere in the state file.
    pub(super) fn on_state_fault(&mut self) {
        // What was met in a file that was replaced since is gone with it.
        let Err(what) = self.parts.store.check() else { return };
        let raft = &self.parts.raft;
        // A snapshot that the core has taken is about to take its place, or a copy of it: then it is looked at again.
        let is_replaced_soon = raft.installing().is_some() || self.snapshots.is_switching();
        if !self.rebuild.is_whole() || is_replaced_soon {
            return;
        }
        let reaches_back = raft.purged().0 == Index(0);
        if !reaches_back && !can_be_helped(self.parts.id, raft.membership()) {
            return self.parts.fatal.report(Fatal::of_store(&what));
        }
        let file = self.parts.files.path(self.snapshots.number());
        let from = if reaches_back { "this node's own log" } else { "another member's snapshot" };
        error!(file = %file.display(), error = %what, from, "the state is lost: it is given up and rebuilt");
        self.rebuild.lost += 1;
        self.rebuild.step = Step::SettingAside;
        let (files, number) = (self.parts.files.clone(), self.snapshots.number());
        let (lane, internal) = (self.snapshots.lane(), self.internal.clone());
        tokio::spawn(async move {
            if let Some(result) = lane.run(move || files.set_aside(number)).await {
                let _ = internal.send(Internal::State(StateNews::SetAside(result)));
            }
        });
    }

    pub(super) fn on_state_news(&mut self, news: StateNews) {
        match news {
            StateNews::SetAside(Ok(())) => {
                // A snapshot that came meanwhile takes its place, or has taken it.
                let is_replaced = self.parts.raft.installing().is_some() || self.parts.store.check().is_ok();
                self.rebuild.step = if is_replaced { Step::Whole } else { Step::GivingUp };
                if !is_replaced {
                    let _ = self.work.send(Work::GiveUp);
                }
            }
            // The same: nothing may come behind a snapshot that is on its way to the applier.
            StateNews::Begun(Ok(_)) if self.parts.raft.has_state() => {}
            StateNews::Begun(Ok(fresh)) => {
                assert_eq!(fresh.applied().0, Index(0), "a state that begins is empty");
                let _ = self.work.send(Work::Begin(fresh));
            }
            StateNews::Begun(Err(error @ fsm::Error::NoRoom { .. })) => {
                warn!(%error, "the state is begun anew once there is room");
                self.rebuild.wants_room = true;
            }
            StateNews::SetAside(Err(error)) | StateNews::Begun(Err(error)) => {
                self.parts.fatal.report(Fatal::of_store(&error));
            }
        }
    }

    /// The store holds nothing any more, and all that was applied before has been heard of.
    pub(super) fn on_given_up(&mut self) {
        self.rebuild.step = Step::Stateless;
        self.parts.raft.lose_state();
        self.heard.clear();
        self.board.set_fresh_at(None);
        self.forget_compactions();
        self.maybe_begin_state();
    }

    /// The disk was asked how much room it has.
    pub(super) fn begin_state_again(&mut self) {
        if std::mem::take(&mut self.rebuild.wants_room) {
            self.maybe_begin_state();
        }
    }

    /// Begins an empty state, if the log reaches back to the beginning.
    fn maybe_begin_state(&mut self) {
        let raft = &self.parts.raft;
        if raft.has_state() || raft.purged().0 > Index(0) {
            return;
        }
        let (files, number) = (self.parts.files.clone(), self.snapshots.number());
        let (lane, internal) = (self.snapshots.lane(), self.internal.clone());
        tokio::spawn(async move {
            if let Some(result) = lane.run(move || files.begin(number).map(Box::new)).await {
                let _ = internal.send(Internal::State(StateNews::Begun(result)));
            }
        });
    }

    /// An empty state is in place.
    pub(super) fn on_state_begun(&mut self) {
        // Unless a snapshot came first: it is what the state machine takes next.
        if !self.parts.raft.has_state() {
            self.parts.raft.state_begun();
            self.on_rebuilt();
        }
    }

    /// There is a state again.
    pub(super) fn on_rebuilt(&mut self) {
        self.on_state_replaced();
        if self.rebuild.step == Step::Stateless {
            self.rebuild.step = Step::Whole;
            self.rebuild.rebuilt += 1;
            info!(index = self.parts.store.applied().0.0, "there is a state again: the log goes on from it");
            let (files, lane, fatal) =
                (self.parts.files.clone(), self.snapshots.lane(), self.parts.fatal.clone());
            tokio::spawn(async move {
                if let Some(Err(error)) = lane.run(move || files.remove_aside()).await {
                    fatal.report(Fatal::of_store(&error));
                }
            });
        }
        // Damage of this very one, which was not looked at before.
        self.on_state_fault();
    }
}
