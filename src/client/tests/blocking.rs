//! The client without a runtime.

use std::thread;

use super::fake::{Fake, Fault};
use crate::client::{Client, ErrorKind, Swap, blocking};

/// A cluster on a runtime of its own, which ends with the value.
fn cluster() -> (tokio::runtime::Runtime, Fake) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let fake = runtime.block_on(async { Fake::start(2) });
    (runtime, fake)
}

#[test]
fn four_threads_share_a_client() {
    let (_runtime, fake) = cluster();
    let client = blocking::Client::connect(fake.builder(&[1, 2])).expect("a node answers");
    fake.fault(1, Fault::Lose { executed: true });
    thread::scope(|scope| {
        for thread in 0..4 {
            let client = client.clone();
            scope.spawn(move || {
                for at in 0..25 {
                    client.set(format!("t{thread}/{at:02}"), "v").call().expect("set");
                    increment(&client);
                }
            });
        }
    });
    let counter = client.get("counter").call().expect("get").expect("it is there");
    assert_eq!(counter.text(), Ok("100"));
    let pairs: Vec<_> = client.list("t").page_size(7).iter().collect::<Result<_, _>>().expect("list");
    assert_eq!(pairs.len(), 100);
    assert_eq!(client.list("t").page_size(30).pages().count(), 4);
    assert_eq!(client.members().expect("members").members.len(), 2);
    assert_eq!(fake.state().violations, Vec::<String>::new());
}

fn increment(client: &blocking::Client) {
    let (mut revision, mut count) = (0, 0);
    while let Swap::Changed { current } =
        client.compare_and_set("counter", revision, (count + 1).to_string()).call().expect("cas")
    {
        let current = current.expect("counters are not deleted");
        (revision, count) = (current.mod_revision, current.text().expect("text").parse().expect("a number"));
    }
}

#[test]
fn a_lazy_client_does_not_wait_for_a_node() {
    let (_runtime, fake) = cluster();
    let client = blocking::Client::connect_lazy(fake.builder(&[1])).expect("a client");
    client.set("k", "v").call().expect("set");
    assert_eq!(client.get("k").call().expect("get").expect("it is there").text(), Ok("v"));
    blocking::Client::connect_lazy(fake.builder(&[9])).expect("also where nobody is");
    let error = blocking::Client::connect_lazy(Client::builder()).expect_err("no endpoint");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn inside_a_runtime_it_is_refused() {
    let (runtime, fake) = cluster();
    let client = blocking::Client::connect(fake.builder(&[1])).expect("a node answers");
    runtime.block_on(async {
        assert_eq!(client.get("k").call().expect_err("it would block").kind(), ErrorKind::Invalid);
        let error = blocking::Client::connect(fake.builder(&[1])).expect_err("it would block");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    });
    client.get("k").call().expect("outside it is not");
}
