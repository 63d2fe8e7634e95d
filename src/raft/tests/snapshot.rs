//! Snapshots where a script cannot say it: bad input, replies and answers that come too late, what happens inside one call.

use bytes::Bytes;

use super::node::membership;
use super::script::Script;
use crate::raft::{
    Append, AppendReply, AppendResult, Entry, EntryKind, Fetch, FetchFor, Membership, Message, Role,
    RoleName, Room, Round, SessionId, Snapshot,
};
use crate::types::{Index, NodeId, Term};

fn snapshot(index: u64, term: u64, membership: Bytes) -> Message {
    Message::Snapshot(Snapshot {
        session: SessionId(1),
        inflight: 7,
        round: Round(0),
        index: Index(index),
        term: Term(term),
        membership,
    })
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

fn entry(index: u64, term: u64) -> Entry {
    Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from("x"))
}

/// Node 3 of three was cut off, and its leader has purged what it lacks and was asked for a snapshot.
fn behind() -> Script {
    Script::play(
        "cluster nodes=3\npartition 3 1,2\nelect 1\npropose 1 a b c\nrun time=200\npurge 1 to=4\nheal
         tick time=100 1\nstabilize",
    )
}

/// What no correct peer sends is dropped and counted, and changes nothing.
#[test]
fn impossible_snapshots_are_dropped() {
    let good = membership(3, 0).encode();
    for message in [
        snapshot(0, 1, good.clone()),
        snapshot(9, 0, good.clone()),
        snapshot(9, 2, good.clone()),
        snapshot(u64::MAX, 1, good.clone()),
        snapshot(9, 1, Bytes::new()),
        snapshot(9, 1, good.slice(1..)),
        snapshot(9, 1, Membership::default().encode()),
        snapshot(1, 0, good.clone()),
    ] {
        let mut script = Script::play("cluster nodes=3\nelect 1");
        script.inject(1, 2, 1, message.clone());
        let raft = script.raft(2);
        assert_eq!(raft.counters().invalid, 1, "{message:?}");
        assert_eq!((raft.last_index(), raft.purged().0, raft.installing()), (Index(1), Index(0), None));
        assert_eq!(script.network(), []);
    }
    // Of a second leader in one term, and with another term where this node's entry is committed.
    let mut script = Script::play("cluster nodes=3\nelect 1");
    script.inject(3, 2, 1, snapshot(9, 1, good.clone()));
    assert_eq!(script.raft(2).counters().invalid, 1);
    script.inject(1, 2, 2, append((1, 1), vec![]));
    assert_eq!(script.raft(2).commit(), Index(1));
    script.inject(1, 2, 2, snapshot(1, 2, good));
    assert_eq!((script.raft(2).counters().invalid, script.raft(2).last_index()), (2, Index(1)));
}

/// A follower that has the entry, and does not know that it is committed, learns that and keeps what follows.
#[test]
fn a_snapshot_of_what_is_there_commits_it() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    script.inject(1, 2, 1, append((1, 1), vec![entry(2, 1), entry(3, 1), entry(4, 1)]));
    script.inject(1, 2, 1, snapshot(3, 1, membership(3, 0).encode()));
    let raft = script.raft(2);
    assert_eq!((raft.commit(), raft.last_index(), raft.installing()), (Index(3), Index(4), None));
    assert_eq!(raft.purged().0, Index(0), "nothing was installed");
}

/// A second snapshot before the first is written: one write, of the second. What was to be said of entries between them is
/// taken back, since the write would not attest them; what was to be said of the first is true.
#[test]
fn of_two_snapshots_the_later_one_is_written() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nhold 2");
    let good = membership(3, 0).encode();
    script.inject(1, 2, 1, snapshot(5, 1, good.clone()));
    script.inject(1, 2, 1, append((5, 1), vec![entry(6, 1), entry(7, 1)]));
    script.inject(3, 2, 2, snapshot(9, 2, good));
    assert_eq!(script.raft(2).installing(), Some(Index(9)));
    let trace = script.then("release 2");
    assert!(trace.contains("term 2 vote - snapshot 9@2 then"), "{trace}");
    let said: Vec<(NodeId, AppendResult)> = script
        .network()
        .iter()
        .map(|envelope| match &envelope.message {
            Message::AppendReply(reply) => (envelope.to, reply.result),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(said, [(NodeId(3), AppendResult::Matched { index: Index(9) })]);
    assert_eq!(script.raft(2).applied_index(), Index(9));
    script.raft(2).check_invariants();
}

/// A claim of entries that a snapshot replaced does not leave either: the election that it belongs to is over.
#[test]
fn claims_of_replaced_entries_do_not_leave() {
    let mut script = Script::play("cluster nodes=3\nelect 1\nhold 2");
    script.inject(1, 2, 1, append((1, 1), vec![entry(2, 1)]));
    script.then("campaign 2");
    script.inject(3, 2, 1, Message::PreVoteReply { next_term: Term(2), granted: true });
    assert_eq!(script.raft(2).role(), RoleName::Candidate);
    script.inject(3, 2, 2, snapshot(5, 2, membership(3, 0).encode()));
    assert_eq!(script.raft(2).role(), RoleName::Follower, "a candidate follows");
    script.then("release 2");
    let votes = script.network().iter().filter(|envelope| matches!(envelope.message, Message::Vote { .. }));
    assert_eq!(votes.count(), 0);
}

/// The configuration in force changes with the log: so does who votes.
#[test]
fn the_quorum_is_the_snapshots() {
    let mut script = Script::play("cluster nodes=3\nelect 1");
    assert_eq!(script.raft(2).role(), RoleName::Follower);
    let mut learns = membership(3, 0);
    learns.members.get_mut(&NodeId(2)).expect("a member").role = Role::Learner;
    script.inject(1, 2, 1, snapshot(5, 1, learns.encode()));
    assert_eq!((script.raft(2).role(), script.raft(2).membership()), (RoleName::Learner, &learns));
    assert_eq!(script.raft(2).membership_at(Index(5)), &learns);
}

/// Replies to a snapshot of another session, or to one that was never sent, move nothing (covers H3).
#[test]
fn replies_to_other_snapshots_change_nothing() {
    let mut script = behind();
    let before = script.then("progress 1");
    let reply = |session, inflight, index| {
        let result = AppendResult::Matched { index: Index(index) };
        Message::AppendReply(AppendReply {
            session: SessionId(session),
            inflight,
            round: Round(0),
            result,
            room: Room::Ample,
        })
    };
    let (stale, invalid) = (script.raft(1).counters().stale, script.raft(1).counters().invalid);
    script.inject(3, 1, 1, reply(1, 2, 4));
    assert_eq!(script.raft(1).counters().stale, stale + 1, "2's session");
    script.inject(3, 1, 1, reply(2, 2, 4));
    assert_eq!(script.raft(1).counters().invalid, invalid + 1, "nothing was sent yet");
    script.then("open 1 to=3");
    script.inject(3, 1, 1, reply(2, 2, 5));
    assert_eq!(script.raft(1).counters().invalid, invalid + 2, "beyond what was sent");
    assert_eq!(script.then("progress 1"), before);
    let rejected = AppendResult::Rejected { prev_index: Index(4), hint_index: Index(0), hint_term: Term(0) };
    let reply = AppendReply {
        session: SessionId(2),
        inflight: 2,
        round: Round(0),
        result: rejected,
        room: Room::Ample,
    };
    script.inject(3, 1, 1, Message::AppendReply(reply));
    assert_eq!(script.then("progress 1"), before, "a snapshot is not rejected in its own term");
}

/// A driver may report late: of another session, after it was told that nothing is wanted, or as one that leads no more.
#[test]
fn late_reports_change_nothing() {
    let mut script = behind();
    script.then("ship 1 to=3\nstabilize");
    let before = script.then("progress 1");
    let mut raft = script.raft(1).clone();
    for (to, session, ok) in [(3, 1, true), (3, 2, true), (3, 2, false), (9, 2, true)] {
        raft.snapshot_sent(NodeId(to), SessionId(session), ok);
    }
    let begun = raft.snapshot_begun(NodeId(3), SessionId(2), Index(4), Term(1), membership(3, 0).encode());
    assert_eq!(begun, None, "nobody asked");
    assert!(!raft.has_ready());
    assert_eq!(script.then("progress 1"), before);
    let mut follower = script.raft(2).clone();
    follower.snapshot_sent(NodeId(3), SessionId(2), true);
    let begun = follower.snapshot_begun(NodeId(3), SessionId(2), Index(4), Term(1), Bytes::new());
    assert_eq!(begun, None, "it does not lead");
}

/// A transfer may outlive the leadership in which it began. When it ends its node leads again, and has asked for another
/// snapshot for the same follower: neither the report nor the opening of the old one is taken for the new one's.
#[test]
fn reports_of_an_earlier_leadership_change_nothing() {
    let mut script = behind();
    let old = SessionId(2);
    script.then("open 1 to=3\ncrash 2\npartition 1 3\nrun time=2500\nrestart 2\npartition 3 1,2");
    script.then("tick time=2000 2\ndrop\nelect 1\nheal\nrun time=200");
    assert_eq!(script.raft(1).term(), Term(2));
    let mut raft = script.raft(1).clone();
    let before = raft.clone();
    for ok in [true, false] {
        raft.snapshot_sent(NodeId(3), old, ok);
        assert_eq!(raft, before, "ok: {ok}");
    }
    let membership = membership(3, 0).encode();
    assert_eq!(raft.snapshot_begun(NodeId(3), old, Index(5), Term(2), membership), None);
    // The old one arrives first, and is of a term that is over.
    script.then("receive 3\nstabilize\nship 1 to=3\nrun time=100");
    assert_eq!(script.raft(3).applied_index(), script.raft(1).applied_index());
}

/// A snapshot that was opened before the log was purged beyond it would not help: another is asked for later.
#[test]
fn a_snapshot_before_the_purge_point_is_not_sent() {
    let mut script = behind();
    assert!(script.then("open 1 to=3 at=2").contains("no use"));
    let asked = script.then("run time=100");
    assert!(asked.contains("1 wants a snapshot for 3"), "{asked}");
}

#[test]
#[should_panic(expected = "another configuration")]
fn a_snapshot_with_another_configuration_is_the_drivers_fault() {
    let script = behind();
    let mut raft = script.raft(1).clone();
    raft.snapshot_begun(NodeId(3), SessionId(2), Index(4), Term(1), membership(2, 0).encode());
}

#[test]
#[should_panic(expected = "never begun")]
fn a_snapshot_that_was_never_begun_cannot_end_well() {
    behind().raft(1).clone().snapshot_sent(NodeId(3), SessionId(2), true);
}

/// Entries were read back for a follower, and by the time they come the log is purged up to where they begin: the position
/// before them has no term any more.
#[test]
fn entries_of_a_purged_position_are_not_sent() {
    let mut script =
        Script::play("cluster nodes=3 cache=0\ncut 1 3\nelect 1\npropose 1 a b\nstabilize\nheal\nhold 1");
    script.then("tick time=100 1\nrelease 1\ndeliver\ndeliver\ndeliver to=3\nhold 1\ndeliver to=1");
    let mut raft = script.raft(1).clone();
    let fetches = raft.ready().fetches;
    let [fetch] = fetches[..] else { panic!("one fetch: {fetches:?}") };
    assert_eq!((fetch.purpose, fetch.first, fetch.last), (FetchFor::Peer(NodeId(3)), Index(1), Index(3)));
    for (to, entries) in [(1, vec![entry(1, 1), entry(2, 1)]), (2, vec![])] {
        let mut raft = raft.clone();
        raft.purge_to(Index(to));
        raft.fetched(Fetch { ..fetch }, entries);
        let ready = raft.ready();
        assert_eq!(ready.snapshots.iter().map(|wanted| wanted.to).collect::<Vec<_>>(), [NodeId(3)]);
        assert!(!raft.has_ready(), "asked once");
    }
}

/// The stored commit index is a lower bound of what is on disk. Else a power cut in the middle of a write, that keeps the
/// hard state and not the entries or the snapshot behind it, leaves a log whose old end is taken for committed.
#[test]
fn the_stored_commit_index_is_on_disk() {
    let after = |message: Message| {
        let mut script = Script::play("cluster nodes=3\nelect 1");
        script.inject(1, 2, 1, append((1, 1), vec![entry(2, 1), entry(3, 1)]));
        script.then("hold 2");
        script.inject(3, 2, 2, message);
        let mut raft = script.raft(2).clone();
        let writes = raft.ready().writes;
        (raft.commit(), writes[0].hard_state.expect("a new term").commit)
    };
    let Message::Append(mut other) = append((1, 1), vec![entry(2, 2), entry(3, 2)]) else {
        panic!("an append")
    };
    other.commit = Index(3);
    assert_eq!(after(Message::Append(other)), (Index(3), Index(1)));
    assert_eq!(after(snapshot(3, 2, membership(3, 0).encode())), (Index(3), Index(1)));
}
