//! Golden scripts: one scenario per file, with the whole trace.
//!
//! A script in `testscripts/` begins with prose (lines that start with `#`) and goes on with commands (lines that
//! start with `>`), each followed by what it printed. `UPDATE_GOLDEN=1` rewrites what they print; an unknown command
//! or field is an error. The commands:
//!
//! ```text
//! > write [term=T] [entry_term=T] [time=MS] [session=C/SEQ/DONE_BELOW] [keyspace=N] [if=KEY@REVISION]... OP...
//!     an entry; OP is put:KEY=VALUE or del:KEY
//! > open_session C   > close_session C   > hash_mark [term=T] [entry_term=T]   > noop   > membership TEXT
//! > get KEY [keyspace=N]
//! > list [prefix=P] [after=K] [limit=N] [bytes=N] [keyspace=N]
//! > fold             folds, and says how many calls the disk saw
//! > crash [loss=...] the power goes, losing what was not synced; the store is reopened at the folded index
//! > replay           applies the log from the folded index on
//! > status
//! ```

use std::fmt::Write as _;
use std::path::Path;

use super::support::{at, bytes, envelope, open};
use crate::codec;
use crate::command::{Command, Condition, Envelope, Found, Keys, Op, Query, Record, SessionSeq, Write};
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{Body, Input, Store};
use crate::types::{ClientId, Keyspace, Revision, Term};

/// A store with its disk and its log.
struct Script {
    file: CrashFile,
    store: Store,
    log: Vec<Input>,
}

/// The words of a command, taken one after the other; what is left at the end is an error.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    /// The values of the fields of this name.
    fn all(&mut self, name: &str) -> Vec<&'a str> {
        let (found, rest) = self.0.iter().partition(|word| value_of(word, name).is_some());
        self.0 = rest;
        Vec::into_iter(found).filter_map(|word| value_of(word, name)).collect()
    }

    fn field(&mut self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        assert!(values.len() <= 1, "field {name} is given twice");
        values.pop()
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        self.field(name).map(number)
    }

    /// The first word, whatever it is.
    fn word(&mut self) -> &'a str {
        assert!(!self.0.is_empty(), "a word is missing");
        self.0.remove(0)
    }

    fn end(self) {
        assert!(self.0.is_empty(), "unknown fields: {:?}", self.0);
    }
}

fn value_of<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.split_once('=').filter(|(field, _)| *field == name).map(|(_, value)| value)
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn client(text: &str) -> ClientId {
    ClientId(number(text).into())
}

fn session(text: &str) -> SessionSeq {
    let parts: Vec<u64> = text.split('/').map(number).collect();
    let [client, seq, done_below] = parts[..] else { panic!("{text:?} is not CLIENT/SEQ/DONE_BELOW") };
    at(client.into(), seq, done_below)
}

fn op(word: &str) -> Op {
    match word.split_once(':') {
        Some(("put", pair)) => {
            let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("{pair:?} is not KEY=VALUE"));
            Op::Put { key: bytes(key), value: bytes(value) }
        }
        Some(("del", key)) => Op::Delete { key: bytes(key) },
        _ => panic!("{word:?} is neither put:KEY=VALUE nor del:KEY"),
    }
}

fn condition(word: &str) -> Condition {
    let (key, revision) = word.split_once('@').unwrap_or_else(|| panic!("{word:?} is not KEY@REVISION"));
    Condition::ModRevision { key: bytes(key), revision: Revision(number(revision)) }
}

fn show(record: &Record) -> String {
    let Record { create_revision, mod_revision, version, value, .. } = record;
    format!("{value:?} created {create_revision} modified {mod_revision} version {version}")
}

impl Script {
    fn new() -> Script {
        let file = CrashFile::new();
        let store = open(&file).expect("open an empty file");
        Script { file, store, log: vec![] }
    }

    /// Runs a command and returns what it prints.
    fn run(&mut self, line: &str) -> String {
        let mut words = Words(line.split_whitespace().collect());
        match words.word() {
            "write" => self.write(words),
            "open_session" => {
                self.plain(words, |words| Command::OpenSession { client: client(words.word()) })
            }
            "close_session" => {
                self.plain(words, |words| Command::CloseSession { client: client(words.word()) })
            }
            "hash_mark" => self.plain(words, |_| Command::HashMark),
            "noop" => self.append(words, Term(1), |_| Body::Noop),
            "membership" => self.append(words, Term(1), |words| Body::Membership(bytes(words.word()))),
            "get" => self.get(words),
            "list" => self.list(words),
            "fold" => self.fold(words),
            "crash" => self.crash(words),
            "replay" => self.replay(words),
            "status" => self.status(words),
            command => panic!("unknown command {command:?}"),
        }
    }

    fn write(&mut self, mut words: Words<'_>) -> String {
        let keyspace = Keyspace(words.number("keyspace").unwrap_or(0) as u32);
        let conditions = words.all("if").into_iter().map(condition).collect();
        let session = words.field("session").map(session);
        let group_time_ms = words.number("time").unwrap_or(0);
        let term = Term(words.number("term").unwrap_or(1));
        let entry_term = Term(words.number("entry_term").unwrap_or(term.0));
        let ops = std::mem::take(&mut words.0).into_iter().map(op).collect();
        let command = Command::Write(Write { keyspace, conditions, ops });
        let envelope = Envelope { term, group_time_ms, ..envelope(session, command) };
        self.append(words, entry_term, |_| Body::Command(codec::encode_envelope(&envelope)))
    }

    fn plain(&mut self, mut words: Words<'_>, command: impl FnOnce(&mut Words<'_>) -> Command) -> String {
        let term = Term(words.number("term").unwrap_or(1));
        let entry_term = Term(words.number("entry_term").unwrap_or(term.0));
        let envelope = Envelope { term, ..envelope(None, command(&mut words)) };
        self.append(words, entry_term, |_| Body::Command(codec::encode_envelope(&envelope)))
    }

    fn append(
        &mut self,
        mut words: Words<'_>,
        term: Term,
        body: impl FnOnce(&mut Words<'_>) -> Body,
    ) -> String {
        let body = body(&mut words);
        words.end();
        let index = self.store.applied().0.next();
        self.log.truncate(index.prev().0 as usize);
        self.log.push(Input { index, term, body });
        let replies = self.store.apply(&self.log[index.prev().0 as usize..]).expect("apply");
        format!("{index}: {:?}\n", replies[0])
    }

    fn get(&mut self, mut words: Words<'_>) -> String {
        let keyspace = Keyspace(words.number("keyspace").unwrap_or(0) as u32);
        let query = Query::Get { keyspace, key: bytes(words.word()) };
        words.end();
        let answer = self.store.query(&query).expect("get");
        let Found::Record(record) = answer.found else { panic!("a get found {:?}", answer.found) };
        let found = record.map_or("absent".to_owned(), |record| show(&record));
        format!("at {} revision {}: {found}\n", answer.applied, answer.revision)
    }

    fn list(&mut self, mut words: Words<'_>) -> String {
        let query = Query::List {
            keyspace: Keyspace(words.number("keyspace").unwrap_or(0) as u32),
            keys: Keys::prefix(bytes(words.field("prefix").unwrap_or(""))),
            after: words.field("after").map(bytes),
            keys_only: false,
            limit: words.number("limit").unwrap_or(1_000) as usize,
            bytes_max: words.number("bytes").unwrap_or(1 << 20) as usize,
        };
        words.end();
        let answer = self.store.query(&query).expect("list");
        let Found::Page { pairs, more } = answer.found else { panic!("a list found {:?}", answer.found) };
        let mut out = format!("at {} revision {}, more: {more}\n", answer.applied, answer.revision);
        for (key, record) in pairs {
            writeln!(out, "  {key:?} = {}", show(&record)).expect("a string takes all");
        }
        out
    }

    fn fold(&mut self, words: Words<'_>) -> String {
        words.end();
        let before = self.file.calls();
        let (index, term) = self.store.fold().expect("fold");
        let wrote = if self.file.calls() > before { "wrote" } else { "wrote nothing" };
        format!("folded {index} of term {term}, {wrote}\n")
    }

    fn crash(&mut self, mut words: Words<'_>) -> String {
        let loss = match words.field("loss") {
            None | Some("all") => Loss::All,
            Some("sectors") => Loss::Sectors,
            Some(loss) => panic!("unknown loss {loss:?}"),
        };
        words.end();
        self.file.cut();
        self.file = self.file.reboot(loss, 1);
        self.store = open(&self.file).expect("reopen after a crash");
        self.summary()
    }

    fn replay(&mut self, words: Words<'_>) -> String {
        words.end();
        let folded = self.store.applied().0.0 as usize;
        let replies = self.store.apply(&self.log[folded..]).expect("replay");
        let mut out = String::new();
        for (index, reply) in (folded + 1..).zip(replies) {
            writeln!(out, "{index}: {reply:?}").expect("a string takes all");
        }
        out + &self.summary()
    }

    fn status(&mut self, words: Words<'_>) -> String {
        words.end();
        self.summary()
    }

    fn summary(&self) -> String {
        let store = &self.store;
        let ((applied, term), sizes) = (store.applied(), store.sizes());
        format!(
            "applied {applied} of term {term}, folded {}, revision {}, group time {}, keys {}, sessions {}, \
             membership {:?}, hash {:032x}\n",
            store.folded().0,
            store.revision(),
            store.group_time_ms(),
            sizes.keys,
            sizes.sessions,
            store.membership(),
            store.state_hash(),
        )
    }
}

/// Runs a script and returns it with what its commands print now.
fn trace(text: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            write!(out, "\n{line}\n{}", script.run(command)).expect("a string takes all");
        } else if line.starts_with('#') {
            assert!(script.log.is_empty() && !out.contains('>'), "prose belongs to the head: {line:?}");
            writeln!(out, "{line}").expect("a string takes all");
        }
    }
    out
}

#[test]
fn golden_scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fsm/testscripts");
    let names = std::fs::read_dir(&dir).expect("the scripts' directory");
    let mut paths: Vec<_> = names.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "scripts are missing: {paths:?}");
    for path in paths {
        let golden = std::fs::read_to_string(&path).expect("a script");
        assert!(golden.starts_with("# "), "{} has no prose at its head", path.display());
        let now = trace(&golden);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, now).expect("rewrite the script");
            continue;
        }
        assert!(now == golden, "{} prints something else now:\n{now}", path.display());
    }
}

#[test]
#[should_panic(expected = "unknown fields")]
fn an_unknown_field_is_an_error() {
    trace("> get k colour=red");
}

#[test]
#[should_panic(expected = "unknown command")]
fn an_unknown_command_is_an_error() {
    trace("> frobnicate");
}
