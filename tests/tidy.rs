//! The rules of the house, as a test: who may know whom, how large a file and a function may be, what never lands.
//!
//! Every rule is a function from sources to complaints; the repository is judged by the same functions as the samples
//! in `tidy/samples.rs`, one at least for each rule, which must be reported. A complaint names the place and says
//! what to do. Where a rule is wrong, change it here *and* tell why in ARCHITECTURE.md's decision log.
//!
//! - `tidy/source.rs` reads the sources: module tree, tokens, what is test code.
//! - `tidy/paths.rs` finds every path in them: `use` trees, inline paths, and those inside macros.
//! - `tidy/table.rs` is the dependency table and its judge.
//! - `tidy/rules.rs` holds sizes, banned tokens, module docs, leftover files.
//! - `tidy/examples.rs` looks for an example at each public function of the client library.
//! - `tidy/figure2.rs` checks the index that ends the module doc of `raft`, `tidy/hazards.rs` the tables of
//!   `docs/hazards.md`; both by `tidy/index.rs`.

#![allow(clippy::disallowed_methods, reason = "a test reads files and runs git")]

#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/figure2.rs"]
mod figure2;
#[path = "tidy/hazards.rs"]
mod hazards;
#[path = "tidy/index.rs"]
mod index;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/table.rs"]
mod table;

use std::fmt;
use std::path::Path;

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The file, relative to the repository.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The rule's short name.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.file, self.line, self.rule, self.text)
    }
}

/// Everything the rules say about the repository below `root`.
fn judge(root: &Path) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let crates = source::dependencies(root);
    let sources = source::load(root, &crates, &mut complaints);
    assert!(sources.len() > 25, "only {} sources were found below {}", sources.len(), root.display());
    for source in &sources {
        table::check(source, &mut complaints);
        rules::check(source, &mut complaints);
    }
    examples::check(&sources, &mut complaints);
    figure2::check(&sources, &mut complaints);
    hazards::check(root, &sources, &mut complaints);
    rules::check_files(root, &mut complaints);
    rules::check_manifest(root, &mut complaints);
    complaints.sort();
    complaints.dedup();
    complaints
}

#[test]
fn the_house_is_tidy() {
    let root = std::env::var("QUORATE_TIDY_ROOT").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let complaints = judge(Path::new(&root));
    let list: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
    assert!(list.is_empty(), "{} complaints:\n{}\n", list.len(), list.join("\n"));
}
