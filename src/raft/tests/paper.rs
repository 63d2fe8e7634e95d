//! One test for each sentence of the paper ("In Search of an Understandable Consensus Algorithm", extended version) and
//! the thesis ("Consensus: Bridging Theory and Practice") that the core relies on; each cites its section.

use bytes::Bytes;

use super::script::Script;
use super::trace::kind;
use crate::raft::raft::RoleState;
use crate::raft::{Append, AppendResult, Entry, EntryKind, Message, RoleName, Round, SessionId};
use crate::types::{Index, Monotonic, NodeId, Term};

fn entry(index: u64, term: u64) -> Entry {
    Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from("x"))
}

fn append(prev: (u64, u64), entries: Vec<Entry>, commit: u64) -> Message {
    Message::Append(Append {
        session: SessionId(1),
        inflight: 1,
        prev_index: Index(prev.0),
        prev_term: Term(prev.1),
        entries,
        commit: Index(commit),
        round: Round(0),
    })
}

fn vote(last: (u64, u64)) -> Message {
    Message::Vote { last_index: Index(last.0), last_term: Term(last.1), transfer: false }
}

/// What the last append reply on the way says.
fn last_result(script: &Script) -> AppendResult {
    let mut replies = script.network().iter().filter_map(|envelope| match &envelope.message {
        Message::AppendReply(reply) => Some(reply.result),
        _ => None,
    });
    replies.next_back().expect("an append reply")
}

/// Whether the last vote reply on the way grants.
fn last_vote(script: &Script) -> bool {
    let mut replies = script.network().iter().filter_map(|envelope| match envelope.message {
        Message::VoteReply { granted } => Some(granted),
        _ => None,
    });
    replies.next_back().expect("a vote reply")
}

/// Section 5.1: "If one server's current term is smaller than the other's, then it updates its current term to the
/// larger value."
#[test]
fn a_larger_term_is_taken_over() {
    let mut script = Script::play("cluster nodes=3");
    script.inject(2, 1, 7, vote((0, 0)));
    assert_eq!(script.raft(1).term(), Term(7));
}

/// Section 5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower
/// state."
#[test]
fn an_outdated_leader_or_candidate_becomes_a_follower() {
    for prelude in ["elect 1", "campaign 1\ndeliver\ndeliver"] {
        let mut script = Script::play(&format!("cluster nodes=3\n{prelude}"));
        assert!(matches!(script.raft(1).role(), RoleName::Leader | RoleName::Candidate));
        script.inject(2, 1, 9, append((0, 0), vec![], 0));
        assert_eq!((script.raft(1).role(), script.raft(1).term()), (RoleName::Follower, Term(9)));
    }
}

/// Section 5.1: "If a server receives a request with a stale term number, it rejects the request." Figure 2,
/// AppendEntries rule 1. The answer carries the larger term, by which the sender learns of it.
#[test]
fn appends_of_an_old_term_are_rejected() {
    let mut script = Script::play("cluster nodes=3 log1=3");
    script.inject(2, 1, 2, append((0, 0), vec![entry(1, 2)], 1));
    assert_eq!(script.terms(1), [3]);
    assert_eq!(script.raft(1).commit(), Index(0));
    assert!(matches!(last_result(&script), AppendResult::Rejected { .. }));
    assert_eq!(script.network().last().unwrap().term, Term(3));
}

/// Figure 2, RequestVote rule 1: "Reply false if term < currentTerm."
#[test]
fn votes_of_an_old_term_are_rejected() {
    let mut script = Script::play("cluster nodes=3 term1=3");
    script.inject(2, 1, 2, vote((9, 2)));
    assert!(!last_vote(&script));
    assert_eq!(script.raft(1).term(), Term(3));
}

/// Section 5.2: "When servers start up, they begin as followers."
#[test]
fn nodes_begin_as_followers() {
    let script = Script::play("cluster nodes=3");
    assert!((1..=3).all(|id| script.raft(id).role() == RoleName::Follower));
}

/// Section 5.2: "If a follower receives no communication over a period of time called the election timeout, then it
/// assumes there is no viable leader and begins an election." It asks for pre-votes first (thesis, section 9.6).
#[test]
fn a_follower_that_hears_nothing_campaigns() {
    let mut script = Script::play("cluster nodes=3");
    script.then("tick time=990 1");
    assert_eq!(script.raft(1).role(), RoleName::Follower);
    script.then("tick time=1010 1");
    assert_eq!(script.raft(1).role(), RoleName::PreCandidate);
}

/// Section 5.2: "A server remains in follower state as long as it receives valid RPCs from a leader or candidate."
#[test]
fn a_follower_that_hears_its_leader_stays() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    script.then("run time=10000");
    assert_eq!(script.raft(1).term(), Term(1));
    assert!((2..=3).all(|id| script.raft(id).role() == RoleName::Follower));
}

/// Section 5.2: "To begin an election, a follower increments its current term and transitions to candidate state. It
/// then votes for itself and issues RequestVote RPCs in parallel to each of the other servers." Figure 2, candidates.
#[test]
fn a_candidate_begins_a_term_votes_and_asks_all() {
    let script = Script::play("cluster nodes=5\ncampaign 1\ndeliver\ndeliver");
    let raft = script.raft(1);
    assert_eq!((raft.role(), raft.term(), raft.vote), (RoleName::Candidate, Term(1), Some(NodeId(1))));
    let asked: Vec<u64> =
        script.network().iter().filter(|it| kind(&it.message) == "Vote").map(|it| it.to.0).collect();
    assert_eq!(asked, [2, 3, 4, 5]);
}

/// Section 5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full cluster
/// for the same term."
#[test]
fn a_majority_of_votes_elects() {
    for (nodes, needed) in [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)] {
        let mut script =
            Script::play(&format!("cluster nodes={nodes}\ncampaign 1\ndeliver\ndeliver\ndeliver type=Vote"));
        for count in 0..needed {
            assert_eq!(script.raft(1).role(), RoleName::Candidate, "{count} of {nodes}");
            script.then("deliver type=VoteReply count=1");
        }
        assert_eq!(script.raft(1).role(), RoleName::Leader, "{needed} of {nodes}");
    }
}

/// Section 5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
#[test]
fn one_vote_a_term() {
    let mut script = Script::play("cluster nodes=3");
    script.inject(2, 1, 1, vote((0, 0)));
    assert!(last_vote(&script));
    script.inject(3, 1, 1, vote((0, 0)));
    assert!(!last_vote(&script));
    script.inject(2, 1, 1, vote((0, 0)));
    assert!(last_vote(&script), "the same candidate asks again: its reply may have been lost");
}

/// Section 5.2: "If the leader's term (included in its RPC) is at least as large as the candidate's current term, then
/// the candidate recognizes the leader as legitimate and returns to follower state."
#[test]
fn a_candidate_recognizes_a_leader() {
    let mut script = Script::play("cluster nodes=3\ncampaign 1\ndeliver\ndeliver");
    assert_eq!(script.raft(1).role(), RoleName::Candidate);
    script.inject(2, 1, 1, append((0, 0), vec![entry(1, 1)], 0));
    assert_eq!((script.raft(1).role(), script.raft(1).leader()), (RoleName::Follower, Some(NodeId(2))));
}

/// Section 5.2: "If the term in the RPC is smaller than the candidate's current term, then the candidate rejects the
/// RPC and continues in candidate state."
#[test]
fn a_candidate_ignores_an_old_leader() {
    let mut script = Script::play("cluster nodes=3\ncampaign 1\ndeliver\ndeliver");
    script.inject(2, 1, 0, append((0, 0), vec![], 0));
    assert_eq!(script.raft(1).role(), RoleName::Candidate);
}

/// Section 5.2: "each candidate will time out and start a new election." By asking for pre-votes again.
#[test]
fn a_candidate_that_times_out_begins_anew() {
    let mut script = Script::play("cluster nodes=3\ncampaign 1\ndeliver\ndeliver\ndrop");
    script.then("tick time=2000 1");
    assert_eq!(script.raft(1).role(), RoleName::PreCandidate);
    script.then("drop\ncampaign 1\nstabilize");
    assert_eq!((script.raft(1).role(), script.raft(1).term()), (RoleName::Leader, Term(2)));
}

/// Section 5.2: "election timeouts are chosen randomly from a fixed interval": one to two timeouts, spread over it.
#[test]
fn election_timeouts_are_spread() {
    let mut drawn = Vec::new();
    for seed in 0..200 {
        let mut timers = crate::raft::timers::Timers::new(seed, crate::types::Monotonic(0));
        timers.arm_election(std::time::Duration::from_millis(1000));
        drawn.push(timers.election.0 / 1_000_000);
    }
    assert!(drawn.iter().all(|ms| (1000..2000).contains(ms)), "{drawn:?}");
    for tenth in 10..20 {
        assert!(drawn.iter().any(|ms| ms / 100 == tenth), "none in {tenth}00 ms: {drawn:?}");
    }
}

/// Section 5.2: "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all of the
/// other servers." Its no-op is the first; then one every interval while idle (Figure 2, leaders, rule 1).
#[test]
fn a_leader_makes_itself_heard() {
    let mut script = Script::play("cluster nodes=3\ncampaign 1\ndeliver\ndeliver\ndeliver\ndeliver");
    let count =
        |script: &Script, what| script.network().iter().filter(|it| kind(&it.message) == what).count();
    assert_eq!(count(&script, "Append"), 2);
    script.then("stabilize\ntick time=10\nstabilize\ntick time=300 1");
    assert_eq!(count(&script, "Heartbeat"), 6, "two followers, three intervals");
}

/// Figure 2, state on leaders: "Reinitialized after election": nothing is known of any follower, and the search begins
/// at the end of the leader's own log.
#[test]
fn a_leader_begins_with_no_knowledge() {
    let mut script =
        Script::play("cluster nodes=3\nelect 1\npropose 1 a b\nstabilize\ncrash 1\ntick time=1000 3\ndrop");
    script.then("campaign 2\ndeliver\ndeliver\ndeliver\ndeliver");
    assert_eq!(script.raft(2).role(), RoleName::Leader);
    let progress = script.then("progress 2");
    assert!(
        progress.lines().all(|line| line.contains("Probe") && line.contains("matched 0 next 4")),
        "{progress}"
    );
}

/// Section 5.3: "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel
/// to each of the other servers to replicate the entry."
#[test]
fn a_proposal_is_appended_and_sent_to_all() {
    let script = Script::play("cluster nodes=3\nelect 1\npropose 1 a");
    assert_eq!(script.terms(1), [1, 1]);
    let sent: Vec<u64> = script.network().iter().map(|it| it.to.0).collect();
    assert_eq!(sent, [2, 3]);
}

/// Section 5.3: "When sending an AppendEntries RPC, the leader includes the index and term of the entry in its log that
/// immediately precedes the new entries."
#[test]
fn an_append_names_the_entry_before() {
    let script = Script::play("cluster nodes=3\nelect 1\npropose 1 a\nstabilize\npropose 1 b");
    let Message::Append(append) = &script.network()[0].message else { panic!("an append") };
    assert_eq!((append.prev_index, append.prev_term), (Index(2), Term(1)));
}

/// Section 5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses the
/// new entries." Figure 2, AppendEntries rule 2.
#[test]
fn appends_without_their_predecessor_are_rejected() {
    for prev in [(2, 2), (3, 1), (1, 2)] {
        let mut script = Script::play("cluster nodes=3 log1=1,1");
        script.inject(2, 1, 2, append(prev, vec![entry(prev.0 + 1, 2)], 0));
        assert!(matches!(last_result(&script), AppendResult::Rejected { .. }), "{prev:?}");
        assert_eq!(script.terms(1), [1, 1]);
    }
}

/// Figure 2, AppendEntries rule 3: "If an existing entry conflicts with a new one (same index but different terms),
/// delete the existing entry and all that follow it."
#[test]
fn a_conflict_deletes_the_rest() {
    let mut script = Script::play("cluster nodes=3 log1=1,1,2,2,2");
    script.inject(2, 1, 3, append((1, 1), vec![entry(2, 1), entry(3, 3)], 0));
    assert_eq!(script.terms(1), [1, 1, 3]);
    assert_eq!(last_result(&script), AppendResult::Matched { index: Index(3) });
}

/// Figure 2, AppendEntries rule 4: "Append any new entries not already in the log." What is there and does not conflict
/// stays, also behind the new entries (covers H2).
#[test]
fn what_does_not_conflict_stays() {
    let mut script = Script::play("cluster nodes=3 log1=1,1,1,1");
    script.inject(2, 1, 1, append((1, 1), vec![entry(2, 1)], 0));
    assert_eq!(script.terms(1), [1, 1, 1, 1]);
    assert_eq!(last_result(&script), AppendResult::Matched { index: Index(2) });
    script.inject(2, 1, 1, append((1, 1), vec![], 0));
    assert_eq!(script.terms(1), [1, 1, 1, 1]);
    script.inject(2, 1, 1, append((3, 1), vec![entry(4, 1), entry(5, 1)], 0));
    assert_eq!(script.terms(1), [1, 1, 1, 1, 1]);
}

/// Figure 2, AppendEntries rule 5: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new
/// entry)": not the last entry of the log, which this message did not verify (covers H4).
#[test]
fn commit_goes_no_further_than_what_was_verified() {
    let mut script = Script::play("cluster nodes=3 log1=1,1,1,1");
    script.inject(2, 1, 1, append((1, 1), vec![entry(2, 1)], 4));
    assert_eq!(script.raft(1).commit(), Index(2));
    script.inject(2, 1, 1, append((3, 1), vec![entry(4, 1)], 3));
    assert_eq!(script.raft(1).commit(), Index(3));
    script.inject(2, 1, 1, append((1, 1), vec![entry(2, 1)], 2));
    assert_eq!(script.raft(1).commit(), Index(3), "it never falls");
}

/// Section 5.3: "After a rejection, the leader decrements nextIndex and retries"; with the optimization at the section's
/// end: "one AppendEntries RPC will be required for each term with conflicting entries."
#[test]
fn one_probe_for_each_conflicting_term() {
    let mut script = Script::play(
        "cluster nodes=3 log1=1,5,5,5,5,5,5,5 log2=1,2,2,2,2,3,3,3,4,4,4 log3=1
         campaign 1\ndeliver\ndeliver\ndeliver\ndeliver",
    );
    assert_eq!(script.raft(1).role(), RoleName::Leader);
    let trace = script.then("stabilize");
    let probes = trace.lines().filter(|line| line.starts_with("2->1") && line.contains("rejected")).count();
    assert!(probes <= 3, "{probes} probes:\n{trace}");
    assert_eq!(script.terms(2), script.terms(1));
}

/// Section 5.3: "The leader handles inconsistencies by forcing the followers' logs to duplicate its own"; "A leader
/// never overwrites or deletes entries in its own log" (Leader Append-Only).
#[test]
fn followers_become_like_their_leader() {
    let mut script = Script::play("cluster nodes=3 log1=1,2,4 log2=1,3,3,3 log3=1\nelect 1");
    script.then("stabilize");
    for id in 1..=3 {
        assert_eq!(script.terms(id), [1, 2, 4, 5]);
    }
}

/// Section 5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority of the
/// servers", which for the leader itself means on its own disk too (covers H11, H12).
#[test]
fn a_majority_of_disks_commits() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nslow 1\nslow 2\nslow 3\npropose 1 a\nstabilize");
    assert_eq!(script.raft(1).commit(), Index(1));
    script.then("persist 1");
    assert_eq!(script.raft(1).commit(), Index(1), "one of three");
    script.then("persist 2\nstabilize");
    assert_eq!(script.raft(1).commit(), Index(2), "two of three");

    let mut alone = Script::play("cluster nodes=1\nslow 1\ncampaign 1\npersist 1");
    assert_eq!((alone.raft(1).last_index(), alone.raft(1).commit()), (Index(1), Index(0)));
    alone.then("persist 1");
    assert_eq!(alone.raft(1).commit(), Index(1));
}

/// Section 5.3: "This also commits all preceding entries in the leader's log, including entries created by previous
/// leaders."
#[test]
fn entries_before_a_committed_one_are_committed() {
    let script = Script::play("cluster nodes=3 log1=1,1,2\nelect 1");
    assert_eq!(script.raft(1).commit(), Index(4));
}

/// Section 5.3: "Once a follower learns that a log entry is committed, it applies the entry to its local state machine
/// (in log order)." Figure 2, all servers, rule 1.
#[test]
fn what_is_committed_is_applied_everywhere_in_order() {
    let mut script = Script::play("cluster nodes=3\nelect 1\npropose 1 a b\nstabilize\ntick time=10");
    let trace = script.then("stabilize");
    assert!((1..=3).all(|id| script.raft(id).applied_index() == Index(3)));
    assert!(trace.contains("2 applies 2@1:a 3@1:b"), "{trace}");
}

/// Section 5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate": later last
/// term first, then length (covers H32).
#[test]
fn a_candidate_with_an_older_log_gets_no_vote() {
    for (last, expected) in [((2, 2), true), ((1, 3), true), ((3, 2), true), ((1, 2), false), ((9, 1), false)]
    {
        let mut script = Script::play("cluster nodes=3 log1=1,2");
        script.inject(2, 1, 4, vote(last));
        assert_eq!(last_vote(&script), expected, "{last:?}");
    }
}

/// Section 5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log entries from the
/// leader's current term are committed by counting replicas" (covers H1).
#[test]
fn entries_of_earlier_terms_are_not_counted() {
    // The no-op does not fit into the same append as the old entry, and the leader's disk does not take it.
    let mut script = Script::play(
        "cluster nodes=3 batch=1 log1=1,2 log2=1 log3=1
         campaign 1\ndeliver\ndeliver\ndeliver type=Vote\nslow 1\ndeliver type=VoteReply",
    );
    script.then("drop to=3\ndeliver\ndeliver\ndeliver to=2\ncut 1 2\ndeliver type=AppendReply");
    assert_eq!(script.terms(2), [1, 2], "entry 2 is on a majority");
    assert!(script.then("progress 1").contains("2 Replicate matched 2"));
    assert_eq!(script.raft(1).commit(), Index(0));
}

/// Section 5.5: "Raft RPCs are idempotent, so this causes no harm."
#[test]
fn repeated_messages_do_no_harm() {
    let mut script = Script::play("cluster nodes=3\ncampaign 1");
    for _ in 0..30 {
        script.then("copy");
        let doubles = script.network().len();
        script.then(&format!("drop count={}", doubles / 2));
    }
    script.then(
        "stabilize\ntick time=10\nstabilize\npropose 1 a\ncopy\ncopy\nstabilize\ntick time=10\nstabilize",
    );
    assert_eq!(script.raft(1).role(), RoleName::Leader);
    assert!((1..=3).all(|id| script.raft(id).applied_index() == script.raft(1).last_index()));
}

/// Figure 2, persistent state: "Updated on stable storage before responding to RPCs": votes, acknowledgements and
/// rejections leave with the write that they depend on (covers H8).
#[test]
fn responses_wait_for_the_disk() {
    for message in [vote((0, 0)), append((0, 0), vec![entry(1, 1)], 0), append((5, 1), vec![], 0)] {
        let mut script = Script::play("cluster nodes=3\nslow 1");
        script.inject(2, 1, 1, message.clone());
        assert!(script.network().is_empty(), "{message:?} was answered at once");
        script.then("persist 1");
        assert_eq!(script.network().len(), 1, "{message:?} was not answered");
    }
}

/// Section 6 and thesis, section 4.2.3: "if a server receives a RequestVote request within the minimum election timeout
/// of hearing from a current leader, it does not update its term or grant its vote", unless the leader asks for the
/// election itself (thesis, section 3.10).
#[test]
fn no_vote_while_a_leader_is_heard() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    script.inject(3, 2, 5, vote((9, 4)));
    assert_eq!(script.raft(2).term(), Term(1));
    script.inject(3, 2, 5, Message::Vote { last_index: Index(9), last_term: Term(4), transfer: true });
    assert!(last_vote(&script));

    let mut later = Script::play("cluster nodes=3\nelect 1\ntick time=1000 3\ndrop");
    later.inject(3, 2, 5, vote((9, 4)));
    assert!(last_vote(&later));
}

/// Section 8: "a leader must have the latest information on which entries are committed... by having each leader commit
/// a blank no-op entry into the log at the start of its term."
#[test]
fn a_term_begins_with_a_noop() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    // The very first entry of a group is the configuration that it begins with, which serves as well.
    assert!(script.then("log 1").contains("1@1:{1 2 3}"), "{}", script.then("log 1"));
    assert_eq!(script.raft(1).commit(), Index(1));
    let text = script.then("transfer 1 to=2\nstabilize\nlog 2");
    assert!(text.contains("2@2:noop"), "{text}");
    assert_eq!(script.raft(2).commit(), Index(2));
}

/// Section 8 and thesis, section 6.4: "a leader must check whether it has been deposed before processing a read-only
/// request... by having the leader exchange heartbeat messages with a majority of the cluster" (covers H37).
#[test]
fn reads_are_confirmed_by_a_majority() {
    let mut script = Script::play("cluster nodes=5\nelect 1\nread 1\ndeliver type=Heartbeat");
    assert!(!script.then("deliver type=HeartbeatReply count=1").contains("read 1 at"), "two of five");
    assert!(script.then("deliver type=HeartbeatReply count=1").contains("read 1 at 1"), "three of five");
}

/// Thesis, section 6.2: "A leader in Raft steps down if an election timeout elapses without a successful round of
/// heartbeats to a majority of its cluster."
#[test]
fn a_leader_that_hears_no_majority_steps_down() {
    let mut script = Script::play("cluster nodes=3\nelect 1\npartition 1 2,3");
    script.then("tick time=2000 1");
    assert_eq!((script.raft(1).role(), script.raft(1).term()), (RoleName::Follower, Term(1)));
}

/// Thesis, section 9.6: "a candidate only increments its term if it first learns from a majority of the cluster that
/// they would be willing to grant the candidate their votes."
#[test]
fn the_term_rises_only_after_a_pre_vote() {
    let mut script = Script::play("cluster nodes=3\npartition 1 2,3");
    script.then("tick time=20000 1");
    assert_eq!(script.raft(1).term(), Term(0));
}

/// Thesis, section 4.1: "A server always uses the latest configuration in its log, regardless of whether the entry is
/// committed."
#[test]
fn a_configuration_is_in_force_once_appended() {
    let script = Script::play("cluster nodes=3\nelect 1\npublish 1 version=9");
    assert_eq!(script.raft(1).commit(), Index(1));
    assert_eq!(script.raft(1).membership().members[&NodeId(1)].version, "9");
    assert_eq!(script.raft(1).committed_membership().members[&NodeId(1)].version, "");
}

/// Thesis, section 4.1: "a server must be prepared to fall back to the previous configuration in its log", when a
/// configuration entry is removed.
#[test]
fn a_truncated_configuration_is_in_force_no_more() {
    let mut script = Script::play("cluster nodes=3\nelect 1\npartition 1 2,3\npublish 1 version=9");
    script.inject(2, 1, 5, append((1, 1), vec![entry(2, 5)], 0));
    assert_eq!(script.raft(1).membership().members[&NodeId(1)].version, "");
}

/// Thesis, section 10.2.1: "The leader can write to its disk in parallel with replicating to the followers"; "the leader
/// may even commit an entry before it has been written to its own disk." It is applied there once it is.
#[test]
fn a_leader_commits_before_its_own_disk_and_applies_after() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nslow 1\npropose 1 a\nstabilize");
    let raft = script.raft(1);
    assert_eq!((raft.persisted_index(), raft.commit(), raft.applied_index()), (Index(1), Index(2), Index(1)));
    script.then("persist 1");
    assert_eq!(script.raft(1).applied_index(), Index(2));
}

/// Thesis, section 6.4.1: "Once the leader's heartbeats were acknowledged by a majority of the cluster, the leader would
/// extend its lease to start + election timeout / clock drift bound": from the time when they left (covers H39).
#[test]
fn a_lease_begins_when_the_round_was_sent() {
    let mut script =
        Script::play("cluster nodes=3 lease=1000\ntick time=1000\ndrop\nelect 1\ntick time=100 1");
    script.then("tick time=300 2\ndeliver type=Heartbeat\ndeliver type=HeartbeatReply");
    assert!(script.then("lease 1").contains("1 has 565ms more"), "875 ms less the 310 since it left");
}

/// Thesis, section 6.4.1: "a leader that expects to transfer leadership should expire its lease", and here for the rest of
/// its term, since the request to campaign may arrive whenever it likes (covers H36).
#[test]
fn a_leader_that_hands_over_has_no_lease_any_more() {
    let mut script = Script::play("cluster nodes=3 lease=1000\ntick time=1000\ndrop\nelect 1\nrun time=200");
    assert!(!script.then("lease 1").contains("no lease"));
    let mut raft = script.raft(1).clone();
    let RoleState::Leader(leader) = &mut raft.role else { panic!("it leads") };
    leader.has_handed_over = true;
    assert_eq!(raft.lease(Monotonic(0)), None);
}
