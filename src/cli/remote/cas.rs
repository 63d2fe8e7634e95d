//! `quorate cas`: compare and set, by value. By revision it is `set --if-revision`.

use std::ffi::OsString;

use serde::Serialize;

use super::super::Failure;
use super::connect::Common;
use super::escape::escape;
use super::exit;
use super::input::{Escapes, Value};
use super::output::{Format, Out};
use super::pairs::{Pair, Shown};
use crate::client::{Compare, KeyValue, TxnAnswer, TxnOp, TxnResult};

const AFTER_HELP: &str = "\
Examples:
  quorate set state idle
  quorate cas state idle busy             sets it to busy if it is idle
  quorate cas state busy - < report       the new value from standard input
  quorate cas state idle busy -o json     says what it is, if it is something else

To compare the revision instead: quorate set KEY VALUE --if-revision N. To create a key: quorate set KEY VALUE --create.
More than one key at once: quorate txn.

Exit codes: 0 set, 1 the key has another value, or there is none, 2 usage, 3 unavailable: not set, 4 unknown: perhaps set.";

/// Set a key if it has the value that is expected
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    /// The value that it must have
    #[arg(value_name = "EXPECTED", allow_negative_numbers = true)]
    expected: OsString,
    #[command(flatten)]
    value: Value,
    #[command(flatten)]
    escapes: Escapes,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Answer {
    swapped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Option<Pair>>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = args.escapes.key(&args.key)?;
    let expected = args.escapes.bytes(&args.expected)?;
    let value = args.value.read(args.escapes)?;
    args.common.run(Format::Table, |client, out, _| {
        let txn = client.txn().when(Compare::value(&key).equals(expected));
        let txn = txn.then(TxnOp::put(&key, value)).otherwise(TxnOp::get(&key));
        let result = txn.call().map_err(|error| exit::failure(&error))?;
        print(&key, &result, out)
    })
}

fn print(key: &[u8], result: &TxnResult, out: &mut Out) -> Result<(), Failure> {
    if result.succeeded {
        let revision = result.revision;
        match out.format() {
            Format::Json => out.json(&Answer { swapped: true, revision: Some(revision), current: None }),
            Format::Plain => out.line(&revision.to_string()),
            Format::Table => out.line(&format!("set at revision {revision}")),
        }
        return Ok(());
    }
    let current: Option<&KeyValue> = match result.answers.first() {
        Some(TxnAnswer::Selected { pairs, .. }) => pairs.first(),
        _ => None,
    };
    if out.format() == Format::Json {
        let current = current.map(|kv| Pair::of(kv, Shown::All));
        out.json(&Answer { swapped: false, revision: None, current: Some(current) });
    }
    let key = escape(key);
    Err(Failure::new(
        exit::NOT_SO,
        match current {
            Some(kv) => format!("{key} has another value, of revision {}: it was not set", kv.mod_revision),
            None => format!("no such key: {key}: it was not set"),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;

    fn result(succeeded: bool, pairs: Vec<KeyValue>) -> TxnResult {
        let answers = vec![TxnAnswer::Selected { count: pairs.len() as u64, pairs, more: false }];
        TxnResult { revision: 7, succeeded, answers }
    }

    #[test]
    fn a_value_that_is_another_one_is_told_and_fails() {
        let kv = KeyValue { key: "k".into(), value: "v".into(), mod_revision: 5, ..KeyValue::default() };
        let json = printed(Format::Json, |out| {
            let failure = print(b"k", &result(false, vec![kv]), out).expect_err("another value");
            assert_eq!(failure.code, exit::NOT_SO);
            assert!(failure.text.contains("of revision 5"), "{failure:?}");
        });
        assert!(json.starts_with("{\"swapped\":false,\"current\":{\"key\":\"k\",\"value\":\"v\""), "{json}");
        let json = printed(Format::Json, |out| {
            print(b"k", &result(false, Vec::new()), out).expect_err("no such key");
        });
        assert_eq!(json, "{\"swapped\":false,\"current\":null}\n");
        let set = printed(Format::Json, |out| print(b"k", &result(true, Vec::new()), out).expect("set"));
        assert_eq!(set, "{\"swapped\":true,\"revision\":7}\n");
    }
}
