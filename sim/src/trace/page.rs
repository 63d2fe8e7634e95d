//! The page: one file that shows a run, with everything in it: nothing is loaded from anywhere.
//!
//! `page/` has the page's parts: its skeleton, its style, and its script in the order in which it reads. The data is JSON in
//! a block of its own. Each event is a row `[nanoseconds since the row before, node, code, ...]`, see [`put`]; words that
//! recur are numbers into `names`. `<` never appears in the data, so no text can end its block.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::About;
use super::event::{Event, Fate, What};
use super::recording::Recording;

const SKELETON: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");

/// The script's parts, in their order; together one program.
const SCRIPT: [&str; 10] = [
    include_str!("page/run.js"),
    include_str!("page/view.js"),
    include_str!("page/draw.js"),
    include_str!("page/flights.js"),
    include_str!("page/lanes.js"),
    include_str!("page/calls.js"),
    include_str!("page/strip.js"),
    include_str!("page/pick.js"),
    include_str!("page/panel.js"),
    include_str!("page/main.js"),
];

/// What a page says besides the events.
pub(super) struct Header<'a> {
    pub(super) about: &'a About,
    pub(super) hash: u64,
    pub(super) counters: &'a BTreeMap<&'static str, u64>,
}

/// Writes the page of a recorded run.
pub(super) fn write(out: &mut impl Write, header: &Header<'_>, recording: &Recording) -> io::Result<()> {
    let (before_style, rest) = split(SKELETON, "/*STYLE*/");
    let (before_data, rest) = split(rest, "/*DATA*/");
    let (before_script, end) = split(rest, "/*SCRIPT*/");
    out.write_all(before_style.as_bytes())?;
    out.write_all(STYLE.as_bytes())?;
    out.write_all(before_data.as_bytes())?;
    write_data(&mut Escaped(&mut *out), header, recording)?;
    out.write_all(before_script.as_bytes())?;
    SCRIPT.iter().try_for_each(|part| out.write_all(part.as_bytes()))?;
    out.write_all(end.as_bytes())
}

fn split(text: &'static str, mark: &str) -> (&'static str, &'static str) {
    text.split_once(mark).unwrap_or_else(|| panic!("the page's skeleton has no {mark}"))
}

fn write_data(out: &mut impl Write, header: &Header<'_>, recording: &Recording) -> io::Result<()> {
    let about = header.about;
    let start = recording.events().next().map_or(0, |event| event.at.as_nanos());
    let about = json!({
        "simulator": about.simulator,
        // A seed may be larger than the numbers that JavaScript counts exactly.
        "seed": about.seed.to_string(),
        "command": about.command,
        "hash": format!("{:016x}", header.hash),
        "counters": header.counters,
        "faults": about.faults,
        "violation": about.violation,
        "let_go": recording.let_go(),
        "start_ns": if recording.let_go() > 0 { start } else { 0 },
    });
    write!(out, "{{\"about\":")?;
    serde_json::to_writer(&mut *out, &about)?;
    write!(out, ",\n\"events\":[")?;
    let (mut names, mut at_ns) = (Names::default(), 0);
    for (number, event) in recording.before().chain(recording.events()).enumerate() {
        out.write_all(if number == 0 { b"\n" } else { b",\n" })?;
        let now_ns = i64::try_from(event.at.as_nanos()).expect("a run is shorter than 292 years");
        put(out, &mut names, now_ns - at_ns, event)?;
        at_ns = now_ns;
    }
    write!(out, "],\n\"names\":")?;
    serde_json::to_writer(&mut *out, &names.listed)?;
    write!(out, "}}")
}

/// Writes an event as a row: time, node, code and what the kind has, in the order of its fields. `run.js` reads the same.
fn put(out: &mut impl Write, names: &mut Names, after: i64, event: &Event) -> io::Result<()> {
    let node = event.node;
    match &event.what {
        What::Sent { message, to, name, term, fields } => {
            row(out, &(after, node, 0, message, to, names.number(name), term, fields))
        }
        What::Delivered { message } => row(out, &(after, node, 1, message)),
        What::Lost { message, why } => row(out, &(after, node, 2, message, names.number(why))),
        What::State { role, term, leader, last, persisted, commit, applied, why } => {
            let (role, why) = (names.number(role), why.map(|why| names.number(why)));
            row(out, &(after, node, 3, role, term, leader, last, persisted, commit, applied, why))
        }
        What::Booted => row(out, &(after, node, 4)),
        What::Down { why } => row(out, &(after, node, 5, why)),
        What::Fault { fault, text } => row(out, &(after, node, 6, names.number(fault), text)),
        What::Cured { fault, text } => row(out, &(after, node, 7, names.number(fault), text)),
        What::Disk { call, text, bytes } => row(out, &(after, node, 8, names.number(call), text, bytes)),
        What::Log { text } => row(out, &(after, node, 9, text)),
        What::Begun { request, client, to, operation } => {
            row(out, &(after, node, 10, request, client, to, operation))
        }
        What::Ended { request, outcome, answer } => {
            let outcome = match outcome {
                Fate::Done => 0,
                Fate::NotApplied => 1,
                Fate::Unknown => 2,
            };
            row(out, &(after, node, 11, request, outcome, answer))
        }
        What::Violation { text } => row(out, &(after, node, 12, text)),
    }
}

fn row(out: &mut impl Write, row: &impl Serialize) -> io::Result<()> {
    Ok(serde_json::to_writer(out, row)?)
}

/// Words that recur, each written once.
#[derive(Default)]
struct Names {
    numbers: BTreeMap<&'static str, usize>,
    listed: Vec<&'static str>,
}

impl Names {
    fn number(&mut self, name: &'static str) -> usize {
        *self.numbers.entry(name).or_insert_with(|| {
            self.listed.push(name);
            self.listed.len() - 1
        })
    }
}

/// Replaces `<`, which JSON has nowhere but in strings, by its escape there: no `</script>` and no `<!--` remains.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (number, part) in bytes.split(|byte| *byte == b'<').enumerate() {
            if number > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    /// The page of these events, and the data in it.
    fn page(events: Vec<(u64, u64, What)>) -> (String, Value) {
        let mut recording = Recording::default();
        for (ms, node, what) in events {
            recording.push(Event { at: Duration::from_millis(ms), node, what });
        }
        let about = About { simulator: "core", seed: u64::MAX, ..About::default() };
        let header = Header { about: &about, hash: 0xab, counters: &BTreeMap::from([("acked", 3)]) };
        let mut page = Vec::new();
        write(&mut page, &header, &recording).expect("memory takes everything");
        let page = String::from_utf8(page).expect("a page is text");
        let (_, rest) = page.split_once("type=\"application/json\">").expect("a block of data");
        let (data, _) = rest.split_once("</script>").expect("its end");
        let data = serde_json::from_str(data).expect("valid JSON");
        (page, data)
    }

    fn log(text: &str) -> What {
        What::Log { text: text.to_owned() }
    }

    #[test]
    fn no_text_ends_the_block_of_data() {
        let evil = "</script><!-- <b>\u{2028}\"'\\";
        let (page, data) = page(vec![(1, 1, log(evil)), (2, 2, log("next"))]);
        assert_eq!(data["events"][0][3], evil, "it comes out as it went in");
        assert_eq!(data["events"].as_array().map(Vec::len), Some(2));
        assert_eq!(page.matches("</script>").count(), 2, "the data's and the script's");
    }

    #[test]
    fn a_page_loads_nothing() {
        let (page, _) = page(Vec::new());
        for remote in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(remote), "{remote}");
        }
        assert!(!page.contains("/*STYLE*/") && !page.contains("/*DATA*/") && !page.contains("/*SCRIPT*/"));
    }

    #[test]
    fn the_header_says_what_was_run() {
        let (_, data) = page(Vec::new());
        let about = &data["about"];
        assert_eq!(about["seed"], u64::MAX.to_string(), "exact, though JavaScript has no such number");
        assert_eq!((&about["simulator"], &about["hash"]), (&"core".into(), &"00000000000000ab".into()));
        assert_eq!(about["counters"]["acked"], 3);
    }

    #[test]
    fn times_are_differences_and_words_are_numbers() {
        let lost = |message| What::Lost { message, why: "cut" };
        let (_, data) = page(vec![(5, 1, lost(7)), (9, 2, lost(8)), (8, 3, lost(9))]);
        let ms = 1_000_000;
        assert_eq!(data["events"], json!([[5 * ms, 1, 2, 7, 0], [4 * ms, 2, 2, 8, 0], [-ms, 3, 2, 9, 0]]));
        assert_eq!(data["names"], json!(["cut"]));
    }
}
