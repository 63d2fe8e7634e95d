//! Keys and values as they are printed.
//!
//! In JSON a key with its value is `{"key","value","revision","create_revision","version"}`, where the revision is that of its
//! last change; text is text, and an object whose key or value is not UTF-8 has both in base64 and says so, as the
//! REST API does: `"encoding":"base64"`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::escape::escape;
use super::output::{Format, Out, Tone};
use super::table::{Cell, Column, Table, shortened};
use crate::client::KeyValue;

/// What a value may take of a table.
const VALUE_WIDTH_MAX: usize = 60;
/// No more of a value's bytes are looked at for a table.
const VALUE_BYTES_SHOWN: usize = 4 * VALUE_WIDTH_MAX;

/// A pair in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    revision: u64,
    create_revision: u64,
    version: u64,
    #[serde(skip_serializing_if = "is_zero")]
    lease: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// Of a value that is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is shown of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Keys and values.
    All,
    /// Keys alone: values were not asked for.
    Keys,
    /// How large the value is.
    Size,
}

impl Pair {
    /// What is printed of a pair.
    pub(super) fn of(kv: &KeyValue, shown: Shown) -> Pair {
        let has_value = shown == Shown::All;
        let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
        let are_texts = is_text(&kv.key) && (!has_value || is_text(&kv.value));
        let text = |bytes: &[u8]| match are_texts {
            true => String::from_utf8_lossy(bytes).into_owned(),
            false => STANDARD.encode(bytes),
        };
        Pair {
            key: text(&kv.key),
            value: has_value.then(|| text(&kv.value)),
            revision: kv.mod_revision,
            create_revision: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
            encoding: (!are_texts).then_some("base64"),
            value_bytes: (shown == Shown::Size).then_some(kv.value.len()),
        }
    }
}

/// Prints pairs one part after the other.
pub(super) struct Printer {
    shown: Shown,
    table: Table,
}

impl Printer {
    /// Nothing is printed yet.
    pub(super) fn new(shown: Shown) -> Printer {
        const KEY: Column = Column::Text("KEY");
        const NUMBERS: [Column; 2] = [Column::Number("REVISION"), Column::Number("VERSION")];
        let [revision, version] = NUMBERS;
        let columns: &[Column] = match shown {
            Shown::All => &[KEY, revision, version, Column::Text("VALUE")],
            Shown::Keys => &[KEY, revision, version],
            Shown::Size => &[KEY, revision, Column::Number("CREATED"), version, Column::Number("BYTES")],
        };
        Printer { shown, table: Table::new(columns) }
    }

    /// Prints pairs, the header first if there is one and it was not printed.
    pub(super) fn print<'a>(&mut self, pairs: impl IntoIterator<Item = &'a KeyValue>, out: &mut Out) {
        let pairs = pairs.into_iter();
        match out.format() {
            Format::Json => pairs.for_each(|kv| out.json(&Pair::of(kv, self.shown))),
            Format::Plain => pairs.for_each(|kv| out.line(&plain(kv, self.shown))),
            Format::Table => {
                let rows: Vec<Vec<Cell>> = pairs.map(|kv| row(kv, self.shown)).collect();
                self.table.rows(&rows, out);
            }
        }
    }
}

/// A pair between tabs.
pub(super) fn plain(kv: &KeyValue, shown: Shown) -> String {
    let key = escape(&kv.key);
    match shown {
        Shown::All => format!("{key}\t{}", escape(&kv.value)),
        Shown::Keys => key,
        Shown::Size => {
            let KeyValue { mod_revision, create_revision, version, .. } = kv;
            format!("{key}\t{mod_revision}\t{create_revision}\t{version}\t{}", kv.value.len())
        }
    }
}

fn row(kv: &KeyValue, shown: Shown) -> Vec<Cell> {
    let mut row: Vec<Cell> = vec![escape(&kv.key).into(), Cell::number(Some(kv.mod_revision))];
    if shown == Shown::Size {
        row.push(Cell::number(Some(kv.create_revision)));
    }
    row.push(Cell::number(Some(kv.version)));
    match shown {
        Shown::All => row.push(value(&kv.value)),
        Shown::Keys => {}
        Shown::Size => row.push(Cell::number(Some(kv.value.len() as u64))),
    }
    row
}

/// A value, or its beginning and how much there is.
fn value(bytes: &[u8]) -> Cell {
    let seen = &bytes[..bytes.len().min(VALUE_BYTES_SHOWN)];
    let text = escape(seen);
    let short = shortened(&text, VALUE_WIDTH_MAX);
    if short == text && seen.len() == bytes.len() {
        return Cell::toned(text, Tone::Normal);
    }
    format!("{short} ({} bytes)", bytes.len()).into()
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::printed;
    use super::*;

    fn pair(key: &'static [u8], value: Vec<u8>) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: 2,
            mod_revision: 17,
            version: 3,
            lease: 0,
        }
    }

    fn shown(format: Format, shown: Shown, pairs: &[KeyValue]) -> String {
        printed(format, |out| Printer::new(shown).print(pairs, out))
    }

    #[test]
    fn bytes_that_are_no_text_come_in_base64_and_say_so() {
        let pairs = [pair(b"k", b"v".to_vec()), pair(b"k", vec![0xff])];
        assert_eq!(
            shown(Format::Json, Shown::All, &pairs),
            "{\"key\":\"k\",\"value\":\"v\",\"revision\":17,\"create_revision\":2,\"version\":3}\n\
             {\"key\":\"aw==\",\"value\":\"/w==\",\"revision\":17,\"create_revision\":2,\"version\":3,\"encoding\":\"base64\"}\n"
        );
        assert_eq!(
            shown(Format::Json, Shown::Size, &pairs[1..]),
            "{\"key\":\"k\",\"revision\":17,\"create_revision\":2,\"version\":3,\"value_bytes\":1}\n"
        );
    }

    #[test]
    fn plain_lines_can_be_taken_apart() {
        let pairs = [pair(b"a\tb", b"c\nd".to_vec())];
        assert_eq!(shown(Format::Plain, Shown::All, &pairs), "a\\tb\tc\\nd\n");
        assert_eq!(shown(Format::Plain, Shown::Keys, &pairs), "a\\tb\n");
        assert_eq!(shown(Format::Plain, Shown::Size, &pairs), "a\\tb\t17\t2\t3\t3\n");
    }

    #[test]
    fn a_table_shows_the_beginning_of_a_long_value() {
        let table =
            shown(Format::Table, Shown::All, &[pair(b"k", vec![b'v'; 5000]), pair(b"key", b"v".to_vec())]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "KEY  REVISION  VERSION  VALUE");
        assert_eq!(lines[1], format!("k          17        3  {}... (5000 bytes)", "v".repeat(57)));
        assert_eq!(lines[2], "key        17        3  v");
    }
}
