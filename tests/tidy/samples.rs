//! A failing sample for each rule: a rule that reports nothing here guards nothing. The good samples show that what
//! is meant to pass does.

use std::collections::BTreeSet;

use crate::source::Source;
use crate::{Complaint, examples, figure2, hazards, rules, table};

const CRATES: &[&str] = &[
    "std",
    "core",
    "alloc",
    "tokio",
    "bytes",
    "bincode",
    "redb",
    "fastrand",
    "axum",
    "getrandom",
    "tonic",
    "proptest",
];

fn source(path: &str, text: &str) -> Source {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let module = inside.split('/').filter(|name| *name != "lib").map(str::to_owned).collect();
    let is_test = path.starts_with("tests/") || path.contains("/tests");
    let mut source = Source::parse(path, text.to_owned(), module, is_test).expect("a sample parses");
    source.crates = CRATES.iter().map(|name| (*name).to_owned()).collect();
    source
}

/// The rules that a text breaks, with the lines.
fn broken(path: &str, text: &str) -> Vec<(&'static str, usize)> {
    let text = format!("//! A sample.\n{text}");
    let source = source(path, &text);
    let mut complaints = Vec::new();
    table::check(&source, &mut complaints);
    rules::check(&source, &mut complaints);
    complaints.iter().map(|complaint| (complaint.rule, complaint.line)).collect()
}

#[track_caller]
fn reported(rule: &str, path: &str, text: &str) {
    let broken = broken(path, text);
    assert!(broken.iter().any(|(name, _)| *name == rule), "{path}: {text:?} is not reported: {broken:?}");
}

#[track_caller]
fn passes(path: &str, text: &str) {
    assert_eq!(broken(path, text), [], "{path}: {text:?} is reported");
}

#[test]
fn a_module_uses_what_its_row_lists_and_nothing_else() {
    for text in [
        "use crate::wal::Wal;",
        "use crate::{types::Index, wal::Wal};",
        "use super::super::wal;",
        "pub use crate::wal as log;",
        "fn f(_: crate::wal::Wal) {}",
        "fn f() -> u32 { super::super::wal::open() }",
        "macro_rules! m { () => { $crate::wal::open() } }",
        "fn f() { assert_eq!(crate::wal::SIZE, 1); }",
        "#[derive(crate::wal::Derive)] struct S;",
        "fn f() { use crate::wal; }",
        "fn f() { let _: Vec<crate::wal::Wal> = Vec::new(); }",
        "fn f() { let _ = <crate::wal::Wal as Clone>::clone; }",
        "impl quorate::wal::Trait for () {}",
        "use crate::command::Write;",
        "use crate::error::Error;",
        "mod inner { use super::super::super::wal; }",
        "#[cfg(test)] mod tests { use crate::wal::Wal; }",
        "use crate::*;",
        "use crate as all;",
        "use crate::nothing_known::X;",
    ] {
        reported("module", "src/raft/log.rs", text);
    }
    for text in [
        "use crate::types::Index;",
        "use super::message::Message;",
        "use self::inner::X; mod inner { use super::super::Y; pub struct X; }",
        "// crate::wal::Wal\nfn f() -> &'static str { \"crate::wal::Wal\" }",
        "/// See [`crate::wal::Wal`].\npub struct S;",
        "pub(crate) fn f() {} pub(super) fn g() {} pub(in crate::raft) fn h() {}",
        "fn f(wal: u32) -> u32 { wal }",
    ] {
        passes("src/raft/log.rs", text);
    }
    reported("module", "src/api/rest/set.rs", "use crate::raft::Raft;");
    reported("module", "src/api/rest/set.rs", "use crate::node::Handle;");
    reported("module", "src/shard/mod.rs", "use crate::fsm::Store;");
    reported("module", "src/fsm/store.rs", "use crate::raft::Entry;");
    reported("module", "src/fsm/store.rs", "use crate::clock::Clock;");
    reported("module", "src/wal/segment.rs", "use crate::raft::Raft;");
    reported("module", "src/wal/segment.rs", "use crate::raft;");
    passes("src/wal/segment.rs", "use crate::raft::{Entry, HardState};");
    reported("module", "src/types.rs", "use crate::wal::Wal;");
    reported("module", "src/command.rs", "use crate::raft::Entry;");
    reported("module", "src/cli/serve.rs", "use crate::fsm::Store;");
    reported("module", "src/surprise/mod.rs", "pub struct S;");
    reported("module", "src/transport/lane.rs", "use crate::server::serve::serve;");
    passes("src/transport/lane.rs", "#[cfg(test)] mod tests { use crate::server::serve::serve; }");
    passes("src/server.rs", "use crate::{api, fsm, node, raft, transport, wal};");
    passes("src/api/rest/set.rs", "use crate::shard::Router;");
}

#[test]
fn front_doors_do_not_know_each_other() {
    reported("module", "src/api/rest/set.rs", "use crate::api::grpc::Service;");
    reported("module", "src/api/grpc/mod.rs", "use super::rest::problem;");
    passes("src/api/grpc/mod.rs", "use super::limits::LIMIT;");
    passes("src/api/rest/set.rs", "use crate::api::rest::problem;");
}

#[test]
fn a_module_uses_the_crates_of_its_row() {
    for text in [
        "use tokio::sync::mpsc;",
        "fn f() { tokio::spawn(g()); }",
        "use ::redb::Database;",
        "extern crate tokio;",
        "use {bytes::Bytes, tokio as t};",
        "fn f() { debug_assert!(tokio::x()); }",
    ] {
        reported("crate", "src/raft/log.rs", text);
    }
    passes("src/raft/log.rs", "use bytes::Bytes;\nuse fastrand::Rng;\nfn f(bytes: u8) -> u8 { bytes }");
    passes("src/raft/log.rs", "mod tokio; use tokio::x;");
    passes("src/raft/log.rs", "#[cfg(test)] mod tests { use proptest::prelude::*; use std::thread; }");
    passes("src/raft/log.rs", "use super::tokio;\nfn f() { tokio::x(); }");
    reported("crate", "src/command.rs", "#[derive(bincode::Encode)] struct S;");
    reported("crate", "src/node/driver.rs", "use bincode::config;");
    passes("src/codec.rs", "use bincode::config;");
    reported("crate", "src/node/driver.rs", "use axum::Router;");
    reported("crate", "src/fsm/store.rs", "use tokio::sync::mpsc;");
}

#[test]
fn a_module_leaves_alone_what_must_not_be_used_of_std() {
    for text in [
        "use std::fs::File;",
        "use std::{net::TcpStream};",
        "fn f() { std::thread::yield_now(); }",
        "use std::time::Instant as Then;",
        "use std::collections::{BTreeMap, HashMap};",
        "use core::time::*;",
        "use std::collections::*;",
        "use std::*;",
        "use std::sync::Mutex;",
    ] {
        assert!(!broken("src/raft/log.rs", text).is_empty(), "{text} is not reported");
    }
    reported("std", "src/raft/log.rs", "use std::fs::File;");
    passes("src/raft/log.rs", "use std::collections::BTreeMap;\nuse std::time::Duration;");
    reported("std", "src/wal/segment.rs", "use std::fs::File;");
    passes("src/wal/fs.rs", "use std::fs::File;");
    reported("std", "src/fsm/store.rs", "fn f() { std::fs::remove_file(\"x\").ok(); }");
    passes("src/fsm/backend.rs", "use std::fs::File;");
    reported("std", "src/transport/peers.rs", "use std::net::TcpStream;");
    passes("src/transport/peers.rs", "use std::net::SocketAddr;");
    reported("std", "src/node/driver.rs", "use std::thread;");
    passes("src/node/executor.rs", "use std::thread;");
}

#[test]
fn time_and_entropy_come_through_the_seams() {
    for text in [
        "fn f() { let _ = std::time::Instant::now(); }",
        "use std::time::SystemTime;",
        "fn f() { tokio::task::spawn_blocking(|| ()); }",
        "use tokio::time::sleep;",
        "fn f() { let _ = getrandom::u64(); }",
        "fn f() -> u64 { fastrand::u64(..) }",
        "fn f() { let _ = fastrand::Rng::new(); }",
    ] {
        reported("entropy", "src/node/driver.rs", text);
        reported("entropy", "src/api/rest/set.rs", text);
    }
    passes("src/node/driver.rs", "fn f() { let _ = fastrand::Rng::with_seed(7); }");
    passes("src/clock.rs", "fn f() { let _ = std::time::Instant::now(); let _ = getrandom::u64(); }");
}

#[test]
fn the_product_does_not_know_the_simulation() {
    reported("turmoil", "src/transport/net.rs", "#[cfg(turmoil)] fn f() {}");
    reported("turmoil", "src/transport/net.rs", "fn f() { if cfg!(turmoil) {} }");
}

#[test]
fn placeholders_never_land() {
    reported("placeholder", "src/wal/segment.rs", "fn f() { todo!() }");
    reported("placeholder", "src/wal/segment.rs", "fn f() { unimplemented!(\"later\") }");
    reported("placeholder", "tests/cluster/x.rs", "fn f() { g(dbg!(1)); }");
    reported("ignored-test", "src/wal/segment.rs", "#[cfg(test)] mod tests { #[test] #[ignore] fn f() {} }");
    reported("ignored-test", "tests/cluster/x.rs", "#[test] #[ignore = \"slow\"] fn f() {}");
    reported("dead-code", "src/wal/segment.rs", "#[allow(dead_code)] fn f() {}");
    reported("dead-code", "src/wal/segment.rs", "#![allow(unused, dead_code)]");
    reported("dead-code", "tests/cluster/x.rs", "#[expect(dead_code)] fn f() {}");
    passes("src/wal/segment.rs", "fn f(x: Option<u8>) -> u8 { x.expect(\"dead_code\") }");
    let promises = [["FIX", "ME"], ["XX", "X"], ["TO", "DO"], ["HA", "CK"]];
    for parts in promises {
        reported("promise", "src/wal/segment.rs", &format!("// {}: later\nfn f() {{}}", parts.concat()));
    }
    passes("src/wal/segment.rs", "// The hack of a saw, the fixme of nobody.\nfn f() {}");
}

#[test]
fn unwrap_is_for_tests() {
    reported("unwrap", "src/wal/segment.rs", "fn f(x: Option<u8>) -> u8 { x.unwrap() }");
    reported("unwrap", "src/wal/segment.rs", "fn f(x: Option<u8>) { assert!(x.unwrap() > 1); }");
    passes("src/wal/segment.rs", "fn f(x: Option<u8>) -> u8 { x.unwrap_or(1) }");
    passes("src/wal/segment.rs", "#[cfg(test)] mod tests { #[test] fn f() { Some(1).unwrap(); } }");
    passes("src/wal/segment.rs", "#[cfg(test)] fn f() { Some(1).unwrap(); }");
    passes("src/wal/tests/recover.rs", "#[test] fn f() { Some(1).unwrap(); }");
    passes(
        "src/wal/segment.rs",
        "#[cfg(any(test, feature = \"testing\"))] pub mod faults { fn f() { Some(1).unwrap(); } }",
    );
    reported("unwrap", "src/wal/segment.rs", "#[cfg(not(test))] fn f() { Some(1).unwrap(); }");
}

#[test]
fn a_sleep_is_no_synchronisation() {
    reported("sleep", "tests/cluster/x.rs", "#[test] fn f() { std::thread::sleep(D); }");
    reported("sleep", "tests/cluster/x.rs", "async fn f() { tokio::time::sleep(D).await; }");
    reported("sleep", "tests/cluster/x.rs", "fn f() { g(|| thread::sleep(D)); }");
    reported("sleep", "src/node/driver.rs", "#[cfg(test)] mod tests { fn f() { std::thread::sleep(D); } }");
    passes("tests/cluster/x.rs", "fn poll_until() { std::thread::sleep(D); }");
}

#[test]
fn order_and_waiting_stay_out_of_the_core() {
    reported("hash-order", "src/raft/log.rs", "struct S { m: HashMap<u8, u8> }");
    reported("hash-order", "src/fsm/store.rs", "fn f() { let _ = HashSet::<u8>::new(); }");
    reported("async", "src/raft/log.rs", "async fn f() {}");
    reported("async", "src/fsm/store.rs", "fn f() { async { x.await }; }");
}

#[test]
fn sizes_have_limits() {
    let body = "    let _ = 1;\n".repeat(70);
    reported("function-size", "src/wal/segment.rs", &format!("fn f() {{\n{body}}}"));
    reported("function-size", "src/wal/segment.rs", &format!("impl S {{ fn f() {{\n{body}}} }}"));
    let comments = "    // Why.\n\n".repeat(70);
    passes("src/wal/segment.rs", &format!("fn f() {{\n{comments}}}"));
    passes("src/wal/segment.rs", &format!("#[cfg(test)] mod tests {{ fn f() {{\n{body}}} }}"));
    let long = "    let _ = 1;\n".repeat(120);
    reported("function-size", "tests/cluster/x.rs", &format!("fn f() {{\n{long}}}"));
    let lines = "const A: u8 = 1;\n".repeat(800);
    reported("file-size", "src/wal/segment.rs", &lines);
    passes("src/wal/segment.rs", &format!("#[cfg(test)]\nmod tests {{\n{lines}}}"));
    passes("src/wal/tests/long.rs", &lines);
}

#[test]
fn texts_are_ascii_and_begin_with_a_doc() {
    reported("ascii", "src/wal/segment.rs", "// A dash \u{2014} here.\nfn f() {}");
    let plain = source("src/wal/segment.rs", "// A comment is no doc.\nfn f() {}\n");
    let mut complaints = Vec::new();
    rules::check(&plain, &mut complaints);
    assert_eq!(complaints.iter().map(|complaint| complaint.rule).collect::<Vec<_>>(), ["module-doc"]);
    let bad = Source::parse("src/x.rs", "fn f( {".to_owned(), Vec::new(), false);
    assert_eq!(bad.err().map(|complaint| complaint.rule), Some("parse"));
}

#[test]
fn functions_of_the_client_show_an_example() {
    let found = |text: &str| -> Vec<(usize, String)> {
        examples::without_example(&source("src/client/x.rs", &format!("//! X.\nimpl S {{\n{text}\n}}\n")))
    };
    let example = "/// ```no_run\n/// f()?;\n/// ```\n";
    let of_another = format!("{example}pub fn g() {{}}\n\n/// F.\npub fn f(self) {{}}");
    let wrong: [(&str, usize); 5] = [
        ("/// F.\npub fn f() {}", 4),
        ("pub fn f() {}", 3),
        ("/// F.\n#[must_use]\npub const fn f() -> u8 { 1 }", 5),
        ("/// ```text\n/// a -> b\n/// ```\npub async fn f<T>(t: T) {}", 6),
        (of_another.as_str(), 9),
    ];
    for (text, line) in wrong {
        assert_eq!(found(text), [(line, "x::f".to_owned())], "{text}");
    }
    let behind_a_text = format!("/// ```text\n/// a -> b\n/// ```\n{example}#[must_use]\npub fn f() {{}}");
    let right: [&str; 5] = [
        "/// F.\n///\n/// ```\n/// f();\n/// ```\n///\n/// # Errors\n/// E.\npub async fn f() {}",
        behind_a_text.as_str(),
        "/// F.\npub(super) fn f() {}\nfn g() {}",
        "#[cfg(test)]\npub fn f() {}",
        "#[cfg(all(feature = \"server\", any(test, feature = \"testing\")))]\npub fn f() {}",
    ];
    for text in right {
        assert_eq!(found(text), [], "{text}");
    }
    let in_tests = source("src/client/tests/x.rs", "//! X.\npub fn f() {}\n");
    assert_eq!(examples::without_example(&in_tests), []);
}

#[test]
fn leftovers_are_found() {
    let rule = |path: &str, bytes: u64| rules::judge_file(path, bytes).map(|complaint| complaint.rule);
    for path in ["src/raft/log.rs.orig", "a~", "sub/.DS_Store", "run.log", "x.profraw", "core"] {
        assert_eq!(rule(path, 10), Some("leftover"), "{path}");
    }
    assert_eq!(rule("src/empty.rs", 0), Some("leftover"));
    assert_eq!(rule("big.bin", 2 << 20), Some("leftover"));
    assert_eq!(rule("src/raft/log.rs", 10), None);
}

#[test]
fn files_that_no_module_declares_are_found() {
    let root = tempfile::tempdir().expect("a directory");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
        std::fs::write(path, text).expect("writable");
    };
    write("src/lib.rs", "//! Root.\npub mod wal;\nmod gone;\n");
    write("src/main.rs", "//! Main.\nfn main() {}\n");
    write(
        "src/wal/mod.rs",
        "//! Log.\n#[cfg(test)]\nmod tests;\nmod inner { mod deep; }\n#[path = \"odd.rs\"] mod even;\n",
    );
    write("src/wal/tests/mod.rs", "//! Tests.\nmod one;\n");
    write("src/wal/tests/one.rs", "//! One.\n");
    write("src/wal/inner/deep.rs", "//! Deep.\n");
    write("src/wal/odd.rs", "//! Odd.\n");
    write("src/wal/orphan.rs", "//! Nobody knows me.\n");
    write("src/bench/echo.rs", "//! A target of its own.\n");
    write("Cargo.toml", "[[example]]\nname = \"echo\"\npath = \"src/bench/echo.rs\"\n");
    let mut complaints = Vec::new();
    let sources = crate::source::load(root.path(), &BTreeSet::new(), &mut complaints);
    let found: Vec<(&str, &str)> = complaints.iter().map(|found| (found.rule, found.file.as_str())).collect();
    assert_eq!(found, [("parse", "src/gone.rs"), ("orphan", "src/wal/orphan.rs")]);
    let tests: Vec<&str> =
        sources.iter().filter(|source| source.is_test).map(|source| source.path.as_str()).collect();
    assert_eq!(tests, ["src/wal/tests/mod.rs", "src/wal/tests/one.rs"]);
    let deep = sources.iter().find(|source| source.path.ends_with("deep.rs")).expect("read");
    assert_eq!(deep.module, ["wal", "inner", "deep"]);
}

#[test]
fn a_dependency_says_why() {
    let good = "[dependencies]\nbytes = \"1\" # one copy of a value\n[profile.dev]\ndebug = 1\n";
    assert_eq!(rules::judge_manifest("Cargo.toml", good), []);
    let bad = "[dev-dependencies]\nbytes = \"1\"\n";
    let found: Vec<(&str, usize)> =
        rules::judge_manifest("Cargo.toml", bad).iter().map(|found| (found.rule, found.line)).collect();
    assert_eq!(found, [("dependency-reason", 2)]);
}

#[test]
fn the_index_of_figure_2_names_what_exists() {
    let judge = |rows: &str| -> Vec<Complaint> {
        let filler: String = (0..20).map(|_| "//! | kept | vote::on_vote | paper::votes_once |\n").collect();
        let text =
            format!("//! Raft.\n//!\n//! | rule | function | test |\n//! |---|---|---|\n{filler}{rows}");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let (functions, tests) = (names(&["vote::on_vote", "raft::step"]), names(&["paper::votes_once"]));
        figure2::judge(&source("src/raft/mod.rs", &text), &functions, &tests)
    };
    assert_eq!(judge(""), []);
    assert_eq!(judge("//! | a rule | `raft::step`, vote::on_vote | paper::votes_once |\n"), []);
    for (row, part) in [
        ("//! | a rule | vote::on_nothing | paper::votes_once |\n", "no function `vote::on_nothing`"),
        ("//! | a rule | raft::on_vote | paper::votes_once |\n", "no function `raft::on_vote`"),
        ("//! | a rule | vote::on_vote | paper::never_written |\n", "no test `paper::never_written`"),
        ("//! | a rule | vote::on_vote | |\n", "no test is named"),
        ("//! | a rule | vote::on_vote |\n", "three cells"),
    ] {
        let found = judge(row);
        assert_eq!(found.len(), 1, "{row}: {found:?}");
        assert!(found[0].text.contains(part) && found[0].line == 25, "{row}: {found:?}");
    }
    let none = figure2::judge(&source("src/raft/mod.rs", "//! Raft.\n"), &BTreeSet::new(), &BTreeSet::new());
    assert_eq!(none.iter().map(|found| found.rule).collect::<Vec<_>>(), ["figure-2"]);
}

#[test]
fn the_table_of_hazards_is_whole_and_names_what_exists() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let tests =
        names(&["src/raft/tests/paper::votes", "src/wal/tests/crash::cut", "src/fsm/tests/crash::cut"]);
    let files = names(&["src/raft/testscripts/vote.txt", "sim/mutants/h01-vote.patch"]);
    let numbers: Vec<u32> = (1..=39).collect();
    let judge = |numbers: &[u32], extra: &str| -> Vec<String> {
        let shown = "`paper::votes`, `raft/tests/paper::votes`, `vote.txt`, `h01-vote.patch`";
        let hazards: String =
            numbers.iter().map(|number| format!("| H{number} | wrong | {shown} |\n")).collect();
        let scenarios = "| `a` | b | `vote.txt`: as it is |\n".repeat(60);
        let page = format!(
            "# H\n\n| hazard | what goes wrong | shown by |\n|---|---|---|\n{hazards}\n\
             | scenario | of | ours |\n|---|---|---|\n{scenarios}{extra}"
        );
        hazards::judge(&page, &tests, &files).into_iter().map(|found| found.text).collect()
    };
    assert_eq!(judge(&numbers, ""), [""; 0]);
    assert_eq!(judge(&numbers[1..], ""), ["H1 has 0 rows: it needs one"]);
    assert_eq!(judge(&[&numbers[..], &[7]].concat(), ""), ["H7 has 2 rows: it needs one"]);
    for (row, part) in [
        ("| `c` | d | |", "no test is named"),
        ("| `c` | d | vote.txt |", "no test is named"),
        ("| `c` | d |", "three cells"),
        ("| `c` | d | `paper::never` |", "`paper::never` does not exist"),
        ("| `c` | d | `per::votes` |", "`per::votes` does not exist"),
        ("| `c` | d | `gone.txt` |", "`gone.txt` does not exist"),
        ("| `c` | d | `crash::cut` |", "may be any of 2"),
    ] {
        let found = judge(&numbers, row);
        assert!(found.len() == 1 && found[0].contains(part), "{row}: {found:?}");
    }
    let empty = hazards::judge("# H\n", &tests, &files);
    assert_eq!(empty.len(), 40, "39 hazards and the scenarios: {empty:?}");
}
