//! The store against a naive twin, through folds and restarts.

mod keyed;
mod txn;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::support::*;
use crate::codec;
use crate::command::{
    Command, Condition, Envelope, Found, Keys, Op, Query, Range, Record, Reply, SessionRefusal, SessionSeq,
    Txn, TxnOp, Write,
};
use crate::fsm::testing::CrashFile;
use crate::fsm::{Input, Store, hash, schema};
use crate::types::{ClientId, Index, Keyspace, Revision, Seq, Term};

/// A number, its command, its reply.
type Answered = (u64, Command, Reply);

/// What the store should be, written as plainly as possible.
#[derive(Default)]
struct Model {
    records: BTreeMap<(Keyspace, Bytes), Record>,
    revision: u64,
    group_time_ms: u64,
    index: u64,
    /// Client, last use, begin of the window, replies.
    sessions: Vec<(u128, u64, u64, Vec<Answered>)>,
    /// Idempotency keys, and when the youngest that was forgotten was drawn.
    used: Vec<keyed::Used>,
    forgotten_ms: u64,
}

impl Model {
    fn apply(&mut self, envelope: &Envelope) -> Reply {
        self.index += 1;
        if envelope.command.is_leader_made() && envelope.term != Term(1) {
            return Reply::Void;
        }
        self.group_time_ms = self.group_time_ms.max(envelope.group_time_ms);
        match &envelope.command {
            command @ (Command::Write(_) | Command::Txn(_)) => match envelope.session {
                None => self.execute(command),
                Some(at) => self.session_write(at, command),
            },
            Command::OpenSession { client } => self.open(client.0),
            Command::CloseSession { client } => {
                self.sessions.retain(|session| session.0 != client.0);
                Reply::SessionClosed
            }
            Command::HashMark => Reply::Hash(self.hash()),
            Command::Keyed(keyed) => self.keyed(keyed),
        }
    }

    fn execute(&mut self, command: &Command) -> Reply {
        match command {
            Command::Write(write) => self.write(write),
            Command::Txn(txn) => self.txn(txn),
            other => panic!("{other:?} changes no keys"),
        }
    }

    fn open(&mut self, client: u128) -> Reply {
        match self.sessions.iter_mut().find(|session| session.0 == client) {
            Some(session) => session.1 = self.index,
            None => {
                self.sessions.sort_by_key(|session| session.1);
                if self.sessions.len() == options().sessions_max {
                    self.sessions.remove(0);
                }
                self.sessions.push((client, self.index, 1, vec![]));
            }
        }
        Reply::SessionOpened
    }

    /// The reply, but for the text of a refusal.
    fn session_write(&mut self, at: SessionSeq, command: &Command) -> Reply {
        let refused = Reply::SessionRefused { why: SessionRefusal::Malformed };
        let Some(place) = self.sessions.iter().position(|session| session.0 == at.client.0) else {
            return Reply::SessionGone;
        };
        let session = &mut self.sessions[place];
        session.1 = self.index;
        if at.seq.0 == 0 || at.done_below.0 > at.seq.0 {
            return refused;
        }
        session.2 = session.2.max(at.done_below.0);
        let begins = session.2;
        session.3.retain(|(seq, ..)| *seq >= begins);
        if at.seq.0 < begins || at.seq.0 >= begins + options().session_inflight_max as u64 {
            return refused;
        }
        if let Some((_, known, reply)) = session.3.iter().find(|(seq, ..)| *seq == at.seq.0) {
            return if known == command { reply.clone() } else { refused };
        }
        let reply = self.execute(command);
        let kept = (at.seq.0, command.clone(), reply.clone());
        self.sessions[place].3.push(kept);
        reply
    }

    fn write(&mut self, write: &Write) -> Reply {
        for Condition::ModRevision { key, revision } in &write.conditions {
            let found =
                self.records.get(&(write.keyspace, key.clone())).map_or(0, |record| record.mod_revision.0);
            if found != revision.0 {
                return Reply::ConditionFailed { revision: Revision(self.revision) };
            }
        }
        let next = self.revision + 1;
        let mut deleted = 0;
        let mut changed = false;
        for op in &write.ops {
            match op {
                Op::Put { key, value } => {
                    let place = (write.keyspace, key.clone());
                    let old = self.records.get(&place);
                    let record = Record {
                        create_revision: old.map_or(Revision(next), |old| old.create_revision),
                        mod_revision: Revision(next),
                        version: old.map_or(1, |old| old.version + 1),
                        lease: 0,
                        value: value.clone(),
                    };
                    self.records.insert(place, record);
                    changed = true;
                }
                Op::Delete { key } => {
                    if self.records.remove(&(write.keyspace, key.clone())).is_some() {
                        deleted += 1;
                        changed = true;
                    }
                }
            }
        }
        if changed {
            self.revision = next;
        }
        Reply::Written { revision: Revision(self.revision), deleted }
    }

    fn hash(&self) -> u128 {
        let pairs = self.records.iter().map(|((keyspace, key), record)| {
            hash::pair(&schema::record_key(*keyspace, key), &codec::encode_record(record))
        });
        pairs.fold(0, u128::wrapping_add)
    }

    fn list(&self, query: &Query) -> (Vec<(Bytes, Record)>, bool) {
        let Query::List { keyspace, keys, after, keys_only, limit, bytes_max } = query else {
            panic!("a list")
        };
        let (mut pairs, mut bytes) = (vec![], 0);
        for ((space, key), record) in &self.records {
            let below = after.as_ref().is_some_and(|after| key <= after);
            if space != keyspace || !keys.contain(key) || below {
                continue;
            }
            if pairs.len() == *limit || bytes >= *bytes_max {
                return (pairs, true);
            }
            let value = if *keys_only { Bytes::new() } else { record.value.clone() };
            bytes += key.len() + value.len();
            pairs.push((key.clone(), Record { value, ..record.clone() }));
        }
        (pairs, false)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Envelope>),
    Fold,
    Restart,
    List(Query),
    Range(Keyspace, Range),
    Txn(Txn),
}

fn key() -> impl Strategy<Value = Bytes> {
    "[ab]{1,3}".prop_map(Bytes::from)
}

fn a_write() -> impl Strategy<Value = Command> {
    let op = prop_oneof![
        2 => (key(), "[x-z]{0,20}").prop_map(|(key, value)| Op::Put { key, value: Bytes::from(value) }),
        1 => key().prop_map(|key| Op::Delete { key }),
    ];
    let condition = (key(), prop_oneof![2 => Just(0), 1 => 2..30_u64])
        .prop_map(|(key, revision)| Condition::ModRevision { key, revision: Revision(revision) });
    (0..2_u32, proptest::collection::vec(condition, 0..2), proptest::collection::vec(op, 0..4)).prop_map(
        |(keyspace, conditions, ops)| Command::Write(Write { keyspace: Keyspace(keyspace), conditions, ops }),
    )
}

fn an_envelope() -> impl Strategy<Value = Envelope> {
    let client = || (0..5_u128).prop_map(ClientId);
    let command = prop_oneof![
        10 => a_write(),
        6 => txn::a_txn().prop_map(Command::Txn),
        6 => keyed::a_keyed(),
        2 => client().prop_map(|client| Command::OpenSession { client }),
        1 => client().prop_map(|client| Command::CloseSession { client }),
        1 => Just(Command::HashMark),
    ];
    // Few distinct writes in sessions, so that numbers do come again with the same command.
    let in_session =
        (client(), 0..8_u64, 0..6_u64, 0..4_usize).prop_map(|(client, seq, done_below, value)| {
            let session = Some(SessionSeq { client, seq: Seq(seq), done_below: Seq(done_below) });
            let value = bytes(["x", "y", "x", "y"][value]);
            let (keyspace, key) = (Keyspace(0), bytes("s"));
            let put = TxnOp::Put { key: key.clone(), value: Some(value.clone()), previous: true };
            let command = if client.0.is_multiple_of(2) {
                Command::Write(Write { keyspace, conditions: vec![], ops: vec![Op::Put { key, value }] })
            } else {
                Command::Txn(Txn { keyspace, compares: vec![], success: vec![put], failure: vec![] })
            };
            envelope(session, command)
        });
    let time = prop_oneof![9 => 0..100_u64, 1 => 0..3 * crate::fsm::keyed::ANSWER_MS];
    let plain = (command, 1..3_u64, time).prop_map(|(command, term, group_time_ms)| Envelope {
        term: Term(term),
        group_time_ms,
        ..envelope(None, command)
    });
    prop_oneof![2 => plain, 1 => in_session]
}

fn some_keys() -> impl Strategy<Value = Keys> {
    let key = || "[ab]{0,2}".prop_map(Bytes::from);
    prop_oneof![
        3 => key().prop_map(Keys::prefix),
        1 => key().prop_map(Keys::One),
        1 => key().prop_map(Keys::From),
        2 => (key(), key()).prop_map(|(from, to)| Keys::Between(from, to)),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let list = (0..2_u32, some_keys(), proptest::option::of("[ab]{0,3}"), 0..6_usize, 0..80_usize).prop_map(
        |(keyspace, keys, after, limit, bytes_max)| {
            Step::List(Query::List {
                keyspace: Keyspace(keyspace),
                keys,
                after: after.map(Bytes::from),
                keys_only: limit.is_multiple_of(2),
                limit,
                bytes_max,
            })
        },
    );
    prop_oneof![
        5 => proptest::collection::vec(an_envelope(), 1..6).prop_map(Step::Apply),
        2 => Just(Step::Fold),
        1 => Just(Step::Restart),
        4 => list,
        3 => (0..2_u32, txn::a_range()).prop_map(|(keyspace, range)| Step::Range(Keyspace(keyspace), range)),
        1 => txn::a_reading_txn().prop_map(Step::Txn),
    ]
}

/// The hash of what the store keeps of idempotency keys.
fn own_hash(store: &Store) -> u128 {
    let range = Range::of(Keys::all());
    let query = Query::Range { keyspace: Keyspace::IDEMPOTENCY, range, bytes_max: usize::MAX };
    let Found::Selection(selection) = store.query(&query).expect("readable").found else {
        panic!("a selection")
    };
    let pairs = selection.pairs.iter().map(|(key, record)| {
        hash::pair(&schema::record_key(Keyspace::IDEMPOTENCY, key), &codec::encode_record(record))
    });
    pairs.fold(0, u128::wrapping_add)
}

/// The same reply, whatever a refusal says; and but for the hash, which counts more than the model has.
fn without_reason(reply: Reply) -> Reply {
    match reply {
        Reply::SessionRefused { .. } => Reply::SessionRefused { why: SessionRefusal::Malformed },
        Reply::Hash(_) => Reply::Hash(0),
        reply => reply,
    }
}

fn compare(store: &Store, model: &Model) {
    assert_eq!(store.applied().0, Index(model.index));
    assert_eq!(store.revision(), Revision(model.revision));
    assert_eq!(store.group_time_ms(), model.group_time_ms);
    assert_eq!(store.state_hash().wrapping_sub(own_hash(store)), model.hash());
    assert_eq!(store.keys().expect("readable"), model.records.len() as u64);
    assert_eq!(store.sizes().sessions, model.sessions.len());
    for ((keyspace, key), record) in &model.records {
        let query = Query::Get { keyspace: *keyspace, key: key.clone() };
        let answer = store.query(&query).expect("get");
        assert_eq!(answer.found, Found::Record(Some(record.clone())), "{key:?}");
    }
}

fn run(steps: Vec<Step>) {
    let file = CrashFile::new();
    let mut store = open(&file).expect("open");
    let mut model = Model { revision: 1, ..Model::default() };
    let mut log: Vec<Input> = vec![];
    for step in steps {
        match step {
            Step::Apply(envelopes) => {
                let first = log.len();
                log.extend(
                    (first as u64 + 1..).zip(&envelopes).map(|(index, envelope)| input_of(index, envelope)),
                );
                let replies = store.apply(&log[first..]).expect("apply");
                for (reply, envelope) in replies.into_iter().zip(&envelopes) {
                    assert_eq!(without_reason(reply), without_reason(model.apply(envelope)), "{envelope:?}");
                }
            }
            Step::Fold => assert_eq!(store.fold().expect("fold").0, Index(model.index)),
            Step::Restart => {
                drop(store);
                store = open(&file).expect("reopen");
                let folded = store.folded().0.0 as usize;
                store.apply(&log[folded..]).expect("replay");
            }
            Step::List(query) => {
                let answer = store.query(&query).expect("list");
                assert_eq!((answer.revision.0, answer.applied.0), (model.revision, model.index));
                assert_eq!(page(answer), model.list(&query), "{query:?}");
            }
            Step::Range(keyspace, range) => {
                let query = Query::Range { keyspace, range: range.clone(), bytes_max: usize::MAX };
                let answer = store.query(&query).expect("range");
                assert_eq!((answer.revision.0, answer.applied.0), (model.revision, model.index));
                assert_eq!(answer.found, Found::Selection(model.select(keyspace, &range)), "{range:?}");
            }
            Step::Txn(txn) => {
                let answers = model.read_txn(&txn);
                let query = Query::Txn { txn, bytes_max: usize::MAX };
                let answer = store.query(&query).expect("read");
                assert_eq!((answer.revision.0, answer.applied.0), (model.revision, model.index));
                assert_eq!(answer.found, Found::Txn(answers), "{query:?}");
            }
        }
        compare(&store, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn behaves_as_its_naive_twin(steps in proptest::collection::vec(a_step(), 1..30)) {
        run(steps);
    }
}
