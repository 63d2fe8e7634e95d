//! `docs/hazards.md`: every hazard names what shows that it is closed, every scenario of another project where ours is; and
//! what they name exists. A name is in backticks: `place::function`, where the place is the end of a path without `.rs`, or
//! the end of a file's path.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Complaint;
use crate::index::{self, Names};
use crate::source::Source;

const PAGE: &str = "docs/hazards.md";

/// H1 to this one.
const HAZARDS: u32 = 39;

/// Fewer rows than this cannot be all scenarios.
const SCENARIOS_MIN: usize = 60;

/// Where golden scripts and bugs on purpose are.
const FOLDERS: &[&str] =
    &["src/raft/testscripts", "src/wal/tests/scripts", "src/fsm/testscripts", "sim/mutants"];

/// Judges the page against what there is.
pub fn check(root: &Path, sources: &[Source], complaints: &mut Vec<Complaint>) {
    let Ok(page) = std::fs::read_to_string(root.join(PAGE)) else {
        complaints.push(complaint(0, "the page is missing"));
        return;
    };
    let mut tests = Names::of(sources).tests;
    // They are a package of their own, which the rules for sources leave alone.
    let of_simulation = files(root, "sim/tests").into_iter().filter(|path| path.ends_with(".rs"));
    for path in of_simulation {
        let text = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        match Source::parse(&path, text, Vec::new(), true) {
            Ok(source) => tests.extend(Names::of([&source]).tests),
            Err(broken) => complaints.push(broken),
        }
    }
    let files = FOLDERS.iter().flat_map(|folder| files(root, folder)).collect();
    complaints.extend(judge(&page, &tests, &files));
}

/// Judges a page against the tests and files that exist.
pub fn judge(page: &str, tests: &BTreeSet<String>, files: &BTreeSet<String>) -> Vec<Complaint> {
    let mut found = Vec::new();
    let hazards = index::rows(page, "", &["hazard", "goes wrong", "shown by"]);
    for number in 1..=HAZARDS {
        let name = format!("H{number}");
        match hazards.iter().filter(|(_, cells)| cells.first() == Some(&name)).count() {
            1 => {}
            count => found.push(complaint(0, &format!("{name} has {count} rows: it needs one"))),
        }
    }
    let scenarios = index::rows(page, "", &["scenario", "of", "ours"]);
    if scenarios.len() < SCENARIOS_MIN {
        let text = format!("{} scenarios, fewer than {SCENARIOS_MIN}", scenarios.len());
        found.push(complaint(0, &text));
    }
    for (line, cells) in hazards.into_iter().chain(scenarios) {
        let [_, _, shown_by] = cells.as_slice() else {
            found.push(complaint(line, "a row has three cells, the last one names tests"));
            continue;
        };
        let names = quoted(shown_by);
        if names.is_empty() {
            found.push(complaint(
                line,
                "no test is named: write `place::function`, or a script's or patch's file",
            ));
        }
        for name in names {
            let known = if name.contains("::") { tests } else { files };
            match index::meanings(known, name) {
                1 => {}
                0 => found.push(complaint(
                    line,
                    &format!("`{name}` does not exist: name a test, a script or a patch"),
                )),
                many => found
                    .push(complaint(line, &format!("`{name}` may be any of {many}: name more of its path"))),
            }
        }
    }
    found
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn complaint(line: usize, text: &str) -> Complaint {
    Complaint { file: PAGE.to_owned(), line, rule: "hazards", text: text.to_owned() }
}

/// The files below a folder, relative to the root.
fn files(root: &Path, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return found };
    for entry in entries.flatten() {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { found.extend(files(root, &path)) } else { found.push(path) }
    }
    found
}
