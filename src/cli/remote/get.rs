//! `quorate get`: reads one key.

use std::ffi::OsString;

use super::super::Failure;
use super::connect::Common;
use super::escape::escape;
use super::exit;
use super::input::Escapes;
use super::output::{Format, Out};
use super::pairs::{Pair, Printer, Shown, plain};
use super::reading::Reading;
use crate::client::KeyValue;

const AFTER_HELP: &str = "\
Examples:
  quorate set user:1001 'John Doe'
  quorate get user:1001                   the value, byte by byte as it was set
  quorate get user:1001 > copy            also if it is no text
  quorate get user:1001 --meta            its revision, version and size
  quorate get user:1001 -o json           everything
  quorate get user:1001 --consistency stale --max-staleness 1s

On a terminal a newline is added behind the value; nowhere else. For what is absent nothing is printed.

Exit codes: 0 found, 1 no such key, 2 usage, 3 unavailable.";

/// Print the value of a key
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    /// Not the value, but key, revision, revision of its creation, version and the value's size
    #[arg(long)]
    meta: bool,
    #[command(flatten)]
    escapes: Escapes,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = args.escapes.key(&args.key)?;
    let consistency = args.reading.consistency()?;
    // A value is for the next program; what is said about it is for a person.
    let format = if args.meta { Format::Table } else { Format::Plain };
    args.common.run(format, |client, out, _| {
        let call = client.get(&key).consistency(consistency).min_revision(args.reading.min_revision);
        let found = call.call().map_err(|error| exit::failure(&error))?;
        let kv = found.ok_or_else(|| Failure::new(exit::NOT_SO, format!("no such key: {}", escape(&key))))?;
        print(&kv, args.meta, out);
        Ok(())
    })
}

fn print(kv: &KeyValue, meta: bool, out: &mut Out) {
    let shown = if meta { Shown::Size } else { Shown::All };
    match out.format() {
        Format::Json => out.json(&Pair::of(kv, shown)),
        Format::Table => Printer::new(shown).print([kv], out),
        Format::Plain if meta => out.line(&plain(kv, shown)),
        Format::Plain => {
            out.bytes(&kv.value);
            if out.is_terminal() {
                out.line("");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::{printed, shown};
    use super::*;

    #[test]
    fn a_value_is_printed_as_it_is_and_ended_on_a_terminal() {
        let kv = KeyValue { key: "k".into(), value: "a\tb".into(), ..KeyValue::default() };
        assert_eq!(printed(Format::Plain, |out| print(&kv, false, out)), "a\tb");
        assert_eq!(shown(Format::Plain, true, |out| print(&kv, false, out)), "a\tb\n");
        assert_eq!(printed(Format::Plain, |out| print(&kv, true, out)), "k\t0\t0\t0\t3\n");
    }
}
