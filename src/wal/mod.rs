//! The write-ahead log: one segmented file sequence a node, shared by all its groups.
//!
//! It stands at step 4a of the write path: what the core hands out as [`Write`](crate::raft::Write)s becomes durable
//! here, and only then may the messages leave that promise it. There is one writer, [`Wal`]; what queued up during
//! one fsync is one batch and goes out with the next. Hard states and entries go through the same file in order
//! (H9: a term that reaches the disk after the entries of a later one is a committed entry overwritten). Readers
//! read back old entries from any thread through a [`Reader`].
//!
//! ```text
//! DIR/lock                      held by the one process that has the log open
//! DIR/spare                     the next segment, being prepared; worthless after a crash
//! DIR/0000000000000007.wal      segments: a first sector, a preamble, batches, zeroes      -> segment
//!   sectors of 512 bytes        each with a checksum, its batch, its place in the batch     -> sector
//!     records                   header with its own checksum, chained; payload              -> record
//!       group, hard state, entry, base, repair                                             -> group, hard_state
//! ```
//!
//! # Invariants
//!
//! * At most one batch is not synced: batch n + 1 is written only after the fsync of batch n returned. A batch begins
//!   on a fresh sector, is padded to one and never leaves its segment: synced bytes are not rewritten. (Recovery
//!   writes the last batch again with the same bytes, see `recover`.)
//! * A segment is zero-filled and synced before it is used, and complete up to the end of its preamble before it has
//!   its name. The preamble repeats the state of every group twice, hard state first of all: freeing older segments can
//!   never lose a vote.
//! * A segment is freed when every entry in it is void or at or below its group's purge point, oldest first, one
//!   durable removal after the other (see `held`), beside the writer and never in its way. A purge point moves only after its record is durable.
//! * An entry at or below the last index makes what stood there and beyond void, logically; no byte is touched.
//! * Where the log of a group begins, under which membership, and which state file holds what is before, is one
//!   record, the base record (see `group`), with three uses: a purge keeps the state file's number, a switch changes
//!   nothing but the number, an install ([`Install`]) changes all and may reset the log. The number never falls.
//! * The checksum of an entry's payload is the one its leader made: stored, verified on append and on each read,
//!   never made anew.
//! * A damaged entry counts as present and is never returned. What takes its place is appended as a repair record; the
//!   damaged one stays as it is (see below).
//! * A full log ([`Error::Full`]) refuses entries before anything is written and is otherwise as good as before.
//!   So does a disk that has no room for the next segment ([`Error::NoRoom`], see `room`). Any other disk error, and damage
//!   of anything but an entry, poisons the log: nothing is tried again (H15).
//!
//! # Torn or damaged
//!
//! After a crash the last batch may have reached the disk in any part, since its sectors are written in any order.
//! The end of the log is *torn*, and is cut, if no sector of a later batch exists *and* every sector that fails its
//! check is wholly zero, the state it had before the batch. Everything before the first failing sector is kept as
//! far as its records are whole, and hard states also from beyond it, by either of their two copies; of their commit
//! indexes see `hard_state`. Everything else is *damage*, and damage is never shortened.
//!
//! # Damage, and what becomes of it
//!
//! A node that has lost an entry which it acknowledged must not behave as if it had never had it (H17): a log that is
//! shortened by damage helps to elect a leader without what is committed (Alagappan et al., "Protocol-Aware Recovery for
//! Consensus-Based Storage", FAST'18). But one lost sector is no reason to lose a node either. So recovery reads on through
//! sectors that are not whole, as long as nothing is in doubt: the batches around them say which sectors belong where, and
//! the chain of header checksums proves that no record is missing. Then what is lost is only what stood *in* records, and
//! of an entry the header says which it was: index, term, kind, and the checksum of its payload.
//!
//! | what is damaged | outcome |
//! |---|---|
//! | an entry's payload, one sector or all of them; its frames; padding | The log opens. The entry is in [`RecoveredGroup::damaged`]: present, and not readable. |
//! | headers of entries, more readable behind them, nothing but entries of one term that continue the log | Likewise: which ones they were is known, all but their checksums (see `gaps`). |
//! | headers of entries behind which the term, or who was replaced, cannot be told; a configuration entry | The log opens with what it had before, *in doubt*: [`HardState::in_doubt`](crate::raft::HardState::in_doubt). The node grants no vote until it has all again (`raft::doubt`). |
//! | the end of the last batch, all headers readable | Like the first row; the log goes on in a new segment. |
//! | the end of the last batch, one sector, else | In doubt likewise: nobody knows what stood there. |
//! | the end of the last batch, several sectors, else | Refused: both copies of a vote may have stood there. |
//! | one copy of a hard state, of a base record, of a group's record in a preamble, of a segment's first sector | The log opens, with the other copy. |
//! | both copies of a hard state or a base | Refused, unless a later preamble repeats what was in them. |
//! | both copies of a preamble | As if its records were missing: what the segment before it says counts, if there is one. |
//! | both copies of a segment's first sector; a segment that is missing or cut short | Refused. |
//! | a damaged repair record | It repairs nothing: the entry is damaged as before. |
//! | found by a reader, or a scrub: an entry that cannot be read | [`Error::Entry`]; the log is not poisoned. |
//!
//! Refused means [`Error::Damaged`]: the log is left as it is, nobody starts from it any more, and the node comes back as a new
//! member with a new log in another directory, if there is anybody to ask (`server/rejoin.rs`). An entry that lies in a bad sector is damaged also where its checksum holds: no reader believes such
//! a sector. Whoever drives the log fetches damaged entries from other members and stores them once more, as
//! [`GroupWrite::repairs`]: a *repair record* has the entry's index, term, payload and checksum, stands where the log ends
//! now, and is where that entry is read from then on. Nothing is overwritten in place and nothing becomes void. A damaged
//! entry that is replaced by another leader's, purged or covered by an install is damaged no more.
//!
//! # Torn
//!
//! An install is one record in the chain, behind the hard state and before the entries that follow it in its batch. So
//! a torn batch has it whole, with all before it, or not at all, and then no entry behind it either: entries that
//! continue a snapshot never stand in the log that it should have replaced. A vote that outlives a lost install is as
//! good as any; the commit index that came with it goes, as always, since it spoke of what is lost. An install that
//! reached the disk counts, though nobody was told: its state file was durable before. It is made durable before the
//! log is opened, and so before anybody removes the state file of before.
//!
//! The cut itself is a new segment whose first sector names the place where the one before it ends. What is behind
//! that place is never read again; what is before it has to be whole from then on.
//!
//! # Fault model
//!
//! Inside, each alone and at any place: a crash with any subset of the un-synced sectors lost, any of the un-synced
//! names lost; a second crash during recovery; any bit or byte changed in what was synced; a sector written to the
//! wrong place, or not written, if a later batch was written; a file cut short or missing between others; an I/O
//! error at any call, the process started again after a failed fsync included. And the log of another node, or of an
//! earlier life of this one, in this one's place, whole or one file of it: [`Error::Foreign`].
//!
//! Outside:
//!
//! * A disk that acknowledges an fsync and loses its bytes, and a wholly zeroed sector of the *last* batch after it
//!   was synced: both look like a crash before the fsync. The hard state survives one such sector, the entries do not.
//!   (From the next batch on such a sector is damage like any other.)
//! * A sector that is written in part. Disks with 512-byte or 4 KiB atomic writes do not do that; if one does, the
//!   sector is neither whole nor zero, and the log is refused as damaged although a crash would explain it.
//! * The newest segments missing, or all of them: nothing in the rest tells of them. Whoever deletes log files makes
//!   the node forget its vote; the node's identity file notices only that all are gone, and the state file that an end is
//!   missing which it has seen. Both are a lost log.
//! * Someone who changes bytes and mends all checksums.

pub mod fs;
pub mod inspect;
pub mod offline;

mod error;
mod gaps;
mod group;
mod hard_state;
mod held;
mod index;
mod reader;
mod record;
mod recover;
mod room;
mod scan;
mod sector;
mod segment;
mod syncs;
#[allow(clippy::module_inception)]
mod wal;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use reader::{Reader, Scrubbed};
pub use recover::{Recovered, RecoveredGroup, Wound};
pub use syncs::Syncs;
pub use wal::{Freed, GroupWrite, Install, Options, Removed, Wal};
