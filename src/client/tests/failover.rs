//! Nodes that fail, hang, and lead no more.

use std::time::Duration;

use futures_util::future::join_all;

use super::fake::{Fake, Fault, address, hint};
use super::store::refusal;
use crate::client::edge;
use crate::client::{ErrorKind, Outcome};

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_replaced_by_another_node() {
    let fake = Fake::start(3);
    let client = fake.client(&[1, 2, 3]).await;
    client.set("k", "1").await.expect("set");
    fake.wires.take_down(&address(1));
    client.set("k", "2").await.expect("the others are there");
    assert_eq!(client.get("k").await.expect("get").expect("there").value, "2");
    let nodes: Vec<u64> = fake.writes().iter().map(|(node, _)| *node).collect();
    assert_eq!(nodes[0], 1, "the leader was known");
    assert_ne!(nodes[1], 1);
    // It comes back, under the same address and with the same streams' ends.
    fake.wires.bring_up(&address(1));
    fake.wires.take_down(&address(2));
    fake.wires.take_down(&address(3));
    client.set("k", "3").await.expect("the first one is back");
    assert_eq!(fake.state().store.executed, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_again_and_again_lose_and_repeat_nothing() {
    let fake = Fake::start(3);
    let client =
        fake.builder(&[1, 2, 3]).deadline(Duration::from_secs(60)).connect().await.expect("a node answers");
    let writers = (0..16).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            for at in 0..100 {
                client.set(format!("k{writer}/{at}"), "v").await.expect("set");
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // One node after the other is cut, each time that some more has arrived; two are always there.
    for round in 1..=20 {
        fake.arrived(round * 70).await;
        let node = address(round as u64 % 3 + 1);
        fake.wires.take_down(&node);
        fake.wires.bring_up(&node);
    }
    for writer in join_all(writers).await {
        writer.expect("all writes are done");
    }
    let state = fake.state();
    assert_eq!(state.violations, Vec::<String>::new());
    assert_eq!((state.store.executed, state.store.keys.len()), (1_600, 1_600));
    assert!(state.store.keys.values().all(|kv| kv.version == 1), "each once");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_tried_elsewhere() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    for code in ["unavailable", "stopping", "overloaded"] {
        fake.fault(1, Fault::Refuse(refusal(code)));
        client.set("k", code).await.expect("set");
    }
    assert_eq!(fake.state().store.executed, 3);
    assert!(fake.state().violations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_at_once() {
    let fake = Fake::start(3);
    let client = fake.client(&[1]).await;
    fake.fault(1, Fault::Refuse(hint(3)));
    let begin = edge::now();
    client.set("k", "v").await.expect("set");
    assert_eq!(client.leader(), Some(address(3)));
    assert_eq!(fake.writes().last().expect("a write").0, 3);
    assert_eq!(begin.elapsed(), Duration::ZERO, "without a pause");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_left_by_all_that_wait_on_it() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    client.set("k", "v").await.expect("set");
    fake.state().hung.insert(1);
    let begin = edge::now();
    let reads = (0..100).map(|_| client.get("k").into_future());
    for read in join_all(reads).await {
        assert!(read.expect("the other node answers").is_some());
    }
    // The time of a first attempt, the grace, and a pause.
    assert!(begin.elapsed() < Duration::from_millis(1_500), "{:?}", begin.elapsed());
    // Now it is known, and nobody runs into it.
    let begin = edge::now();
    client.set("k", "w").await.expect("set");
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hung_node_is_left_also_if_all_callers_are_in_a_hurry() {
    let fake = Fake::start(2);
    let client =
        fake.builder(&[1, 2]).deadline(Duration::from_millis(300)).connect().await.expect("a node answers");
    client.set("k", "v").await.expect("set");
    fake.state().hung.insert(1);
    let error = client.get("k").await.expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    client.get("k").await.expect("the other one answers");
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_says_nothing_against_a_node() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    fake.fault(1, Fault::Swallow);
    client.get("k").deadline(Duration::from_millis(5)).await.expect_err("not that fast");
    client.get("k").await.expect("get");
    assert_eq!(fake.readers(), [1, 1], "it is still the leader");
}

#[tokio::test(start_paused = true)]
async fn nodes_are_told_how_long_they_may_take() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.get("k").await.expect("get");
    client.get("k").deadline(Duration::from_millis(700)).await.expect("get");
    let given: Vec<u32> = fake.state().seen.iter().map(|seen| seen.timeout_ms).collect();
    assert_eq!(given, [1_000, 700]);
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_help_is_told_at_once() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    for (code, kind) in [
        ("disk_full", ErrorKind::StorageFull),
        ("too_large", ErrorKind::TooLarge),
        ("invalid", ErrorKind::Invalid),
        ("something_new", ErrorKind::Other),
    ] {
        let is_retryable = code == "disk_full";
        let refused = crate::proto::v1::OperationError { retryable: is_retryable, ..refusal(code) };
        fake.fault(1, Fault::Refuse(refused));
        let error = client.set("k", "v").await.expect_err("refused");
        assert_eq!((error.kind(), error.code(), error.outcome()), (kind, code, Outcome::NotApplied));
        assert_eq!(error.is_retryable(), is_retryable);
    }
    assert_eq!(fake.state().store.executed, 0);
    // A pause that outlasts the call is one of those.
    let retry_after_ms = 30_000;
    let log_full =
        || crate::proto::v1::OperationError { retryable: true, retry_after_ms, ..refusal("log_full") };
    fake.fault(1, Fault::Refuse(log_full()));
    let begin = edge::now();
    let error = client.set("k", "v").await.expect_err("refused");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, "log_full"));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    // But not if the write may have been done: that can still become known.
    fake.fault(1, Fault::Lose { executed: true });
    (1..=2).for_each(|node| fake.fault(node, Fault::Refuse(log_full())));
    client.set("k", "v").await.expect("it was done");
    assert_eq!(fake.state().store.executed, 1);
}

#[tokio::test(start_paused = true)]
async fn without_any_node_a_call_ends_at_its_deadline_and_was_not_done() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    client.set("k", "v").await.expect("set");
    fake.wires.take_down(&address(1));
    fake.wires.take_down(&address(2));
    let begin = edge::now();
    let error = client.set("k", "w").deadline(Duration::from_secs(3)).await.expect_err("nobody is there");
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.is_retryable());
    let error = client.set("k", "w").deadline(Duration::from_secs(3)).await.expect_err("nobody is there");
    assert_eq!((error.outcome(), error.attempt().is_none()), (Outcome::NotApplied, true), "{error}");
    let error = fake.builder(&[1, 2]).deadline(Duration::from_secs(2)).connect().await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_first_contact_finds_the_cluster_later() {
    let fake = Fake::start(1);
    fake.wires.take_down(&address(1));
    let client = fake.builder(&[1]).connect_lazy().expect("a client");
    let get = tokio::spawn(client.get("k").into_future());
    client.get("k").deadline(Duration::from_millis(300)).await.expect_err("nobody is there");
    fake.wires.bring_up(&address(1));
    assert_eq!(get.await.expect("a task").expect("get"), None);
}
