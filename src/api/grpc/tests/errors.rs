use tonic::Code;
use tonic_types::StatusExt;

use super::pipeline::{Pipe, operation};
use super::{Desk, Said, get, put, request, said, session};
use crate::command::{Reply, SessionRefusal, TxnAnswers, TxnRefusal};
use crate::error::{Error, ErrorKind};
use crate::proto::v1;
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::operation_result::Result as Done;
use crate::types::Revision;

#[tokio::test]
async fn every_kind_has_its_code() {
    let cases = [
        (ErrorKind::Invalid, Code::InvalidArgument, None),
        (ErrorKind::TooLarge, Code::InvalidArgument, None),
        (ErrorKind::ConditionFailed, Code::FailedPrecondition, None),
        (ErrorKind::Unavailable, Code::Unavailable, None),
        (ErrorKind::Overloaded, Code::ResourceExhausted, Some(100)),
        (ErrorKind::LogFull, Code::ResourceExhausted, Some(30_000)),
        (ErrorKind::DiskFull, Code::ResourceExhausted, Some(30_000)),
        (ErrorKind::StorageFull, Code::ResourceExhausted, Some(30_000)),
        (ErrorKind::SessionGone, Code::FailedPrecondition, None),
        (ErrorKind::NoSuchMember, Code::NotFound, None),
        (ErrorKind::ChangeInProgress, Code::FailedPrecondition, Some(1_000)),
        (ErrorKind::MemberExists, Code::AlreadyExists, None),
        (ErrorKind::IdRetired, Code::FailedPrecondition, None),
        (ErrorKind::QuorumAtRisk, Code::FailedPrecondition, None),
        (ErrorKind::Stopping, Code::Unavailable, None),
        (ErrorKind::Internal, Code::Internal, None),
    ];
    let desk = Desk::open();
    for (kind, code, retry_after_ms) in cases {
        for error in [Error::new(kind, "what happened"), Error::unknown(kind, "what happened")] {
            desk.store.fail(error.clone());
            let status = desk.kv().put(put("k", "v")).await.unwrap_err();
            let expected = Said {
                code,
                reason: kind.code().to_owned(),
                retryable: kind.is_retryable().to_string(),
                outcome: error.outcome().code().to_owned(),
                retry_after_ms,
            };
            assert_eq!((said(&status), status.message()), (expected, "what happened"));
        }
    }
}

#[tokio::test]
async fn replies_that_refuse_have_codes_of_their_own() {
    let desk = Desk::open();
    let refused = |why| Reply::TxnRefused { why };
    let session = |why| Reply::SessionRefused { why };
    let cases = [
        (Reply::SessionGone, Code::FailedPrecondition, "session_gone", "unknown"),
        (session(SessionRefusal::Malformed), Code::InvalidArgument, "invalid", "not_applied"),
        (session(SessionRefusal::AnotherCommand), Code::InvalidArgument, "invalid", "not_applied"),
        (session(SessionRefusal::BelowWindow), Code::InvalidArgument, "invalid", "unknown"),
        (session(SessionRefusal::BeyondWindow), Code::ResourceExhausted, "overloaded", "not_applied"),
        (session(SessionRefusal::RepliesFull), Code::ResourceExhausted, "overloaded", "not_applied"),
        (refused(TxnRefusal::NoSuchKey), Code::FailedPrecondition, "condition_failed", "not_applied"),
        (refused(TxnRefusal::AnswerTooLarge), Code::InvalidArgument, "too_large", "not_applied"),
        (refused(TxnRefusal::TooManyKeys), Code::InvalidArgument, "too_large", "not_applied"),
        (Reply::Void, Code::Internal, "internal", "unknown"),
        (Reply::SessionOpened, Code::Internal, "internal", "unknown"),
    ];
    for (reply, code, reason, outcome) in cases {
        desk.store.reply(reply.clone());
        let said = said(&desk.kv().put(put("k", "v")).await.unwrap_err());
        assert_eq!((said.code, &*said.reason, &*said.outcome), (code, reason, outcome), "{reply:?}");
        assert_eq!(said.retryable, (reason == "overloaded").to_string(), "{reply:?}");
    }
}

/// Unavailable says two things: that a node cannot serve, and that the caller's time is over.
#[tokio::test]
async fn a_deadline_that_is_over_is_told_from_a_node_that_cannot_serve() {
    let desk = Desk::open();
    let unavailable = || Error::unknown(ErrorKind::Unavailable, "no quorum");
    desk.store.fail(unavailable());
    let status = desk.kv().put(request(put("k", "v"), "1S")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    desk.store.fail(unavailable());
    let status = desk.kv().put(request(put("k", "v"), "0S")).await.unwrap_err();
    assert_eq!((said(&status).code, &*said(&status).outcome), (Code::DeadlineExceeded, "unknown"));
    assert_eq!((&*said(&status).reason, &*said(&status).retryable), ("unavailable", "true"));
    // Another kind is the answer, whenever it comes.
    desk.store.fail(Error::new(ErrorKind::DiskFull, "full"));
    let status = desk.kv().put(request(put("k", "v"), "0S")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn another_leader_is_named() {
    let desk = Desk::open();
    let fail = async |kind| {
        desk.store.fail(Error::new(kind, "what happened"));
        let status = desk.kv().get(get("k")).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        let get = |name: &str| info.metadata.get(name).cloned();
        (get("leader_id"), get("leader_grpc"))
    };
    assert_eq!(fail(ErrorKind::Unavailable).await, (None, None), "none is known");
    desk.store.state().leader = Some(1);
    assert_eq!(fail(ErrorKind::Unavailable).await, (None, None), "it is this node");
    desk.store.state().leader = Some(3);
    let third = (Some("3".to_owned()), Some("n3:9001".to_owned()));
    assert_eq!(fail(ErrorKind::Unavailable).await, third);
    assert_eq!(fail(ErrorKind::Stopping).await, third);
    assert_eq!(fail(ErrorKind::Overloaded).await, (None, None), "nobody is sent to the leader for load");
    assert_eq!(desk.store.state().statuses, 0, "which counts keys: a thousand may fail at once");
}

/// A client that lost an earlier attempt knows then what became of it.
#[tokio::test]
async fn a_refusal_that_is_the_numbers_own_reply_says_so() {
    let desk = Desk::open();
    let refused = || Reply::TxnRefused { why: TxnRefusal::AnswerTooLarge };
    let failed = || Reply::ConditionFailed { revision: Revision(7) };
    let unmet = || Reply::Txn { revision: Revision(7), answers: TxnAnswers::default() };
    let is_final = async |session, reply| {
        desk.store.reply(reply);
        let status = desk.kv().put(v1::PutRequest { session, ..put("k", "v") }).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        info.metadata.get("final").map(String::as_str) == Some("true")
    };
    let in_session = || session(&[7; 16], 5);
    for reply in [refused, failed, unmet] {
        assert!(is_final(in_session(), reply()).await);
        assert!(!is_final(None, reply()).await, "there is no number whose reply it could be");
    }
    // Not of this number alone.
    assert!(!is_final(in_session(), Reply::SessionGone).await);
    assert!(!is_final(in_session(), Reply::Void).await);

    let mut pipe = Pipe::open(&desk).await;
    desk.store.reply(failed());
    let request = v1::PutRequest { session: in_session(), ..put("k", "v") };
    pipe.send(vec![operation(1, Asked::Put(request))]).await;
    let Done::Error(error) = &pipe.take(1).await[&1] else { panic!("it is refused") };
    assert!(error.r#final);
}

#[tokio::test]
async fn a_message_that_quotes_much_is_cut() {
    let desk = Desk::open();
    desk.store.fail(Error::new(ErrorKind::Invalid, "\u{fc}".repeat(1_000)));
    let status = desk.kv().get(get("k")).await.unwrap_err();
    assert_eq!(status.message(), format!("{}...", "\u{fc}".repeat(256)));
}
