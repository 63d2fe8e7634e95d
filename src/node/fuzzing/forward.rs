//! What nodes forward to their leader, and what it answers.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::codec;
use crate::command::{Forward, Forwarded, Reply};
use crate::error::{ErrorKind, Outcome};
use crate::node::MemberChange;
use crate::node::admin::{Ask, JoinRequest, Roll, announced};
use crate::node::forward::{self, Answers, Request};
use crate::raft::Membership;
use crate::types::{Index, NodeId};

/// A request that is accepted encodes back to an equal one, and no more comes out of it than went in; so it is with answers,
/// of which there are as many as were waited for.
pub(crate) fn check(input: &[u8]) -> bool {
    let input = Bytes::copy_from_slice(input);
    let mut accepted = match forward::decode(&input) {
        Ok(request) => {
            check_request(request, &input);
            true
        }
        Err(why) => {
            assert!(!why.is_empty(), "a refusal without a reason");
            false
        }
    };
    if let Ok(answers) = forward::decode_answers(input.clone(), 2) {
        assert_eq!(answers.len(), 2, "{answers:?}");
        accepted = true;
    }
    if let Some(roll) = Roll::decode(&input) {
        assert_eq!(Roll::decode(&roll.encode()), Some(roll));
        accepted = true;
    }
    accepted
}

fn check_request(request: Request, input: &Bytes) {
    match request {
        Request::Writes(writes) => {
            let bytes: usize = writes.iter().map(|write| write.command.bytes()).sum();
            assert!(bytes <= input.len(), "{bytes} bytes out of {}: {writes:?}", input.len());
            let again = forward::decode(&forward::encode_writes(writes.iter()));
            assert!(matches!(again, Ok(Request::Writes(found)) if found == writes), "{writes:?}");
        }
        Request::Publish(record) => {
            let again = forward::decode(&forward::encode_publish(&record));
            assert!(matches!(again, Ok(Request::Publish(found)) if found == record), "{record:?}");
        }
        Request::Ask(ask) => {
            let again = forward::decode(&forward::encode_ask(&ask));
            assert!(matches!(again, Ok(Request::Ask(found)) if found == ask), "{ask:?}");
        }
        Request::Hash(index, hash) => {
            assert_eq!(forward::encode_hash(index, hash), *input, "two encodings of a hash");
        }
    }
}

/// One of each kind of request, and answers.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let samples = codec::fuzzing::samples();
    let (_, write) = samples.into_iter().find(|(name, _)| *name == "forward").expect("the codec has one");
    let write: Forward = codec::decode_forward(&Bytes::from(write)).expect("a valid one");
    let add = MemberChange::Add { id: Some(NodeId(4)), peer: "n4:7000".to_owned(), is_learner: true };
    let record = announced("n4:7000".to_owned(), false);
    let join = JoinRequest { token_hash: 7, id: None, replaces: None, record: record.clone() };
    let roll = Roll {
        leader: Some(NodeId(2)),
        config_index: Index(5),
        membership: Membership::bootstrap((1..=3).map(|id| (NodeId(id), format!("n{id}:7000")))),
        matched: vec![(NodeId(1), Index(9))],
    };
    vec![
        ("writes", forward::encode_writes([&write, &write].into_iter()).into()),
        ("publish", forward::encode_publish(&record).into()),
        ("change", forward::encode_ask(&Ask::Change { change: add, force: false }).into()),
        ("join", forward::encode_ask(&Ask::Join(join)).into()),
        ("hash", forward::encode_hash(Index(300), 1 << 99).into()),
        ("answers", answers().into()),
        ("roll", roll.encode().into()),
    ]
}

/// The answers to two writes.
fn answers() -> Bytes {
    let failed = Forwarded::Failed {
        kind: ErrorKind::Overloaded,
        outcome: Outcome::Unknown,
        message: "too much".to_owned(),
    };
    let answers = [Forwarded::Done { reply: Reply::Hash(1 << 99) }, failed];
    let (reply, mut answered) = oneshot::channel();
    for (place, answer) in Answers::places(2, reply).zip(&answers) {
        place.answer(answer);
    }
    answered.try_recv().expect("both are answered")
}
