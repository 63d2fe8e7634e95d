//! What a script cannot say: bad input, comparison of states, and the order of things inside one call.

use bytes::Bytes;

use super::node::{Node, config, membership};
use super::script::Script;
use crate::raft::{
    Append, AppendReply, AppendResult, Change, Entry, EntryKind, Envelope, MemberRecord, Message,
    ProposeError, Raft, ReadRequest, RoleName, Room, Round, SessionId, WriteSeq,
};
use crate::types::{Incarnation, Index, Monotonic, NodeId, Term};

fn entry(index: u64, term: u64, kind: EntryKind) -> Entry {
    Entry::new(Index(index), Term(term), kind, Bytes::from("x"))
}

fn append(prev: (u64, u64), entries: Vec<Entry>) -> Message {
    Message::Append(Append {
        session: SessionId(1),
        inflight: 1,
        prev_index: Index(prev.0),
        prev_term: Term(prev.1),
        entries,
        commit: Index(0),
        round: Round(0),
    })
}

/// What no correct peer sends is dropped and counted, and changes nothing.
#[test]
fn contradictory_appends_are_dropped() {
    let command = EntryKind::Command;
    for message in [
        append((0, 0), vec![entry(2, 1, command)]),
        append((0, 0), vec![entry(1, 1, command), entry(3, 1, command)]),
        append((0, 0), vec![entry(1, 1, command), entry(1, 1, command)]),
        append((0, 0), vec![entry(1, 2, command), entry(2, 1, command)]),
        append((0, 0), vec![entry(1, 9, command)]),
        append((0, 0), vec![entry(1, 0, command)]),
        append((0, 3), vec![]),
        append((3, 0), vec![]),
        append((3, 9), vec![]),
        append((u64::MAX, 1), vec![entry(0, 1, command)]),
        append((0, 0), vec![entry(1, 1, EntryKind::Membership)]),
    ] {
        let mut script = Script::play("cluster nodes=3\nelect 1\ncrash 1\ntick time=10 2");
        let before = script.raft(2).clone();
        script.inject(1, 2, 1, message.clone());
        assert_eq!(script.raft(2), &before, "{message:?}");
        assert_eq!(script.raft(2).counters().invalid, 1, "{message:?}");
    }
}

#[test]
fn misaddressed_messages_are_dropped() {
    let mut node = Node::new(config(1), membership(3, 0), Monotonic(0));
    let message = Message::Heartbeat {
        session: SessionId(1),
        commit: Index(0),
        round: Round(0),
        stored_by_all: Index(0),
    };
    for (from, to, term) in [(2, 3, 1), (1, 1, 1), (0, 1, 1), (2, 1, u64::MAX)] {
        let (from, to, term) = (NodeId(from), NodeId(to), Term(term));
        node.raft().step(Monotonic(0), Envelope { from, to, term, message: message.clone() });
    }
    assert_eq!(node.raft().counters().invalid, 4);
    assert_eq!(node.raft().term(), Term(0));
}

/// A second leader in one term is not believed, by the leader or by its followers.
#[test]
fn a_second_leader_in_a_term_is_not_followed() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    script.inject(3, 1, 1, append((1, 1), vec![entry(2, 1, EntryKind::Command)]));
    script.inject(3, 2, 1, append((1, 1), vec![entry(2, 1, EntryKind::Command)]));
    assert_eq!(script.raft(1).role(), RoleName::Leader);
    assert_eq!(script.raft(2).leader(), Some(NodeId(1)));
    assert!(
        (1..=2).all(|id| script.raft(id).last_index() == Index(1) && script.raft(id).counters().invalid == 1)
    );
}

/// Replies that claim more than was sent, or a round that was not begun, are dropped.
#[test]
fn impossible_replies_are_dropped() {
    let reply = |inflight, round, result| {
        Message::AppendReply(AppendReply {
            session: SessionId(1),
            inflight,
            round: Round(round),
            result,
            room: Room::Ample,
        })
    };
    for message in [
        reply(1, 0, AppendResult::Matched { index: Index(99) }),
        reply(99, 0, AppendResult::Matched { index: Index(1) }),
        reply(1, 5, AppendResult::Matched { index: Index(1) }),
        Message::HeartbeatReply {
            session: SessionId(1),
            round: Round(5),
            needs_snapshot: None,
            room: Room::Ample,
        },
        Message::HeartbeatReply {
            session: SessionId(1),
            round: Round(0),
            needs_snapshot: Some(Index(2)),
            room: Room::Ample,
        },
    ] {
        let mut script = Script::play("cluster nodes=3\nelect 1");
        script.inject(2, 1, 1, message.clone());
        assert_eq!(script.raft(1).counters().invalid, 1, "{message:?}");
        assert_eq!(script.raft(1).commit(), Index(1));
    }
}

/// A rejection that arrives again, or after the search that it began has ended, corrects nothing (covers H3).
#[test]
fn stale_rejections_change_nothing() {
    let mut script =
        Script::play("cluster nodes=3\nelect 1\npropose 1 a b\ndrop\ntick time=100\ndeliver\ndeliver");
    script.then("deliver type=Append\ncopy type=AppendReply");
    let searching = script.then("progress 1");
    assert!(searching.contains("Probe"), "{searching}");
    script.then("deliver type=AppendReply");
    assert_eq!(script.then("progress 1"), searching, "the same rejections again");
    script.then("drop type=AppendReply\nstabilize\npropose 1 c");
    let streaming = script.then("progress 1");
    assert!(!streaming.contains("Probe"), "{streaming}");
    for (inflight, prev) in [(3, 3), (3, 1), (4, 1)] {
        let result = AppendResult::Rejected {
            prev_index: Index(prev),
            hint_index: Index(prev - 1),
            hint_term: Term(1),
        };
        let reply =
            AppendReply { session: SessionId(1), inflight, round: Round(0), result, room: Room::Ample };
        script.inject(2, 1, 1, Message::AppendReply(reply));
        assert_eq!(script.then("progress 1"), streaming, "#{inflight} rejected {prev}");
    }
}

/// A conversation of an earlier session is over, whatever its replies say (covers H3).
#[test]
fn replies_of_another_session_change_nothing() {
    let mut script = Script::play("cluster nodes=3\nelect 1\npropose 1 a\ndrop");
    for session in [0, 2, 3] {
        let result = AppendResult::Matched { index: Index(2) };
        let reply = AppendReply {
            session: SessionId(session),
            inflight: 2,
            round: Round(0),
            result,
            room: Room::Ample,
        };
        script.inject(2, 1, 1, Message::AppendReply(reply));
        let (session, round, needs_snapshot) = (SessionId(session), Round(0), Some(Index(1)));
        let room = Room::Ample;
        script.inject(2, 1, 1, Message::HeartbeatReply { session, round, needs_snapshot, room });
    }
    assert_eq!(script.raft(1).commit(), Index(1));
    assert_eq!(script.raft(1).counters().stale, 6 + 2, "and two late votes at the election");
}

/// An answer to a fetch can be older than a truncation: entries that are not the log's own are not sent on.
#[test]
fn fetched_entries_of_another_log_are_not_sent() {
    let mut script =
        Script::play("cluster nodes=3 cache=0\ncut 1 3\nelect 1\npropose 1 a b\nstabilize\nheal\nhold 1");
    script.then("tick time=100 1\nrelease 1\ndeliver\ndeliver\ndeliver to=3\nhold 1\ndeliver to=1");
    let mut raft = script.raft(1).clone();
    let fetches = raft.ready().fetches;
    let [fetch] = fetches[..] else { panic!("one fetch: {fetches:?}") };
    assert_eq!((fetch.first, fetch.last), (Index(1), Index(3)));
    let wrong = (1..=3).map(|index| entry(index, 7, EntryKind::Command)).collect();
    raft.fetched(fetch, wrong);
    assert_eq!(raft.ready().messages, [], "entries of term 7 in a log of term 1");
    let right = (1..=3).map(|index| entry(index, 1, EntryKind::Command)).collect();
    let mut raft = script.raft(1).clone();
    raft.ready();
    raft.fetched(fetch, right);
    assert_eq!(raft.ready().messages.len(), 1);
}

/// Of several acknowledgements of one conversation that wait for the disk together, the last says it all.
#[test]
fn acks_that_wait_together_leave_as_one() {
    let acks = |second: Message| {
        let mut script = Script::play("cluster nodes=3\nelect 1\nhold 2");
        script.inject(1, 2, 1, append((1, 1), vec![entry(2, 1, EntryKind::Command)]));
        script.inject(1, 2, 1, second);
        script.then("release 2");
        let replies = script.network().iter().map(|envelope| envelope.message.clone());
        replies.filter(|message| matches!(message, Message::AppendReply(_))).collect::<Vec<_>>()
    };
    let next = append((2, 1), vec![entry(3, 1, EntryKind::Command)]);
    let [Message::AppendReply(reply)] = acks(next.clone())[..] else { panic!("one reply") };
    assert_eq!(reply.result, AppendResult::Matched { index: Index(3) });
    // What says less, or belongs to another conversation, replaces nothing.
    let Message::Append(mut other) = next else { panic!("an append") };
    other.session = SessionId(2);
    assert_eq!(acks(Message::Append(other)).len(), 2);
    assert_eq!(acks(append((1, 1), vec![])).len(), 2);
}

/// A leader that steps down tells those whose reads it has not confirmed, so that they ask elsewhere.
#[test]
fn a_deposed_leader_refuses_the_reads_of_others() {
    let mut raft = Script::play("cluster nodes=3\nelect 1").raft(1).clone();
    let request = ReadRequest { incarnation: Incarnation(2), boot: 1, counter: 1 };
    let step = |raft: &mut Raft, from, term, message| {
        let (from, to, term) = (NodeId(from), NodeId(1), Term(term));
        raft.step(Monotonic(0), Envelope { from, to, term, message });
        raft.ready().messages
    };
    let asked = step(&mut raft, 2, 1, Message::ReadIndex { request });
    assert!(asked.iter().all(|envelope| matches!(envelope.message, Message::Heartbeat { .. })), "{asked:?}");
    let told = step(&mut raft, 3, 2, append((1, 1), vec![]));
    let refusals: Vec<NodeId> = told
        .iter()
        .filter(|envelope| envelope.message == Message::ReadIndexReply { request, index: None })
        .map(|envelope| envelope.to)
        .collect();
    assert_eq!(refusals, [NodeId(2)]);
}

/// A pre-candidate that a majority refuses waits for the next timeout; answers to what a follower asked come too late.
#[test]
fn a_lost_pre_vote_ends_the_attempt() {
    let mut script = Script::play("cluster nodes=3\ncampaign 1\ndrop");
    let request = ReadRequest { incarnation: Incarnation(1), boot: 1, counter: 1 };
    script.inject(2, 1, 0, Message::ReadIndexReply { request, index: Some(Index(1)) });
    assert_eq!(script.raft(1).counters().stale, 1);
    let refusal = Message::PreVoteReply { next_term: Term(1), granted: false };
    script.inject(2, 1, 0, refusal.clone());
    assert_eq!(script.raft(1).role(), RoleName::PreCandidate, "one of three is no majority");
    script.inject(3, 1, 0, refusal);
    assert_eq!((script.raft(1).role(), script.raft(1).term()), (RoleName::Follower, Term(0)));
}

/// An acknowledgement that waits for a write is taken back when its entries are truncated before they are written: the
/// write would not attest them.
#[test]
fn acks_of_truncated_entries_do_not_leave() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nhold 2");
    script.inject(1, 2, 1, append((1, 1), vec![entry(2, 1, EntryKind::Command)]));
    script.inject(3, 2, 2, append((1, 1), vec![entry(2, 2, EntryKind::Command)]));
    script.then("release 2");
    let receivers: Vec<NodeId> = script.network().iter().map(|envelope| envelope.to).collect();
    assert_eq!(receivers, [NodeId(3)], "the old leader is told nothing");
}

/// So is a request for votes that claims them: what it says of this node's log was never on its disk. Found by the core
/// simulator, seed 833.
#[test]
fn claims_of_truncated_entries_do_not_leave() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nhold 2");
    script.inject(1, 2, 1, append((1, 1), vec![entry(2, 1, EntryKind::Command)]));
    script.then("campaign 2");
    script.inject(3, 2, 1, Message::PreVoteReply { next_term: Term(2), granted: true });
    assert_eq!(script.raft(2).role(), RoleName::Candidate);
    script.inject(3, 2, 2, append((1, 1), vec![entry(2, 2, EntryKind::Command)]));
    script.then("release 2");
    let votes = script.network().iter().filter(|envelope| matches!(envelope.message, Message::Vote { .. }));
    assert_eq!(votes.count(), 0, "a vote is asked for with a log that is gone");
}

/// A pre-vote for a term that has begun already is refused.
#[test]
fn a_pre_vote_for_the_current_term_is_refused() {
    let mut script = Script::play("cluster nodes=3 term1=4");
    for (next_term, expected) in [(4, false), (5, true)] {
        let message =
            Message::PreVote { next_term: Term(next_term), last_index: Index(0), last_term: Term(0) };
        script.inject(2, 1, 4, message);
        let reply = script.network().last().unwrap().message.clone();
        assert_eq!(reply, Message::PreVoteReply { next_term: Term(next_term), granted: expected });
    }
}

/// The candidate's own vote counts when the core is told that it is on disk, not before, though all others came
/// (covers H8).
#[test]
fn the_own_vote_counts_once_it_is_reported() {
    let mut script =
        Script::play("cluster nodes=3\nslow 1\ncampaign 1\ndeliver\ndeliver\npersist 1 silent=yes");
    script.then("deliver type=Vote\ndeliver type=VoteReply count=1");
    assert_eq!(script.raft(1).role(), RoleName::Candidate);
    script.then("complete 1 seq=1");
    assert_eq!(script.raft(1).role(), RoleName::Leader);
}

#[test]
fn a_heartbeat_beyond_the_log_commits_nothing() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    let message = Message::Heartbeat {
        session: SessionId(2),
        commit: Index(7),
        round: Round(0),
        stored_by_all: Index(0),
    };
    script.inject(1, 2, 1, message);
    assert_eq!(script.raft(2).commit(), Index(1));
    assert_eq!(script.raft(2).counters().invalid, 1);
}

/// Apart from time and dice a state is all there is to a node: two that got the same compare as equal, and the clone
/// goes the same way.
#[test]
fn states_compare_without_time() {
    let mut one = config(1);
    one.seed = 1;
    let mut early = Node::new(one.clone(), membership(3, 0), Monotonic(0));
    let mut late = Node::new(one, membership(3, 0), Monotonic(777));
    assert_eq!(early.raft, late.raft);
    early.raft().campaign(Monotonic(5));
    assert_ne!(early.raft, late.raft);
    late.raft().campaign(Monotonic(9999));
    assert_eq!(early.raft, late.raft);
    assert_eq!(early.raft.clone().unwrap().ready(), late.raft().ready());
}

#[test]
fn a_follower_refuses_proposals() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    assert!(script.then("propose 2 a").contains("NotLeader { leader: Some(NodeId(1)) }"));
    let mut node = Node::new(config(1), membership(3, 0), Monotonic(0));
    let refused = node.raft().propose(Monotonic(0), vec![Bytes::new()]);
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
}

/// A batch of proposals, and several batches between two collections, are one message a follower and one write.
#[test]
fn proposals_gather_until_they_are_collected() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nhold 1\npropose 1 a b\npropose 1 c");
    let trace = script.then("release 1");
    assert_eq!(trace.matches("writes").count(), 1, "{trace}");
    assert_eq!(script.network().len(), 2);
}

#[test]
#[should_panic(expected = "never made")]
fn a_write_that_was_not_made_cannot_complete() {
    Node::new(config(1), membership(1, 0), Monotonic(0)).raft().persisted(WriteSeq(1));
}

/// Heartbeats keep their phase however late each tick is (covers H43).
#[test]
fn heartbeats_do_not_drift() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    let interval = config(1).heartbeat_interval;
    let phase = |at: Monotonic| at.0 % u64::try_from(interval.as_nanos()).unwrap();
    let due = script.raft(1).timers.heartbeat;
    let mut raft = script.raft(1).clone();
    for late in [1, 7, 30, 90, 150] {
        let now = raft.timers.heartbeat.plus(std::time::Duration::from_millis(late));
        raft.tick(now);
        assert_eq!(phase(raft.timers.heartbeat), phase(due));
        assert!(raft.timers.heartbeat > now);
    }
    script.then("status");
}

/// The purged part of the log is forgotten, and all else goes on.
#[test]
fn purging_keeps_the_rest() {
    let mut script =
        Script::play("cluster nodes=3\nelect 1\npublish 1 version=5\nstabilize\npropose 1 a b\nstabilize");
    script.then("tick time=10\nstabilize");
    script.then("tick time=200\nstabilize");
    // The leader's next heartbeat tells everyone what all have.
    assert!((1..=3).all(|id| script.raft(id).stored_by_all() == Index(4)));
    script.then("purge 1 to=3\npurge 2 to=4\npurge 3 to=2");
    let raft = script.raft(1);
    assert_eq!(
        (raft.purged(), raft.term_at(Index(2)), raft.term_at(Index(3))),
        ((Index(3), Term(1)), None, Some(Term(1)))
    );
    assert_eq!(raft.membership().members[&NodeId(1)].version, "5");
    script.then("propose 1 c\nstabilize\ncrash 1\nrestart 1\nrun time=5000");
    assert!((1..=3).all(|id| script.raft(id).applied_index() >= Index(5)), "all go on");
    assert!((1..=3).all(|id| script.raft(id).membership().members[&NodeId(1)].version == "5"));
}

/// The caller gets what the log forgets, to free it where nobody waits.
#[test]
fn a_purge_gives_back_what_was_in_memory() {
    let script = Script::play("cluster nodes=3\nelect 1\npropose 1 a b c\nstabilize");
    let mut raft = script.raft(1).clone();
    let forgotten = raft.purge_to(Index(3));
    assert_eq!(forgotten.iter().map(|entry| entry.index).collect::<Vec<_>>(), [Index(1), Index(2), Index(3)]);
    assert!(raft.purge_to(Index(2)).is_empty(), "gone already");
    raft.check_invariants();
    assert_eq!(raft.purge_to(Index(4)).len(), 1);
}

#[test]
#[should_panic(expected = "beyond applied")]
fn what_is_not_applied_is_not_purged() {
    Node::new(config(1), membership(1, 0), Monotonic(0)).raft().purge_to(Index(1));
}

/// What is committed is never replaced, whoever asks: such an append is dropped and counted, and stops nobody.
#[test]
fn an_append_that_contradicts_what_is_committed_is_dropped() {
    let script = Script::play("cluster nodes=3\nelect 1\npropose 1 a\nstabilize\ntick time=200\nstabilize");
    let replaced = entry(1, 9, EntryKind::Noop);
    for message in [append((0, 0), vec![replaced]), append((2, 9), vec![])] {
        let mut raft = script.raft(2).clone();
        let (invalid, last, commit) = (raft.counters().invalid, raft.last_index(), raft.commit());
        assert!(commit >= Index(2));
        raft.step(raft.timers.now, Envelope { from: NodeId(3), to: NodeId(2), term: Term(9), message });
        assert_eq!(raft.counters().invalid, invalid + 1);
        assert_eq!((raft.last_index(), raft.commit()), (last, commit));
        raft.check_invariants();
    }
}

/// Whether a member could be replaced is answered from what was heard lately: not while it is heard itself, and not unless the
/// others are a majority of all.
#[test]
fn a_member_can_be_replaced_while_it_is_silent_and_a_majority_is_not() {
    let mut script = Script::play("cluster nodes=5\nelect 1\nrun time=300");
    let incarnation = Some(Incarnation(77));
    let record = MemberRecord { incarnation, ..script.raft(1).membership().members[&NodeId(5)].clone() };
    let may = |script: &Script| {
        let change = Change::Replace { id: NodeId(5), record: record.clone() };
        (script.raft(1).is_heard(NodeId(5)), script.raft(1).may_replace(NodeId(5), change))
    };
    assert_eq!(may(&script), (true, Ok(())), "whoever asks looks at the first");
    // Of two voters the other one decides nothing alone, and is heard.
    let two = Script::play("cluster nodes=2\nelect 1\nrun time=300");
    let change = Change::Replace { id: NodeId(2), record: record.clone() };
    let refused = two.raft(1).may_replace(NodeId(2), change);
    assert_eq!(refused, Err(ProposeError::Unreachable { reachable: 1, needed: 2 }));
    script.then("crash 5\nrun time=2500");
    assert_eq!(may(&script), (false, Ok(())));
    let before = script.raft(1).last_index();
    script.then("crash 4\nrun time=2500");
    assert_eq!(may(&script), (false, Ok(())), "three of five are there");
    script.then("crash 3\nrun time=2500");
    let (_, refused) = may(&script);
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    assert_eq!(script.raft(1).last_index(), before, "a question changes nothing");
}
