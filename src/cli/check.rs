//! `quorate check`: verifies a stopped node's data directory, and says what is wrong where.

use std::path::PathBuf;

use super::{DAMAGED, Failure, say};
use crate::server::offline::{self, Disk, Finding};
use crate::types::Index;

const AFTER_HELP: &str = "\
Examples:
  quorate check /var/lib/quorate
  quorate check /var/lib/quorate --format json | jq -c 'select(.ok | not)'

Reads everything once: the identity, every record of the log, every block, key and checksum of the state file, and
whether they belong together. Changes nothing, and is refused while a node runs on the directory. What a crash leaves
is no damage. `quorate wal inspect` shows the log's records one by one, also behind a damaged one.

Exit codes: 0 all is well, 3 something is damaged, after everything is printed; 2 no such directory, or a node runs on
it; 4 the disk failed.";

/// Verify a stopped node's data directory
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The node's data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// How a command that reports in lines does so.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Output {
    /// table, or json: one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Output {
    /// Whether it is for a program.
    pub(super) fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let (mut reading, mut damage, mut first) = (true, None, true);
    let mut print = |finding: Finding| {
        if finding.is_damaged && damage.is_none() {
            damage = Some(finding.complaint());
        }
        if std::mem::take(&mut first) && !args.output.is_json() {
            reading = say(&columns(["what", "file", "from", "to", "bytes"], "verdict"));
        }
        let line = if args.output.is_json() { json(&finding) } else { row(&finding, args) };
        // A reader that went away early (`| head`) has seen enough.
        reading = reading && say(&line);
    };
    offline::check(&Disk::to_read(), &args.dir, &mut print)
        .map_err(|exit| Failure::new(exit.code as u8, exit.message))?;
    match damage {
        None => Ok(()),
        Some(damage) => Err(Failure::new(DAMAGED, damage)),
    }
}

fn columns([what, file, from, to, bytes]: [&str; 5], verdict: &str) -> String {
    format!("{what:<8}  {file:<24}  {from:>10}  {to:>10}  {bytes:>12}  {verdict}")
}

fn row(finding: &Finding, args: &Args) -> String {
    let file = finding.file.strip_prefix(&args.dir).unwrap_or(&finding.file).display().to_string();
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let index = |index: Option<Index>| number(index.map(|index| index.0));
    let verdict = match (finding.is_damaged, finding.byte) {
        (false, _) => format!("ok: {}", finding.text),
        (true, None) => format!("DAMAGED: {}", finding.text),
        (true, Some(byte)) => format!("DAMAGED at byte {byte}: {}", finding.text),
    };
    let cells = [index(finding.from), index(finding.to), number(finding.bytes)];
    columns([finding.what, &file, &cells[0], &cells[1], &cells[2]], &verdict)
}

fn json(finding: &Finding) -> String {
    let Finding { what, file, from, to, bytes, is_damaged, byte, text } = finding;
    serde_json::json!({
        "what": what,
        "file": file.display().to_string(),
        "from": from,
        "to": to,
        "bytes": bytes,
        "ok": !is_damaged,
        "byte": byte,
        "text": text,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_a_usage_error() {
        let output = Output { format: Format::Table, json: false };
        let failure = run(&Args { dir: "/nowhere/at/all".into(), output }).expect_err("there is none");
        assert_eq!((failure.code, failure.text.as_str()), (2, "/nowhere/at/all: no such directory"));
        let empty = tempfile::tempdir().expect("a directory");
        let failure = run(&Args { dir: empty.path().into(), output }).expect_err("nothing is in it");
        assert!(failure.code == 2 && failure.text.ends_with("no node's data directory"), "{failure:?}");
        assert_eq!(std::fs::read_dir(empty.path()).expect("readable").count(), 0, "nothing was made");
    }

    #[test]
    fn a_row_names_the_file_below_the_directory() {
        let output = Output { format: Format::Table, json: false };
        let args = Args { dir: "/data".into(), output };
        let finding = Finding {
            what: "state",
            file: "/data/state.redb".into(),
            from: Some(Index(1)),
            to: Some(Index(7)),
            bytes: Some(4096),
            is_damaged: true,
            byte: Some(512),
            text: "rotten".to_owned(),
        };
        let row = row(&finding, &args);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words,
            ["state", "state.redb", "1", "7", "4096", "DAMAGED", "at", "byte", "512:", "rotten"]
        );
        assert_eq!(
            json(&finding),
            "{\"byte\":512,\"bytes\":4096,\"file\":\"/data/state.redb\",\"from\":1,\"ok\":false,\
             \"text\":\"rotten\",\"to\":7,\"what\":\"state\"}"
        );
        assert_eq!(finding.complaint(), "/data/state.redb: damaged at byte 512: rotten");
    }
}
