//! What the tests share: entries in short, and a log to replay.

use bytes::Bytes;

use crate::codec;
use crate::command::{
    Answer, Command, Condition, Envelope, Found, Keys, Op, Query, Record, Reply, SessionSeq, Write,
};
use crate::fsm::base::Rows;
use crate::fsm::schema::Table;
use crate::fsm::testing::CrashFile;
use crate::fsm::{Body, Builder, Error, Fresh, Input, Options, Store};
use crate::types::{ClientId, ClusterId, Incarnation, Index, Keyspace, NodeId, Owner, Revision, Seq, Term};

pub(super) const OWNER: Owner = Owner {
    cluster: ClusterId(0xc1c2_c3c4_c5c6_c7c8),
    node: NodeId(1),
    incarnation: Incarnation(0xa1a2_a3a4_a5a6_a7a8),
};

pub(super) fn options() -> Options {
    Options {
        owner: OWNER,
        write_set_bytes_max: 1 << 20,
        cache_bytes: 1 << 20,
        session_inflight_max: 4,
        session_replies_bytes_max: 8 << 20,
        idempotency_answers_max: 3,
        idempotency_spent_max: 4,
        sessions_max: 3,
    }
}

pub(super) fn open(file: &CrashFile) -> Result<Store, Error> {
    Store::open(Box::new(file.clone()), options())
}

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn put(key: &str, value: &str) -> Op {
    Op::Put { key: bytes(key), value: bytes(value) }
}

pub(super) fn delete(key: &str) -> Op {
    Op::Delete { key: bytes(key) }
}

pub(super) fn write(ops: Vec<Op>) -> Command {
    Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops })
}

pub(super) fn write_if(key: &str, revision: u64, ops: Vec<Op>) -> Command {
    let conditions = vec![Condition::ModRevision { key: bytes(key), revision: Revision(revision) }];
    Command::Write(Write { keyspace: Keyspace(0), conditions, ops })
}

pub(super) fn at(client: u128, seq: u64, done_below: u64) -> SessionSeq {
    SessionSeq { client: ClientId(client), seq: Seq(seq), done_below: Seq(done_below) }
}

pub(super) fn envelope(session: Option<SessionSeq>, command: Command) -> Envelope {
    Envelope { term: Term(1), group_time_ms: 0, session, principal: String::new(), command }
}

pub(super) fn input(index: u64, command: Command) -> Input {
    input_of(index, &envelope(None, command))
}

pub(super) fn input_of(index: u64, envelope: &Envelope) -> Input {
    let body = Body::Command(codec::encode_envelope(envelope));
    Input { index: Index(index), term: Term(1), body }
}

/// Applies one command at the next index.
pub(super) fn apply(store: &Store, command: Command) -> Reply {
    apply_envelope(store, &envelope(None, command))
}

pub(super) fn apply_envelope(store: &Store, envelope: &Envelope) -> Reply {
    let index = store.applied().0.next().0;
    let mut replies = store.apply(&[input_of(index, envelope)]).expect("apply");
    assert_eq!(replies.len(), 1, "one reply per entry");
    replies.remove(0)
}

pub(super) fn get(store: &Store, key: &str) -> Option<Record> {
    let query = Query::Get { keyspace: Keyspace(0), key: bytes(key) };
    match store.query(&query).expect("get").found {
        Found::Record(record) => record,
        found => panic!("a get found {found:?}"),
    }
}

pub(super) fn list_query(prefix: &str, after: Option<&str>, limit: usize, bytes_max: usize) -> Query {
    let (keys, after) = (Keys::prefix(bytes(prefix)), after.map(bytes));
    Query::List { keyspace: Keyspace(0), keys, after, keys_only: false, limit, bytes_max }
}

pub(super) fn page(answer: Answer) -> (Vec<(Bytes, Record)>, bool) {
    match answer.found {
        Found::Page { pairs, more } => (pairs, more),
        found => panic!("a list found {found:?}"),
    }
}

/// All keys with their values.
pub(super) fn dump(store: &Store) -> Result<Vec<(Bytes, Record)>, Error> {
    let answer = store.query(&list_query("", None, usize::MAX, usize::MAX))?;
    let (pairs, more) = page(answer);
    assert!(!more, "there is nothing after everything");
    Ok(pairs)
}

/// What a store is, for comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) applied: (Index, Term),
    pub(super) revision: u64,
    pub(super) group_time_ms: u64,
    pub(super) hash: u128,
    pub(super) membership: Option<Bytes>,
    pub(super) keys: u64,
    pub(super) sessions: usize,
    pub(super) content: Vec<(Bytes, Record)>,
}

impl State {
    pub(super) fn of(store: &Store) -> State {
        State {
            applied: store.applied(),
            revision: store.revision().0,
            group_time_ms: store.group_time_ms(),
            hash: store.state_hash(),
            membership: store.membership(),
            keys: store.sizes().keys,
            sessions: store.sizes().sessions,
            content: dump(store).expect("list"),
        }
    }
}

/// All rows in the file, sessions and replies too.
pub(super) fn rows(store: &Store) -> Vec<(Table, Bytes, Bytes)> {
    let base = store.shared.base();
    let mut rows = Rows::of(base.begin_read().expect("begin"), Table::Records);
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    std::iter::from_fn(|| rows.next(&base).expect("a row"))
        .map(|(table, key, row)| (table, copy(key.value()), copy(row.value())))
        .collect()
}

/// The manifest and all chunks of the last fold.
pub(super) fn snapshot(store: &Store) -> (Bytes, Vec<Bytes>) {
    let mut snapshot = store.snapshot(u64::MAX, || ()).expect("a snapshot");
    let manifest = snapshot.manifest();
    let chunks = std::iter::from_fn(|| snapshot.next_chunk().expect("a chunk")).collect();
    assert_eq!(snapshot.next_chunk(), Ok(None), "after the last one there is none");
    (manifest, chunks)
}

/// Builds a state in a file from a stream.
pub(super) fn build(file: &CrashFile, manifest: &Bytes, chunks: &[Bytes]) -> Result<Fresh, Error> {
    let mut builder = Builder::begin(Box::new(file.clone()), options(), manifest)?;
    for chunk in chunks {
        builder.add(chunk)?;
    }
    builder.finish()
}

/// Bytes that nothing compresses, the same ones for the same seed.
pub(super) fn noise(seed: u64, len: usize) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

pub(super) fn put_bytes(key: &str, value: Bytes) -> Op {
    Op::Put { key: bytes(key), value }
}
