//! Raft.

mod raft;
mod follower;
mod candidate;
mod leader;
mod progress;
mod quorum;
mod read_index;
mod log;
mod terms;
mod writes;
mod applying;
mod timers;
mod outbox;
mod config;
mod entry;
mod membership;
mod message;
mod ready;

pub use config::{Config, Restored};
pub use entry::{Entry, EntryKind, HardState};
pub use membership::{DecodeError, InvalidMembership, MemberRecord, Membership, Role};
pub use message::{Append, AppendReply, AppendResult, Envelope, Message, ReadRequest, Round, SessionId};
pub use quorum::{Quorum, Tally, VOTERS_MAX};
pub use raft::{ProposeError, Proposed, Raft};
pub use ready::{Fetch, FetchFor, ReadId, ReadOutcome, Ready, RoleChange, RoleName, Write, WriteSeq};
pub use timers::Counters;

#[cfg(test)]
mod tests;
