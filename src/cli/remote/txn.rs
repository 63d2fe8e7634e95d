//! `quorate txn`: compare, then do one list of operations or the other, all at one revision. The language is in [`script`].

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Serialize;

use super::super::Failure;
use super::connect::Common;
use super::exit;
use super::input;
use super::output::{Format, Out, Tone};
use super::pairs::{Pair, Printer, Shown, plain};
use super::reading::Reading;
use super::script;
use crate::client::{TxnAnswer, TxnResult};

const AFTER_HELP: &str = "\
Examples:
  quorate txn 'if absent lock then put lock me else get lock'
  quorate txn 'put a 1; put b 2; get prefix job/ by revision desc limit 1'
  quorate txn --file move.txn
  quorate txn <<'.'
    if
      value user:1 = \"a\"         # all of these must hold
      version user:2 > 3
    then
      put user:1 \"b\"
      get user:2
    else
      get user:1
  .

Comparisons (each on a line of its own, or joined by and):
  value KEY = VALUE             also != > <
  version KEY > N               how often it was written since it was created; 0: there is no such key
  revision KEY = N              of its last change; created KEY: of its creation; lease KEY
  exists KEY, absent KEY
Operations (each on a line of its own, or with ; between them):
  get KEY [limit N] [by key|version|revision|created|value] [desc] [keys] [count]
  put KEY VALUE [previous]      previous: answer with what was there before
  del KEY [previous]
  touch KEY                     writes the value that it has
  if ... then ... else ... end  another transaction

KEY can also be prefix P, or range FROM TO. Write \"...\" for what has spaces or escapes (\\n \\t \\\" \\\\ \\xNN), '...' for what
is meant as it stands; a key named like a word of the language is quoted. # begins a comment.

Exit codes: 0 all comparisons held, 1 one did not: what is behind else was done, 2 usage, 3 unavailable: not done,
4 unknown: perhaps done.";

/// Do several things at one revision, if conditions hold
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    /// The transaction [default: it is read from standard input]
    #[arg(value_name = "TEXT")]
    text: Option<OsString>,
    /// Read the transaction from a file
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

/// What a transaction answers, in JSON.
#[derive(Serialize)]
struct Answer {
    succeeded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    answers: Vec<One>,
}

/// What one operation answers.
#[derive(Serialize)]
#[serde(untagged)]
enum One {
    Get { pairs: Vec<Pair>, count: u64, more: bool },
    Put { previous: Option<Pair> },
    Del { deleted: u64, previous: Vec<Pair> },
    Txn(Answer),
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = text(args)?;
    let script =
        script::parse(&text).map_err(|mistake| Failure::usage(format!("the transaction, {mistake}")))?;
    let consistency = args.reading.consistency()?;
    args.common.run(Format::Table, |client, out, _| {
        let txn = script.fill(client.txn()).consistency(consistency).min_revision(args.reading.min_revision);
        let result = txn.call().map_err(|error| exit::failure(&error))?;
        print(&result, out);
        match result.succeeded {
            true => Ok(()),
            false => {
                Err(Failure::new(exit::NOT_SO, "a comparison did not hold: what is behind else was done"))
            }
        }
    })
}

fn text(args: &Args) -> Result<Vec<u8>, Failure> {
    match (&args.text, &args.file) {
        (Some(text), _) if text != "-" => Ok(text.as_bytes().to_owned()),
        (_, Some(path)) => input::file(path),
        _ => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                super::note("reading a transaction; end it with Ctrl-D (quorate txn --help has examples)");
            }
            input::stdin()
        }
    }
}

fn print(result: &TxnResult, out: &mut Out) {
    let TxnResult { revision, succeeded, answers, .. } = result;
    match out.format() {
        Format::Json => {
            let answers = answers.iter().map(One::of).collect();
            out.json(&Answer { succeeded: *succeeded, revision: Some(*revision), answers });
        }
        Format::Plain => answers.iter().for_each(|answer| print_plain(answer, out)),
        Format::Table => {
            let (words, tone) = match succeeded {
                true => ("then", Tone::Good),
                false => ("else", Tone::Warning),
            };
            let words = out.painted(words, tone);
            out.line(&format!("{words}, at revision {revision}"));
            print_table(answers, "", out);
        }
    }
}

impl One {
    fn of(answer: &TxnAnswer) -> One {
        let pairs =
            |pairs: &[crate::client::KeyValue]| pairs.iter().map(|kv| Pair::of(kv, Shown::All)).collect();
        match answer {
            TxnAnswer::Selected { pairs: found, more, count } => {
                One::Get { pairs: pairs(found), count: *count, more: *more }
            }
            TxnAnswer::Put { previous } => {
                One::Put { previous: previous.as_ref().map(|kv| Pair::of(kv, Shown::All)) }
            }
            TxnAnswer::Deleted { count, previous } => One::Del { deleted: *count, previous: pairs(previous) },
            TxnAnswer::Branch { succeeded, answers } => One::Txn(Answer {
                succeeded: *succeeded,
                revision: None,
                answers: answers.iter().map(One::of).collect(),
            }),
        }
    }
}

/// The pairs that were read, or were there before; how many there are, where that alone was asked for, or were removed.
fn print_plain(answer: &TxnAnswer, out: &mut Out) {
    let pairs = match answer {
        TxnAnswer::Selected { pairs, count, more } => {
            if pairs.is_empty() && *count > 0 && !more {
                out.line(&count.to_string());
            }
            pairs.as_slice()
        }
        TxnAnswer::Put { previous } => previous.as_slice(),
        TxnAnswer::Deleted { count, previous } => {
            out.line(&count.to_string());
            previous
        }
        TxnAnswer::Branch { answers, .. } => {
            return answers.iter().for_each(|answer| print_plain(answer, out));
        }
    };
    pairs.iter().for_each(|kv| out.line(&plain(kv, Shown::All)));
}

/// Each operation under its number.
fn print_table(answers: &[TxnAnswer], before: &str, out: &mut Out) {
    for (at, answer) in answers.iter().enumerate() {
        let number = format!("{before}{}", at + 1);
        let (said, pairs) = match answer {
            TxnAnswer::Selected { pairs, count, more } => {
                let cut = if *more { format!(", {} shown", pairs.len()) } else { String::new() };
                (format!("get: {count} found{cut}"), pairs.as_slice())
            }
            TxnAnswer::Put { previous } => ("put".to_owned(), previous.as_slice()),
            TxnAnswer::Deleted { count, previous } => (format!("del: {count} removed"), previous.as_slice()),
            TxnAnswer::Branch { succeeded, .. } => {
                ((if *succeeded { "if: then" } else { "if: else" }).to_owned(), [].as_slice())
            }
        };
        out.line(&format!("{number}. {said}"));
        if !pairs.is_empty() {
            Printer::new(Shown::All).print(pairs, out);
        }
        if let TxnAnswer::Branch { answers, .. } = answer {
            print_table(answers, &format!("{number}."), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;
    use crate::client::KeyValue;

    fn result() -> TxnResult {
        let kv = KeyValue {
            key: "k".into(),
            value: "v".into(),
            mod_revision: 2,
            version: 1,
            ..KeyValue::default()
        };
        let inner = vec![TxnAnswer::Deleted { count: 3, previous: Vec::new() }];
        let answers = vec![
            TxnAnswer::Selected { pairs: vec![kv.clone()], more: true, count: 9 },
            TxnAnswer::Put { previous: None },
            TxnAnswer::Branch { succeeded: false, answers: inner },
            TxnAnswer::Selected { pairs: Vec::new(), more: false, count: 4 },
        ];
        TxnResult { revision: 7, succeeded: true, answers }
    }

    #[test]
    fn answers_are_printed_in_order() {
        let table = printed(Format::Table, |out| print(&result(), out));
        assert_eq!(
            table,
            "then, at revision 7\n1. get: 9 found, 1 shown\nKEY  REVISION  VERSION  VALUE\nk           2        1  v\n\
             2. put\n3. if: else\n3.1. del: 3 removed\n4. get: 4 found\n"
        );
        assert_eq!(printed(Format::Plain, |out| print(&result(), out)), "k\tv\n3\n4\n");
        let json = printed(Format::Json, |out| print(&result(), out));
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON on one line");
        assert_eq!(value["succeeded"], true);
        assert_eq!(value["answers"][0]["pairs"][0]["value"], "v");
        assert_eq!(
            value["answers"][2],
            serde_json::json!({
                "succeeded": false, "answers": [{"deleted": 3, "previous": []}]
            })
        );
    }
}
