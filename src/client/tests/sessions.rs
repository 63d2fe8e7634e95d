//! Writes are executed once, whatever happens to them.

use std::time::Duration;

use futures_util::future::join_all;

use super::fake::{Fake, Fault, address};
use super::store::{error, refusal};
use crate::client::{ErrorKind, Outcome, WriteAnswer};
use crate::proto::v1::{OperationError, operation_error};

fn unknown(code: &str, retryable: bool) -> OperationError {
    error(code, retryable, operation_error::Outcome::Unknown)
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_asked_for_under_the_same_number() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    fake.fault(1, Fault::Lose { executed: true });
    let first = client.set("k", "v").await.expect("set");
    fake.fault(1, Fault::ExecuteAndRefuse(unknown("unavailable", true)));
    fake.fault(2, Fault::ExecuteAndRefuse(unknown("unavailable", true)));
    let second = client.set("k", "w").await.expect("set");
    assert_eq!((first.revision, second.revision), (2, 3));
    let writes: Vec<_> = fake.writes().into_iter().map(|(_, at)| (at.seq, at.done_below)).collect();
    assert_eq!(writes[..2], [(1, 1), (1, 1)]);
    assert!(writes.len() > 3 && writes[2..].iter().all(|write| *write == (2, 2)), "{writes:?}");
    assert_eq!(fake.counts(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_writes_through_faults_are_executed_once_each() {
    let fake = Fake::start(3);
    let client = fake.client(&[1, 2, 3]).await;
    let mut dice = fastrand::Rng::with_seed(11);
    for _ in 0..150 {
        let fault = match dice.u32(..6) {
            5 => Fault::Stop,
            0 => Fault::Lose { executed: true },
            1 => Fault::Lose { executed: false },
            2 => Fault::ExecuteAndRefuse(unknown("unavailable", true)),
            3 => Fault::Swallow,
            _ => Fault::Refuse(refusal("stopping")),
        };
        fake.fault(dice.u64(1..4), fault);
    }
    let writes = (0..1_000).map(|at| {
        let client = client.clone();
        // A counter shows whether one was executed twice.
        tokio::spawn(
            async move { client.set(format!("k{at}"), "v").deadline(Duration::from_secs(300)).await },
        )
    });
    for write in join_all(writes).await {
        write.expect("a task").expect("set");
    }
    let state = fake.state();
    assert_eq!(state.violations, Vec::<String>::new());
    assert_eq!((state.store.executed, state.store.keys.len()), (1_000, 1_000));
    assert!(state.store.keys.values().all(|kv| kv.version == 1));
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_a_write_is_unknown_and_can_be_resumed() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.set("other", "v").await.expect("set");
    fake.state().hung.insert(1);
    let error = client.set("k", "v").deadline(Duration::from_millis(200)).await.expect_err("it hangs");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Deadline, Outcome::Unknown));
    let attempt = error.into_attempt().expect("it can be asked after");
    let again = attempt.resume(Duration::from_millis(200)).await.expect_err("it still hangs");
    fake.state().hung.clear();
    // While the attempt is kept its number is not done.
    client.set("k2", "v").await.expect("set");
    let last = fake.writes().last().expect("a write").1.clone();
    assert_eq!((last.seq, last.done_below), (3, 2));
    let answer = again.into_attempt().expect("again").resume(Duration::from_secs(5)).await.expect("set");
    assert!(matches!(answer, WriteAnswer::Written(written) if written.revision == 4), "executed now");
    client.set("k3", "v").await.expect("set");
    let last = fake.writes().last().expect("a write").1.clone();
    assert_eq!((last.seq, last.done_below), (4, 4));
    assert_eq!(fake.state().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn resuming_a_write_that_was_executed_answers_as_it_was() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    for call in 0..3 {
        fake.fault(1, Fault::Swallow);
        let deadline = Duration::from_millis(100);
        let error = match call {
            0 => client.compare_and_set("k", 0, "v").deadline(deadline).await.map(drop),
            1 => client.delete("k").deadline(deadline).await.map(drop),
            _ => client.txn().then(crate::client::TxnOp::put("k", "w")).deadline(deadline).await.map(drop),
        };
        let attempt = error.expect_err("swallowed").into_attempt().expect("an attempt");
        match (call, attempt.resume(deadline).await.expect("it is known")) {
            (0, WriteAnswer::Swap(swap)) => assert!(swap.is_set()),
            (1, WriteAnswer::Deleted(deleted)) => assert_eq!(deleted.count, 1),
            (2, WriteAnswer::Txn(result)) => assert!(result.succeeded),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fake.state().store.executed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_attempt_says_nothing_of_that_one() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    for code in ["too_large", "disk_full", "internal"] {
        fake.fault(1, Fault::Lose { executed: true });
        fake.fault(1, Fault::Refuse(refusal(code)));
        client.set("first", "v").await.unwrap_or_else(|error| panic!("{code}: asking on tells: {error}"));
    }
    fake.fault(1, Fault::Lose { executed: true });
    for _ in 0..1_000 {
        fake.fault(1, Fault::Refuse(refusal("too_large")));
    }
    let error = client.set("k", "v").deadline(Duration::from_secs(1)).await.expect_err("refused to the end");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Deadline, Outcome::Unknown));
    fake.state().faults.clear();
    let answer = error.into_attempt().expect("an attempt").resume(Duration::from_secs(1)).await;
    assert!(matches!(answer, Ok(WriteAnswer::Written(written)) if written.revision == 5));
    // But what the number itself came to is its answer, whatever it is.
    fake.fault(1, Fault::Lose { executed: false });
    fake.fault(1, Fault::Refuse(OperationError { r#final: true, ..refusal("too_large") }));
    let error = client.set("k", "v").await.expect_err("refused");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotApplied));
    assert!(error.into_attempt().is_none());
    fake.fault(1, Fault::Lose { executed: true });
    let error = client.set("k", "w").if_revision(9).await.expect_err("it is at 5");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::ConditionFailed, Outcome::NotApplied));
}

#[tokio::test(start_paused = true)]
async fn when_the_session_is_gone_what_was_not_sent_goes_on_under_a_new_one() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.set("k", "1").await.expect("set");
    fake.state().store.sessions.clear();
    client.set("k", "2").await.expect("set");
    // Definite refusals before it change nothing about that.
    fake.state().store.sessions.clear();
    fake.fault(1, Fault::Refuse(refusal("unavailable")));
    client.set("k", "3").await.expect("set");
    // Nor does a node that stops, and ends the stream in good order.
    fake.fault(1, Fault::StopAndForget);
    client.set("k", "4").await.expect("set");
    assert_eq!(fake.counts(), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn when_the_session_is_gone_what_may_have_been_done_is_unknown() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    fake.fault(1, Fault::LoseAndForget);
    let error = client.set("k", "v").await.expect_err("nobody knows");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::SessionGone, Outcome::Unknown));
    assert!(error.attempt().is_none(), "there is no number any more under which to ask");
    client.set("k", "w").await.expect("a new session");
}

#[tokio::test(start_paused = true)]
async fn the_session_is_opened_once_and_closed_with_the_last_clone() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.get("k").await.expect("get");
    assert_eq!(fake.state().store.opened, 0, "reading needs none");
    let writes = (0..50).map(|_| client.clone().set("k", "v").into_future());
    for write in join_all(writes).await {
        write.expect("set");
    }
    assert_eq!(fake.state().store.opened, 1);
    let (clone, seen) = (client.clone(), *fake.arrived.borrow());
    drop(client);
    clone.get("k").await.expect("the clone goes on");
    drop(clone);
    fake.arrived(seen + 2).await;
    assert_eq!(fake.state().store.closed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_dropped_releases_its_number() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.set("k", "v").await.expect("set");
    fake.fault(1, Fault::Wait);
    let (seen, dropped) = (*fake.arrived.borrow(), tokio::spawn(client.set("k", "w").into_future()));
    fake.arrived(seen + 1).await;
    dropped.abort();
    assert!(dropped.await.expect_err("it was aborted").is_cancelled());
    client.set("k", "x").await.expect("set");
    let last = fake.writes().last().expect("a write").1.clone();
    assert_eq!((last.seq, last.done_below), (3, 3), "nobody will ask after 2 any more");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_opened_leaves_nothing_undone() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    fake.wires.take_down(&address(1));
    let error = client.set("k", "v").deadline(Duration::from_secs(1)).await.expect_err("nobody is there");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Deadline, Outcome::NotApplied));
    fake.wires.bring_up(&address(1));
    client.set("k", "v").await.expect("set");
    assert_eq!(fake.counts(), (1, 1));
}
