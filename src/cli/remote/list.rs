//! `quorate list`: reads keys in order, page by page. No more than a page is held, however many keys there are.

use std::ffi::OsString;

use super::super::Failure;
use super::connect::Common;
use super::exit;
use super::input::Escapes;
use super::output::Format;
use super::pairs::{Printer, Shown};
use super::reading::Reading;
use crate::client::Keys;

const AFTER_HELP: &str = "\
Examples:
  quorate list                            all keys
  quorate list user:                      those that start so
  quorate list user: --limit 10 --keys
  quorate list --from user:1000 --to user:2000
  quorate list user: -o json | jq -r .value
  quorate list user: -o plain --keys | while read -r key; do quorate get -e \"$key\"; done

In plain and table, bytes that are no printable text are escaped (\\t \\n \\\\ \\xNN); -e reads that. In json each pair is an object
on a line of its own. Pages are read one after the other: each shows the store at one revision, the next at a later one.

Exit codes: 0 listed, also if there is nothing, 2 usage, 3 unavailable.";

/// List keys in order, with their values
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    /// Only keys that start so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: OsString,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Keys alone, without values
    #[arg(long)]
    keys: bool,
    /// From this key on, which is among them
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    from: Option<OsString>,
    /// To this key, which is not among them
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    to: Option<OsString>,
    #[command(flatten)]
    escapes: Escapes,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let keys = keys(args)?;
    let consistency = args.reading.consistency()?;
    args.common.run(Format::Table, |client, out, _| {
        let mut list = client.list_keys(keys);
        list = list.consistency(consistency).min_revision(args.reading.min_revision);
        list = list.limit(args.limit.unwrap_or(0));
        if args.keys {
            list = list.keys_only();
        }
        let mut printer = Printer::new(if args.keys { Shown::Keys } else { Shown::All });
        for page in list.pages() {
            let page = page.map_err(|error| exit::failure(&error))?;
            printer.print(&page.pairs, out);
            // The next page takes its time: what is here can be read meanwhile.
            out.flush();
            if !out.is_open() {
                break;
            }
        }
        Ok(())
    })
}

fn keys(args: &Args) -> Result<Keys, Failure> {
    let bytes = |key: &Option<OsString>| key.as_ref().map(|key| args.escapes.bytes(key)).transpose();
    Ok(match (bytes(&args.from)?, bytes(&args.to)?) {
        (None, None) => Keys::prefix(args.escapes.bytes(&args.prefix)?),
        (from, None) => Keys::starting_at(from.unwrap_or_default()),
        (from, Some(to)) => Keys::range(from.unwrap_or_default(), to),
    })
}
