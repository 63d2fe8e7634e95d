use proptest::prelude::*;

use super::*;
use crate::client::{Keys, OrderBy, Select};

fn read(text: &str) -> Script {
    parse(text.as_bytes()).unwrap_or_else(|mistake| panic!("{text:?}: {mistake}"))
}

fn mistake(text: &str) -> String {
    parse(text.as_bytes()).expect_err(text).to_string()
}

#[test]
fn a_transaction_compares_and_does_one_or_the_other() {
    let script = read(
        "# moves a value\n\
         if\n  value user:1 = \"a\"\n  version user:2 > 3 and absent lock\n\
         then\n  put user:1 \"b\" previous\n  get user:2\n\
         else\n  get user:1\n",
    );
    let compares = vec![
        Compare::value("user:1").equals("a"),
        Compare::version("user:2").greater(3),
        Compare::absent("lock"),
    ];
    let success = vec![TxnOp::put("user:1", "b").previous(), TxnOp::get("user:2")];
    assert_eq!(script, Script { compares, success, failure: vec![TxnOp::get("user:1")] });
}

#[test]
fn it_fits_on_one_line() {
    let script = read("if absent lock then put lock me; get x else get lock end");
    assert_eq!(script.success, [TxnOp::put("lock", "me"), TxnOp::get("x")]);
    assert_eq!(script.failure, [TxnOp::get("lock")]);
    assert_eq!(read("put a 1; del b").success.len(), 2);
    assert_eq!(read("then get a").success, [TxnOp::get("a")]);
}

#[test]
fn every_operation_has_its_words() {
    let script = read(
        "get prefix job/ by revision desc limit 1 keys\nget range a b count\ntouch t previous\n\
         del prefix tmp/ previous\ndel range a b\nget \"prefix\"",
    );
    let newest =
        Select::keys(Keys::prefix("job/")).order_by(OrderBy::ModRevision).descending().limit(1).keys_only();
    let expected = [
        newest.into(),
        Select::keys(Keys::range("a", "b")).count_only().into(),
        TxnOp::touch("t").previous(),
        TxnOp::delete(Keys::prefix("tmp/")).previous(),
        TxnOp::delete(Keys::range("a", "b")),
        TxnOp::get("prefix"),
    ];
    assert_eq!(script.success, expected);
}

#[test]
fn comparisons_have_all_relations() {
    let script = read(
        "if revision a != 5 and created b < 6 and lease prefix c = 0 and exists d and value e > f then get a",
    );
    let expected = [
        Compare::mod_revision("a").differs(5),
        Compare::create_revision("b").less(6),
        Compare::lease(Keys::prefix("c")).equals(0),
        Compare::exists("d"),
        Compare::value("e").greater("f"),
    ];
    assert_eq!(script.compares, expected);
}

#[test]
fn transactions_lie_in_transactions() {
    let script = read("if exists a then\n if exists b then put c 1 else put d 1 end\n get e\n");
    let inner =
        Branch::new().when(Compare::exists("b")).then(TxnOp::put("c", "1")).otherwise(TxnOp::put("d", "1"));
    assert_eq!(script.success, [inner.into(), TxnOp::get("e")]);
    let deep = format!("{}get a {}", "if exists a then ".repeat(10_000), "end ".repeat(10_000));
    assert!(mistake(&deep).contains("deep"));
}

#[test]
fn bytes_are_quoted() {
    let script = read("put \"\\x00\\xff\" 'a \\ \"b\"'; put a=b c=d");
    assert_eq!(script.success, [TxnOp::put([0, 0xff], "a \\ \"b\""), TxnOp::put("a=b", "c=d")]);
    let raw = parse(b"put k \xff").expect("a word need not be text");
    assert_eq!(raw.success, [TxnOp::put("k", [0xff])]);
}

#[test]
fn a_mistake_is_told_with_its_place() {
    for (text, told) in [
        ("", "line 1, column 1: there is nothing to do"),
        ("# nothing\n", "line 2, column 1: there is nothing to do"),
        ("git a", "line 1, column 1: an operation begins with get, put, del, touch or if, not with git"),
        ("get a\nput b", "line 2, column 6: the value is missing: here is the end"),
        ("put b\nget a", "line 1, column 6: the value is missing: here is the end of the line"),
        ("if exists a then put b else get c", "line 1, column 24: the value is missing: here is else"),
        ("put a b c", "line 1, column 9: an operation ends with its line or with ; and here is c"),
        ("if value a == b then get a", "line 1, column 12: here = != > or < is needed, and there is =="),
        ("if value a=\"b\"", "line 1, column 12: a quote inside of a word"),
        ("if version a > many then get a", "line 1, column 16: here a number is needed, and there is many"),
        ("if version a > 1", "line 1, column 17: there is nothing to do"),
        ("if size a > 1", "line 1, column 4: a comparison begins with"),
        ("if exists a and then get b", "line 1, column 17: a comparison begins with"),
        ("put \u{e9} \"x", "line 1, column 7: this quote is not closed"),
        ("put a \"\\q\"", "line 1, column 8: \\q is no escape"),
        ("put a \"b\"c", "line 1, column 10: a space is missing behind the quote"),
        ("put \"\" b", "line 1, column 5: the key is empty"),
        ("get a by age", "line 1, column 10: the order is by"),
        ("if exists a then get a end get b", "line 1, column 28: here the transaction should end"),
        ("get a; if exists b then get c", "line 1, column 8: this if inside of a transaction needs an end"),
        ("get a else get b", "line 1, column 7: here the transaction should end, and there is else"),
    ] {
        let said = mistake(text);
        assert!(said.starts_with(told), "{text:?}: {said:?} instead of {told:?}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "(if|then|else|end|and|get|put|del|prefix|range|limit|value|version|exists|=|>|[a-c]|\"a\"|;|\n| |#|\\\\|\")( (if|then|else|end|get|put|a|b|=|1|;|\n|\")){0,12}") {
        if let Err(mistake) = parse(text.as_bytes()) {
            let told = mistake.to_string();
            prop_assert!(!told.contains('\n'), "{told:?}");
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&bytes);
    }
}
