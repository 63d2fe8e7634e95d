//! The native gRPC API, through the generated clients.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate::proto::v1;
use quorate::proto::v1::admin_client::AdminClient;
use quorate::proto::v1::keys::Which;
use quorate::proto::v1::kv_client::KvClient;
use quorate::proto::v1::operation::Request as Asked;
use quorate::proto::v1::operation_result::Result as Done;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
use tonic_types::StatusExt;

use crate::harness::Cluster;
use crate::harness::many::{runtime, within};
use crate::harness::poll::{PATIENCE, poll_until};

/// A connection to a node's gRPC port, made when it is needed.
fn channel(cluster: &Cluster, id: u64) -> Channel {
    Endpoint::from_shared(format!("http://{}", cluster.slot().grpc(id))).expect("an address").connect_lazy()
}

fn kv(cluster: &Cluster, id: u64) -> KvClient<Channel> {
    KvClient::new(channel(cluster, id)).max_decoding_message_size(usize::MAX)
}

fn admin(cluster: &Cluster, id: u64) -> AdminClient<Channel> {
    AdminClient::new(channel(cluster, id))
}

fn put(key: &str, value: &str) -> v1::PutRequest {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    v1::PutRequest { key, value, ..v1::PutRequest::default() }
}

fn get(key: &str) -> v1::GetRequest {
    v1::GetRequest { key: Bytes::from(key.to_owned()), read: None }
}

fn prefix(prefix: &'static str) -> Option<v1::Keys> {
    Some(v1::Keys { which: Some(Which::Prefix(Bytes::from_static(prefix.as_bytes()))) })
}

fn one(key: &'static str) -> Option<v1::Keys> {
    Some(v1::Keys { which: Some(Which::Key(Bytes::from_static(key.as_bytes()))) })
}

/// A status' code, its reason and the outcome it tells.
fn said(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    (status.code(), info.reason, info.metadata["outcome"].clone())
}

async fn value(kv: &mut KvClient<Channel>, key: &str) -> Option<Bytes> {
    let answer = within("a get", kv.get(get(key))).await.expect("an answer").into_inner();
    answer.kv.map(|kv| kv.value)
}

#[test]
fn what_is_put_at_one_node_is_read_at_all() {
    let mut cluster = Cluster::start("grpc-kv", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    runtime().block_on(async {
        let mut client = kv(&cluster, follower);
        let first = client.put(put("k", "v")).await.expect("a put through a follower").into_inner();
        for id in cluster.ids() {
            assert_eq!(value(&mut kv(&cluster, id), "k").await.as_deref(), Some(&b"v"[..]), "node {id}");
        }
        let revision = first.header.expect("a header").revision;
        let again = v1::PutRequest { if_revision: Some(revision), previous: true, ..put("k", "w") };
        let answer = client.put(again.clone()).await.expect("the condition holds").into_inner();
        assert_eq!(answer.previous.expect("asked for").value, "v");
        let refused = client.put(again).await.expect_err("it holds no more");
        assert_eq!(said(&refused).0, Code::FailedPrecondition);
        assert_eq!(&*said(&refused).1, "condition_failed");
        // The same at every front door.
        assert_eq!(cluster.client(leader).value("k").as_deref(), Some("w"));
        let large = client.put(put("k", &"x".repeat(2 << 20))).await.expect_err("too large");
        assert_eq!((said(&large).0, &*said(&large).1), (Code::InvalidArgument, "too_large"));
        let delete = v1::DeleteRequest { keys: one("k"), previous: true, ..v1::DeleteRequest::default() };
        let answer = client.delete(delete).await.expect("a delete").into_inner();
        assert_eq!((answer.deleted, &*answer.previous[0].value), (1, &b"w"[..]));
        assert_eq!(value(&mut client, "k").await, None);
    });
    cluster.assert_all_alive();
}

#[test]
fn lists_transactions_and_pipelines() {
    let mut cluster = Cluster::start("grpc-many", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    runtime().block_on(async {
        within("a pipeline", pipeline(&mut kv(&cluster, follower))).await;
        let mut client = kv(&cluster, leader);
        let asked = v1::ListRequest { keys: prefix("p/"), page: 300, ..v1::ListRequest::default() };
        let mut pages = client.list(asked).await.expect("a list").into_inner();
        let (mut keys, mut count) = (BTreeSet::new(), 0);
        while let Some(page) = within("a page", pages.next()).await {
            let page = page.expect("a page");
            count += 1;
            assert_eq!(page.more, count < 4);
            keys.extend(page.pairs.into_iter().map(|pair| pair.key));
        }
        assert_eq!((count, keys.len()), (4, 1_000));
        within("transactions", txn(&mut client)).await;
    });
    cluster.assert_all_alive();
}

/// 1,000 writes, and a read of each behind it.
async fn pipeline(client: &mut KvClient<Channel>) {
    let write = |id: u64| Asked::Put(put(&format!("p/{id:04}"), &id.to_string()));
    let read = |id: u64| Asked::Get(get(&format!("p/{id:04}")));
    for (first, make) in [(0, &write as &dyn Fn(u64) -> Asked), (1_000, &read)] {
        let operation = |id| v1::Operation { id: first + id, timeout_ms: 30_000, request: Some(make(id)) };
        let messages: Vec<v1::PipelineRequest> = (0..10)
            .map(|n| v1::PipelineRequest { operations: (n * 100..n * 100 + 100).map(operation).collect() })
            .collect();
        let mut results = client.pipeline(tokio_stream::iter(messages)).await.expect("a stream").into_inner();
        let mut answered = BTreeSet::new();
        while let Some(message) = results.next().await {
            for result in message.expect("the stream ends when all is said").results {
                assert!(answered.insert(result.id), "{} is answered twice", result.id);
                match result.result {
                    Some(Done::Put(_)) if first == 0 => {}
                    Some(Done::Get(got)) if first == 1_000 => {
                        let id = result.id - first;
                        assert_eq!(got.kv.expect("it was written").value, id.to_string());
                    }
                    other => panic!("{}: {other:?}", result.id),
                }
            }
        }
        assert_eq!(answered.len(), 1_000);
    }
}

async fn txn(client: &mut KvClient<Channel>) {
    let op = |key: &str, value: &str| {
        let (key, value) = (Bytes::from(key.to_owned()), Some(Bytes::from(value.to_owned())));
        v1::TxnOp { op: Some(v1::txn_op::Op::Put(v1::TxnPut { key, value, previous: true })) }
    };
    let compare = v1::Compare {
        keys: one("t/a"),
        relation: v1::compare::Relation::Equal.into(),
        target: Some(v1::compare::Target::Version(0)),
    };
    let count = v1::TxnRange { keys: prefix("t/"), count_only: true, ..v1::TxnRange::default() };
    let count = v1::TxnOp { op: Some(v1::txn_op::Op::Range(count)) };
    let asked = v1::TxnRequest {
        compares: vec![compare],
        success: vec![op("t/a", "then"), op("t/b", "then"), count.clone()],
        failure: vec![op("t/a", "else"), count],
        ..v1::TxnRequest::default()
    };
    let counted = |answer: &v1::TxnAnswer| match &answer.answer {
        Some(v1::txn_answer::Answer::Range(range)) => range.count,
        other => panic!("{other:?}"),
    };
    let first = client.txn(asked.clone()).await.expect("a transaction").into_inner();
    assert_eq!((first.succeeded, counted(&first.answers[2])), (true, 2));
    let second = client.txn(asked).await.expect("a transaction").into_inner();
    assert_eq!((second.succeeded, counted(&second.answers[1])), (false, 2));
    let Some(v1::txn_answer::Answer::Put(put)) = &second.answers[0].answer else { panic!("{second:?}") };
    let previous = put.previous.as_ref().expect("it was there");
    assert_eq!((&*previous.key, &*previous.value), (&b"t/a"[..], &b"then"[..]));
    assert_eq!(value(client, "t/a").await.as_deref(), Some(&b"else"[..]));
}

#[test]
fn a_session_executes_a_write_once() {
    let mut cluster = Cluster::start("grpc-session", 3);
    cluster.wait_ready();
    runtime().block_on(async {
        let client_id = Bytes::from_static(b"sixteen bytes id");
        let session = |seq| Some(v1::SessionSeq { client: client_id.clone(), seq, done_below: 1 });
        let mut client = kv(&cluster, 1);
        let write = v1::PutRequest { session: session(1), ..put("k", "v") };
        let refused = client.put(write.clone()).await.expect_err("the session is not open");
        let gone = (Code::FailedPrecondition, "session_gone".to_owned(), "unknown".to_owned());
        assert_eq!(said(&refused), gone);
        let open = || v1::OpenSessionRequest { client: client_id.clone() };
        client.open_session(open()).await.expect("opened");
        client.open_session(open()).await.expect("to open it twice is the same");
        let first = client.put(write.clone()).await.expect("a write").into_inner();
        client.put(put("k", "other")).await.expect("a write");
        // Sent again, at another node: answered as at first, and not executed.
        let mut other = kv(&cluster, 2);
        assert_eq!(other.put(write.clone()).await.expect("the same answer").into_inner(), first);
        assert_eq!(value(&mut other, "k").await.as_deref(), Some(&b"other"[..]));
        // The number again with another write is no retry.
        let reused = v1::PutRequest { session: session(1), ..put("k", "w") };
        assert_eq!(said(&other.put(reused).await.expect_err("another write")).1, "invalid");
        let close = v1::CloseSessionRequest { client: client_id.clone() };
        other.close_session(close.clone()).await.expect("closed");
        client.close_session(close).await.expect("it is closed already");
        assert_eq!(said(&client.put(write).await.expect_err("closed")), gone);
    });
}

#[test]
fn operators_ask_any_node() {
    let mut cluster = Cluster::start("grpc-admin", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    runtime().block_on(async {
        let mut at = admin(&cluster, follower);
        let members = at.members(v1::MembersRequest::default()).await.expect("members").into_inner();
        let ids: Vec<u64> = members.members.iter().map(|member| member.id).collect();
        assert_eq!((ids, members.joint), (cluster.ids(), false));
        for member in &members.members {
            assert_eq!((&*member.role, member.leader), ("voter", member.id == leader));
            assert!(member.match_index.is_some());
        }
        let added = v1::AddMemberRequest { id: 2, peer: "n9.example:7001".to_owned(), learner: true };
        let refused = at.add_member(added).await.expect_err("there is a node 2");
        assert_eq!((said(&refused).0, &*said(&refused).1), (Code::AlreadyExists, "member_exists"));
        let refused =
            at.remove_member(v1::RemoveMemberRequest { id: 9, force: false }).await.expect_err("none");
        assert_eq!((said(&refused).0, &*said(&refused).1), (Code::NotFound, "no_such_member"));
        let answer = at.transfer_leader(v1::TransferLeaderRequest { id: follower }).await.expect("it leads");
        let leads = answer.into_inner().members.into_iter().find(|member| member.leader);
        assert_eq!(leads.map(|member| member.id), Some(follower));
        let status = at.status(v1::StatusRequest {}).await.expect("a status").into_inner();
        assert_eq!((status.id, &*status.state, status.leader), (follower, "leader", follower));
        assert_eq!(&*status.storage, "ample");
    });
    cluster.assert_all_alive();
}

#[test]
fn a_node_folds_when_it_is_asked_to() {
    let mut cluster = Cluster::start("grpc-compact", 3);
    let leader = cluster.wait_ready();
    runtime().block_on(async {
        let mut client = kv(&cluster, leader);
        for n in 0..20 {
            client.put(put(&format!("k{n}"), "v")).await.expect("a write");
        }
        for id in cluster.ids() {
            let mut at = admin(&cluster, id);
            let before = at.status(v1::StatusRequest {}).await.expect("a status").into_inner();
            let answer = at.compact(v1::CompactRequest {}).await.expect("folded").into_inner();
            assert!(answer.folded_index >= before.applied_index, "{answer:?} after {before:?}");
            // Nothing is left to fold: it is answered all the same.
            let again = at.compact(v1::CompactRequest {}).await.expect("folded").into_inner();
            assert!(again.folded_index >= answer.folded_index);
        }
    });
    // What every member has folded, the log forgets.
    let client = cluster.client(leader);
    poll_until("the leader's log to be purged", PATIENCE, || {
        (client.stats()["purged_index"].as_u64() >= Some(1)).then_some(())
    });
    assert!(cluster.node_mut(leader).stop().success());
    cluster.start_node(leader);
    cluster.wait_ready();
    assert_eq!(cluster.client(leader).value("k7").as_deref(), Some("v"));
}

#[test]
fn reflection_lists_the_services() {
    let mut cluster = Cluster::start("grpc-reflection", 1);
    cluster.wait_ready();
    runtime().block_on(async {
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(channel(&cluster, 1));
        let answers = client.server_reflection_info(tokio_stream::once(list)).await.expect("served");
        let answers: Vec<_> = within("an answer", answers.into_inner().collect()).await;
        let text = format!("{answers:?}");
        for service in ["quorate.v1.Kv", "quorate.v1.Admin", "grpc.health.v1.Health"] {
            assert!(text.contains(service), "{service} in {text}");
        }
    });
}

#[test]
fn a_node_without_a_quorum_keeps_to_the_deadline() {
    let mut cluster = Cluster::start("grpc-deadline", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("k", "v");
    // What a leader acknowledged, a node that follows may not have applied yet: and later it cannot ask.
    assert_eq!(cluster.client(1).value("k").as_deref(), Some("v"));
    for id in cluster.ids_without(&[1]) {
        cluster.node_mut(id).kill();
    }
    runtime().block_on(async {
        let mut client = kv(&cluster, 1);
        let mut read = Request::new(get("k"));
        read.metadata_mut().insert("grpc-timeout", "400m".parse().expect("a value"));
        let refused = within("the deadline", client.get(read)).await.expect_err("no quorum");
        // The client's own timer may be first, and knows no reason.
        assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Cancelled), "{refused:?}");
        let operation = v1::Operation { id: 1, timeout_ms: 400, request: Some(Asked::Put(put("k", "w"))) };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(v1::PipelineRequest { operations: vec![operation] }).await.expect("room for one");
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut results = client.pipeline(stream).await.expect("a stream").into_inner();
        let message = within("the deadline", results.next()).await.expect("a message").expect("results");
        let Some(Done::Error(error)) = &message.results[0].result else { panic!("{message:?}") };
        assert_eq!((error.status, &*error.code), (Code::DeadlineExceeded.into(), "unavailable"));
        let stale = v1::ReadOptions { consistency: v1::Consistency::Stale.into(), ..Default::default() };
        let stale = client.get(v1::GetRequest { read: Some(stale), ..get("k") }).await.expect("asks nobody");
        assert!(stale.into_inner().kv.is_some());
    });
}

/// An idle pipeline holds up no stop; what it ends with says that nothing more was executed.
#[test]
fn a_node_that_stops_ends_its_streams() {
    let mut cluster = Cluster::start("grpc-stop", 3);
    let leader = cluster.wait_ready();
    let runtime = runtime();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut results = runtime.block_on(async {
        let operation = v1::Operation { id: 1, timeout_ms: 0, request: Some(Asked::Put(put("k", "v"))) };
        sender.send(v1::PipelineRequest { operations: vec![operation] }).await.expect("room for one");
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut results = kv(&cluster, leader).pipeline(stream).await.expect("a stream").into_inner();
        let message = within("a result", results.next()).await.expect("a message").expect("results");
        assert!(matches!(message.results[0].result, Some(Done::Put(_))), "{message:?}");
        results
    });
    let stopping = std::thread::scope(|scope| {
        let node = scope.spawn(|| cluster.node_mut(leader).stop());
        let ended = runtime.block_on(async { within("the stream to end", results.next()).await });
        let status = ended.expect("a status").expect_err("the node stops");
        assert_eq!(said(&status), (Code::Unavailable, "stopping".to_owned(), "not_applied".to_owned()));
        // The connection ends when it is driven.
        drop((sender, results));
        runtime.block_on(async { tokio::task::yield_now().await });
        drop(runtime);
        node.join().expect("no panic")
    });
    assert!(stopping.success());
    assert!(!cluster.node(leader).output().contains("cut off"), "{}", cluster.node(leader).output());
}

/// One client that sends and does not read, and reads nothing for long: the node's memory stays bounded.
#[test]
fn a_pipeline_that_is_not_read_holds_a_bounded_part() {
    let mut cluster = Cluster::start("grpc-unread", 1);
    cluster.wait_ready();
    runtime().block_on(async {
        let mut client = kv(&cluster, 1);
        let value = "x".repeat(64 << 10);
        client.put(put("large", &value)).await.expect("a write");
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut results = client.pipeline(stream).await.expect("a stream").into_inner();
        let mut sent = 0;
        // 100 reads in a message, 6 MiB of answers: it takes no more long before 4 GiB of them.
        while sent < 60_000 {
            let operation = |id| v1::Operation { id, timeout_ms: 0, request: Some(Asked::Get(get("large"))) };
            let message = v1::PipelineRequest { operations: (sent..sent + 100).map(operation).collect() };
            let taken = tokio::time::timeout(Duration::from_secs(2), sender.send(message)).await;
            match taken {
                Ok(result) => result.expect("the stream is there"),
                Err(_) => break,
            }
            sent += 100;
        }
        let peak = crate::harness::memory::resident_peak(cluster.node(1).pid());
        assert!(peak < 600 << 20, "{} MiB after {sent} operations", peak >> 20);
        // All are answered, each with the value or with a refusal.
        drop(sender);
        let mut answered = 0;
        while let Some(message) = within("results", results.next()).await {
            answered += message.expect("results").results.len() as u64;
        }
        assert!(answered >= sent, "{answered} of {sent}");
    });
    cluster.assert_all_alive();
}
