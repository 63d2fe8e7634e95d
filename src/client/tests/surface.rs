//! What each call asks and answers.

use futures_util::TryStreamExt;

use super::fake::Fake;
use crate::client::{Compare, ErrorKind, Keys, Outcome, Select, Swap, TxnAnswer, TxnOp};

#[tokio::test(start_paused = true)]
async fn keys_are_set_read_and_deleted() {
    let fake = Fake::start(3);
    let client = fake.client(&[1]).await;
    assert_eq!(client.get("k").await.expect("get"), None);
    let written = client.set("k", "v").await.expect("set");
    assert_eq!(written.revision, 2);
    let kv = client.get(b"k").await.expect("get").expect("it is there");
    assert_eq!((kv.key_text(), kv.text(), kv.mod_revision, kv.version), (Ok("k"), Ok("v"), 2, 1));
    let replaced = client.set(String::from("k"), vec![0xff]).if_revision(2).previous().await.expect("set");
    assert_eq!(replaced.previous.expect("asked for"), kv);
    let error = client.set("k", "w").if_revision(2).await.expect_err("it is at 3");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::ConditionFailed, Outcome::NotApplied));
    assert!(error.attempt().is_none() && !error.is_retryable());
    client.set("k2", "v").await.expect("set");
    let deleted = client.delete_prefix("k").previous().await.expect("delete");
    assert_eq!((deleted.count, deleted.previous.len(), client.revision()), (2, 2, deleted.revision));
    assert_eq!(client.delete("k").await.expect("delete").count, 0);
    assert_eq!(client.delete_keys(Keys::range("a", "z")).await.expect("delete").count, 0);
}

#[tokio::test(start_paused = true)]
async fn a_compare_and_set_that_fails_says_what_the_key_is() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    assert_eq!(client.compare_and_set("k", 0, "a").await.expect("cas"), Swap::Set { revision: 2 });
    let swap = client.compare_and_set("k", 0, "b").await.expect("cas");
    let Swap::Changed { current: Some(current) } = swap else { panic!("{swap:?}") };
    assert_eq!((current.text(), current.mod_revision), (Ok("a"), 2));
    assert!(client.compare_and_set("k", 2, "b").await.expect("cas").is_set());
    assert_eq!(client.compare_and_set("none", 9, "b").await.expect("cas"), Swap::Changed { current: None });
}

#[tokio::test(start_paused = true)]
async fn transactions_do_one_or_the_other() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    let create = || {
        let txn = client.txn().when(Compare::absent("k")).then(TxnOp::put("k", "1").previous());
        txn.otherwise(TxnOp::get("k")).otherwise(TxnOp::delete("other"))
    };
    let first = create().await.expect("txn");
    assert!(first.succeeded);
    assert_eq!(first.answers, [TxnAnswer::Put { previous: None }]);
    let second = create().await.expect("txn");
    assert!(!second.succeeded);
    let [TxnAnswer::Selected { pairs, count: 1, .. }, TxnAnswer::Deleted { count: 0, .. }] =
        &second.answers[..]
    else {
        panic!("{second:?}")
    };
    assert_eq!(pairs[0].value, "1");
    assert_eq!(fake.writes().len(), 2, "both have a number");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_only_reads_has_no_session() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    let result = client.txn().then(Select::keys("k").count_only()).await.expect("txn");
    assert_eq!(result.answers.len(), 1);
    assert_eq!(fake.state().store.opened, 0);
}

#[tokio::test(start_paused = true)]
async fn lists_are_pages_and_streams() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    for at in 0..10 {
        client.set(format!("k{at}"), "v").await.expect("set");
    }
    let page = client.list("k").page_size(4).await.expect("list");
    assert_eq!((page.pairs.len(), page.more, page.revision), (4, true, 11));
    let keys = |pairs: &[crate::client::KeyValue]| {
        pairs.iter().map(|kv| kv.key_text().expect("text").to_owned()).collect::<Vec<_>>().join(" ")
    };
    let all: Vec<_> = client.list("k").page_size(3).stream().try_collect().await.expect("list");
    assert_eq!(keys(&all), "k0 k1 k2 k3 k4 k5 k6 k7 k8 k9");
    let some: Vec<_> = client
        .list("")
        .after("k1")
        .limit(5)
        .page_size(2)
        .keys_only()
        .stream()
        .try_collect()
        .await
        .expect("list");
    assert_eq!(keys(&some), "k2 k3 k4 k5 k6");
    assert!(some.iter().all(|kv| kv.value.is_empty()));
    let pages: Vec<_> =
        client.list_keys(Keys::starting_at("k8")).page_size(1).pages().try_collect().await.expect("list");
    assert_eq!(pages.len(), 2);
    let none: Vec<_> = client.list("none").stream().try_collect().await.expect("list");
    assert!(none.is_empty());
}

#[test]
fn clients_calls_and_errors_go_from_task_to_task() {
    fn shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>(_: &T) {}
    shared::<crate::client::Client>();
    shared::<crate::client::Error>();
    shared::<crate::client::blocking::Client>();
    let call = |client: &crate::client::Client| sent(&client.get("k").into_future());
    _ = call;
}

#[tokio::test]
async fn what_cannot_be_a_client_is_refused() {
    use crate::client::Client;
    use std::time::Duration;
    let builder = || Client::builder().endpoints(["127.0.0.1:9001"]);
    let bad = [
        Client::builder(),
        Client::builder().endpoints(["nowhere"]),
        builder().writes_inflight_max(0),
        builder().writes_inflight_max(501),
        builder().deadline(Duration::ZERO),
    ];
    for builder in bad {
        let error = builder.connect_lazy().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(builder().connect_lazy().expect("a client").addresses(), ["127.0.0.1:9001"]);
}
