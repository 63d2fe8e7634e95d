//! Many calls at once: few messages, bounded numbers, and one that is slow holds up nobody.

use std::time::Duration;

use futures_util::future::join_all;

use super::fake::{Fake, Fault};
use crate::client::{ErrorKind, Outcome};

#[tokio::test(start_paused = true)]
async fn calls_made_together_travel_together() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.set("k", "v").await.expect("set");
    fake.state().batches.clear();
    let reads = (0..1_000).map(|_| tokio::spawn(client.get("k").into_future()));
    for read in join_all(reads).await {
        assert!(read.expect("a task").expect("get").is_some());
    }
    let state = fake.state();
    assert_eq!(state.batches.iter().sum::<usize>(), 1_000);
    assert!(state.batches.len() <= 20, "{:?}", state.batches);
    drop(state);
    assert_eq!(fake.wires.connections("node1:9001"), 1);
}

#[tokio::test(start_paused = true)]
async fn large_values_do_not_make_large_messages() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    let value = vec![7; 1 << 20];
    let writes = (0..20).map(|at| client.set(format!("k{at}"), &value).into_future());
    for write in join_all(writes).await {
        write.expect("set");
    }
    let one_each = fake.state().batches.iter().filter(|batch| **batch == 1).count();
    assert_eq!(one_each, fake.state().batches.len(), "each of them goes alone");
}

#[tokio::test(start_paused = true)]
async fn writes_beyond_the_bound_wait() {
    let fake = Fake::start(1);
    let client = fake.builder(&[1]).writes_inflight_max(10).connect().await.expect("a node answers");
    (0..50).for_each(|_| fake.fault(1, Fault::Wait));
    let write = |at| client.set(format!("k{at}"), "v").deadline(Duration::from_secs(60)).into_future();
    let writes: Vec<_> = (0..50).map(|at| tokio::spawn(write(at))).collect();
    // The session, and ten writes.
    fake.arrived(11).await;
    let error =
        client.set("k", "v").deadline(Duration::from_millis(100)).await.expect_err("there is no room");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Overloaded, Outcome::NotApplied));
    fake.open_gate();
    for write in join_all(writes).await {
        write.expect("a task").expect("set");
    }
    let state = fake.state();
    assert!(state.under_way_max <= 10, "{} were under way", state.under_way_max);
    assert_eq!((state.store.executed, state.store.opened), (50, 1));
    assert_eq!(state.violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn one_slow_write_holds_up_no_other() {
    let fake = Fake::start(1);
    let client = fake.builder(&[1]).writes_inflight_max(2).connect().await.expect("a node answers");
    fake.fault(1, Fault::Wait);
    let slow = tokio::spawn(client.set("slow", "v").deadline(Duration::from_secs(60)).into_future());
    fake.arrived(2).await;
    for at in 0..20 {
        client.set(format!("k{at}"), "v").await.expect("set");
    }
    assert_eq!(fake.state().store.opened, 2, "the second session has a window that moves on");
    fake.open_gate();
    slow.await.expect("a task").expect("set");
    // The first session has served all that it had: it is closed before the client is gone.
    fake.fault(1, Fault::Refuse(super::store::refusal("unavailable")));
    client.get("k").await.expect("get");
    fake.closed(1).await;
    assert_eq!(fake.state().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn attempts_that_are_kept_use_sessions_up_and_give_them_back() {
    let fake = Fake::start(1);
    let client = fake.builder(&[1]).writes_inflight_max(1).connect().await.expect("a node answers");
    let mut kept = Vec::new();
    // Each session has a window of two numbers: one is kept, one is used.
    for at in 0..8 {
        fake.fault(1, Fault::Swallow);
        let error = client
            .set(format!("kept{at}"), "v")
            .deadline(Duration::from_millis(10))
            .await
            .expect_err("swallowed");
        kept.push(error.into_attempt().expect("an attempt"));
        client.set(format!("k{at}"), "v").await.expect("set");
    }
    assert_eq!(fake.state().store.opened, 8);
    let error = client.set("k", "v").deadline(Duration::from_secs(1)).await.expect_err("no session is left");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Overloaded, Outcome::NotApplied));
    drop(kept.pop());
    client.set("k", "v").await.expect("there is room again");
    let answer = kept.remove(0).resume(Duration::from_secs(1)).await.expect("it was executed");
    assert!(matches!(answer, crate::client::WriteAnswer::Written(_)));
    // Of all numbers only the one that was dropped is done without an answer.
    assert_eq!(fake.state().violations.len(), 1);
}
