//! The files of a data directory, as they lie there while no node runs on it.

use std::path::{Path, PathBuf};

use quorate::types::{ClusterId, Incarnation, NodeId, Owner};
use serde_json::Value;

use super::node::command;
use super::run::run;

/// The state files that there are; while another one takes the place of one, two.
pub fn state_files(data: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(data).expect("readable");
    let paths = files.map(|file| file.expect("listed").path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "redb")).collect();
    found.sort();
    found
}

/// The segments of a log, oldest first.
pub fn segments(wal: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(wal).expect("there is a log");
    let paths = names.map(|entry| entry.expect("a name").path());
    let mut segments: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "wal")).collect();
    segments.sort();
    segments
}

/// Whose state file is in a data directory.
pub fn owner(data: &Path) -> Owner {
    let identity = std::fs::read_to_string(data.join("identity")).expect("readable");
    let field = |name: &str| {
        let line = identity.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {identity}")).to_owned()
    };
    let hex = |name: &str| u64::from_str_radix(&field(name), 16).expect("a hex number");
    Owner {
        cluster: ClusterId(hex("cluster")),
        node: NodeId(field("node").parse().expect("a number")),
        incarnation: Incarnation(hex("incarnation")),
    }
}

/// The number of the state file that the log points to, as `quorate wal inspect` tells it. `scratch` takes what that prints.
pub fn pointer(data: &Path, scratch: &Path) -> u64 {
    let mut inspect = command();
    inspect.args(["wal", "inspect", "--json"]).arg(data);
    let printed = run(scratch, inspect).expect(0, &[]).stdout;
    let records = printed.lines().map(|line| -> Value { serde_json::from_str(line).expect("a JSON line") });
    let mut pointers =
        records.filter(|record| record["kind"] != "cut").filter_map(|record| record["state"].as_u64());
    pointers.next_back().unwrap_or_else(|| panic!("no record names a state file: {printed}"))
}
