//! The REST table: every call with every answer it may give to a good request, on leader and followers alike.

use serde_json::json;

use crate::harness::client::{Answer, Client, encode};
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::{Cluster, history};

const MIB: usize = 1 << 20;

fn revision(answer: &Answer) -> u64 {
    answer.header("x-quorate-revision").parse().expect("the store's revision is a number")
}

#[test]
fn every_call_answers_alike_on_every_node() {
    let mut cluster = Cluster::start("rest-table", 3);
    cluster.wait_ready();
    for id in cluster.ids() {
        let client = cluster.client(id);
        let key = format!("user:{id}");
        let absent = client.get(&format!("/api/get?key={key}")).expect(200);
        assert_eq!(absent.json()["value"], json!(null));
        assert_eq!(absent.json()["found"], json!(false));

        let set = client.post("/api/set", &json!({"key": key, "value": "John Doe"})).expect(200);
        assert_eq!(set.json()["success"], json!(true));
        let first = set.json()["revision"].as_u64().expect("a revision");
        assert_eq!(revision(&set), first, "a write's revision is the store's after it");

        let got = client.get(&format!("/api/get?key={key}")).expect(200);
        assert_eq!(got.json(), json!({"value": "John Doe", "found": true, "revision": first}));

        let other = client.set(&format!("other:{id}"), "x");
        assert!(other > first, "revisions rise: {first}, then {other}");
        let got = client.get(&format!("/api/get?key={key}")).expect(200);
        assert_eq!(got.json()["revision"], json!(first), "a key's revision is its own");
        for path in [format!("/api/get?key={key}"), "/api/list".to_owned(), "/api/stats".to_owned()] {
            assert_eq!(
                revision(&client.get(&path).expect(200)),
                other,
                "the header's is the store's: {path}"
            );
        }

        let gone = client.delete(&format!("/api/delete?key={key}")).expect(200).json();
        assert_eq!(gone["success"], json!(true));
        assert_eq!(gone["deleted"], json!(true));
        assert!(gone["revision"].as_u64() > Some(other), "{gone}");
        let again = client.delete(&format!("/api/delete?key={key}")).expect(200).json();
        assert_eq!(again["deleted"], json!(false));
        assert_eq!(again["revision"], gone["revision"], "a delete of nothing takes no revision");
        assert_eq!(client.value(&key), None);
    }
}

#[test]
fn a_write_through_one_node_is_read_through_every_other_at_once() {
    let mut cluster = Cluster::start("rest-everywhere", 3);
    cluster.wait_ready();
    for round in 0..10 {
        for writer in cluster.ids() {
            let value = format!("{writer}-{round}");
            cluster.client(writer).set("shared", &value);
            for reader in cluster.ids() {
                let seen = cluster.client(reader).value("shared");
                assert_eq!(seen.as_ref(), Some(&value), "written through {writer}, read through {reader}");
            }
        }
    }
}

#[test]
fn lists_come_in_key_order_and_in_pages() {
    let mut cluster = Cluster::start("rest-list", 3);
    let leader = cluster.wait_ready();
    let client = cluster.client(leader);
    let keys: Vec<String> = (0..25).map(|number| format!("page/{number:02}")).collect();
    for key in keys.iter().rev() {
        client.set(key, &format!("value of {key}"));
    }
    client.set("pagf", "outside the prefix");
    client.set("paga", "outside the prefix");
    let follower = cluster.ids_without(&[leader])[0];
    for id in [leader, follower] {
        let client = cluster.client(id);
        let names = |path: &str| -> (Vec<String>, bool) {
            let page = client.get(path).expect(200).json();
            let pairs = page["pairs"].as_array().expect("pairs");
            let keys = pairs.iter().map(|pair| pair["key"].as_str().expect("a key").to_owned()).collect();
            (keys, page["more"].as_bool().expect("more"))
        };
        assert_eq!(names("/api/list?prefix=page/"), (keys.clone(), false));
        assert_eq!(names("/api/list?prefix=page/&limit=10"), (keys[..10].to_vec(), true));
        assert_eq!(names("/api/list?prefix=page/&limit=10&after=page/09"), (keys[10..20].to_vec(), true));
        assert_eq!(names("/api/list?prefix=page/&limit=25"), (keys.clone(), false));
        assert_eq!(names("/api/list?prefix=page/&after=page/24"), (vec![], false));
        assert_eq!(names("/api/list?prefix=page/&after=page/1&limit=1").0, vec!["page/10".to_owned()]);
        assert_eq!(names("/api/list?prefix=none/"), (vec![], false));
        assert_eq!(names("/api/list?limit=10000").0.len(), 27, "no prefix is every key");
        let page = client.get("/api/list?prefix=page/07").expect(200).json();
        assert_eq!(page["pairs"][0]["value"], json!("value of page/07"));
        assert!(page["pairs"][0]["revision"].as_u64() > Some(1), "{page}");
        assert_eq!(history::all(&client, "page/").len(), 25);
    }
}

#[test]
fn a_page_ends_at_four_mebibytes() {
    let mut cluster = Cluster::start("rest-large", 1);
    cluster.wait_ready();
    let client = cluster.client(1);
    let large = "v".repeat(MIB);
    for number in 0..6 {
        client.set(&format!("large/{number}"), &large);
    }
    let page = client.get("/api/list?prefix=large/").expect(200).json();
    let count = page["pairs"].as_array().expect("pairs").len();
    assert!((1..=4).contains(&count), "{count} values of 1 MiB on a page of 4 MiB");
    assert_eq!(page["more"], json!(true));
    assert_eq!(history::all(&client, "large/").len(), 6, "all pages together hold all");
}

#[test]
fn base64_covers_what_is_not_text() {
    let mut cluster = Cluster::start("rest-base64", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    for id in [leader, follower] {
        let client = cluster.client(id);
        // The key is the bytes fe ff, the value 00 ff.
        client.post("/api/set", &json!({"key": "/v8=", "value": "AP8=", "encoding": "base64"})).expect(200);
        let got = client.get(&format!("/api/get?key={}&encoding=base64", encode("/v8="))).expect(200).json();
        assert_eq!(got["value"], json!("AP8="), "{got}");
        // A text key with a value that is no text, asked for without the parameter.
        client.post("/api/set", &json!({"key": "aw==", "value": "AP8=", "encoding": "base64"})).expect(200);
        let got = client.get("/api/get?key=k").expect(200).json();
        assert_eq!((&got["value"], &got["encoding"]), (&json!("AP8="), &json!("base64")), "{got}");
        let text = client.post("/api/set", &json!({"key": "k", "value": "text"})).expect(200);
        drop(text);
        let got = client.get("/api/get?key=aw%3D%3D&encoding=base64").expect(200).json();
        assert_eq!(got["value"], json!("dGV4dA=="), "asked for in base64, text comes so too: {got}");
        let page = client.get("/api/list").expect(200).json();
        let odd = page["pairs"].as_array().expect("pairs").iter().find(|pair| pair["key"] == json!("/v8="));
        assert_eq!(odd.map(|pair| &pair["encoding"]), Some(&json!("base64")), "{page}");
        let plain = page["pairs"].as_array().expect("pairs").iter().find(|pair| pair["key"] == json!("k"));
        assert_eq!(plain.map(|pair| &pair["value"]), Some(&json!("text")), "{page}");
        client.delete("/api/delete?key=%2Fv8%3D&encoding=base64").expect(200);
    }
}

#[test]
fn the_largest_key_and_value_pass_and_one_byte_more_does_not() {
    let mut cluster = Cluster::start("rest-limits", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    for id in [leader, follower] {
        let client = cluster.client(id);
        let key = "k".repeat(4096);
        client.set(&key, "at the limit");
        assert_eq!(client.value(&key).as_deref(), Some("at the limit"));
        client.post("/api/set", &json!({"key": format!("{key}k"), "value": "v"})).expect_problem(400);
        client.get(&format!("/api/get?key={key}k")).expect_problem(400);
        let value = "v".repeat(MIB + MIB / 2);
        client.set("large", &value);
        assert_eq!(client.value("large").map(|value| value.len()), Some(value.len()));
        let problem = client
            .post("/api/set", &json!({"key": "large", "value": format!("{value}v")}))
            .expect_problem(413);
        assert_eq!(problem["outcome"], json!("not_applied"), "{problem}");
        // The worst case of JSON: six bytes for one. The body limit leaves room for it.
        let escaped = "\u{1}".repeat(MIB + MIB / 2);
        client.set("escaped", &escaped);
        assert_eq!(client.value("escaped").map(|value| value.len()), Some(escaped.len()));
        let far = "v".repeat(32 * MIB);
        let body = serde_json::to_vec(&json!({"key": "large", "value": far})).expect("JSON");
        let answer = client.request("POST", "/api/set", &[("content-type", "application/json")], Some(&body));
        // A server may answer early and close while the body is still being sent.
        if let Ok(answer) = answer {
            answer.expect_problem(413);
        }
        assert_eq!(
            client.value("large").map(|found| found.len()),
            Some(value.len()),
            "a refused write left a trace"
        );
    }
    cluster.assert_all_alive();
}

#[test]
fn stats_tell_who_leads_and_how_far_everyone_is() {
    let mut cluster = Cluster::start("rest-stats", 3);
    let leader = cluster.wait_ready();
    cluster.client(leader).set("a", "1");
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("a").as_deref(), Some("1"));
        // The member records travel through the log and may take a moment after the first election.
        let stats = poll_until("three published member records", PATIENCE, || {
            let stats = client.stats();
            let members = stats["members"].as_array()?;
            let published =
                members.iter().filter(|member| member["http"].as_str().is_some_and(|at| !at.is_empty()));
            (published.count() == 3 && stats["leader"] != "").then_some(stats)
        });
        assert_eq!(stats["id"], json!(id));
        assert_eq!(stats["state"], json!(if id == leader { "leader" } else { "follower" }), "{stats}");
        assert_eq!(stats["leader_id"], json!(leader), "{stats}");
        let at = stats["leader"].as_str().expect("the leader's address");
        assert!(at.contains(&cluster.node(leader).http), "{at} is not {}", cluster.node(leader).http);
        for name in ["term", "commit_index", "applied_index", "last_index", "revision"] {
            assert!(stats[name].as_u64() > Some(0), "{name} in {stats}");
        }
        assert!(stats["counters"].is_object(), "{stats}");
        for member in stats["members"].as_array().expect("members") {
            let number = member["id"].as_u64().expect("a member's id");
            let node = cluster.node(number);
            assert!(member["http"].as_str().is_some_and(|at| at.contains(&node.http)), "{member}");
            assert!(member["grpc"].as_str().is_some_and(|at| at.contains(&node.grpc)), "{member}");
            assert!(member["peer"].as_str().is_some_and(|at| at.contains(&node.peer)), "{member}");
            assert!(!member["role"].is_null() && !member["incarnation"].is_null(), "{member}");
        }
    }
}

#[test]
fn health_says_ready_and_alive() {
    let mut cluster = Cluster::start("rest-health", 3);
    cluster.wait_ready();
    for id in cluster.ids() {
        let client = cluster.client(id);
        client.get("/livez").expect(200);
        for path in ["/readyz", "/health"] {
            let body = client.get(path).expect(200).json();
            assert_eq!(body, json!({"health": "true", "reason": ""}), "{path} on node {id}");
        }
    }
    // Without a quorum the process lives and is not ready; it says so within the deadline.
    for id in [2, 3] {
        cluster.node_mut(id).kill();
    }
    let client = cluster.client(1);
    poll_until("node 1 to see that its quorum is gone", PATIENCE, || {
        client.request("GET", "/readyz", &[], None).ok().filter(|answer| answer.status == 503)
    });
    for path in ["/readyz", "/health"] {
        let body = client.get(path).expect(503).json();
        assert_eq!(body["health"], json!("false"), "{body}");
        assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    }
    client.get("/livez").expect(200);
    client.get("/api/stats").expect(200);
}

#[test]
fn the_api_describes_itself() {
    let mut cluster = Cluster::start("rest-openapi", 1);
    cluster.wait_ready();
    let document = cluster.client(1).get("/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    let paths = document["paths"].as_object().expect("paths");
    for path in
        ["/api/set", "/api/get", "/api/list", "/api/delete", "/api/stats", "/livez", "/readyz", "/health"]
    {
        assert!(paths.contains_key(path), "{path} is not described");
    }
}

#[test]
fn a_stale_read_needs_no_quorum() {
    let mut cluster = Cluster::start("rest-stale", 3);
    let leader = cluster.wait_ready();
    let revision = cluster.client(leader).set("a", "1");
    let survivor = cluster.ids_without(&[leader])[0];
    let client: Client = cluster.client(survivor);
    assert_eq!(client.value("a").as_deref(), Some("1"));
    for id in cluster.ids_without(&[survivor]) {
        cluster.node_mut(id).kill();
    }
    let got = client.get("/api/get?key=a&consistency=stale").expect(200).json();
    assert_eq!(got, json!({"value": "1", "found": true, "revision": revision}));
    let page = client.get("/api/list?consistency=stale").expect(200).json();
    assert_eq!(page["pairs"].as_array().map(Vec::len), Some(1));
    let linearizable = client
        .request("GET", "/api/get?key=a&consistency=linearizable", &[("x-quorate-timeout-ms", "300")], None)
        .expect("an answer");
    linearizable.expect_problem(503);
}

/// Covers H24: through another node, over the death of the leader and over restarts of all, a write that is sent again with its
/// key is answered as at first.
#[test]
fn a_write_with_an_idempotency_key_takes_effect_once() {
    let mut cluster = Cluster::start("rest-idempotency", 3);
    let leader = cluster.wait_ready();
    let send = |cluster: &Cluster, id: u64, key: &str, value: &str| {
        let body = json!({"key": "k", "value": value}).to_string();
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        cluster.client(id).request("POST", "/api/set", &headers, Some(body.as_bytes())).expect("an answer")
    };
    let others = cluster.ids_without(&[leader]);
    let first = send(&cluster, others[0], "a-key", "one").expect(200).json()["revision"].clone();
    let second = send(&cluster, leader, "another", "two").expect(200).json()["revision"].clone();
    assert_ne!(first, second);
    for id in cluster.ids() {
        assert_eq!(send(&cluster, id, "a-key", "one").expect(200).json()["revision"], first, "node {id}");
        let mismatch = send(&cluster, id, "a-key", "three").expect_problem(422);
        assert_eq!(mismatch["code"], json!("idempotency_mismatch"));
    }
    cluster.node_mut(leader).kill();
    cluster.wait_leader_among(&others);
    for id in &others {
        assert_eq!(
            send(&cluster, *id, "\"a-key\"", "one").expect(200).json()["revision"],
            first,
            "node {id}"
        );
    }
    for id in &others {
        cluster.node_mut(*id).kill();
    }
    for id in cluster.ids() {
        cluster.start_node(id);
    }
    cluster.wait_ready();
    assert_eq!(send(&cluster, leader, "a-key", "one").expect(200).json()["revision"], first);
    // Of the first millisecond that a key can tell: as old as what may have been forgotten, already where nothing was. (For any
    // other one that takes hundreds of thousands of keys: see `fsm/tests/keyed`.)
    for id in cluster.ids() {
        let spent = send(&cluster, id, "00000000-0000-7000-8000-000000000000", "four").expect_problem(409);
        assert_eq!((&spent["code"], &spent["outcome"]), (&json!("session_expired"), &json!("unknown")));
    }
    let got = cluster.client(leader).get("/api/get?key=k").expect(200).json();
    assert_eq!(got, json!({"value": "two", "found": true, "revision": second}));
    assert_eq!(cluster.client(leader).stats()["counters"]["keys"], json!(1));
}
