//! The core simulator: seeds of every size are clean and do enough, a seed does the same in every process, scenarios by
//! hand, and judges that see what they are there for.

#![allow(clippy::disallowed_methods, reason = "a test runs the command line")]

use std::process::{Command, Stdio};
use std::time::Duration;

use quorate::raft::{
    Append, AppendReply, AppendResult, Change, Envelope, Message, Role, Room, Round, SessionId, Snapshot,
};
use quorate::types::{Index, NodeId};
use quorate_sim::core::{Options, Setup, State, Verdict, World, play};
use quorate_sim::run::Outcome;

fn short(nodes: u64) -> Options {
    Options { nodes: Some(nodes), steps: 4_000, ..Options::default() }
}

fn counted(outcome: &Outcome, name: &str) -> u64 {
    outcome.counters.get(name).copied().unwrap_or(0)
}

#[test]
fn seeds_of_every_size_are_clean_and_do_enough() {
    for nodes in 1..=7 {
        for seed in 0..2 {
            let outcome = play(seed * 10 + nodes, &short(nodes), None);
            assert_eq!(outcome.violation, None, "seed {}, {nodes} nodes", outcome.seed);
            for (name, least) in
                [("acknowledged proposals", 200), ("reads answered", 100), ("leader changes under load", 1)]
            {
                assert!(counted(&outcome, name) >= least, "{name}: {:?}", outcome.counters);
            }
            assert!(outcome.faults.values().sum::<u64>() > 0, "no fault fired");
        }
    }
}

/// The storms of this seed are full of messages and end before any fault of theirs moves the leader.
#[test]
fn a_leader_that_no_storm_moves_is_moved_all_the_same() {
    let outcome = play(21_874, &Options::default(), None);
    assert_eq!(outcome.violation, None);
    assert!(counted(&outcome, "leader changes under load") >= 1, "{:?}", outcome.counters);
}

#[test]
fn a_run_without_faults_has_none() {
    let outcome = play(1, &Options { calm: true, ..Options::default() }, None);
    assert_eq!(outcome.violation, None);
    assert!(counted(&outcome, "operations") >= 1_000, "{:?}", outcome.counters);
    assert_eq!((counted(&outcome, "leaders elected"), outcome.faults.len()), (1, 0), "{:?}", outcome.faults);
}

#[test]
fn a_seed_does_the_same_twice_and_another_one_something_else() {
    let hash = |seed| play(seed, &short(3), None).hash;
    assert_eq!(hash(4), hash(4));
    assert_ne!(hash(4), hash(5));
}

#[test]
fn a_seed_does_the_same_in_every_process() {
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sim"));
        let output = command.args(["core", "--seed", "11", "--steps", "4000"]).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().last().expect("a line").to_owned()
    };
    let line = run();
    assert!(line.starts_with("trace hash: "), "{line}");
    assert_eq!(line, run());
    let outcome = play(11, &Options { steps: 4_000, ..Options::default() }, None);
    assert_eq!(line, format!("trace hash: {:016x}", outcome.hash), "looking at the hash changes it");
}

fn exit_code(arguments: &[&str]) -> Option<i32> {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim")).arg("core").args(arguments).output();
    output.expect("it runs").status.code()
}

#[test]
fn the_last_seeds_are_run_and_none_beyond_them() {
    let last = ["--calm", "--jobs", "2", "--from", "18446744073709551612", "--seeds"];
    assert_eq!(exit_code(&[&last[..], &["3"]].concat()), Some(0));
    assert_eq!(exit_code(&[&last[..], &["4"]].concat()), Some(2));
}

/// A file that cannot be written is neither a violation nor a trace.
#[test]
fn a_trace_that_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("missing/trace.txt");
    let path = path.to_str().expect("text");
    for seeds in [["--seed", "1"], ["--seeds", "1"]] {
        assert_eq!(exit_code(&[&seeds[..], &["--steps", "100", "--trace", path]].concat()), Some(2));
    }
}

/// A reader that goes away, as `head` does, makes no violation.
#[test]
fn the_exit_code_does_not_depend_on_who_reads() {
    let mut running = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["core", "--seeds", "3", "--from", "1", "--steps", "100", "--verbose"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(running.stdout.take());
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
}

/// Whether `id` has been made leader and its first messages are still under way.
fn leads(world: &World, id: NodeId) -> bool {
    world.node(id).raft().is_some_and(|raft| raft.leader() == Some(id))
}

fn others(world: &World, id: NodeId) -> Vec<NodeId> {
    world.ids().filter(|&other| other != id).collect()
}

/// Figure 8 of the paper with three nodes: an entry of an earlier term is on a majority and is replaced all the same, so
/// it must not have been committed by counting (covers H1).
#[test]
fn an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut setup = Setup::new(3, 3);
    setup.config.append_batch_bytes_max = 1; // one entry a message
    let mut world = World::with(setup, None).expect("no file to fail");
    let a = world.elect();
    // (a) A appends an entry that nobody else gets.
    world.run_for(Duration::from_millis(300));
    let from_a = world.partition(&[a], &others(&world, a));
    let entry = world.propose(a, 1).expect("it leads").last;
    // (b) B is elected by C, and cut off before its first entry arrives anywhere.
    let patience = Duration::from_secs(20);
    let elected = |world: &World| others(world, a).into_iter().find(|&id| leads(world, id));
    assert!(world.run_until(patience, |world| elected(world).is_some()));
    let b = elected(&world).expect("it was");
    let from_b = world.partition(&[b], &others(&world, b));
    // (c) A comes back, is elected by C, and sends it the old entry. The entry of A's new term comes too early once, while
    // C lacks the one before it, and never again.
    let old = world.node(a).raft().and_then(|raft| raft.term_at(entry)).expect("it has the entry");
    let (c, mut passed) = (NodeId(6 - a.0 - b.0), 0);
    world.intercept(move |envelope| match &envelope.message {
        Message::Append(Append { entries, .. })
            if envelope.to == c && entries.iter().any(|entry| entry.term > old) =>
        {
            passed += 1;
            if passed == 1 { Verdict::Pass } else { Verdict::Drop }
        }
        _ => Verdict::Pass,
    });
    world.mend(from_a);
    let has_entry = |world: &World| world.node(c).disk().holds(entry, old) && leads(world, a);
    assert!(world.run_until(patience, has_entry), "{c} gets the entry");
    world.run_for(Duration::from_millis(400));
    assert!(world.committed() < entry, "committed by counting: {}", world.committed());
    // (d) A crashes; B is elected by C, for its last term is later, and replaces the entry.
    world.crash(a);
    world.trust();
    world.mend(from_b);
    assert!(world.run_until(patience, |world| leads(world, b) && world.committed() >= entry));
    assert!(!world.node(c).disk().holds(entry, old), "replaced");
    world.converge().expect("all agree");
}

/// Nodes 1, 2, 3 hear each other, 4 hears only 2, and 5 hears only 3. Plain Raft has no stable leader here (covers H31).
#[test]
fn a_leader_stays_where_nobody_sees_the_whole_group() {
    for seed in 0..2 {
        let mut world = World::new(seed, 5);
        world.elect();
        let open = [(1, 2), (1, 3), (2, 3), (2, 4), (3, 5)];
        let is_open = |a: NodeId, b: NodeId| open.contains(&(a.0, b.0)) || open.contains(&(b.0, a.0));
        let pairs = world.ids().flat_map(|a| (1..=5).map(move |b| (a, NodeId(b))));
        let links = pairs.filter(|&(a, b)| a != b && !is_open(a, b)).collect();
        world.cut(links);
        world.run_for(Duration::from_secs(15));
        let (leader, committed) = (world.leader().expect("a leader"), world.committed());
        let term = world.node(leader).raft().expect("up").term();
        for _ in 0..50 {
            world.campaign(NodeId(4));
            world.propose(leader, 1).expect("it leads");
            assert!(world.run_for(Duration::from_secs(1)), "{:?}", world.violation());
        }
        let raft = world.node(leader).raft().expect("up");
        assert_eq!((raft.leader(), raft.term()), (Some(leader), term), "seed {seed}: deposed");
        assert_eq!(world.committed(), Index(committed.0 + 50));
        world.converge().expect("all agree");
    }
}

/// A follower's request to read arrives twice, and the answers to the first attempt's heartbeats long after: they must not
/// confirm what was asked later, when another leader had committed more (covers H38; the judge of reads is the oracle).
#[test]
fn late_answers_confirm_no_later_read() {
    let mut world = World::new(9, 3);
    let old = world.elect();
    let [asker, other] = others(&world, old)[..] else { panic!("three nodes") };
    world.run_for(Duration::from_millis(300));
    world.intercept(move |envelope| match envelope.message {
        Message::ReadIndex { .. } => Verdict::Copy,
        Message::HeartbeatReply { .. } | Message::AppendReply(_) if envelope.to == old => Verdict::Hold,
        _ => Verdict::Pass,
    });
    let first = world.read(asker);
    world.run_for(Duration::from_millis(500));
    assert!(!world.oracle().is_waiting(first), "the first attempt is given up");
    // The others elect a new leader, which commits more.
    let cut = world.partition(&[old], &[asker, other]);
    world.trust();
    let patience = Duration::from_secs(20);
    let elected = |world: &World| [asker, other].into_iter().find(|&id| leads(world, id));
    assert!(world.run_until(patience, |world| elected(world).is_some()));
    let new = elected(&world).expect("it was");
    let entry = world.propose(new, 1).expect("it leads").last;
    assert!(world.run_until(patience, |world| world.committed() >= entry));
    // The old one is asked again; what was held comes now.
    world.read(old);
    world.mend(cut);
    world.release();
    world.read(old);
    world.read(asker);
    assert!(world.run_for(Duration::from_secs(5)), "{:?}", world.violation());
    world.converge().expect("all agree");
}

fn envelope(from: u64, to: u64, world: &World, message: Message) -> Envelope {
    let term = world.node(NodeId(to)).raft().expect("up").term();
    Envelope { from: NodeId(from), to: NodeId(to), term, message }
}

/// A node that acknowledges what it does not have: the entry is committed, and on one disk.
#[test]
fn a_false_acknowledgement_is_found() {
    let mut world = World::new(5, 3);
    let leader = world.elect();
    world.run_for(Duration::from_millis(300));
    let liar = others(&world, leader)[0];
    world.partition(&[leader], &others(&world, leader));
    let entry = world.propose(leader, 1).expect("it leads").last;
    world.run_for(Duration::from_millis(50));
    let sessions = (1..=3).map(SessionId);
    for session in sessions {
        for inflight in 1..6 {
            let result = AppendResult::Matched { index: entry };
            let reply = AppendReply { session, inflight, round: Round(0), result, room: Room::Ample };
            let forged = envelope(liar.0, leader.0, &world, Message::AppendReply(reply));
            world.inject(forged);
        }
    }
    world.run_for(Duration::from_millis(50));
    let violation = world.violation().expect("a violation");
    assert!(violation.starts_with("committed: "), "{violation}");
}

/// A leader that says more is committed than is: two nodes come to differ.
#[test]
fn a_false_commit_index_is_found() {
    let mut world = World::new(6, 3);
    let old = world.elect();
    world.run_for(Duration::from_millis(300));
    world.partition(&[old], &others(&world, old));
    let entry = world.propose(old, 1).expect("it leads").last;
    world.run_for(Duration::from_millis(50));
    let patience = Duration::from_secs(20);
    let new = |world: &World| others(world, old).into_iter().find(|&id| leads(world, id));
    assert!(world.run_until(patience, |world| new(world).is_some() && world.committed() >= entry));
    // The cut-off node hears from a leader of a later term that its own version of the entry is committed.
    let new = new(&world).expect("it was elected");
    let term = world.node(new).raft().expect("up").term();
    let message =
        Message::Heartbeat { session: SessionId(1), commit: entry, round: Round(1), stored_by_all: Index(0) };
    world.inject(Envelope { from: new, to: old, term, message });
    world.run_for(Duration::from_millis(50));
    let violation = world.violation().expect("a violation");
    assert!(
        violation.starts_with("committed: ") || violation.starts_with("state machine safety: "),
        "{violation}"
    );
}

/// A group of three whose last member was away for so long that all others have compacted their logs.
fn compacted(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed, 3);
    let leader = world.elect();
    world.run_for(Duration::from_millis(300));
    let away = others(&world, leader)[0];
    world.partition(&[away], &others(&world, away));
    for _ in 0..20 {
        world.propose(leader, 3).expect("it leads");
        world.run_for(Duration::from_millis(50));
    }
    world.run_for(Duration::from_millis(300));
    for id in others(&world, away) {
        world.compact(id, 0);
    }
    (world, leader, away)
}

/// Whoever leads then, the member gets a snapshot, once, and goes on from there (covers H7).
#[test]
fn a_member_that_was_away_gets_a_snapshot() {
    for seed in 0..4 {
        let (mut world, leader, away) = compacted(seed);
        let purged = world.node(leader).disk().purged();
        assert!(purged > world.node(away).disk().last().0, "{purged} is purged, and {away} lacks it");
        if seed % 2 == 1 {
            world.crash(leader);
        }
        world.converge().expect("all agree");
        assert!(world.node(away).disk().purged() >= purged, "{away} has no entry before {purged}");
        let installed = world.counters().get("snapshots installed").copied();
        assert_eq!(installed, Some(1), "seed {seed}");
    }
}

/// The member's power fails at any time of the transfer and of the install (covers H27).
#[test]
fn a_crash_in_the_middle_of_an_install_does_no_harm() {
    for moment in 0..40 {
        let (mut world, _, away) = compacted(7);
        world.mend_all();
        world.run_for(Duration::from_millis(moment * 7));
        world.crash_keeping(away, usize::try_from(moment).expect("small") % 2, 0);
        world.run_for(Duration::from_millis(100));
        world.restart(away);
        world.converge().unwrap_or_else(|violation| panic!("crash after {moment} steps: {violation}"));
    }
}

/// What a false snapshot would do is seen: another state, another configuration, entries that are not committed.
#[test]
fn false_snapshots_are_found() {
    let (world, leader, away) = compacted(9);
    let (state, term) = (world.node(leader).disk().folded(), world.node(leader).disk().last().1);
    let true_membership = world.node(leader).raft().expect("up").membership().clone();
    drop(world);
    let mut false_membership = true_membership.clone();
    false_membership.retired.insert(NodeId(99));
    let further = State { index: Index(state.index.0 + 5), ..state };
    for (membership, state, expected) in [
        (&true_membership, State { hash: 1, ..state }, "proposals: "),
        (&false_membership, state, "snapshots: "),
        (&true_membership, further, "snapshots: "),
    ] {
        let (mut world, _, away_again) = compacted(9);
        assert_eq!(away, away_again, "the same seed");
        world.stage(away, state);
        let snapshot = Snapshot {
            session: SessionId(1),
            inflight: 1,
            round: Round(0),
            index: state.index,
            term,
            membership: membership.encode(),
        };
        let forged = envelope(leader.0, away.0, &world, Message::Snapshot(snapshot));
        world.inject(forged);
        world.run_for(Duration::from_millis(50));
        let violation = world.violation().expect("a violation");
        assert!(violation.starts_with(expected), "{violation}");
    }
}

/// A member joins, the leader fails in the middle of its promotion, and later is removed: each next leader finishes what
/// it finds, and whoever was removed runs on and disturbs nobody (covers H33, H36).
#[test]
fn changes_are_finished_by_whoever_leads() {
    let mut world = World::new(5, 3);
    let patience = Duration::from_secs(30);
    let first = world.elect();
    let new = world.add(first, Role::Joining).expect("it leads");
    let is_joint =
        move |world: &World| world.node(first).raft().is_some_and(|raft| raft.membership().is_joint());
    assert!(world.run_until(patience, is_joint), "{new} is promoted by itself");
    world.crash(first);
    let votes = move |world: &World| world.group().is_voter(new) && !world.group().is_joint();
    assert!(world.run_until(patience, votes), "{:?}", world.group());
    world.restart(first);
    world.converge().expect("all agree");
    let second = world.elect();
    let record = world.change(second, Change::Remove(second), false).expect("it leads");
    assert!(world.change(second, Change::Remove(first), false).is_err(), "one at a time");
    assert!(world.run_until(patience, |world| !world.group().members.contains_key(&second)));
    assert!(world.committed() > record.first);
    world.converge().expect("all agree without it");
    let (third, term) = (world.elect(), world.term_sent());
    world.campaign(second);
    world.run_for(Duration::from_secs(60));
    assert_eq!((world.elect(), world.term_sent()), (third, term), "{second} disturbs");
}

/// Leadership is handed over without a gap that an election would leave.
#[test]
fn a_transfer_takes_no_election_timeout() {
    let mut world = World::new(6, 3);
    let first = world.elect();
    world.run_for(Duration::from_millis(500));
    let to = world.transfer(first, None).expect("others are there");
    assert!(world.run_until(Duration::from_millis(100), |world| leads(world, to)));
    world.converge().expect("all agree");
}
