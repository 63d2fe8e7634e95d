//! What can go wrong with the log, sorted by what the node does next.

use std::io;
use std::path::{Path, PathBuf};

use crate::types::{GroupId, Index, Owner};

/// An error of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that were on disk are not what was written. The node must not start (exit code 3): it may have
    /// acknowledged what is missing, so it may neither vote nor answer for it.
    #[error(
        "{}: damaged at byte {offset}: {what}. The node does not start, since it may have acknowledged what is \
         lost here; the other members serve on. Keep the directory as it is, as evidence (`quorate wal inspect` shows \
         what can be read); never delete log files or cut them to make it start.",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// An entry that was on disk cannot be read back; the rest of the log can, and the log is not poisoned. The entry
    /// counts as present: it is to be fetched from another member and stored by
    /// [`GroupWrite::repairs`](super::GroupWrite::repairs).
    #[error("{}: entry {index} of group {group} is damaged, at byte {offset}: {what}", file.display())]
    Entry {
        /// Whose it is.
        group: GroupId,
        /// Which entry.
        index: Index,
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The file is whole, but of a format that this binary does not know (exit code 3).
    #[error("{}: log format {found}, this binary knows {known}: {}", file.display(), way_out(*found, *known))]
    Version {
        /// The file.
        file: PathBuf,
        /// The format it is in.
        found: u32,
        /// The format of this binary.
        known: u32,
    },
    /// The file is whole, but another node's, or of another life of this one (exit code 3).
    #[error(
        "{}: this is the log of {found}, and this node is {expected}. The node does not start: put back this node's \
         own files. The log of another node must never be used: its votes are not this node's", file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: Owner,
        /// Whose it should be.
        expected: Owner,
    },
    /// The disk failed (exit code 4). The log is poisoned from here on.
    #[error("{}: {doing} failed: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// Which call it was.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier call failed. Nothing is tried again: after a failed fsync the kernel may call pages clean that
    /// never reached the disk (H15).
    #[error("the log is poisoned: an earlier disk error was reported, and nothing is tried again after one")]
    Poisoned,
    /// The log has reached its size limit. Nothing was written, and the log is as good as before.
    #[error("the log has reached its size limit; entries are taken again once older ones have been purged")]
    Full,
    /// There is no room on the disk for the next segment. Nothing was written, and the log is as good as before: to be tried
    /// again when there is room.
    #[error("{}: no room for a log segment of {needed} bytes on its volume: make room there", dir.display())]
    NoRoom {
        /// The log's directory.
        dir: PathBuf,
        /// What the segment takes.
        needed: u64,
    },
    /// Another process has this log open (exit code 2).
    #[error(
        "another process has the log in {} open: is this node running already? stop it, or use another --data-dir",
        dir.display()
    )]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
}

/// What to do with a log of another format.
fn way_out(found: u32, known: u32) -> &'static str {
    if found > known {
        return "start the version of quorate that wrote it, or a newer one";
    }
    "start the version of quorate that wrote it. Formats are not converted: to go on with this version, begin a new \
     cluster on empty data directories and copy the keys into it through the API; never delete the log alone, the \
     node's votes are in it"
}

impl Error {
    /// Damage at a place.
    pub(super) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Error {
        Error::Damaged { file: file.to_path_buf(), offset, what: what.into() }
    }

    /// Names the file and the call of a system error.
    pub(super) fn io(file: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { file: file.to_path_buf(), doing, source }
    }
}
