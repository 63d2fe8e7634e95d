//! Reading keys: which query, which answer.

use bytes::Bytes;
use tonic::Code;

use super::node::header;
use super::{Asked, Desk, NOW, assert_status, bytes, record};
use crate::api::etcd::kv::Range;
use crate::command::{self, Bounds, Content, Found, Keys, Order, OrderBy, Query, Selection};
use crate::config::Limits;
use crate::proto::etcd::etcdserverpb::RangeRequest;
use crate::proto::etcd::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcd::mvccpb::KeyValue;
use crate::shard::Consistency;
use crate::types::{Keyspace, Revision};

fn one(key: &'static str) -> RangeRequest {
    RangeRequest { key: bytes(key), ..RangeRequest::default() }
}

fn between(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest { range_end: bytes(range_end), ..one(key) }
}

fn nothing() -> Found {
    Found::Selection(Selection::default())
}

/// What is asked of the store for a range that is not the read of one key.
async fn range_of(request: RangeRequest) -> command::Range {
    let desk = Desk::open();
    desk.finds(nothing()).call::<Range>(request).await.unwrap();
    match desk.query() {
        Query::Range { keyspace: Keyspace(0), range, bytes_max } => {
            assert_eq!(bytes_max, 64 << 10, "a small answer is expected at first");
            range
        }
        other => panic!("a range was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn one_key_is_read_by_the_short_way() {
    let desk = Desk::open();
    let answer = desk.finds(Found::Record(Some(record(2, 4, 3, "v")))).call::<Range>(one("k")).await.unwrap();
    assert_eq!(desk.query(), Query::Get { keyspace: Keyspace(0), key: bytes("k") });
    let kv = KeyValue {
        key: bytes("k"),
        create_revision: 2,
        mod_revision: 4,
        version: 3,
        value: bytes("v"),
        lease: 0,
    };
    assert_eq!((answer.header, answer.kvs, answer.more, answer.count), (header(7), vec![kv], false, 1));
    let answer = desk.finds(Found::Record(None)).call::<Range>(one("k")).await.unwrap();
    assert_eq!((answer.header, answer.kvs, answer.more, answer.count), (header(7), vec![], false, 0));
}

#[tokio::test]
async fn range_ends_mean_what_etcd_means() {
    assert_eq!(range_of(between("a", "c")).await, command::Range::of(Keys::Between(bytes("a"), bytes("c"))));
    assert_eq!(range_of(between("a", "\0")).await, command::Range::of(Keys::From(bytes("a"))));
    assert_eq!(range_of(between("\0", "\0")).await, command::Range::of(Keys::From(bytes("\0"))));
    // Nothing lies between them, and that is no mistake.
    assert_eq!(range_of(between("b", "a")).await, command::Range::of(Keys::Between(bytes("b"), bytes("a"))));
}

#[tokio::test]
async fn what_a_range_asks_for_is_passed_on() {
    let all = || command::Range::of(Keys::From(bytes("a")));
    let ask = |change: fn(&mut RangeRequest)| {
        let mut request = between("a", "\0");
        change(&mut request);
        request
    };
    let content = |content| command::Range { content, ..all() };
    assert_eq!(range_of(ask(|r| r.keys_only = true)).await, content(Content::Keys));
    assert_eq!(range_of(ask(|r| r.count_only = true)).await, content(Content::Count));
    assert_eq!(range_of(ask(|r| (r.count_only, r.keys_only) = (true, true))).await, content(Content::Count));
    assert_eq!(range_of(ask(|r| r.limit = 3)).await, command::Range { limit: Some(3), ..all() });
    assert_eq!(range_of(ask(|r| r.limit = -3)).await, all(), "a negative limit is none");

    let bounds = |min, max| Bounds { min: Some(Revision(min)), max: Some(Revision(max)) };
    let bounded = range_of(ask(|r| (r.min_mod_revision, r.max_mod_revision) = (3, 5))).await;
    assert_eq!(bounded, command::Range { mod_revisions: bounds(3, 5), ..all() });
    let bounded = range_of(ask(|r| (r.min_create_revision, r.max_create_revision) = (3, 5))).await;
    assert_eq!(bounded, command::Range { create_revisions: bounds(3, 5), ..all() });
    let bounded = range_of(ask(|r| (r.min_mod_revision, r.max_mod_revision) = (-1, -1))).await;
    assert_eq!(bounded, command::Range { mod_revisions: bounds(0, 0), ..all() }, "nothing lies below 0");

    let order = |by, is_descending| command::Range { order: Order { by, is_descending }, ..all() };
    for (target, by) in [
        (SortTarget::Key, OrderBy::Key),
        (SortTarget::Version, OrderBy::Version),
        (SortTarget::Create, OrderBy::CreateRevision),
        (SortTarget::Mod, OrderBy::ModRevision),
        (SortTarget::Value, OrderBy::Value),
    ] {
        for (sort, is_descending) in
            [(SortOrder::None, false), (SortOrder::Ascend, false), (SortOrder::Descend, true)]
        {
            let mut request = between("a", "\0");
            (request.sort_target, request.sort_order) = (target.into(), sort.into());
            assert_eq!(range_of(request).await, order(by, is_descending), "{target:?} {sort:?}");
        }
    }
}

#[tokio::test]
async fn one_key_that_is_not_wanted_whole_is_a_range() {
    for change in [
        (|r| r.keys_only = true) as fn(&mut RangeRequest),
        |r| r.count_only = true,
        |r| r.min_mod_revision = 1,
        |r| r.max_create_revision = 1,
    ] {
        let mut request = one("k");
        change(&mut request);
        assert_eq!(range_of(request).await.keys, Keys::One(bytes("k")));
    }
}

#[tokio::test]
async fn pairs_and_count_come_back() {
    let desk = Desk::open();
    let pairs = vec![(bytes("a"), record(2, 4, 3, "v")), (bytes("b"), record(5, 5, 1, ""))];
    let found = Found::Selection(Selection { pairs, more: true, count: 9 });
    let answer = desk.finds(found).call::<Range>(between("a", "\0")).await.unwrap();
    let keys: Vec<Bytes> = answer.kvs.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!((keys, answer.more, answer.count), (vec![bytes("a"), bytes("b")], true, 9));
    let last =
        KeyValue { key: bytes("b"), create_revision: 5, mod_revision: 5, version: 1, ..KeyValue::default() };
    assert_eq!(answer.kvs[1], last);
}

#[tokio::test]
async fn serializable_reads_ask_nobody() {
    let desk = Desk::open();
    for (serializable, consistency) in
        [(false, Consistency::Linearizable), (true, Consistency::Stale { max_staleness_ms: None })]
    {
        let request = RangeRequest { serializable, ..one("k") };
        desk.finds(Found::Record(None)).call::<Range>(request).await.unwrap();
        let asked = desk.asked();
        let [Asked::Read(_, freshness, deadline)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!((freshness.consistency, freshness.min_revision), (consistency, None));
        assert_eq!(*deadline, NOW.plus(Limits::default().request_timeout_default));
    }
}

#[tokio::test]
async fn only_the_present_revision_can_be_read() {
    let desk = Desk::open();
    for request in [one("k"), between("a", "\0")] {
        let found = || if request.range_end.is_empty() { Found::Record(None) } else { nothing() };
        let at = |revision| RangeRequest { revision, ..request.clone() };
        for newest in [0, 7, -1] {
            desk.finds(found()).call::<Range>(at(newest)).await.unwrap();
        }
        let text = "etcdserver: mvcc: required revision has been compacted";
        assert_status(desk.finds(found()).call::<Range>(at(6)).await, Code::OutOfRange, text);
        let text = "etcdserver: mvcc: required revision is a future revision";
        assert_status(desk.finds(found()).call::<Range>(at(8)).await, Code::OutOfRange, text);
    }
}

#[tokio::test]
async fn a_large_answer_is_read_again_with_more_room() {
    let desk = Desk::open();
    for _ in 0..3 {
        desk.finds(Found::TooLarge);
    }
    desk.finds(nothing()).call::<Range>(between("a", "\0")).await.unwrap();
    let sizes: Vec<usize> = desk
        .asked()
        .into_iter()
        .map(|asked| match asked {
            Asked::Read(Query::Range { bytes_max, .. }, ..) => bytes_max,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [64 << 10, 1 << 20, 16 << 20, 32 << 20]);
    for _ in 0..4 {
        desk.finds(Found::TooLarge);
    }
    let status = desk.call::<Range>(between("a", "\0")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().contains("33554432 bytes") && status.message().contains("with a limit"),
        "{status}"
    );
}

#[tokio::test]
async fn no_range_is_larger_than_a_connections_share() {
    let desk = Desk::with_limits(Limits { request_bytes_inflight_max: 200 << 10, ..Limits::default() });
    desk.finds(Found::TooLarge).finds(Found::TooLarge);
    let status = desk.call::<Range>(between("a", "\0")).await.unwrap_err();
    assert!(status.message().contains("102400 bytes"), "{status}");
}

#[tokio::test]
async fn what_is_wrong_with_a_range_is_said_as_etcd_says_it() {
    let desk = Desk::open();
    let empty = "etcdserver: key is not provided";
    assert_status(desk.call::<Range>(one("")).await, Code::InvalidArgument, empty);
    assert_status(desk.call::<Range>(between("", "\0")).await, Code::InvalidArgument, empty);
    let sort = "etcdserver: invalid sort option";
    let unsorted = RangeRequest { sort_order: 9, ..one("k") };
    assert_status(desk.call::<Range>(unsorted).await, Code::InvalidArgument, sort);
    let unsorted = RangeRequest { sort_target: 9, ..one("k") };
    assert_status(desk.call::<Range>(unsorted).await, Code::InvalidArgument, sort);
    assert_eq!(desk.asked(), [], "nothing of it reached the node");
}
