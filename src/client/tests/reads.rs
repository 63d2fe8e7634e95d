//! Where reads go, and how lists go on.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::fake::{Fake, Fault, address};
use super::store::refusal;
use crate::client::Consistency;
use crate::proto::v1;
use crate::proto::v1::operation::Request;

#[tokio::test(start_paused = true)]
async fn fresh_reads_go_to_the_leader_and_stale_ones_to_all() {
    let fake = Fake::start(3);
    let client = fake.client(&[2, 3]).await;
    for _ in 0..6 {
        client.get("k").await.expect("get");
        client.get("k").consistency(Consistency::Lease).await.expect("get");
    }
    assert_eq!(fake.readers(), [1; 12], "the leader was learnt from the members");
    fake.state().seen.clear();
    let stale = Consistency::Stale { max_staleness: Some(Duration::from_millis(50)) };
    for _ in 0..6 {
        client.get("k").consistency(stale).min_revision(1).await.expect("get");
    }
    assert_eq!(fake.readers().into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    let Request::Get(get) = fake.state().seen[0].request.clone() else { panic!("a get") };
    let wanted = v1::ReadOptions {
        consistency: v1::Consistency::Stale.into(),
        max_staleness_ms: Some(50),
        min_revision: 1,
    };
    assert_eq!(get.read, Some(wanted));
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_at_another_node_behind_its_last_key() {
    let fake = Fake::start(2);
    let client = fake.client(&[1, 2]).await;
    for at in 0..6 {
        client.set(format!("k{at}"), "v").await.expect("set");
    }
    let mut list = client.list("k").page_size(2).keys_only().stream();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let pair = list.try_next().await.expect("list").expect("a pair");
        keys.push(pair.key_text().expect("text").to_owned());
    }
    fake.wires.take_down(&address(1));
    while let Some(pair) = list.try_next().await.expect("list") {
        keys.push(pair.key_text().expect("text").to_owned());
    }
    assert_eq!(keys.join(" "), "k0 k1 k2 k3 k4 k5");
    let readers = fake.readers();
    assert_eq!((readers[0], readers.last()), (1, Some(&2)));
    // No page is of an earlier state than the one before, whoever answers.
    let state = fake.state();
    let pages = state.seen.iter().filter_map(|seen| match &seen.request {
        Request::List(list) => Some((list.after.clone(), list.read.as_ref().expect("options").min_revision)),
        _ => None,
    });
    let wanted = [(None, 0), (Some("k1".into()), 7), (Some("k3".into()), 7)];
    assert_eq!(pages.collect::<Vec<_>>(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_ends() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    client.set("k", "v").await.expect("set");
    fake.fault(1, Fault::Refuse(refusal("invalid")));
    let mut list = client.list("k").stream();
    list.try_next().await.expect_err("refused");
    assert_eq!(list.try_next().await.expect("no more"), None);
}

#[tokio::test(start_paused = true)]
async fn membership_is_followed_and_given_endpoints_stay() {
    let fake = Fake::start(3);
    let client = fake.client(&[1]).await;
    let known = || client.addresses().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(known(), [1, 2, 3].map(address).into());
    fake.add(4, &address(4));
    fake.set_members(&[2, 4], 4);
    client.members().await.expect("members");
    assert_eq!(known(), [1, 2, 4].map(address).into(), "1 was given");
    assert_eq!(client.leader(), Some(address(4)));
    client.set("k", "v").await.expect("set");
    assert_eq!(fake.writes().last().expect("a write").0, 4);
    // All that is left is what was given: it still answers.
    fake.wires.take_down(&address(2));
    fake.wires.take_down(&address(4));
    client.set("k", "w").await.expect("set");
    assert_eq!(fake.writes().last().expect("a write").0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_makes_the_client_look_for_others() {
    let fake = Fake::start(2);
    let client = fake.client(&[1]).await;
    fake.add(3, &address(3));
    fake.set_members(&[1, 2, 3], 3);
    assert!(!client.addresses().contains(&address(3)), "nobody has told it yet");
    fake.fault(1, Fault::Swallow);
    client.get("k").deadline(Duration::from_secs(50)).await.expect("get");
    fake.state().hung.insert(1);
    fake.state().hung.insert(2);
    client.get("k").deadline(Duration::from_secs(100)).await.expect("the third one answers");
    assert!(client.addresses().contains(&address(3)));
}

#[tokio::test(start_paused = true)]
async fn a_given_endpoint_stands_for_the_member_that_it_is() {
    let fake = Fake::start(2);
    // The cluster's own addresses cannot be reached from here, another name of the leader can.
    fake.wires.take_down(&address(1));
    fake.wires.take_down(&address(2));
    fake.add(1, "outside:9001");
    let builder = crate::client::Client::builder().endpoints(["http://outside:9001"]);
    let client = builder.connector(fake.wires.connector()).seed(7).connect().await.expect("it answers");
    // Its task asks who that is while this waits.
    let begin = fake.state().seen.len();
    for _ in 0..4 {
        client.set("k", "v").await.expect("set");
    }
    assert!(fake.state().seen.len() > begin);
    assert_eq!(client.leader().as_deref(), Some("outside:9001"));
    assert!(!client.addresses().contains(&address(1)), "{:?}", client.addresses());
}
