//! `quorate del`: removes one key, or many at one revision.
//!
//! Many keys are gone at one word, and there is no way back. So on a terminal it says first how many there are, and asks.
//! A script is not asked, since there is nobody to answer; but an empty prefix, which means everything, is what an
//! unset variable leaves of `del "$X" --prefix`: that has to be meant with `--yes`, wherever it is said.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};

use serde::Serialize;

use super::super::Failure;
use super::connect::Common;
use super::escape::escape;
use super::exit;
use super::input::Escapes;
use super::output::{Format, Out};
use super::pairs::{Pair, Printer, Shown};
use crate::client::blocking::Client;
use crate::client::{Deleted, Keys, Select, TxnAnswer};

const AFTER_HELP: &str = "\
Examples:
  quorate del user:1001
  quorate del user:1001 --if-revision 17      only if nobody changed it since revision 17
  quorate del user: --prefix                  all keys that start so, at one revision
  quorate del --range user:1000 user:2000     from the first key, which goes, to the second, which stays
  quorate del '' --prefix --yes               everything

Of many keys it says on a terminal how many there are, and asks; --yes is the answer. Elsewhere it does not ask, but for
all keys it wants --yes. Prints how many keys were removed.

Exit codes: 0 removed (of a prefix or range: also if there was nothing), 1 no such key, the condition did not hold, or the
answer was no, 2 usage, 3 unavailable: not removed, 4 unknown: perhaps removed.";

/// Remove a key, or all keys of a prefix or range
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(in super::super) struct Args {
    /// The key
    #[arg(value_name = "KEY", required_unless_present = "range")]
    key: Option<OsString>,
    /// All keys that start with KEY
    #[arg(long)]
    prefix: bool,
    /// All keys from FROM, which is among them, to TO, which is not
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], conflicts_with_all = ["key", "prefix"])]
    range: Option<Vec<OsString>>,
    /// Only if the key's revision is this
    #[arg(long, value_name = "N", conflicts_with_all = ["prefix", "range"])]
    if_revision: Option<u64>,
    /// Print as well what was removed
    #[arg(long)]
    previous: bool,
    /// Do not ask before many keys are removed
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    escapes: Escapes,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Answer {
    deleted: u64,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Vec<Pair>>,
}

/// Which keys are to go.
enum Which {
    One(Vec<u8>),
    Many { keys: Keys, words: String, are_all: bool },
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let which = which(args)?;
    if let Which::Many { are_all: true, .. } = which
        && !args.yes
    {
        return Err(Failure::usage("this removes every key there is: add --yes if that is meant"));
    }
    args.common.run(Format::Table, |client, out, _| {
        let keys = match &which {
            Which::One(key) => Keys::one(key),
            Which::Many { keys, words, .. } => {
                if !args.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
                    confirm(client, keys, words)?;
                }
                keys.clone()
            }
        };
        let mut call = client.delete_keys(keys);
        if let Some(revision) = args.if_revision {
            call = call.if_revision(revision);
        }
        if args.previous {
            call = call.previous();
        }
        let deleted = call.call().map_err(|error| exit::failure(&error))?;
        match &which {
            Which::One(key) if deleted.count == 0 => {
                Err(Failure::new(exit::NOT_SO, format!("no such key: {}", escape(key))))
            }
            _ => {
                print(&deleted, args.previous, out);
                Ok(())
            }
        }
    })
}

fn which(args: &Args) -> Result<Which, Failure> {
    if let Some([from, to]) = args.range.as_deref() {
        let (from, to) = (args.escapes.bytes(from)?, args.escapes.bytes(to)?);
        if from >= to {
            let text = format!(
                "--range {} {}: nothing lies between: FROM comes first, TO behind it",
                escape(&from),
                escape(&to)
            );
            return Err(Failure::usage(text));
        }
        let words = format!("from {} to {}", escape(&from), escape(&to));
        return Ok(Which::Many { keys: Keys::range(from, to), words, are_all: false });
    }
    let key = args.key.clone().unwrap_or_default();
    if !args.prefix {
        return Ok(Which::One(args.escapes.key(&key)?));
    }
    let prefix = args.escapes.bytes(&key)?;
    let words = format!("that start with {}", escape(&prefix));
    Ok(Which::Many { are_all: prefix.is_empty(), keys: Keys::prefix(prefix), words })
}

/// Asks the person at the terminal.
fn confirm(client: &Client, keys: &Keys, words: &str) -> Result<(), Failure> {
    let counted = client.txn().then(Select::keys(keys.clone()).count_only()).call();
    let counted = counted.map_err(|error| exit::failure(&error))?;
    let count = match counted.answers.first() {
        Some(TxnAnswer::Selected { count, .. }) => *count,
        _ => 0,
    };
    if count == 0 {
        return Ok(());
    }
    let mut terminal = std::io::stderr().lock();
    // Who cannot be asked does not answer yes.
    let _ = write!(terminal, "remove {} {words}? [y/N] ", keys_of(count)).and_then(|()| terminal.flush());
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(exit::NOT_SO, "nothing was removed")),
    }
}

fn keys_of(count: u64) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}

fn print(deleted: &Deleted, previous: bool, out: &mut Out) {
    let Deleted { revision, count, previous: before, .. } = deleted;
    match out.format() {
        Format::Json => {
            let before = previous.then(|| before.iter().map(|kv| Pair::of(kv, Shown::All)).collect());
            out.json(&Answer { deleted: *count, revision: *revision, previous: before });
        }
        Format::Plain => {
            out.line(&count.to_string());
            Printer::new(Shown::All).print(before, out);
        }
        Format::Table => {
            match count {
                0 => out.line("nothing to remove"),
                _ => out.line(&format!("{} removed at revision {revision}", keys_of(*count))),
            }
            if !before.is_empty() {
                Printer::new(Shown::All).print(before, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;

    fn deleted(count: u64) -> Deleted {
        Deleted { revision: 9, count, previous: Vec::new() }
    }

    #[test]
    fn it_says_how_many_keys_went() {
        let table = |count| printed(Format::Table, |out| print(&deleted(count), false, out));
        assert_eq!(table(0), "nothing to remove\n");
        assert_eq!(table(1), "1 key removed at revision 9\n");
        assert_eq!(table(2), "2 keys removed at revision 9\n");
        assert_eq!(printed(Format::Plain, |out| print(&deleted(2), false, out)), "2\n");
        let json = printed(Format::Json, |out| print(&deleted(2), true, out));
        assert_eq!(json, "{\"deleted\":2,\"revision\":9,\"previous\":[]}\n");
    }
}
