//! Histories that no right store produces, each with the reason that must be given.

use crate::script::*;

#[test]
fn a_stale_read() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3)).call(get("k"), found("a", 2, 2));
    it.fails(&["stale read", "@2", "@3 was known", "get k"]);
}

#[test]
fn a_read_that_believes_in_a_lease_that_is_over() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3)).call(leased("k"), found("a", 2, 2));
    it.fails(&["stale read", "@2", "@3 was known", "get k leased"]);
}

#[test]
fn a_stale_read_that_does_not_show_what_it_asked_for() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("j", "b"), written(3));
    it.call(stale_from("k", 3), found("a", 2, 2)).fails(&["stale read", "@2", "at least @3 was asked for"]);
}

#[test]
fn a_stale_read_that_lies_about_the_store() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3)).call(get("k"), found("a", 2, 3));
    it.fails(&["k shows a @2 while the store is at @3", "#1 left b at @3"]);
}

#[test]
fn reads_that_go_back() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), lost());
    it.call(get("k"), found("b", 3, 3)).call(get("k"), found("a", 2, 2));
    it.fails(&["stale read"]);
}

#[test]
fn a_lost_write() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(get("k"), absent(2));
    it.fails(&["k is missing at @2", "#0 left a at @2", "nothing can have deleted it"]);
}

#[test]
fn a_lost_write_of_which_the_store_knows_nothing() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(get("k"), absent(1));
    it.fails(&["stale read", "@2 was known"]);
}

#[test]
fn a_refused_write_that_shows() {
    let mut it = Script::default();
    it.call(set("k", "a"), refused()).call(get("k"), found("a", 2, 2));
    it.fails(&["phantom", "k = a at revision 2", "#0 was not applied"]);

    let mut early = Script::default();
    let write = early.begin(2, set("k", "a"));
    early.call(get("k"), found("a", 2, 2)).end(write, refused());
    early.fails(&["phantom", "#0 was not applied"]);
}

#[test]
fn a_refused_condition_that_writes_nevertheless() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set_if("k", "b", 9), condition_failed(2));
    it.call(get("k"), found("b", 3, 3)).fails(&["phantom", "k = b"]);
}

#[test]
fn a_refused_write_that_only_took_a_revision() {
    let mut it = Script::default();
    it.call(set("k", "a"), refused()).call(set("k", "b"), written(3));
    it.fails(&["1 of those up to 3 belong to no write"]);
}

#[test]
fn a_value_that_nobody_wrote() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2))
        .call(get("k"), found("b", 3, 3))
        .fails(&["phantom", "nobody wrote it"]);
    let mut elsewhere = Script::default();
    elsewhere.call(set("k", "a"), written(2)).call(get("l"), found("a", 3, 3));
    elsewhere.fails(&["phantom", "l = a"]);
}

#[test]
fn a_read_of_the_future() {
    let mut it = Script::default();
    it.call(get("k"), found("a", 2, 2)).call(set("k", "a"), written(2)).fails(&["phantom", "k = a"]);
}

#[test]
fn an_unknown_write_that_takes_effect_twice() {
    let mut it = Script::default();
    it.call(set("k", "a"), lost())
        .call(get("k"), found("a", 2, 2))
        .call(set("k", "b"), written(3))
        .call(get("k"), found("a", 4, 4))
        .fails(&["phantom", "took effect twice"]);
}

#[test]
fn an_unknown_write_that_takes_effect_twice_unseen() {
    let mut it = Script::default();
    it.call(set("k", "a"), lost()).call(set("k", "b"), written(4));
    it.fails(&["2 of those up to 4 belong to no write", "only 1 writes of unknown outcome"]);
}

#[test]
fn a_revision_taken_before_any_unknown_write_began() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(3))
        .call(set("k", "b"), lost())
        .fails(&["revisions: 2 belongs to no write"]);
}

#[test]
fn an_acknowledged_write_that_takes_effect_twice() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3)).call(get("k"), found("a", 4, 4));
    it.fails(&["phantom", "k = a at revision 4", "twice"]);
}

#[test]
fn a_compare_and_set_that_succeeds_twice() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2));
    let (b, c) = (it.begin(1, set_if("k", "b", 2)), it.begin(2, set_if("k", "c", 2)));
    it.end(b, written(3)).end(c, written(4));
    it.fails(&["done though its condition does not hold", "#1 left b at @3"]);
}

#[test]
fn two_that_create_the_same_key() {
    let mut it = Script::default();
    let (b, c) = (it.begin(1, set_if("k", "b", 0)), it.begin(2, set_if("k", "c", 0)));
    it.end(b, written(2)).end(c, written(3));
    it.fails(&["done though its condition does not hold", "nothing can have deleted it"]);
}

#[test]
fn a_condition_refused_though_it_holds() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set_if("k", "b", 2), condition_failed(2));
    it.fails(&["refused though its condition holds", "#0 left a at @2"]);
    let mut create = Script::default();
    create.call(set("l", "a"), written(2)).call(set_if("k", "b", 0), condition_failed(2));
    create.fails(&["refused though its condition holds"]);
}

#[test]
fn a_delete_that_does_nothing() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(delete("k"), deleted(3)).call(get("k"), found("a", 2, 3));
    it.fails(&["k shows a @2", "#1 left absent at @3"]);
    let mut denied = Script::default();
    denied
        .call(set("k", "a"), written(2))
        .call(delete("k"), nothing_deleted(2))
        .fails(&["k is missing at @2"]);
}

#[test]
fn a_delete_of_nothing_that_takes_a_revision() {
    let mut it = Script::default();
    it.call(set("l", "a"), written(2)).call(delete("k"), deleted(3)).fails(&["k was not there to delete"]);
}

#[test]
fn a_revision_with_two_owners() {
    let mut it = Script::default();
    let (a, b) = (it.begin(1, set("k", "a")), it.begin(2, set("l", "b")));
    it.end(a, written(2)).end(b, written(2)).fails(&["revisions: 2 belongs to k and to l"]);
    let mut same = Script::default();
    let (a, b) = (same.begin(1, set("k", "a")), same.begin(2, set("k", "a")));
    same.end(a, written(2)).end(b, written(2)).fails(&["revisions: 2 was given to #0 and to #1"]);
}

#[test]
fn a_write_with_two_revisions() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2))
        .call(get("k"), found("a", 3, 3))
        .fails(&["phantom", "k = a at revision 3"]);
}

#[test]
fn revisions_against_real_time() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(3)).call(set("l", "b"), written(2));
    it.fails(&["a write at revision 2, but the store was at @3"]);
}

#[test]
fn a_revision_of_the_empty_store() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(1)).fails(&["which an empty store has"]);
    let mut mute = Script::default();
    mute.call(get("k"), absent(0)).fails(&["without the store's revision"]);
}

#[test]
fn a_key_newer_than_the_store() {
    let mut it = Script::default();
    let write = it.begin(2, set("k", "a"));
    it.call(get("k"), found("a", 3, 2)).end(write, written(3)).fails(&["the key is newer than the store"]);
}

#[test]
fn a_list_that_skips_a_key() {
    let mut it = Script::default();
    it.call(set("a", "x"), written(2)).call(set("b", "y"), written(3));
    it.call(list("", "", None), page(&[("b", "y", 3)], false, 3)).fails(&["a is missing at @3", "#0 left x"]);
    let mut paged = Script::default();
    paged.call(set("a", "x"), written(2)).call(set("b", "y"), written(3)).call(set("c", "z"), written(4));
    paged.call(list("", "a", Some(1)), page(&[("c", "z", 4)], true, 4)).fails(&["b is missing at @4"]);
}

#[test]
fn a_list_that_ends_too_early() {
    let mut it = Script::default();
    it.call(set("a", "x"), written(2)).call(set("b", "y"), written(3));
    it.call(list("", "", Some(1)), page(&[("a", "x", 2)], false, 3)).fails(&["b is missing at @3"]);
}

#[test]
fn a_list_that_mixes_revisions() {
    let mut it = Script::default();
    it.call(set("a", "1"), written(2)).call(set("b", "1"), written(3));
    let slow = it.begin(2, list("", "", None));
    it.call(set("a", "2"), written(4)).call(set("b", "2"), written(5));
    it.end(slow, page(&[("a", "1", 2), ("b", "2", 5)], false, 5)).fails(&["a shows 1 @2", "#3 left 2 at @4"]);
}

#[test]
fn a_mixture_that_only_shows_when_all_is_known() {
    // When the list ends, nobody knows yet that the write of `a` came before that of `b`.
    let mut it = Script::default();
    it.call(set("a", "1"), written(2));
    let (a, b) = (it.begin(2, set("a", "2")), it.begin(3, set("b", "2")));
    let slow = it.begin(4, list("", "", None));
    it.end(b, written(4)).end(slow, page(&[("a", "1", 2), ("b", "2", 4)], false, 4)).end(a, written(3));
    it.fails(&["a shows 1 @2 while the store is at @4", "#1 left 2 at @3"]);
}

#[test]
fn a_list_that_is_no_answer_to_its_question() {
    let mut it = Script::default();
    it.call(set("a", "x"), written(2)).call(set("b", "y"), written(3));
    it.clone()
        .call(list("", "", None), page(&[("b", "y", 3), ("a", "x", 2)], false, 3))
        .fails(&["out of order"]);
    it.clone().call(list("a", "", None), page(&[("b", "y", 3)], false, 3)).fails(&["not asked for"]);
    it.clone().call(list("", "a", None), page(&[("a", "x", 2)], true, 3)).fails(&["not asked for"]);
    it.clone().call(list("", "a", None), page(&[("b", "y", 3)], true, 3)).fails(&["more keys follow b"]);
    it.clone().call(list("", "", Some(1)), page(&[("a", "x", 2), ("b", "y", 3)], false, 3)).fails(&["limit"]);
    it.clone().call(list("", "", None), page(&[], true, 3)).fails(&["empty page"]);
    it.clone().call(list("", "", None), written(4)).fails(&["wrong kind"]);
}

#[test]
fn a_stale_read_of_what_never_was() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3)).call(delete("k"), deleted(4));
    it.call(stale("k"), found("a", 2, 3)).fails(&["k shows a @2 while the store is at @3"]);
}

/// Whether an unknown write could take effect at all is for the search: the books ask only for room.
#[test]
fn an_unknown_write_against_its_condition() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set_if("k", "b", 9), lost()).call(get("k"), found("b", 3, 3));
    it.fails(&["linearizability: k: 1 of 3 calls", "ends with #0", "#1 client 1"]);
    let mut erase = Script::default();
    erase.call(set("k", "a"), written(2)).call(delete_if("k", 9), lost()).call(get("k"), absent(3));
    erase.fails(&["k is missing at @3", "nothing can have deleted it"]);
}

#[test]
fn an_unknown_write_seen_before_it_could_be() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3));
    let late = it.begin(2, set("k", "c"));
    it.call(get("k"), found("c", 3, 3)).end(late, lost()).fails(&["revisions: 3 of k is b, and is c"]);
}

#[test]
fn half_a_transaction() {
    let both = [("a", Some("x")), ("b", Some("x"))];
    let mut it = Script::default();
    it.call(txn(("a", 0), &both, None), committed(&[true, true], 2)).call(get("b"), absent(2));
    it.fails(&["b is missing at @2", "#0 left x"]);
    let mut unknown = Script::default();
    unknown
        .call(txn(("a", 0), &both, None), lost())
        .call(get("a"), found("x", 2, 2))
        .call(get("b"), absent(2));
    unknown.fails(&["b is missing at @2"]);
    let mut apart = Script::default();
    apart.call(txn(("a", 0), &both, None), lost());
    apart.call(get("a"), found("x", 2, 2)).call(get("b"), found("x", 3, 3)).fails(&["b = x at revision 3"]);
}

#[test]
fn a_transaction_that_takes_effect_twice() {
    let both = [("a", Some("x")), ("b", Some("x"))];
    let mut it = Script::default();
    it.call(txn(("c", 0), &both, None), committed(&[true, true], 2)).call(set("d", "y"), written(4));
    it.fails(&["1 of those up to 4 belong to no write"]);
    let mut unknown = Script::default();
    unknown.call(txn(("c", 0), &both, None), lost()).call(set("d", "y"), written(4));
    unknown.fails(&["2 of those up to 4 belong to no write", "only 1 writes of unknown outcome"]);
}

#[test]
fn a_revision_of_a_transaction_and_of_another_write() {
    let both = [("a", Some("x")), ("b", None)];
    let mut it = Script::default();
    let (one, other) = (it.begin(1, txn(("a", 0), &both, None)), it.begin(2, set("c", "y")));
    it.end(one, committed(&[true, false], 2))
        .end(other, written(2))
        .fails(&["revisions: 2 belongs to a and to c"]);
}

#[test]
fn a_transaction_against_its_condition() {
    let both = [("a", Some("x")), ("b", None)];
    let mut done = Script::default();
    done.call(set("c", "1"), written(2)).call(txn(("c", 0), &both, None), committed(&[true, false], 3));
    done.fails(&["done though its condition does not hold"]);
    let mut not_done = Script::default();
    not_done.call(set("c", "1"), written(2)).call(txn(("c", 2), &both, None), otherwise(None, 2));
    not_done.fails(&["refused though its condition holds"]);
    let mut itself = Script::default();
    itself.call(set("c", "1"), written(2));
    itself.call(txn(("c", 2), &both, Some("c")), otherwise(Some(("1", 2)), 2)).fails(&["as it says itself"]);
    let mut late = Script::default();
    late.call(set("a", "1"), written(2)).call(txn(("c", 0), &both, None), otherwise(None, 2));
    late.fails(&["phantom: nobody ever wrote c"]);
}

#[test]
fn a_transaction_that_does_not_say_what_it_did() {
    let both = [("a", Some("x")), ("b", None)];
    for outcome in
        [committed(&[true], 2), committed(&[false, false], 1), otherwise(Some(("x", 2)), 2), written(2)]
    {
        let mut it = Script::default();
        it.call(txn(("c", 0), &both, None), outcome).fails(&["form"]);
    }
}

#[test]
fn a_stale_read_without_the_stores_revision() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(set("k", "b"), written(3)).call(get("k"), found_somewhen("a", 2));
    it.fails(&["linearizability: k"]);
}
