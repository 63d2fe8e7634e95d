//! Raft.

mod entry;
mod membership;
mod message;
mod ready;

pub use entry::{Entry, EntryKind, HardState};
pub use membership::{MemberRecord, Membership, Role};
pub use message::{Append, AppendReply, AppendResult, Envelope, Message, ReadRequest, Round, SessionId};
pub use ready::{Fetch, FetchFor, ReadId, ReadOutcome, Ready, RoleChange, RoleName, Write, WriteSeq};
