//! Where whoever meets an error of the state file reports it.
//!
//! Damage is the driver's to mend (see `driver/rebuild.rs`): it is told to look at the store, whose latch says what is
//! wrong. What was met in a file that has been replaced since is then nobody's concern any more. Everything else that can be
//! wrong with a disk ends the node (H15). A fold that was undone for want of room is nothing that is wrong, nor is a snapshot that
//! became too dear.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Fatal, FatalSender};
use crate::fsm;

/// A handle, cheap to clone.
#[derive(Clone)]
pub(super) struct StateFaults {
    fatal: FatalSender,
    damaged: Arc<Notify>,
}

impl StateFaults {
    pub fn new(fatal: FatalSender) -> StateFaults {
        StateFaults { fatal, damaged: Arc::new(Notify::new()) }
    }

    /// An error of the state file was met.
    pub fn report(&self, error: &fsm::Error) {
        match error {
            // A permit is kept if the driver is busy: no report is lost, and many are one.
            fsm::Error::Damaged { .. } => self.damaged.notify_one(),
            // Who knows of no state knows why.
            fsm::Error::Lost => {}
            // It is as good as never tried, and whoever tried says so: it is tried again when there is room (H18).
            fsm::Error::Undone { .. } => {}
            // Nothing is wrong with the file: one reader of it cost too much.
            fsm::Error::Revoked => {}
            error => self.fatal.report(Fatal::of_store(error)),
        }
    }

    /// The state machine's thread has ended.
    pub fn lost_thread(&self) {
        self.fatal.report(Fatal::Broken("the state machine's thread stopped".into()));
    }

    /// Completes when damage was reported.
    pub async fn damaged(&self) {
        self.damaged.notified().await;
    }
}
