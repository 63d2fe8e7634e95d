//! The index at the end of `raft`'s module doc: each rule of the paper's Figure 2 with the function and the test that
//! keep it. A row is `//! | rule | file::function | file::function |`, the first in `src/raft`, the second in its
//! `tests`; several are separated by commas. Both must exist.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::Complaint;
use crate::source::{Source, is_test_only};

/// Fewer rows than this cannot be the whole figure.
const ROWS_MIN: usize = 15;

/// Judges the index against the functions and tests of `raft`.
pub fn check(sources: &[Source], complaints: &mut Vec<Complaint>) {
    let raft: Vec<&Source> = sources.iter().filter(|source| source.path.starts_with("src/raft/")).collect();
    let Some(book) = raft.iter().find(|source| source.path == "src/raft/mod.rs") else { return };
    let mut names = Names::default();
    for source in &raft {
        names.is_test_file = source.is_test;
        names.file = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        names.visit_file(&source.file);
    }
    complaints.extend(judge(book, &names.functions, &names.tests));
}

/// Judges an index against the names that exist.
pub fn judge(book: &Source, functions: &BTreeSet<String>, tests: &BTreeSet<String>) -> Vec<Complaint> {
    let rows = rows(&book.text);
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
            for name in names.iter().filter(|name| !known.contains(*name)) {
                let text =
                    format!("no {what} `{name}` exists in src/raft: name the one that keeps this rule");
                found.push(book.complaint(line, "figure-2", text));
            }
        }
    }
    found
}

/// The rows of the table whose head is `| rule | function | test |`, with their lines.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix("//!").map(str::trim).filter(|row| row.starts_with('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let heads: Vec<String> = cells.iter().map(|cell| cell.to_lowercase()).collect();
        if heads.len() == 3
            && heads[0].contains("rule")
            && heads[1].contains("function")
            && heads[2].contains("test")
        {
            inside = true;
        } else if inside && !cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':')) {
            found.push((at + 1, cells));
        }
    }
    found
}

/// The names in a cell, without backticks.
fn names_in(cell: &str) -> Vec<String> {
    let names = cell.split(',').map(|name| name.trim().trim_matches('`').trim_end_matches("()").to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// Collects the names of functions and of tests, as `file::name`.
#[derive(Default)]
struct Names {
    functions: BTreeSet<String>,
    tests: BTreeSet<String>,
    is_test_file: bool,
    file: String,
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let name = format!("{}::{}", self.file, item.sig.ident);
        if is_test_only(&item.attrs) {
            self.tests.insert(name);
        } else if !self.is_test_file {
            self.functions.insert(name);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.is_test_file {
            self.functions.insert(format!("{}::{}", self.file, item.sig.ident));
        }
        visit::visit_impl_item_fn(self, item);
    }
}
