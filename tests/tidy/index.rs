//! Tables that name functions, tests and files, and what there is to be named. `figure2` and `hazards` are such tables.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::source::{Source, is_test_only};

/// The rows of the tables whose heads contain these words, with their lines. Every line of the table begins with `margin`.
pub fn rows(text: &str, margin: &str, heads: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix(margin).map(str::trim).filter(|row| row.starts_with('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let is_head = cells.len() == heads.len()
            && cells.iter().zip(heads).all(|(cell, head)| cell.to_lowercase().contains(head));
        if is_head {
            inside = true;
        } else if inside && !cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':')) {
            found.push((at + 1, cells));
        }
    }
    found
}

/// How many of the known names this one may stand for: it is the whole of a name, or its end from a slash on.
pub fn meanings(known: &BTreeSet<String>, name: &str) -> usize {
    let stands_for = |whole: &&String| {
        whole.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    known.iter().filter(stands_for).count()
}

/// The functions and the tests of sources, as `path::name`, where the path has no `.rs`.
#[derive(Default)]
pub struct Names {
    /// What is no test.
    pub functions: BTreeSet<String>,
    /// Tests, and helpers that exist in tests only.
    pub tests: BTreeSet<String>,
    is_test_file: bool,
    place: String,
}

impl Names {
    /// Collects the names of `sources`.
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Names {
        let mut names = Names::default();
        for source in sources {
            names.is_test_file = source.is_test;
            names.place = source.path.trim_end_matches(".rs").to_owned();
            names.visit_file(&source.file);
        }
        names
    }

    /// The tests that a macro like `proptest!` makes.
    fn visit_tokens(&mut self, tokens: &TokenStream) {
        let mut is_function = false;
        for token in tokens.clone() {
            if let (true, TokenTree::Ident(name)) = (is_function, &token) {
                self.tests.insert(format!("{}::{name}", self.place));
            }
            is_function = matches!(&token, TokenTree::Ident(word) if word == "fn");
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let name = format!("{}::{}", self.place, item.sig.ident);
        if is_test_only(&item.attrs) {
            self.tests.insert(name);
        } else if !self.is_test_file {
            self.functions.insert(name);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.is_test_file {
            self.functions.insert(format!("{}::{}", self.place, item.sig.ident));
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if item.mac.path.is_ident("proptest") {
            self.visit_tokens(&item.mac.tokens);
        }
        visit::visit_item_macro(self, item);
    }
}
