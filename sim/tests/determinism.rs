//! One seed is one run: the same trace hash in two processes, started at different times.

use std::process::Command;

/// The `trace hash: ...` of a run in a process of its own.
fn hash(seed: u64, scenario: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["--seed", &seed.to_string(), "--scenario", scenario])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let hash = text.rsplit_once("trace hash: ").map(|(_, hash)| hash.trim().to_owned());
    hash.unwrap_or_else(|| panic!("no trace hash in {text}"))
}

#[test]
fn a_seed_repeats_exactly_in_another_process() {
    let mut hashes = std::collections::BTreeSet::new();
    for (seed, scenario) in [(1, "crash-leader"), (2, "partition-leader"), (3, "restart-all")] {
        let first = hash(seed, scenario);
        assert_eq!(hash(seed, scenario), first, "seed {seed} of {scenario}");
        hashes.insert(first);
    }
    assert_eq!(hashes.len(), 3, "another seed is another run");
}

#[test]
fn a_wrong_command_line_is_refused() {
    let status = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["--scenario", "no such"])
        .output()
        .expect("the binary runs")
        .status;
    assert_eq!(status.code(), Some(2));
}
