//! `quorate set`: writes one key.

use std::ffi::OsString;

use serde::Serialize;

use super::super::Failure;
use super::connect::Common;
use super::exit;
use super::input::{Escapes, Value};
use super::output::{Format, Out};
use super::pairs::{Pair, Shown, plain};
use crate::client::Written;

const AFTER_HELP: &str = "\
Examples:
  quorate set user:1001 'John Doe'
  echo -n 'John Doe' | quorate set user:1001 -    from standard input
  quorate set page --file index.html              from a file
  quorate set lock me --create                    only if there is no such key
  quorate set user:1001 'Jane Doe' --if-revision 17
                                                  only if nobody changed it since revision 17
  quorate set -e bin '\\x00\\xff'                   bytes
  quorate set n -- -x                             a value that looks like a flag

Prints the revision at which it was written. A write that was sent again because an answer got lost is done once.

Exit codes: 0 written, 1 the condition did not hold, 2 usage, 3 unavailable: not written, 4 unknown: perhaps written.";

/// Set a key
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    #[command(flatten)]
    value: Value,
    /// Only if the key's revision is this; 0: if there is no such key
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_revision")]
    create: bool,
    /// Print as well what the key was before
    #[arg(long)]
    previous: bool,
    #[command(flatten)]
    escapes: Escapes,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Answer {
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Option<Pair>>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = args.escapes.key(&args.key)?;
    let value = args.value.read(args.escapes)?;
    args.common.run(Format::Table, |client, out, _| {
        let mut call = client.set(&key, value);
        if let Some(revision) = args.if_revision.or(args.create.then_some(0)) {
            call = call.if_revision(revision);
        }
        if args.previous {
            call = call.previous();
        }
        let written = call.call().map_err(|error| exit::failure(&error))?;
        print(&written, args.previous, out);
        Ok(())
    })
}

fn print(written: &Written, previous: bool, out: &mut Out) {
    let Written { revision, previous: before, .. } = written;
    match out.format() {
        Format::Json => {
            let before = before.as_ref().map(|kv| Pair::of(kv, Shown::All));
            out.json(&Answer { revision: *revision, previous: previous.then_some(before) });
        }
        Format::Plain => {
            out.line(&revision.to_string());
            if let Some(kv) = before {
                out.line(&plain(kv, Shown::All));
            }
        }
        Format::Table => {
            out.line(&format!("set at revision {revision}"));
            match before {
                Some(kv) => super::pairs::Printer::new(Shown::All).print([kv], out),
                None if previous => out.line("there was no such key before"),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;
    use crate::client::KeyValue;

    #[test]
    fn what_was_before_is_printed_if_it_was_asked_for() {
        let kv = KeyValue { key: "k".into(), value: "v".into(), mod_revision: 2, ..KeyValue::default() };
        let written = |previous| Written { revision: 3, previous };
        let json = |written: Written, asked| printed(Format::Json, |out| print(&written, asked, out));
        assert_eq!(json(written(None), false), "{\"revision\":3}\n");
        assert_eq!(json(written(None), true), "{\"revision\":3,\"previous\":null}\n");
        assert!(
            json(written(Some(kv.clone())), true).starts_with("{\"revision\":3,\"previous\":{\"key\":\"k\",")
        );
        assert_eq!(printed(Format::Plain, |out| print(&written(Some(kv.clone())), true, out)), "3\nk\tv\n");
        let table = printed(Format::Table, |out| print(&written(Some(kv.clone())), true, out));
        assert!(table.starts_with("set at revision 3\nKEY "), "{table}");
    }
}
