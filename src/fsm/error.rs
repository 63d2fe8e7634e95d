//! What can go wrong in the state machine. None is a caller's fault, since what a caller gets wrong is part of the
//! deterministic reply. Every one of these stops the node but [`Error::Snapshot`] and [`Error::Staged`], which are about
//! a file that nobody points to yet, [`Error::Undone`], after which all is as it was before, and [`Error::Revoked`], which is
//! about one reader.

use std::io;

use crate::types::{Index, Owner};

/// An error of the state machine. Once one about the state file has been returned, the store answers nothing but
/// it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes of the state file are not what was written there. The node must not serve from it.
    #[error("the state file is damaged{}: {what}", at(.offset))]
    Damaged {
        /// Where in the file, if it is known.
        offset: Option<u64>,
        /// What was found.
        what: String,
    },
    /// The state file was made by another version of this program, or is no state file.
    #[error(
        "the state file has format version {found}, but this binary reads {known}: use the binary that wrote it"
    )]
    Version {
        /// The version found.
        found: u32,
        /// The version this binary reads.
        known: u32,
    },
    /// The state file is whole, but another node's, or of another life of this one. The node must not serve from it.
    #[error(
        "this is the state file of {found}, and this node is {expected}. The node does not start: put back this \
         node's own files. The state of another node must never be used: it is not what this node's log leads to"
    )]
    Foreign {
        /// Whose it is.
        found: Owner,
        /// Whose it should be.
        expected: Owner,
    },
    /// There is no state: it was given up, and another one has not taken its place yet (see `loss`).
    #[error("this node's state is lost, and another one has not taken its place yet")]
    Lost,
    /// Another process has the state file open.
    #[error("the state file {path} is in use by another process")]
    Locked {
        /// Its path.
        path: String,
    },
    /// The disk failed. Nothing is retried: after a failed write or sync nobody knows what is on it.
    #[error("the state file cannot be used: {what}")]
    Io {
        /// The call that failed and how.
        what: String,
    },
    /// The disk is full, for a file that is being opened or written to take the state file's place: it is given up. In the
    /// state file itself it is an [`Error::Undone`].
    #[error("there is no room on the disk: {what}")]
    NoRoom {
        /// The call that failed and how.
        what: String,
    },
    /// A fold found no room on the disk, and was undone: what it was to write waits where it was, and it may be tried another
    /// time. For whoever read from the file meanwhile, in more than one call: what is left of that must be begun anew. This
    /// node's state is as it was. It stops nothing.
    #[error("there was no room on the disk, and what was begun was undone: {what}")]
    Undone {
        /// The call that failed and how.
        what: String,
    },
    /// A snapshot that was being sent has ended before its time: what was kept for it cost too much (see `pin`). This node's
    /// state is as it should be. It stops nothing.
    #[error("the state file has grown too much meanwhile")]
    Revoked,
    /// A snapshot from another node is damaged, incomplete, or of another version. This node's state is as it was: only
    /// the transfer failed. It stops nothing.
    #[error("the snapshot cannot be used: {what}")]
    Snapshot {
        /// What was found.
        what: String,
    },
    /// A file that was being written to take the state file's place cannot be finished: its disk failed, or the work was
    /// given up. This node's state is as it was, and nothing points to that file. It stops nothing.
    #[error("the new state file cannot be finished: {what}")]
    Staged {
        /// What happened.
        what: String,
    },
    /// A file that was being written to take the state file's place was given up, and nothing is wrong with any disk: it may
    /// be tried another time.
    #[error("the new state file was given up: {what}")]
    GivenUp {
        /// Why.
        what: String,
    },
    /// A committed command cannot be decoded. To skip it would make this node's state differ from the others'.
    #[error("the committed command at index {index} cannot be decoded: {what}")]
    Undecodable {
        /// Its index.
        index: Index,
        /// What was wrong with it.
        what: String,
    },
}

impl Error {
    /// A failed call, `what` names it.
    pub fn io(what: String, error: &io::Error) -> Error {
        match is_out_of_room(error) {
            true => Error::NoRoom { what },
            false => Error::Io { what },
        }
    }

    /// As whoever is told reads more of the state file than one call does: it was full, and is opened again.
    pub(super) fn undone(self) -> Error {
        match self {
            Error::NoRoom { what } => Error::Undone { what },
            error => error,
        }
    }
}

/// Whether a call failed for want of room and of nothing else.
pub(super) fn is_out_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn at(offset: &Option<u64>) -> String {
    offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default()
}
