//! Every text that clients of etcd branch on, and which of them each of the node's errors becomes.

use std::collections::BTreeSet;

use tonic::{Code, Status};

use super::{Desk, bytes};
use crate::api::etcd::error::TEXTS;
use crate::api::etcd::kv::{Put, Range};
use crate::command::{Found, Reply};
use crate::error::{Error, ErrorKind, Outcome};
use crate::proto::etcd::etcdserverpb::{PutRequest, RangeRequest};

fn metadata<'a>(status: &'a Status, name: &str) -> &'a str {
    status.metadata().get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn the_texts_are_etcds() {
    let texts: BTreeSet<&str> = TEXTS.iter().map(|(_, _, text)| *text).collect();
    assert_eq!(texts.len(), TEXTS.len(), "each once");
    assert!(texts.iter().all(|text| text.starts_with("etcdserver: ") && !text.ends_with('.')));
    let code = |name| TEXTS.iter().find(|(known, ..)| *known == name).map(|(_, code, _)| *code);
    assert_eq!(code("no_space"), Some(Code::ResourceExhausted));
    assert_eq!(code("request_too_large"), Some(Code::InvalidArgument), "not what its name suggests");
}

#[tokio::test]
async fn every_error_of_the_node_has_its_text() {
    let desk = Desk::open();
    let cases = [
        (ErrorKind::Invalid, Code::InvalidArgument, "the node said this"),
        (ErrorKind::TooLarge, Code::InvalidArgument, "etcdserver: request is too large"),
        (ErrorKind::Unavailable, Code::Unavailable, "etcdserver: request timed out"),
        (ErrorKind::Overloaded, Code::ResourceExhausted, "etcdserver: too many requests"),
        (ErrorKind::LogFull, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        (ErrorKind::DiskFull, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        (ErrorKind::StorageFull, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        (ErrorKind::Stopping, Code::Unavailable, "etcdserver: server stopped"),
        (ErrorKind::Internal, Code::Internal, "the node said this"),
    ];
    for (kind, code, text) in cases {
        for error in [Error::new(kind, "the node said this"), Error::unknown(kind, "the node said this")] {
            let put = PutRequest { key: bytes("k"), ..PutRequest::default() };
            let get = RangeRequest { key: bytes("k"), ..RangeRequest::default() };
            let list = RangeRequest { range_end: bytes("\0"), ..get.clone() };
            let statuses = [
                desk.fails(error.clone()).call::<Put>(put).await.unwrap_err(),
                desk.fails(error.clone()).call::<Range>(get).await.unwrap_err(),
                desk.fails(error.clone()).call::<Range>(list).await.unwrap_err(),
            ];
            for status in statuses {
                assert_eq!((status.code(), status.message()), (code, text));
                assert_eq!(metadata(&status, "quorate-code"), kind.code());
                assert_eq!(metadata(&status, "quorate-outcome"), error.outcome().code());
                assert_eq!(metadata(&status, "quorate-detail"), "the node said this");
            }
        }
    }
}

#[tokio::test]
async fn without_a_leader_that_is_what_is_said_of_what_was_not_done() {
    let desk = Desk::open();
    desk.set_status(|status| status.leader = None);
    let put = || PutRequest { key: bytes("k"), ..PutRequest::default() };
    let status = desk.fails(Error::new(ErrorKind::Unavailable, "gone")).call::<Put>(put()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    // Whoever hears that would think that nothing was done.
    let status =
        desk.fails(Error::unknown(ErrorKind::Unavailable, "gone")).call::<Put>(put()).await.unwrap_err();
    assert_eq!(status.message(), "etcdserver: request timed out");
    assert_eq!(metadata(&status, "quorate-outcome"), Outcome::Unknown.code());
}

#[tokio::test]
async fn what_is_no_ascii_is_left_out_of_the_metadata() {
    let desk = Desk::open();
    let put = PutRequest { key: bytes("k"), ..PutRequest::default() };
    let status =
        desk.fails(Error::new(ErrorKind::Invalid, "the key \u{fc}\n")).call::<Put>(put).await.unwrap_err();
    assert_eq!((status.message(), metadata(&status, "quorate-detail")), ("the key \u{fc}\n", ""));
}

#[tokio::test]
async fn a_reply_of_another_kind_is_an_answer_and_no_panic() {
    let desk = Desk::open();
    for reply in [Reply::Void, Reply::SessionGone, Reply::Hash(7)] {
        let put = PutRequest { key: bytes("k"), prev_kv: true, ..PutRequest::default() };
        assert_eq!(desk.replies(reply).call::<Put>(put).await.unwrap_err().code(), Code::Internal);
    }
    let get = RangeRequest { key: bytes("k"), ..RangeRequest::default() };
    let page = Found::Page { pairs: vec![], more: false };
    assert_eq!(desk.finds(page).call::<Range>(get).await.unwrap_err().code(), Code::Internal);
}
