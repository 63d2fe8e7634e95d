//! Conditional writes: `if_revision` on set and delete, also when many want the same key at once.

use serde_json::json;

use crate::harness::Cluster;
use crate::harness::client::Client;

fn set_if(client: &Client, key: &str, value: &str, revision: u64) -> crate::harness::Answer {
    client.post("/api/set", &json!({"key": key, "value": value, "if_revision": revision}))
}

#[test]
fn a_condition_holds_or_changes_nothing() {
    let mut cluster = Cluster::start("conditions", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    for id in [leader, follower] {
        let client = cluster.client(id);
        let key = format!("key-{id}");
        let first =
            set_if(&client, &key, "one", 0).expect(200).json()["revision"].as_u64().expect("a revision");
        let problem = set_if(&client, &key, "two", 0).expect_problem(412);
        assert_eq!(problem["outcome"], json!("not_applied"), "{problem}");
        assert_eq!(problem["retryable"], json!(false), "the same request cannot succeed later: {problem}");
        set_if(&client, &key, "two", first + 1).expect_problem(412);
        assert_eq!(client.value(&key).as_deref(), Some("one"));
        let second =
            set_if(&client, &key, "two", first).expect(200).json()["revision"].as_u64().expect("a revision");
        assert_eq!(second, first + 1, "refused writes took no revision");

        client.delete(&format!("/api/delete?key={key}&if_revision={first}")).expect_problem(412);
        assert_eq!(client.value(&key).as_deref(), Some("two"));
        client.delete(&format!("/api/delete?key={key}&if_revision={second}")).expect(200);
        set_if(&client, &key, "three", second).expect_problem(412);
        set_if(&client, &key, "three", 0).expect(200);
    }
}

#[test]
fn of_many_that_want_to_be_first_one_is() {
    let mut cluster = Cluster::start("conditions-race", 3);
    cluster.wait_ready();
    for round in 0..5 {
        let key = format!("race-{round}");
        let threads: Vec<_> = cluster
            .ids()
            .into_iter()
            .flat_map(|id| (0..3).map(move |copy| (id, copy)))
            .map(|(id, copy)| {
                let (client, key) = (cluster.client(id), key.clone());
                std::thread::spawn(move || {
                    (format!("{id}-{copy}"), set_if(&client, &key, &format!("{id}-{copy}"), 0))
                })
            })
            .collect();
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("an answer")).collect();
        let winners: Vec<_> = answers.iter().filter(|(_, answer)| answer.status == 200).collect();
        let refused = answers.iter().filter(|(_, answer)| answer.status == 412).count();
        assert_eq!((winners.len(), refused), (1, 8), "{answers:?}");
        assert_eq!(cluster.client(1).value(&key).as_ref(), Some(&winners[0].0));
    }
}

#[test]
fn counting_by_compare_and_swap_loses_nothing() {
    let mut cluster = Cluster::start("conditions-count", 3);
    cluster.wait_ready();
    const EACH: u64 = 15;
    let threads: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| {
            let client = cluster.client(id);
            std::thread::spawn(move || {
                let mut counted = 0;
                while counted < EACH {
                    let now = client.get("/api/get?key=count").expect(200).json();
                    let count: u64 = now["value"].as_str().map_or(0, |text| text.parse().expect("a number"));
                    let revision = now["revision"].as_u64().unwrap_or(0);
                    match set_if(&client, "count", &(count + 1).to_string(), revision).status {
                        200 => counted += 1,
                        412 => {}
                        status => panic!("status {status} without any fault"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a counter saw what the contract forbids");
    }
    assert_eq!(cluster.client(2).value("count"), Some((3 * EACH).to_string()));
}
