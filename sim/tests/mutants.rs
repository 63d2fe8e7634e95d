//! The bugs on purpose fit the code as it is: each patch applies at one place, is small, and is a hazard by its name.

#![allow(clippy::print_stdout, reason = "a test that cannot have what it needs says so")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_sim::mutants::patch::{CHANGED_LINES_MAX, Mutant};
use quorate_sim::mutants::{table, tree};

/// So many at least.
const MUTANTS_MIN: usize = 24;

/// Each of these has at least one.
const HAZARDS: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 20, 21, 22, 24, 25, 26, 28, 29, 30, 31, 32,
    35, 37, 38, 39,
];

fn all() -> Vec<Mutant> {
    Mutant::all(&tree::root().join("sim/mutants")).expect("all patches can be read")
}

#[test]
fn every_hazard_that_the_code_can_have_has_a_mutant() {
    let mutants = all();
    assert!(mutants.len() >= MUTANTS_MIN, "{} mutants", mutants.len());
    let hazards: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.hazard.as_str()).collect();
    for hazard in HAZARDS {
        assert!(hazards.contains(format!("H{hazard}").as_str()), "H{hazard} has no mutant");
    }
    let broken: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.broken.as_str()).collect();
    assert_eq!(broken.len(), mutants.len(), "two mutants break the same");
}

#[test]
fn every_mutant_fits_the_code_and_is_small() {
    for mutant in all() {
        let text = fs::read_to_string(tree::root().join(&mutant.file)).expect("the file is there");
        let broken = mutant.apply(&text).unwrap_or_else(|what| panic!("{what}"));
        assert_ne!(broken, text, "{} changes nothing", mutant.name);
        assert!(mutant.changed_lines <= CHANGED_LINES_MAX, "{}: {}", mutant.name, mutant.changed_lines);
        assert!(mutant.means.len() >= 40, "{}: say what it means", mutant.name);
    }
}

/// Our own reading of a patch is that of everybody's tool, wherever there is one.
#[test]
fn git_applies_them_to_the_same_effect() {
    if Command::new("git").arg("--version").output().is_err() {
        println!("SKIPPED: git_applies_them_to_the_same_effect: needs git: it is not installed");
        return;
    }
    for mutant in all() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(&mutant.file);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("made");
        let text = fs::read_to_string(tree::root().join(&mutant.file)).expect("the file is there");
        fs::write(&path, &text).expect("written");
        let patch = tree::root().join(format!("sim/mutants/{}.patch", mutant.name));
        let applied = git_apply(dir.path(), &patch);
        assert!(applied.is_ok(), "{}: {}", mutant.name, applied.unwrap_err());
        let expected = mutant.apply(&text).unwrap_or_else(|what| panic!("{what}"));
        assert_eq!(fs::read_to_string(&path).expect("still there"), expected, "{}", mutant.name);
    }
}

fn git_apply(dir: &Path, patch: &Path) -> Result<(), String> {
    // Outside of any repository, or it would look for the files in that one.
    let ceiling = dir.parent().unwrap_or(dir);
    let output = Command::new("git")
        .arg("apply")
        .arg(patch)
        .current_dir(dir)
        .env("GIT_CEILING_DIRECTORIES", ceiling)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_copy_of_a_tree_is_broken_and_mended_again() {
    let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let write = |name: &str, text: &str| {
        let path = from.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    let read = |name: &str| fs::read_to_string(to.path().join(name)).ok();
    write("src/x.rs", "one\ntwo\n");
    write("Cargo.toml", "");
    write("target/built", "");
    write("src/target/x.rs", "four\n");
    let copy = tree::Copy::new(from.path(), to.path()).expect("they are apart");
    copy.refresh().expect("copied");
    assert_eq!((read("src/x.rs").as_deref(), read("target/built")), (Some("one\ntwo\n"), None));
    assert_eq!(read("src/target/x.rs").as_deref(), Some("four\n"), "only builds are left out");
    let text =
        "Hazard: H8\nBroken: b\nMeans: m\n\n--- a/src/x.rs\n+++ b/src/x.rs\n@@ -2 +2 @@\n-two\n+three\n";
    let mutant = Mutant::parse("h08-x", text).expect("a mutant");
    let broken = copy.break_with(&mutant).expect("it fits");
    assert_eq!(read("src/x.rs").as_deref(), Some("one\nthree\n"));
    assert!(copy.break_with(&mutant).is_err(), "it is broken already");
    broken.mend().expect("written");
    assert_eq!(read("src/x.rs").as_deref(), Some("one\ntwo\n"));
    write("src/y.rs", "new\n");
    fs::remove_file(from.path().join("src/x.rs")).expect("removed");
    copy.refresh().expect("copied");
    assert_eq!((read("src/x.rs"), read("src/y.rs").as_deref()), (None, Some("new\n")));
    assert!(tree::Copy::new(from.path(), &from.path().join("inside")).is_err());
}

#[test]
fn the_readme_has_a_place_for_the_table() {
    let readme = fs::read_to_string(tree::root().join("sim/README.md")).expect("there is one");
    table::update(&readme, &all(), table::Rows::new()).unwrap_or_else(|what| panic!("{what}"));
}
