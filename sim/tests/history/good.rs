//! Histories that a right store may produce: none may raise an alarm.

use crate::script::*;

#[test]
fn one_client_alone() {
    let mut it = Script::default();
    it.call(get("k"), absent(1))
        .call(set("k", "a"), written(2))
        .call(set("k", "b"), written(3))
        .call(get("k"), found("b", 3, 3))
        .call(delete("k"), deleted(4))
        .call(delete("k"), nothing_deleted(4))
        .call(get("k"), absent(4))
        .call(set("k", "a"), written(5))
        .call(stale("k"), found("a", 2, 2))
        .call(stale_from("k", 3), found("b", 3, 3))
        .call(leased("k"), found("a", 5, 5))
        .passes();
}

#[test]
fn calls_that_overlap_may_come_in_any_order() {
    let mut it = Script::default();
    let (a, b) = (it.begin(1, set("k", "a")), it.begin(2, set("k", "b")));
    let early = it.begin(3, get("k"));
    it.end(b, written(2)).end(a, written(3));
    it.end(early, absent(1)).call(get("k"), found("a", 3, 3)).passes();
}

#[test]
fn an_unknown_write_may_take_effect_at_any_time_or_never() {
    let mut never = Script::default();
    never
        .call(set("k", "a"), written(2))
        .call(set("k", "b"), lost())
        .call(get("k"), found("a", 2, 2))
        .passes();

    let mut late = Script::default();
    late.call(set("k", "a"), written(2))
        .call(set("k", "b"), lost())
        .call(get("k"), found("a", 2, 2))
        .call(set("k", "c"), written(3))
        .call(get("k"), found("b", 4, 4))
        .passes();
}

#[test]
fn an_unknown_delete_may_take_effect_at_any_time() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2))
        .call(delete("k"), lost())
        .call(delete("k"), lost())
        .call(get("k"), found("a", 2, 2))
        .call(get("k"), absent(3))
        .call(set("k", "b"), written(4))
        .call(get("k"), absent(5))
        .call(delete("k"), nothing_deleted(5))
        .passes();
}

#[test]
fn an_unseen_write_explains_a_condition_and_a_delete() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2))
        .call(set("k", "b"), lost())
        .call(set_if("k", "c", 2), condition_failed(3))
        .call(delete("k"), deleted(4))
        .call(set("k", "d"), lost())
        .call(delete("k"), deleted(6))
        .passes();
}

#[test]
fn conditions_hold_or_fail() {
    let mut it = Script::default();
    it.call(set_if("k", "a", 0), written(2))
        .call(set_if("k", "b", 0), condition_failed(2))
        .call(set_if("k", "b", 2), written(3))
        .call(delete_if("k", 2), condition_failed(3))
        .call(delete_if("k", 3), deleted(4))
        .call(delete_if("k", 0), nothing_deleted(4))
        .call(delete_if("k", 3), condition_failed(4))
        .call(set_if("k", "c", 7), condition_failed(4))
        .passes();
}

#[test]
fn a_refused_write_leaves_nothing() {
    let mut it = Script::default();
    it.call(set("k", "a"), refused()).call(get("k"), absent(1)).call(set("k", "a"), written(2)).passes();
}

#[test]
fn the_same_value_may_be_written_often() {
    let mut it = Script::default();
    it.call(set("k", ""), written(2))
        .call(set("k", ""), lost())
        .call(set("k", ""), lost())
        .call(get("k"), found("", 3, 3))
        .call(set("k", "x"), written(4))
        .call(get("k"), found("", 5, 5))
        .passes();
}

#[test]
fn lists_show_the_store_at_their_revision() {
    let mut it = Script::default();
    it.call(set("a1", "x"), written(2)).call(set("a2", "y"), written(3)).call(set("b1", "z"), written(4));
    it.call(list("a", "", None), page(&[("a1", "x", 2), ("a2", "y", 3)], false, 4));
    it.call(list("", "", Some(2)), page(&[("a1", "x", 2), ("a2", "y", 3)], true, 4));
    it.call(list("", "a2", Some(2)), page(&[("b1", "z", 4)], false, 4));
    it.call(list("", "zz", None), page(&[], false, 4));
    it.call(list("b", "a2", None), page(&[("b1", "z", 4)], false, 4));
    let slow = it.begin(2, list("a", "", None));
    it.call(set("a1", "new"), written(5)).call(delete("a2"), deleted(6));
    it.end(slow, page(&[("a1", "new", 5), ("a2", "y", 3)], false, 5));
    it.call(list("a", "", None), page(&[("a1", "new", 5)], false, 6)).passes();
}

#[test]
fn many_writes_without_an_outcome_cost_little() {
    let mut it = Script::default();
    for round in 0..40 {
        it.call(set("k", &format!("lost {round}")), lost());
        it.call(delete("k"), lost());
        it.call(set_if("k", &format!("lost too {round}"), 7), lost());
    }
    it.call(get("k"), absent(1)).call(set("k", "a"), written(9)).call(get("k"), absent(10)).passes();
}

#[test]
fn a_transaction_changes_its_keys_together() {
    let mut it = Script::default();
    it.call(txn(("a", 0), &[("a", Some("x")), ("b", Some("x"))], None), committed(&[true, true], 2))
        .call(txn(("a", 2), &[("a", None), ("c", Some("x"))], None), committed(&[true, true], 3))
        .call(txn(("a", 2), &[("a", None), ("b", None)], Some("b")), otherwise(Some(("x", 2)), 3))
        .call(txn(("b", 2), &[("a", None), ("d", None)], Some("b")), committed(&[false, false], 3))
        .call(txn(("b", 2), &[("b", Some("y")), ("a", None)], None), committed(&[true, false], 4))
        .call(txn(("b", 9), &[("b", Some("z")), ("a", None)], Some("a")), otherwise(None, 4))
        .call(list("", "", None), page(&[("b", "y", 4), ("c", "x", 3)], false, 4))
        .passes();
}

#[test]
fn a_transaction_without_an_outcome_may_have_been_executed_or_not() {
    let change = [("a", Some("x")), ("b", None)];
    let mut never = Script::default();
    never.call(set("b", "1"), written(2)).call(txn(("a", 0), &change, None), lost());
    never.call(get("b"), found("1", 2, 2)).call(set("a", "y"), written(3)).passes();
    let mut done = Script::default();
    done.call(set("b", "1"), written(2)).call(txn(("a", 0), &change, None), lost());
    done.clone().call(get("a"), found("x", 3, 3)).call(get("b"), absent(3)).passes();
    done.clone().call(get("b"), absent(3)).call(get("a"), found("x", 3, 3)).passes();
    done.call(get("b"), absent(3)).call(set("c", "z"), written(4)).call(get("a"), found("x", 3, 4)).passes();
}

/// Two that write the same leave open which of them was found.
#[test]
fn a_transaction_asked_for_twice_may_be_executed_twice() {
    let both = [("a", Some("x")), ("b", Some("x"))];
    let mut it = Script::default();
    it.call(txn(("c", 0), &both, None), lost()).call(txn(("c", 0), &both, None), lost());
    it.call(set("b", "y"), written(4))
        .call(get("a"), found("x", 3, 4))
        .call(stale("b"), found("x", 2, 2))
        .passes();
}

#[test]
fn what_is_told_without_the_stores_revision_counts() {
    let mut it = Script::default();
    it.call(set("k", "a"), written(2)).call(get("k"), found_somewhen("a", 2));
    it.call(set("k", "b"), lost()).call(get("k"), found_somewhen("b", 3)).passes();
}
