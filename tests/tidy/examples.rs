//! Examples of the client library: each public function that does something shows what it is for, so that
//! `cargo test` compiles what the documentation says, and runs it where no cluster is needed.
//!
//! It looks at lines: documentation and attributes right above a `pub fn`. So it sees those of macros, too.

use std::collections::BTreeSet;

use proc_macro2::LineColumn;

use crate::Complaint;
use crate::source::Source;

/// Where the library is.
const FOLDER: &str = "src/client/";

/// What needs no example, as `file::function`.
const PLAIN: &[&str] = &[
    "admin::new",     // NewAddresses: its type's example begins so
    "error::message", // returns a field
    "txn::new",       // Branch: its type's example begins so
];

/// What follows the backticks that open an example. A `text` is none.
const KINDS: &[&str] = &["", "no_run"];

/// Judges the library among the sources.
pub fn check(sources: &[Source], complaints: &mut Vec<Complaint>) {
    let mut unused: BTreeSet<&str> = PLAIN.iter().copied().collect();
    for source in sources.iter().filter(|source| source.path.starts_with(FOLDER)) {
        for (line, name) in without_example(source) {
            if PLAIN.contains(&name.as_str()) {
                unused.remove(name.as_str());
                continue;
            }
            let text = format!("`{name}` has no example: show in its documentation what it is for");
            complaints.push(source.complaint(line, "example", text));
        }
    }
    complaints.extend(unused.into_iter().map(|name| Complaint {
        file: "tests/tidy/examples.rs".to_owned(),
        line: 0,
        rule: "example",
        text: format!("`{name}` is gone or has an example: take it off the list"),
    }));
}

/// The public functions of a source that show no example, with their lines.
pub fn without_example(source: &Source) -> Vec<(usize, String)> {
    let file = source.path.trim_start_matches(FOLDER).trim_end_matches(".rs");
    let mut found = Vec::new();
    // Those of the documentation that leads up to this line: one that opens, one that closes, and so on.
    let mut fences = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let code = line.trim_start();
        let place = LineColumn { line: at + 1, column: line.len() - code.len() };
        if let Some(fence) = code.strip_prefix("/// ```") {
            fences.push(fence);
        } else if !code.starts_with("///") && !code.starts_with("#[") {
            let has_example = fences.iter().step_by(2).any(|kind| KINDS.contains(kind));
            let name = function(code).filter(|_| !has_example && !source.is_test_at(place));
            found.extend(name.map(|name| (at + 1, format!("{file}::{name}"))));
            fences.clear();
        }
    }
    found
}

/// The name of the public function that begins here. In a macro that makes it, it may be `$name`.
fn function(code: &str) -> Option<&str> {
    let rest = code.strip_prefix("pub ")?;
    let qualifiers = ["const ", "async ", "unsafe "];
    let rest = qualifiers.iter().fold(rest, |rest, word| rest.strip_prefix(*word).unwrap_or(rest));
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}
