//! Repairs: what is believed, and what is not.

use bytes::Bytes;

use super::script::Script;
use crate::raft::{Entry, EntryKind, Message};
use crate::types::{Index, Term};

/// Node 3 of three has entry 2 of term 1 damaged, and has asked for it.
fn damaged() -> Script {
    let setup = "cluster nodes=3 cache=0 log1=1,1,1 log2=1,1,1 log3=1,1,1\ndamage 3 at=2\ncrash 3\nrestart 3";
    let mut script = Script::play(setup);
    script.then("tick time=10 3\ndrop");
    assert_eq!(script.raft(3).first_damaged(), Some(Index(2)));
    script
}

fn answer(script: &mut Script, place: (u64, u64), entry: Entry) {
    let (index, term) = (Index(place.0), Term(place.1));
    script.inject(1, 3, 1, Message::RepairReply { index, term, entry: Some(entry) });
}

fn old(index: u64, term: u64) -> Entry {
    Entry::new(Index(index), Term(term), EntryKind::Command, Bytes::from("old"))
}

#[test]
fn only_the_very_entry_is_believed() {
    let mut script = damaged();
    let other = Entry::new(Index(2), Term(1), EntryKind::Command, Bytes::from("new"));
    let garbled = Entry { payload: Bytes::from("olD"), ..old(2, 1) };
    for wrong in [old(2, 2), old(3, 1), other, garbled] {
        answer(&mut script, (2, 1), wrong);
    }
    assert_eq!(script.raft(3).counters().invalid, 4);
    answer(&mut script, (2, 2), old(2, 2));
    answer(&mut script, (3, 1), old(3, 1));
    assert_eq!(script.raft(3).counters().stale, 2);
    assert_eq!(script.raft(3).first_damaged(), Some(Index(2)), "all of them were something else");
    answer(&mut script, (2, 1), old(2, 1));
    assert_eq!(script.raft(3).first_damaged(), None);
    assert_eq!(script.raft(3).counters().repaired, 1);
}

/// Whatever term the two are in: neither enters the other's.
#[test]
fn repairs_are_of_no_term() {
    for term in [0, 1, 9] {
        let mut script = damaged();
        script.inject(
            1,
            3,
            term,
            Message::RepairReply { index: Index(2), term: Term(1), entry: Some(old(2, 1)) },
        );
        assert_eq!((script.raft(3).first_damaged(), script.raft(3).term()), (None, Term(1)));
        let question = Message::Repair { index: Index(2), term: Term(1), crc: None, is_needed: false };
        script.inject(1, 3, term, question);
        assert_eq!(script.raft(3).term(), Term(1));
        let is_answered = |message: &Message| matches!(message, Message::RepairReply { entry: Some(_), .. });
        assert!(script.network().iter().any(|envelope| is_answered(&envelope.message)), "in term {term}");
    }
}

/// What a member has at that index is of no use if it is another entry, or damaged too.
#[test]
fn nobody_answers_with_another_entry() {
    let mut script = damaged();
    for (term, crc) in [(2, None), (1, Some(1))] {
        let question = Message::Repair { index: Index(2), term: Term(term), crc, is_needed: true };
        script.inject(3, 1, 1, question);
    }
    script.inject(2, 3, 1, Message::Repair { index: Index(2), term: Term(1), crc: None, is_needed: true });
    let answers = script.network().iter().map(|envelope| &envelope.message);
    let refused = answers.filter(|message| matches!(message, Message::RepairReply { entry: None, .. }));
    assert_eq!(refused.count(), 3);
}

/// Until its own write is done the entry is still damaged, and one that was replaced meanwhile is not repaired by it.
#[test]
fn a_repair_counts_once_it_is_on_disk() {
    let mut script = damaged();
    script.then("slow 3");
    answer(&mut script, (2, 1), old(2, 1));
    assert_eq!(script.raft(3).first_damaged(), Some(Index(2)));
    script.then("persist 3");
    assert_eq!(script.raft(3).first_damaged(), None);
}

/// A group of one has nobody to ask: it says so, and does not lead.
#[test]
fn damage_of_a_single_node_is_irreparable() {
    let mut script =
        Script::play("cluster nodes=1 log1=1,1\ndamage 1 at=1\ncrash 1\nrestart 1\nrun time=5000");
    assert_eq!(script.raft(1).irreparable(), Some(Index(1)));
    assert_eq!(script.raft(1).leader(), None);
    assert_eq!(script.then("campaign 1"), "");
}

/// A snapshot that passes the damage by keeps what lies behind it: that may have been acknowledged.
#[test]
fn a_snapshot_in_place_of_damage_keeps_what_follows() {
    let mut script =
        Script::play("cluster nodes=3 cache=0\nelect 1\npropose 1 a b c\nstabilize\nrun time=100");
    script.then("purge 1 to=3\npurge 2 to=3\ndamage 3 at=2\ncrash 3\nrestart 3\nrun time=100");
    script.then(
        "open 1 to=3 at=3\npropose 1 d\nstabilize\nreceive 3\nsent 1 to=3 ok=yes\nstabilize\nrun time=200",
    );
    assert_eq!(script.terms(3), [1, 1], "entries 4 and 5");
    assert_eq!((script.raft(3).purged().0, script.raft(3).applied_index()), (Index(3), Index(5)));
    assert_eq!(script.raft(3).first_damaged(), None);
}
