//! What a run shows: one structured record for each thing that happened, for the page and for the text trace.
//!
//! Events are gathered only where somebody asked for a trace; the trace *hash* is made of all that happens whether or not
//! anybody looks (see the [module](super)).

use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in simulated time since the run began.
    pub at: Duration,
    /// On which node; 0 is the world: clients, links, the judge.
    pub node: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A Raft message left.
    Sent {
        /// Pairs it with [`What::Delivered`] or [`What::Lost`]; a repeated delivery has the same number.
        message: u64,
        /// To whom.
        to: u64,
        /// `Append`, `VoteReply`, ...
        name: &'static str,
        /// Its term.
        term: u64,
        /// Its other fields, in words.
        fields: String,
    },
    /// A Raft message was taken in by the core.
    Delivered {
        /// Its number.
        message: u64,
    },
    /// A Raft message will never arrive.
    Lost {
        /// Its number.
        message: u64,
        /// Why: `loss`, `cut`, `down`.
        why: &'static str,
    },
    /// The node's core stands like this now: sent whenever one of these changed.
    State {
        /// `leader`, `follower`, ...
        role: &'static str,
        /// The term.
        term: u64,
        /// The leader it knows.
        leader: Option<u64>,
        /// The end of its log.
        last: u64,
        /// What is on its disk.
        persisted: u64,
        /// What is committed as far as it knows.
        commit: u64,
        /// What it has applied.
        applied: u64,
        /// Why its role changed, where it did.
        why: Option<&'static str>,
    },
    /// The node began to run.
    Booted,
    /// The node stopped running, for this reason.
    Down {
        /// `crash`, `stop`, or what it said.
        why: String,
    },
    /// A fault was played.
    Fault {
        /// Its kind, as the counters name it.
        fault: &'static str,
        /// Which, and on what.
        text: String,
    },
    /// A fault is over: the last open [`What::Fault`] of this kind on this node whose text begins with this one's, or, if
    /// this text is empty, all open ones of this kind on this node.
    Cured {
        /// The kind that the fault had.
        fault: &'static str,
        /// Which, and on what.
        text: String,
    },
    /// A disk call.
    Disk {
        /// `write`, `sync`, ...
        call: &'static str,
        /// On what, and how it ended.
        text: String,
        /// How many bytes.
        bytes: usize,
    },
    /// A line of the node's log.
    Log {
        /// The line.
        text: String,
    },
    /// A client's request began.
    Begun {
        /// Pairs it with its end.
        request: u64,
        /// The client.
        client: u64,
        /// The node it was sent to; 0: whichever the client's library chose.
        to: u64,
        /// What it asks.
        operation: String,
    },
    /// A client's request ended.
    Ended {
        /// Pairs it with its beginning.
        request: u64,
        /// Its outcome.
        outcome: Fate,
        /// The answer, in words.
        answer: String,
    },
    /// The run found something wrong here.
    Violation {
        /// What.
        text: String,
    },
}

/// How a client's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was executed.
    Done,
    /// It certainly was not, and never will be.
    NotApplied,
    /// Nobody knows.
    Unknown,
}
