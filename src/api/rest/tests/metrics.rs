//! `GET /metrics`, and the table that it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Answer, Desk, at_once};
use crate::telemetry::{self, FIGURES, Kind};

/// The samples by name with labels, in the order they came: the node's own, not the process's.
fn samples(answer: &Answer) -> Vec<(String, String)> {
    let lines = answer.text().lines().filter(|line| line.starts_with("quorate_"));
    let pair = |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
    lines.map(|line| pair(line).unwrap()).collect()
}

fn full_name(name: &str, kind: Kind) -> String {
    let total = if kind == Kind::Counter && !name.ends_with("_total") { "_total" } else { "" };
    format!("quorate_{name}{total}")
}

#[tokio::test]
async fn every_figure_is_shown_once_with_its_value() {
    let desk = Desk::open();
    let answer = at_once(desk.get("/metrics"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let counters = super::store::counters();
    let of_status: BTreeMap<&str, u64> = BTreeMap::from([
        ("has_leader", 1),
        ("is_leader", 1),
        ("term", 3),
        ("commit_index", 9),
        ("applied_index", 8),
        ("last_index", 10),
        ("persisted_index", 10),
        ("folded_index", 5),
        ("purged_index", 2),
        ("revision", 1),
    ]);
    let expected = FIGURES.iter().map(|figure| match figure.kind {
        Kind::Info => {
            let labels = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
            (format!("quorate_{}{labels}", figure.name), "1".to_owned())
        }
        kind => {
            let value = counters.get(figure.name).or(of_status.get(figure.name));
            (full_name(figure.name, kind), value.expect(figure.name).to_string())
        }
    });
    assert_eq!(samples(&answer), expected.collect::<Vec<_>>());
    assert!(answer.text().ends_with("\n# EOF\n"));
    assert_eq!(desk.store.state().calls, 0, "it asks nobody");
    assert_eq!(answer.revision(), 1);
}

#[tokio::test]
async fn every_figure_says_what_it_is() {
    let answer = Desk::open().get("/metrics").await;
    let text = answer.text();
    for (name, lines) in [
        (
            "a counter",
            "# HELP quorate_reads Linearizable reads that clients of this node asked for.\n\
             # TYPE quorate_reads counter\nquorate_reads_total ",
        ),
        (
            "a counter without its ending",
            "# HELP quorate_transport_sent Messages handed to a connection.\n\
             # TYPE quorate_transport_sent counter\nquorate_transport_sent_total ",
        ),
        (
            "a gauge with a unit",
            "# HELP quorate_wal_bytes The log on disk, in bytes.\n# TYPE quorate_wal_bytes gauge\n\
             # UNIT quorate_wal_bytes bytes\nquorate_wal_bytes ",
        ),
        ("a gauge", "# TYPE quorate_has_leader gauge\nquorate_has_leader 1\n"),
        ("a text", "# TYPE quorate_build info\nquorate_build_info{version="),
    ] {
        assert!(text.contains(lines), "{name}: {text}");
    }
    let about = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
    let all = FIGURES.len();
    assert_eq!((about("# HELP quorate_"), about("# TYPE quorate_")), (all, all));
}

/// Under the names and with the kinds that Prometheus' own client libraries give them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_process_is_shown_as_every_process_is() {
    let answer = Desk::closed().get("/metrics").await;
    for (name, kind) in [
        ("process_cpu_seconds", "counter"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        assert!(answer.text().contains(&format!("# TYPE {name} {kind}\n")), "{name}: {}", answer.text());
        let full = if kind == "counter" { format!("{name}_total ") } else { format!("{name} ") };
        let value = answer.text().lines().find_map(|line| line.strip_prefix(&full)).expect(&full);
        assert!(value.parse::<f64>().unwrap() >= 0.0, "{full}{value}");
    }
}

#[tokio::test]
async fn while_the_node_opens_only_the_version_is_known() {
    let desk = Desk::closed();
    let answer = at_once(desk.get("/metrics"));
    assert_eq!(answer.status, 200);
    let names: Vec<String> = samples(&answer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [format!("quorate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))]);
    at_once(desk.get("/metrics?x")).problem(400, "unknown_parameter");
}

/// What goes wrong otherwise only at the scraper: names, and the texts that the format would have escaped.
#[test]
fn the_table_is_sound() {
    let names: BTreeSet<&str> = FIGURES.iter().map(|figure| figure.name).collect();
    assert_eq!(names.len(), FIGURES.len(), "a name stands twice");
    for figure in FIGURES {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(figure.name.bytes().all(is_plain), "{}", figure.name);
        let ends_as_counter = figure.name.ends_with("_total");
        assert!(figure.kind == Kind::Counter || !ends_as_counter, "{} is no counter", figure.name);
        assert_eq!(figure.kind == Kind::Info, figure.name.ends_with("_info"), "{}", figure.name);
        let help = figure.help;
        assert!(help.ends_with('.') && help.len() > 8 && help == help.trim(), "{}: {help:?}", figure.name);
        assert!(!help.contains(['\\', '"', '\n']), "{}: {help:?}", figure.name);
    }
    assert_eq!(FIGURES[0].name, telemetry::BUILD_INFO);
}

/// What the documents tell an operator to watch is there.
#[test]
fn the_documents_name_no_figure_that_does_not_exist() {
    let known: BTreeSet<String> = FIGURES.iter().map(|figure| full_name(figure.name, figure.kind)).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    files.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut found = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|name| name == "md")) {
        let text = std::fs::read_to_string(file).unwrap();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_figure = |word: &&str| word.strip_prefix("quorate_").is_some_and(|name| !name.is_empty());
        for word in words.by_ref().filter(is_figure) {
            assert!(known.contains(word), "{}: {word} is no figure", file.display());
            found += 1;
        }
    }
    assert!(found > 5, "the documents name {found} figures");
}
