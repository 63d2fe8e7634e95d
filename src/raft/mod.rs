//! Raft: agreement on one log among a few nodes, of which any minority may fail.
//!
//! This module is the whole algorithm and nothing else. It has no clock, no disk, no network, no thread and no entropy:
//! time, messages and completed writes come in as arguments, and everything to be done comes out as a [`Ready`]. What it
//! does is a function of what it was told, so every behaviour can be replayed, scripted and searched.
//!
//! It is written to be read. The paper is "In Search of an Understandable Consensus Algorithm" (Ongaro and Ousterhout,
//! extended version of 2014), the thesis is Ongaro's "Consensus: Bridging Theory and Practice"; a "section" in a comment
//! is one of the paper's unless the thesis is named. Where real systems went wrong, the comment tells the story.
//!
//! # Chapters
//!
//! Read them in this order:
//!
//! 1. [`message`](Message), [`entry`](Entry), [`ready`](Ready): the vocabulary. What nodes say to each other, what the
//!    log is made of, and what the core wants done.
//! 2. `raft`: the node. Its inputs (`step tick propose change transfer read campaign persisted
//!    applied`), Figure 2's rules for all
//!    servers, and `become_*`, the only writers of a role.
//! 3. `follower`, `candidate`, `leader`: what each role does with each message, and what only it knows.
//! 4. `log`, with `terms`, `writes`, `applying`: the log and its watermarks. Which terms it has, what is on disk, what
//!    may be applied.
//! 5. `progress`: what a leader knows of a follower, and how it finds out. `snapshot`: what it does when its log does not
//!    reach back far enough.
//! 6. [`quorum`](Quorum), [`membership`](Membership): who must agree, and who is there.
//! 7. [`change`](Change), `reconfigure`: how the group changes. `transfer`: handing over.
//! 8. `read_index`: linearizable reads without writing.
//! 9. [`lease`](Lease): reads without a round of messages, where clocks may be trusted that far.
//! 10. `disk`, `room`, `repair`, `doubt`, `stateless`, `caretaker`, `evidence`: a disk that hangs or is full, entries that are damaged, a
//!     log whose end is lost, a state machine that is lost, a leader whose process has ended.
//! 11. `timers`, `outbox`, [`config`](Config): deadlines, collected work, limits.
//!
//! # A write, step by step
//!
//! ```text
//!    leader                                      follower
//!  propose(batch)
//!    appends to its log
//!  ready()  -- Append ----------------------->  step(Append)
//!    Write{entries} -> own disk                    checks prev, stores
//!                                                ready() -> Write{entries, messages: [AppendReply]} -> disk
//!  persisted(seq)                                persisted(seq), and only now the reply leaves
//!    counts itself                          <--- AppendReply
//!  step(AppendReply)
//!    a majority has it: committed
//!  ready()  -> apply (once on its own disk too)
//!           -- commit index, with the next message ->   ready() -> apply
//! ```
//!
//! The leader's disk and the network run side by side (thesis, section 10.2.1): whichever majority of disks is first
//! commits, with or without the leader's own.
//!
//! # What the disk must have seen before whom
//!
//! The order is in the types. [`Ready::messages`] may leave at once; [`Write::messages`] leave when that write and all
//! before it are on disk. Into the second kind go all promises: votes, acknowledgements, rejections, and also the
//! candidate's *request*, which claims a log (see `candidate`). A node counts its own vote and its own copy of an entry
//! only when [`Raft::persisted`] says so. What goes at once promises nothing: a leader's appends and heartbeats (it
//! leads this term whatever its disk does, since it can never lead the same term twice), heartbeat replies, reads.
//!
//! A completion attests all that was handed out up to its number and not truncated since (see `writes`).
//!
//! # How elections stay calm
//!
//! Three measures, always on, which only work together (see Figure 2's index below for the tests):
//!
//! - *Pre-vote* (thesis, section 9.6): nobody raises its term before a majority would vote for it.
//! - *Stickiness* (section 6): who hears a leader, or leads, does not listen to candidates.
//! - *Check-quorum* (thesis, section 6.2): a leader that hears no majority steps down, so that nobody sticks to one that
//!   can do nothing.
//!
//! They would lock out a node that is ahead in term: it ignores the leader, and the others ignore it. So a message of
//! an old term is *answered*, the leader learns the higher term and makes way; and a rejected pre-vote teaches its term.
//!
//! Two more cases end sooner than they could by these alone:
//!
//! - A leader whose *disk hangs* steps down, though it is heard (see `disk`).
//! - The leader's process has ended and a voter has *evidence* of that, by [`Raft::died`]: it listens to candidates, and
//!   asks for pre-votes within moments (see `evidence`, also on why this is safe). Who has none keeps its calm.
//!
//! A node whose log has a damaged entry does not campaign until that is repaired (see `repair`), nor does one that has no
//! state (see `stateless`), but as the last resort (see `caretaker`). One that cannot tell how far its log went neither campaigns nor votes until it has all of it again
//! (see `doubt`). A leader whose disk is nearly full hands over, if others have more room (see `room`).
//!
//! And one may not end as soon as it could: with [leases](Lease) on, a voter keeps silent for a lease after it has heard a
//! leader or has started, whatever else it knows.
//!
//! Deadlines are judged in [`Raft::tick`] alone, and a tick that comes late judges none that could end a role: a node
//! that slept reads its mail first (see `timers`).
//!
//! # How the group changes
//!
//! [`Raft::change`] appends a configuration, and it is in force from that moment, on every node that has it in its log,
//! until it is truncated. Whatever changes the set of voters goes through a joint configuration, in which every decision
//! (votes, commits, reads, check-quorum: all ask [`Quorum`]) needs a majority of both sets. Whoever leads when that is
//! committed leaves it. One change at a time, and none before the leader has committed an entry of its own term.
//!
//! - A read that came before a change is confirmed by the quorum in force when it is answered. That is enough: had another
//!   leader been elected before the read came, then by this leader's configuration or the one next to it in the log, and
//!   each quorum of the one has a node in common with each of the other: it would not have answered this leader's term.
//! - A node campaigns if it counts in the configuration in force or in the committed one, as far as it knows. A leader that
//!   is removed leads until that is committed, hands over and steps down.
//! - A removed node that was not told campaigns and disturbs nobody: see stickiness above. It holds whatever term the
//!   node is in, but not against a member that has just started and heard no leader yet; the transport refuses
//!   removed nodes before it comes to that.
//! - A node that comes knows of no group: an empty [`Membership`], in which it has no vote and never campaigns.
//!
//! `reconfigure` tells the whole story, `change` has the rules of single configurations.
//!
//! # Handing over
//!
//! [`Raft::transfer`] brings another voter's log up to date, taking no proposals meanwhile, and asks it to campaign at
//! once. Those who hear the old leader listen to it all the same: the one exception from stickiness. A leader that is
//! removed does the same before it steps down. See `transfer`.
//!
//! # What is deliberately not here
//!
//! - Clocks that are trusted by default: leases are off unless the configuration says otherwise. Without them time decides
//!   only when something is tried, never what is true.
//! - A follower's disk: one that hangs is missed only when a quorum cannot commit without it. A leader that hears a
//!   quorum only with such a follower goes on leading and commits nothing, though others might.
//! - Forwarding of proposals: who does not lead says so; what to do about it is the caller's business.
//! - Single-server membership changes: a change of the voters is joint, also that of a single one.
//! - Several changes in one: they are made one after the other.
//! - The contents of snapshots, and their way from disk to disk: the core says who needs one, and whether one that came
//!   takes the place of the log (see `snapshot`).
//! - Counting time in ticks: deadlines are instants, so that the granularity of the caller's timer changes nothing.
//!
//! # Errors
//!
//! What comes from a peer is validated; what no correct peer sends, such as an append that would replace what is
//! committed, is dropped and counted ([`Counters`]): a peer must not be able to stop a node. A driver that breaks the
//! contract (a completion of a write that was never made) does stop it at once: to go on would make things worse.
//!
//! # Index: Figure 2, rule by rule
//!
//! Each rule of the paper's Figure 2, where it is kept (`file::function` in this folder), and by which test
//! (`file::function` in `tests/`). A test checks that both exist.
//!
//! | rule | function | test |
//! |---|---|---|
//! | State: persistent state is on stable storage before responding | outbox::next_write | paper::responses_wait_for_the_disk |
//! | State: commitIndex increases monotonically | log::commit_to | paper::commit_goes_no_further_than_what_was_verified |
//! | State: lastApplied increases monotonically | applying::applied_to | paper::what_is_committed_is_applied_everywhere_in_order |
//! | State: nextIndex and matchIndex are made anew after election | raft::become_leader | paper::a_leader_begins_with_no_knowledge |
//! | AppendEntries 1: reply false if term < currentTerm | follower::on_past | paper::appends_of_an_old_term_are_rejected |
//! | AppendEntries 2: reply false without an entry at prevLogIndex with prevLogTerm | follower::on_append | paper::appends_without_their_predecessor_are_rejected |
//! | AppendEntries 3: a conflicting entry and all that follow are deleted | log::truncate | paper::a_conflict_deletes_the_rest |
//! | AppendEntries 4: append new entries not already in the log | log::store | paper::what_does_not_conflict_stays |
//! | AppendEntries 5: commitIndex = min(leaderCommit, index of last new entry) | follower::on_append | paper::commit_goes_no_further_than_what_was_verified |
//! | RequestVote 1: reply false if term < currentTerm | follower::on_past | paper::votes_of_an_old_term_are_rejected |
//! | RequestVote 2: one vote a term | follower::on_vote | paper::one_vote_a_term |
//! | RequestVote 2: only for a log at least as up-to-date | log::is_up_to_date | paper::a_candidate_with_an_older_log_gets_no_vote |
//! | All servers 1: apply what is committed | applying::next | paper::what_is_committed_is_applied_everywhere_in_order |
//! | All servers 2: a higher term makes a follower | raft::adopt_term | paper::an_outdated_leader_or_candidate_becomes_a_follower |
//! | Followers 1: respond to candidates and leaders | raft::on_message | paper::no_vote_while_a_leader_is_heard |
//! | Followers 2: campaign when the election timeout elapses | raft::tick | paper::a_follower_that_hears_nothing_campaigns |
//! | Candidates 1: new term, own vote, timer, requests to all | raft::become_candidate | paper::a_candidate_begins_a_term_votes_and_asks_all |
//! | Candidates 2: votes of a majority make a leader | candidate::count_votes | paper::a_majority_of_votes_elects |
//! | Candidates 3: a new leader's append makes a follower | follower::follow | paper::a_candidate_recognizes_a_leader |
//! | Candidates 4: a new election when the timeout elapses | raft::tick | paper::a_candidate_that_times_out_begins_anew |
//! | Leaders 1: heartbeats upon election and while idle | leader::tick_leader | paper::a_leader_makes_itself_heard |
//! | Leaders 2: append a command, respond after it is applied | raft::propose | paper::a_proposal_is_appended_and_sent_to_all |
//! | Leaders 3: send entries from nextIndex | leader::send_append | paper::an_append_names_the_entry_before |
//! | Leaders 3: success raises nextIndex and matchIndex | progress::on_matched | paper::a_majority_of_disks_commits |
//! | Leaders 3: inconsistency lowers nextIndex | progress::on_rejected | paper::one_probe_for_each_conflicting_term |
//! | Leaders 4: commit a majority's index of the own term | leader::maybe_commit | paper::entries_of_earlier_terms_are_not_counted |

mod message;
mod entry;
mod ready;

#[allow(clippy::module_inception, reason = "the node is what this folder is about; callers see `raft::Raft`")]
mod raft;
mod follower;
mod candidate;
mod leader;

mod log;
mod terms;
mod writes;
mod applying;

mod progress;
mod snapshot;
mod quorum;
mod membership;
mod change;
mod reconfigure;
mod transfer;
mod read_index;
mod lease;

mod disk;
mod room;
mod repair;
mod doubt;
mod stateless;
mod caretaker;
mod evidence;
mod timers;
mod outbox;
mod config;

#[cfg(test)]
mod tests;

pub use caretaker::LAST_RESORT_TIMEOUTS;
pub use change::{Change, MEMBERS_MAX};
pub use config::{Config, Restored};
pub use entry::{Entry, EntryKind, HardState};
pub use lease::{CLOCK_DRIFT_MAX_PPM, Lease};
pub use membership::{CLUSTER_VERSION_FIRST, DecodeError, InvalidMembership, MemberRecord, Membership, Role};
pub use message::{
    Append, AppendReply, AppendResult, Envelope, Message, ReadRequest, Round, SessionId, Snapshot,
};
pub use quorum::{Quorum, Tally, VOTERS_MAX};
pub use raft::{ProposeError, Proposed, Raft};
pub use ready::{
    Fetch, FetchFor, Install, ReadId, ReadOutcome, Ready, RoleChange, RoleName, SnapshotFor, Write, WriteSeq,
};

pub use repair::Damaged;
pub use room::{Growth, Lack, Room};
pub use timers::Counters;
pub use transfer::TransferError;
