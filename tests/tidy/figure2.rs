//! The index at the end of `raft`'s module doc: each rule of the paper's Figure 2 with the function and the test that
//! keep it. A row is `//! | rule | file::function | file::function |`, the first in `src/raft`, the second in its
//! `tests`; several are separated by commas. Both must exist.

use std::collections::BTreeSet;

use crate::Complaint;
use crate::index::{self, Names};
use crate::source::Source;

/// Fewer rows than this cannot be the whole figure.
const ROWS_MIN: usize = 15;

/// Judges the index against the functions and tests of `raft`.
pub fn check(sources: &[Source], complaints: &mut Vec<Complaint>) {
    let raft: Vec<&Source> = sources.iter().filter(|source| source.path.starts_with("src/raft/")).collect();
    let Some(book) = raft.iter().find(|source| source.path == "src/raft/mod.rs") else { return };
    let names = Names::of(raft.iter().copied());
    complaints.extend(judge(book, &names.functions, &names.tests));
}

/// Judges an index against the names that exist.
pub fn judge(book: &Source, functions: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<Complaint> {
    let rows = index::rows(&book.text, "//!", &["rule", "function", "test"]);
    let mut found = Vec::new();
    if rows.len() < ROWS_MIN {
        let text = format!(
            "the index of Figure 2 has {} rows, fewer than {ROWS_MIN}: end the module doc with a table `| rule | function | test |`",
            rows.len()
        );
        found.push(book.complaint(0, "figure-2", text));
    }
    for (line, cells) in rows {
        let [_, function, test] = cells.as_slice() else {
            found.push(book.complaint(line, "figure-2", "a row has three cells: rule, function, test"));
            continue;
        };
        for (cell, known, what) in [(function, functions, "function"), (test, tests, "test")] {
            let names = names_in(cell);
            if names.is_empty() {
                found.push(book.complaint(
                    line,
                    "figure-2",
                    format!("no {what} is named: write it as file::function"),
                ));
            }
            for name in names.iter().filter(|name| index::meanings(known, name) == 0) {
                let text =
                    format!("no {what} `{name}` exists in src/raft: name the one that keeps this rule");
                found.push(book.complaint(line, "figure-2", text));
            }
        }
    }
    found
}

/// The names in a cell, without backticks.
fn names_in(cell: &str) -> Vec<String> {
    let names = cell.split(',').map(|name| name.trim().trim_matches('`').trim_end_matches("()").to_owned());
    names.filter(|name| !name.is_empty()).collect()
}
